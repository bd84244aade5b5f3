"""Where the experiments happen: small real runs in one folder, started as a person starts them."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tinychat.chaos.outcome import Tell
from tinychat.errors import TinychatError
from tinychat.runs import RunPaths, RunReader
from tinychat.words import progress

_PR_SET_PDEATHSIG = 1  # of Linux
WAIT_SECONDS = 600.0  # far beyond what any machine needs for one thing

# Dropout, accumulation and one thread, so that everything that could differ would.
PINNED = (
    "--runtime.threads=1",
    "--runtime.dtype=fp32",
    "--runtime.autotune=false",
    "--model.dropout=0.1",
)


class ExperimentError(TinychatError):
    """An experiment cannot go on: a run did what it must not do."""


@dataclass(frozen=True)
class Ground:
    """A folder for runs, and the model and data of all of them as flags of `tinychat train`."""

    folder: Path
    model: tuple[str, ...]  # data, shape, batch size, pinned settings
    device: str = "cpu"
    children: list["subprocess.Popen[str]"] = field(default_factory=list, compare=False)

    def spawn(
        self,
        command: str,
        run: str,
        *flags: str,
        before: Sequence[str] = (),
        program: Sequence[str] = ("-m", "tinychat"),
    ) -> subprocess.Popen[str]:
        """`tinychat train` or `tinychat resume` in a process of its own; `before` wraps it, and
        `program` may stand in for the plain start.

        A flag that the ground gives as well counts as it is here.
        """
        words = [*before, sys.executable, *program, command]
        if command == "train":
            given = {flag.partition("=")[0] for flag in flags}
            model = [flag for flag in self.model if flag.partition("=")[0] not in given]
            words += ["--name", run, *model, "--device", self.device]
        else:
            words.append(run)
        words += ["--checkpoints", str(self.folder), *flags]
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            preexec_fn=_dying_with_its_parent(),
        )
        self.children.append(process)
        return process

    def train(self, run: str, *flags: str, tell: Tell | None = None) -> Path:
        """Train a run that nobody hurts to its end. Raises ExperimentError if it fails."""
        process = self.spawn("train", run, *flags)
        while tell is not None and process.poll() is None:
            if (status := RunReader(self.folder / run).status) is not None:
                tell(f"its unhurt twin is at step {progress(status.step, status.max_steps)}")
            time.sleep(0.2)
        finish(process)
        return self.folder / run

    def go_on(self, run: str, *flags: str) -> subprocess.Popen[str]:
        """What a person types after anything happened; `flags` are those the run began with."""
        born = self.paths(run).settings_json.exists()
        return self.spawn("resume", run) if born else self.spawn("train", run, *flags)

    def stop_all(self) -> None:
        """End every process that was spawned here and still lives."""
        for process in self.children:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def paths(self, run: str) -> RunPaths:
        return RunPaths(self.folder / run)


def _dying_with_its_parent() -> Callable[[], object] | None:
    """What a child does first: on Linux it asks for SIGKILL when its parent dies, so that nothing
    trains on should this process be killed."""
    if sys.platform != "linux":
        return None
    set_option = ctypes.CDLL(None).prctl  # looked up here: a child should not
    return lambda: set_option(_PR_SET_PDEATHSIG, signal.SIGKILL)


def reached(process: subprocess.Popen[str], condition: Callable[[], object]) -> bool:
    """Wait until that is true of what a process does; False if the process ended before.

    Raises ExperimentError if neither happens.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while process.poll() is None:
        if condition():
            return True
        if time.monotonic() > deadline:
            raise ExperimentError(f"nothing happened for {WAIT_SECONDS:.0f} s")
        time.sleep(0.001)
    return bool(condition())


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for its end; returns what it said. Raises ExperimentError unless it left with 0."""
    said, _ = process.communicate(timeout=WAIT_SECONDS)
    if process.returncode != 0:
        last = said.strip().splitlines()[-3:]
        raise ExperimentError(f"a run left with {process.returncode}: {' / '.join(last)}")
    return said


def train_rows(run: Path) -> list[tuple[int, float | None]]:
    """(step, train_loss) of the logical log: what remains when later attempts mask older rows."""
    rows = RunReader(run).rows("metrics")
    return [(row["step"], row["train_loss"]) for row in rows if row["kind"] == "train"]
