"""Bits that flip and files that are cut: each is found before a tensor is used.

The newest checkpoint of a real run is damaged in one place at a time. Reading it must end in a
sentence before torch is asked for anything, and the next start must fall back to the checkpoint
before, whose bytes are as they were.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.overrides import TorchFunctionMode

from tinychat.chaos.ground import ExperimentError, Ground
from tinychat.chaos.outcome import Tell, Trial
from tinychat.errors import CheckpointError, FormatError
from tinychat.model import open_model, read_tensors
from tinychat.runs import CheckpointFiles, RunPaths, newest_good, read_checkpoint

FLAGS = (
    "--max-steps=4", "--checkpoint.every-steps=2", "--checkpoint.keep-last=2",
    "--checkpoint.milestones=0", "--eval.every-steps=none", "--sample.every-steps=none",
)  # fmt: skip
SMALL_BYTES = 2048  # of a file up to this size every shorter length is tried
PAGE_BYTES = 4096


class _TorchCalls(TorchFunctionMode):
    """Counts what torch is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


@dataclass
class _Damaged:
    """A run whose newest checkpoint is damaged again and again."""

    run: Path
    newest: CheckpointFiles
    older: CheckpointFiles
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def look(self, what: str, kind: str) -> None:
        """How the checkpoint reads now that something was done to it."""
        self.counts[kind] += 1
        mode = _TorchCalls()
        try:
            with mode:
                files = use(self.newest.path)
        except (CheckpointError, FormatError) as error:
            self.counts["found"] += 1
            if mode.count:
                self.failures.append(f"{what}: torch was used before it was found")
            self._fall_back(what, error)
        except Exception as error:
            self.failures.append(f"{what}: {error!r} instead of a sentence")
        else:
            same = files.files == self.newest.files
            self.counts["harmless" if same else "wrong"] += 1
            if not same:
                self.failures.append(f"{what}: wrong bytes were used")

    def _fall_back(self, what: str, error: CheckpointError | FormatError) -> None:
        try:
            good, damaged = newest_good(self.run)
        except FormatError:  # a run of a newer tinychat is refused whole, in one sentence
            self.counts["refused_as_newer"] += isinstance(error, FormatError)
            if not isinstance(error, FormatError):
                self.failures.append(f"{what}: it is refused as if a newer tinychat had made it")
            return
        self.counts["fell_back"] += 1
        if good.files != self.older.files or len(damaged) != 1:
            self.failures.append(f"{what}: the start did not fall back to step {self.older.step}")


def flips(ground: Ground, tell: Tell, *, count: int = 1000, every: int = 1) -> Trial:
    """Flip `count` bits, one at a time, evenly over the files of a checkpoint; then cut each file
    to every `every`-th of the lengths that are tried."""
    began = time.monotonic()
    tell("training a run with two checkpoints")
    run = ground.train("flipped", *FLAGS)
    newest, older = (read_checkpoint(RunPaths(run).checkpoint(step)) for step in (4, 2))
    control = _TorchCalls()
    with control:
        use(newest.path)
    if not control.count:
        raise ExperimentError("no use of torch is seen, so nothing can be told")
    damaged = _Damaged(run, newest, older)
    chance = random.Random("flips")
    files = sorted(newest.path.iterdir())
    for number in range(count):
        path = files[number % len(files)]
        whole = path.read_bytes()
        at, bit = chance.randrange(len(whole)), chance.randrange(8)
        with open(path, "r+b") as file:
            file.seek(at)
            file.write(bytes([whole[at] ^ 1 << bit]))
        damaged.look(f"bit {bit} of byte {at:,} of {path.name}", "flips")
        path.write_bytes(whole)
        tell(f"{number + 1} of {count} flips")
    cuts = [(path, length) for path in files for length in _lengths(path.stat().st_size)][::every]
    for number, (path, length) in enumerate(cuts, start=1):
        whole = path.read_bytes()
        os.truncate(path, length)
        damaged.look(f"{path.name} cut to {length:,} of {len(whole):,} bytes", "cuts")
        path.write_bytes(whole)
        tell(f"{number} of {len(cuts)} cuts")
    if use(newest.path).files != newest.files:
        raise ExperimentError("the checkpoint is not as it was, so nothing can be told")
    names = ("flips", "cuts", "found", "harmless", "wrong", "fell_back", "refused_as_newer")
    figures = {name: damaged.counts[name] for name in names}
    tried = figures["flips"] + figures["cuts"]
    seconds = time.monotonic() - began
    return Trial("flips", tried, figures, seconds, tuple(damaged.failures))


def use(path: Path) -> CheckpointFiles:
    """Read a checkpoint and make tensors of it, as a resume does."""
    files = read_checkpoint(path)
    open_model(files)
    read_tensors(files, "optimizer.safetensors")
    return files


def _lengths(size: int) -> Iterator[int]:
    """To what a file of that size is cut."""
    if size <= SMALL_BYTES:
        yield from range(size)
    else:
        yield from sorted({0, 1, 7, 8, 100, size - 1, *range(PAGE_BYTES, size, PAGE_BYTES)})
