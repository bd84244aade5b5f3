"""Pins: what a person wants to keep, and that retention keeps it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.cli.app import run as tinychat
from tinychat.errors import CheckpointError
from tinychat.runs import pin, pinned, unpin

Publish = Callable[..., Path]


def test_pin_and_unpin(run: Path, publish: Publish) -> None:
    assert pinned(run) == set()
    publish(300)
    publish(400)
    pin(run, 300)
    pin(run, 300)
    pin(run, 400)
    assert pinned(run) == {300, 400}
    assert (run / "pins" / "step-00000300").read_bytes() == b""
    unpin(run, 300)
    unpin(run, 300)
    assert pinned(run) == {400}


def test_what_is_not_there_cannot_be_pinned(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="demo has no checkpoint of step 300"):
        pin(run, 300)
    assert pinned(run) == set()
    assert pinned(tmp_path / "gone") == set()
    unpin(tmp_path / "gone", 3)


def test_other_names_in_the_folder_are_passed_over(run: Path, publish: Publish) -> None:
    publish(7)
    pin(run, 7)
    for name in ("step-7", "notes.txt", "step-00000008.bak"):
        (run / "pins" / name).touch()
    assert pinned(run) == {7}


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_says_so(run: Path, publish: Publish) -> None:
    publish(7)
    run.chmod(0o500)
    try:
        with pytest.raises(OSError, match="pins"):
            pin(run, 7)
    finally:
        run.chmod(0o700)


def test_show_names_them(run: Path, publish: Publish, capsys: pytest.CaptureFixture[str]) -> None:
    publish(300)
    publish(400)
    pin(run, 300)
    assert tinychat(["show", str(run)]) == 0
    assert "300, 400 (the latest); pinned: 300" in " ".join(capsys.readouterr().out.split())
    assert tinychat(["show", str(run), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["checkpoints"]
    assert [(each["step"], each["pinned"]) for each in shown] == [(300, True), (400, False)]
