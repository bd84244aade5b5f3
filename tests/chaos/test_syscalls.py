"""Saves and prunes that are hurt at their system calls."""

import shutil
from pathlib import Path

import pytest

from tinychat.chaos import syscalls as module
from tinychat.chaos.outcome import Trial
from tinychat.chaos.syscalls import FAULTS, syscalls

# Writes into files in place, as many programs do; the experiment must see what that costs.
IN_PLACE = """
import sys
from pathlib import Path

for path in (Path(sys.argv[1]) / "step-00000002").iterdir():
    path.write_bytes(path.read_bytes())
"""


def left_out(outcome: Trial) -> Trial:
    if outcome.left_out:
        pytest.skip(outcome.left_out)
    return outcome


@pytest.mark.parametrize("every", [60, pytest.param(1, marks=pytest.mark.slow)])
def test_no_system_call_costs_a_checkpoint(every: int, tmp_path: Path) -> None:
    outcome = left_out(syscalls(tmp_path, print, every=every))
    assert outcome.passed, outcome
    assert outcome.figures["points"] == outcome.tried > 300 // every
    assert all(outcome.figures[fault] for fault in FAULTS)
    assert not list(tmp_path.iterdir())


def test_a_fault_that_was_never_tried_is_told(tmp_path: Path) -> None:
    outcome = left_out(syscalls(tmp_path, print, every=10**6))
    assert outcome.failures == ("error=EIO was never tried", "error=ENOSPC was never tried")


def test_it_sees_a_checkpoint_that_is_lost(tmp_path: Path) -> None:
    outcome = left_out(syscalls(tmp_path, print, every=4, program=IN_PLACE))
    assert outcome.figures["checkpoints_lost"] > 0
    assert not outcome.passed


def test_without_strace_it_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    outcome = syscalls(tmp_path, print)
    assert outcome.left_out == "strace is not installed"
    assert not outcome.passed
    assert not outcome.failures
