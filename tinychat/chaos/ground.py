"""Where the experiments happen: small real runs in one folder, started as a person starts them."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinychat.runs import RunPaths, RunReader

# Dropout, accumulation and one thread, so that everything that could differ would.
PINNED = ("--runtime.threads=1", "--runtime.dtype=fp32", "--model.dropout=0.1")


@dataclass(frozen=True)
class Ground:
    """A folder for runs, and the model and data of all of them as flags of `tinychat train`."""

    folder: Path
    model: tuple[str, ...]  # data, shape, batch size, pinned settings
    device: str = "cpu"

    def spawn(
        self, command: str, run: str, *flags: str, before: Sequence[str] = ()
    ) -> subprocess.Popen[str]:
        """`tinychat train` or `tinychat resume` in a process of its own; `before` wraps it."""
        words = [*before, sys.executable, "-m", "tinychat", command]
        words += (
            ["--name", run, *self.model, "--device", self.device] if command == "train" else [run]
        )
        words += ["--checkpoints", str(self.folder), *flags]
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def paths(self, run: str) -> RunPaths:
        return RunPaths(self.folder / run)


def digests(run: Path, step: int) -> dict[str, str]:
    """sha256 of what decides whether two runs ended alike: weights and the optimizer's memory."""
    folder = RunPaths(run).checkpoint(step)
    names = ("model.safetensors", "optimizer.safetensors")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def train_rows(run: Path) -> list[tuple[int, float | None]]:
    """(step, train_loss) of the logical log: what remains when later attempts mask older rows."""
    rows = RunReader(run).rows("metrics")
    return [(row["step"], row["train_loss"]) for row in rows if row["kind"] == "train"]
