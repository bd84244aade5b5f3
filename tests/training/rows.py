"""What tests of training read of a run, and how they wait for one."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tinychat.runs import RunReader
from tinychat.runs.reader import Row


def train_rows(run: Path) -> list[Row]:
    """The rows of its updates."""
    return [row for row in RunReader(run).rows("metrics") if row["kind"] == "train"]


def events(run: Path, kind: str) -> list[Row]:
    """Its events of one kind."""
    return [row for row in RunReader(run).rows("events") if row["kind"] == kind]


def until_alive(process: subprocess.Popen[str], condition: Callable[[], object]) -> None:
    """Wait until that is true of what a process does."""
    deadline = time.monotonic() + 60
    while process.poll() is None:
        try:
            if condition():
                return
        except (OSError, ValueError):
            pass
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)
    raise AssertionError(f"it ended too early: {process.communicate()[1]}")


def losses(run: Path) -> list[tuple[int, float]]:
    """(step, training loss) of each update."""
    return [(row["step"], row["train_loss"]) for row in train_rows(run)]
