"""What stands in the shell after the screen is gone."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.runs import RunWriter
from tinychat_monitor.parting import parting_line

Record = Callable[..., RunWriter]


def test_a_run_that_goes_on_is_named_with_the_way_back(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record("demo")
    monkeypatch.setenv("TINYCHAT_CHECKPOINTS", str(tmp_path))
    assert parting_line(tmp_path, tmp_path / "demo") == (
        f"demo goes on training (process {os.getpid()}); look again with: tinychat-monitor demo"
    )
    assert "look again with: tinychat-monitor" in parting_line(tmp_path, None)
    monkeypatch.setenv("TINYCHAT_CHECKPOINTS", str(tmp_path / "elsewhere"))
    assert parting_line(tmp_path, None).endswith(f"--checkpoints {tmp_path}")


def test_a_paused_run_is_said_to_be_paused(record: Record, tmp_path: Path) -> None:
    record("demo", "paused")
    assert parting_line(tmp_path, tmp_path / "demo").startswith("demo stays paused")


def test_of_many_runs_a_few_are_named(record: Record, tmp_path: Path) -> None:
    for number in range(5):
        record(f"run-{number}")
    line = parting_line(tmp_path, None)
    assert line.startswith("run-4, run-3, run-2 and 2 more go on training")


def test_nothing_is_said_where_nothing_goes_on(record: Record, tmp_path: Path) -> None:
    record("demo", "finished")
    assert parting_line(tmp_path, tmp_path / "demo") == ""
    assert parting_line(tmp_path / "none", None) == ""


def test_a_name_cannot_steer_the_terminal(record: Record, tmp_path: Path) -> None:
    record("a\x1b]0;owned\x07")
    assert not set(parting_line(tmp_path, None)) & set("\x1b\x07")
