"""Three monitors on a training run, one frozen and one killed: the weights are the same bits."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.apps.monitor.test_terminal import Terminal
from tests.conftest import tiny, until, write_corpora
from tinychat.runs import RunReader, Status

STEPS = 1500
FLAGS = tiny(max_steps=STEPS, eval__every_steps=300, sample__every_steps=300,
             checkpoint__every_steps=500)  # fmt: skip
MEASURED = ("time", "step_seconds", "tokens_per_second", "memory_bytes", "eval_seconds", "seconds")

pytestmark = [
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
    pytest.mark.slow,
]


class Monitor(Terminal):
    """A monitor whose process can be frozen and killed; if it ends, what it said stays."""

    def __init__(self, size: tuple[int, int], *words: str) -> None:
        super().__init__(size, *words)
        self._tmux("set-option", "-g", "remain-on-exit", "on")

    def process(self) -> psutil.Process:
        return psutil.Process(int(self._tmux("list-panes", "-F", "#{pane_pid}")))


class Trainer:
    """A trainer that can be held where it is, without its noticing."""

    def __init__(self, checkpoints: Path, data: Path) -> None:
        self.run = checkpoints / "demo"
        words = ["train", "--name", "demo", "--data", str(data), "--checkpoints", str(checkpoints)]
        self._said = checkpoints.with_suffix(".txt")
        with open(self._said, "wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tinychat", *words, *FLAGS],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            )  # fmt: skip

    def status(self) -> Status | None:
        return RunReader(self.run).status

    def step(self) -> int:
        assert self.process.poll() is None, self._said.read_text(errors="replace")
        born = (self.run / "run.json").is_file()  # the last thing of a run's birth
        status = self.status() if born else None
        return -1 if status is None else status.step

    @contextmanager
    def held_from(self, step: int) -> Iterator[None]:
        """Once it has done that many steps it stands still."""
        until(lambda: self.step() >= step, lambda: f"it stays at step {self.step()}")
        self.process.send_signal(signal.SIGSTOP)
        assert self.step() < STEPS
        yield
        self.process.send_signal(signal.SIGCONT)

    def finish(self) -> None:
        code = self.process.wait(timeout=300)
        assert code == 0, self._said.read_text(errors="replace")


def train(folder: Path, data: Path) -> Trainer:
    folder.mkdir()
    return Trainer(folder, data)


def outcome(run: Path) -> dict[str, bytes]:
    """The last weights and moments."""
    last = run / f"step-{STEPS:08d}"
    return {
        name: (last / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")
    }


def rows(run: Path) -> list[dict[str, Any]]:
    """All metrics and samples without what was measured by a clock."""
    reader = RunReader(run)
    found = [*reader.rows("metrics"), *reader.rows("samples")]
    return [{key: row[key] for key in row if key not in MEASURED} for row in found]


def test_the_weights_are_the_same_with_monitors_and_without(tmp_path: Path) -> None:
    data, _ = write_corpora(tmp_path)
    alone = train(tmp_path / "alone", data)
    alone.finish()

    watched = train(tmp_path / "watched", data)
    monitors: list[Monitor] = []
    try:
        with watched.held_from(0):
            for size in ((80, 24), (100, 30), (160, 48)):
                monitors.append(Monitor(size, str(watched.run)))
            for monitor in monitors:
                monitor.shows("demo")
        frozen, killed, alive = monitors
        with watched.held_from(100):
            until(lambda: alive.step() >= 100, alive.screen)
            frozen.process().send_signal(signal.SIGSTOP)
            os.kill(killed.process().pid, signal.SIGKILL)
            for key in ("2", "3", "4", "5", "6", "x", "y", "t", "z", "1", "Home", "Up", "m", "m"):
                alive.press(key)
            alive.shows("demo")
        watched.finish()
        alive.shows("FINISHED")
        assert alive.step() == STEPS
        frozen.process().send_signal(signal.SIGCONT)
        frozen.shows("FINISHED")
    finally:
        for monitor in monitors:
            monitor.kill()
        watched.process.kill()

    assert outcome(watched.run) == outcome(alone.run)
    assert rows(watched.run) == rows(alone.run)
    assert len(rows(alone.run)) > STEPS
    assert not _commands(watched.run)


def _commands(run: Path) -> list[str]:
    """What was asked of the trainer: nothing, by a monitor that only looks."""
    events = RunReader(run).history("events")
    return [json.dumps(row) for row in events if "command" in row]
