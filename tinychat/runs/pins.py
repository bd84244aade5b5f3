"""Checkpoints that a person wants to keep: one empty file a pin, so that nothing is rewritten and
two programs may pin at once.

The trainer's retention leaves pinned checkpoints whole. One that is beyond the step from which a
run goes on becomes weights only like its neighbours, and stays.
"""

import os
from contextlib import suppress
from pathlib import Path

from tinychat.errors import CheckpointError
from tinychat.runs.layout import RunPaths, checkpoint_name, checkpoint_step


def pin(run: Path, step: int) -> None:
    """Keep a checkpoint until it is unpinned.

    Raises CheckpointError if the run has none of that step, OSError if the disk refuses.
    """
    paths = RunPaths(run)
    if not paths.checkpoint(step).is_dir():
        raise CheckpointError(
            f"The run {run.name} has no checkpoint of step {step} (any more), so it cannot be kept."
        )
    paths.pins.mkdir(mode=0o700, exist_ok=True)
    (paths.pins / checkpoint_name(step)).touch(mode=0o600)


def unpin(run: Path, step: int) -> None:
    """Leave a checkpoint to the trainer's retention again. Raises OSError if the disk refuses."""
    with suppress(FileNotFoundError):
        (RunPaths(run).pins / checkpoint_name(step)).unlink()


def pinned(run: Path) -> set[int]:
    """The pinned steps; there need be no checkpoint of them any more."""
    try:
        names = os.listdir(RunPaths(run).pins)
    except OSError:
        return set()
    steps = (checkpoint_step(name) for name in names)
    return {step for step in steps if step is not None}
