"""What a run says of itself before its first step, and once its steps were timed."""

from pathlib import Path

import pytest

from tests.conftest import tiny, write_corpora
from tinychat.cli.app import run as tinychat
from tinychat.runs import RunReader


@pytest.fixture
def told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[RunReader, str]:
    """A run of 20 steps, and what the terminal showed."""
    talks, _ = write_corpora(tmp_path)
    words = ["train", "--data", str(talks), "--name", "one", "--checkpoints", str(tmp_path / "c")]
    assert tinychat([*words, *tiny(max_steps=20, optim__optimizer="adamw")]) == 0
    return RunReader(tmp_path / "c" / "one"), capsys.readouterr().out


def test_a_run_begins_with_the_short_form_of_its_plan(told: tuple[RunReader, str]) -> None:
    run, shown = told
    rows = [row for row in run.rows("events") if row["kind"] == "start"]
    length, needs = [row["message"] for row in rows]
    assert [row["step"] for row in rows] == [0, 0]
    for words in ("20 steps from fresh weights", "passes over", "tokens for each parameter"):
        assert words in length
    parameters = run.run.parameters["total"]
    assert needs.startswith(
        f"memory {16 * parameters / 1000:.1f} kB for weights"
    )  # four numbers each
    assert "disk" in needs
    assert f"{parameters:,} parameters" in shown
    assert shown.count("tokens for each parameter") == shown.count("for weights") == 1


def test_the_time_that_is_left_is_said_once_it_was_measured(told: tuple[RunReader, str]) -> None:
    run, shown = told
    [row] = [row for row in run.rows("events") if row["kind"] == "estimate"]
    assert row["step"] == 10
    assert "for the 10 steps left, done at" in row["message"]
    assert shown.count(row["message"]) == 1
