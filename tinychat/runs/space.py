"""How much a run's folder takes, now and at its peak. Bytes are those of whole blocks on a disk."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tinychat.runs.durable import BLOCK_BYTES


@dataclass(frozen=True)
class CheckpointSizes:
    """Bytes of one checkpoint: whole, and as weights only."""

    whole: int
    weights_only: int


@dataclass(frozen=True)
class Peak:
    """The most that a run's folder holds at one time, as far as its settings tell."""

    sizes: CheckpointSizes
    whole: int  # checkpoints at once; the one that is being written is one of them
    weights_only: int
    log_bytes: int

    @property
    def n_bytes(self) -> int:
        of_whole = self.whole * self.sizes.whole
        return of_whole + self.weights_only * self.sizes.weights_only + self.log_bytes


def plan_peak(
    sizes: CheckpointSizes,
    *,
    latest_n: int,
    milestones: int,
    pinned: int,
    most: int,
    others: int = 0,
    log_bytes: int = 0,
) -> Peak:
    """The peak under what `retention` keeps: a pure function.

    The last `latest_n`, the best and the pinned are whole, and so is the next one, which is durable
    before any of them goes; while one is thinned, it is there twice. `most` is how many checkpoints
    the run can have at all; `others` is how many more of weights only lie there beyond its reach.
    """
    whole = min(most, latest_n + 1 + pinned + 1)
    twice = most > latest_n  # what is given up goes before one is thinned, so `milestones` holds
    return Peak(sizes, whole, min(milestones, most - whole + twice) + others, log_bytes)


def on_disk(size: int) -> int:
    """What a file of this size takes."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def taken_by(folder: Path) -> int:
    """Bytes that a folder and all in it take now; what goes away meanwhile counts nothing."""
    total = 0
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return 0
    for entry in entries:
        try:
            about = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if entry.is_dir(follow_symlinks=False):
            total += taken_by(Path(entry.path))
        else:
            total += getattr(about, "st_blocks", -(-about.st_size // 512)) * 512
    return total


def free_at(path: Path) -> int:
    """Bytes that may still be written where `path` is, or will be made."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free
