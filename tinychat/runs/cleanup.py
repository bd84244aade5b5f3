"""What of a run's folder its retention would free, said before it is done.

Looks first and changes nothing; then, holding the run's lock, looks once more and frees exactly
what was shown. The newest good checkpoint is verified and always stays, and so do pinned ones.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tinychat.errors import CheckpointError, RunError
from tinychat.runs.checkpoints import (
    manifest_bytes,
    newest_good,
    read_checkpoint,
    read_manifest,
    sweep,
)
from tinychat.runs.durable import Disk
from tinychat.runs.layout import (
    DELETED,
    MANIFEST,
    QUARANTINED,
    REPLACED,
    RESUME_FILES,
    STATE,
    TEMPORARY,
    RunPaths,
    checkpoint_name,
    checkpoint_step,
    list_checkpoints,
)
from tinychat.runs.lock import RunLock
from tinychat.runs.records import parse
from tinychat.runs.retention import KeepRule, prune, remove_aside, retention_of

Kind = Literal["checkpoint", "optimizer", "leftover", "damaged"]


@dataclass(frozen=True)
class Freed:
    """One thing that goes. Of an "optimizer" the checkpoint stays, as weights only."""

    name: str  # within the run's folder
    kind: Kind
    size_bytes: int


@dataclass(frozen=True)
class Cleanup:
    """All that a run can do without."""

    run: Path
    items: tuple[Freed, ...] = ()
    problems: tuple[str, ...] = field(default=(), compare=False)  # sentences: what stays, and why

    @property
    def size_bytes(self) -> int:
        return sum(item.size_bytes for item in self.items)

    def steps(self, kind: Kind) -> set[int]:
        found = (checkpoint_step(item.name) for item in self.items if item.kind == kind)
        return {step for step in found if step is not None}


def plan_cleanup(run: Path, rule: KeepRule, *, damaged: bool = False) -> Cleanup:
    """What may go from a run that nobody trains; `damaged` adds what was set aside as such.

    Reads whole checkpoints where it must be known that they are good. Changes nothing.
    """
    items, problems = [], []
    for name in sorted(os.listdir(run)):
        if name.startswith((TEMPORARY, DELETED, REPLACED)):
            if not _comes_back(run, name):
                items.append(Freed(name, "leftover", size_of(run / name)))
        elif damaged and name.startswith(QUARANTINED):
            items.append(Freed(name, "damaged", size_of(run / name)))
    try:
        found, _ = newest_good(run)
        best = parse(found.files[STATE]).get("best_step")
    except (RunError, ValueError) as error:
        problems.append(f"{str(error).rstrip('.')}; its checkpoints stay as they are.")
        return Cleanup(run, tuple(items), tuple(problems))
    retention = retention_of(run, rule, step=found.step, best=best)
    for step in list_checkpoints(run):
        path = RunPaths(run).checkpoint(step)
        if step in retention.keep:
            continue
        if step not in retention.weights_only:
            items.append(Freed(path.name, "checkpoint", size_of(path)))
            continue
        try:
            if size := _optimizer_bytes(path):
                items.append(Freed(path.name, "optimizer", size))
        except CheckpointError as error:
            problems.append(f"{error} It stays as it is.")
    return Cleanup(run, tuple(items), tuple(problems))


def clean_up(plan: Cleanup, rule: KeepRule, *, disk: Disk | None = None) -> tuple[int, list[str]]:
    """Free what `plan` says. A crash leaves every checkpoint as it was or as it shall be.

    Returns how many bytes went, and in words what the disk refused; the rest is freed all the same.
    Raises RunBusyError if the run is trained now, RunError if it has changed since `plan` was made.
    """
    run, disk = plan.run, disk or Disk()
    problems: list[str] = []
    damaged = [item.name for item in plan.items if item.kind == "damaged"]
    with RunLock(run):
        if plan_cleanup(run, rule, damaged=bool(damaged)) != plan:
            raise RunError(f"{run.name} has changed meanwhile, so nothing of it was freed.")
        before = size_of(run, without=(RunPaths(run).lock.name,))
        with _telling(problems, "what interrupted saves left"):
            sweep(run, disk=disk)
        for name in damaged:
            with _telling(problems, name):
                remove_aside(disk, run / name)
        deleted, thinned = plan.steps("checkpoint"), plan.steps("optimizer")
        keep = set(list_checkpoints(run)) - deleted - thinned
        for why, steps in prune(run, keep, thinned, disk=disk).refused.items():
            problems.append(_refused(", ".join(map(checkpoint_name, steps)), why))
        with _telling(problems, "its folder"):
            disk.fsync_folder(run)
        return before - size_of(run, without=(RunPaths(run).lock.name,)), problems


@contextmanager
def _telling(problems: list[str], what: str) -> Iterator[None]:
    """What the disk refuses becomes a sentence, and the next thing is done."""
    try:
        yield
    except OSError as error:
        problems.append(_refused(what, error.strerror or str(error)))


def _refused(what: str, why: str) -> str:
    return f"{what} could not be freed: {why}; it can be tried again."


def size_of(path: Path, *, without: Collection[str] = ()) -> int:
    """Bytes in a file, or in all files of a folder but those of some names; links are not followed.
    What goes away meanwhile counts nothing."""
    try:
        if path.is_symlink() or not path.is_dir():
            return path.lstat().st_size
        names = os.listdir(path)
    except OSError:
        return 0
    return sum(size_of(path / name) for name in names if name not in without)


def _comes_back(run: Path, name: str) -> bool:
    """Whether it is a checkpoint that gets its name back, because its replacement never came."""
    step = checkpoint_step(name.removeprefix(REPLACED).rpartition("-")[0])
    ours = name.startswith(REPLACED) and step is not None
    return ours and not RunPaths(run).checkpoint(step or 0).exists()


def _optimizer_bytes(path: Path) -> int:
    """What becoming weights only frees; 0 if it is so already. Raises CheckpointError."""
    step, listed = read_manifest(path)
    if not listed.keys() & RESUME_FILES:
        return 0
    kept = {name: about for name, about in listed.items() if name not in RESUME_FILES}
    for name in kept:  # one at a time: together they may be larger than memory
        read_checkpoint(path, only=(name,))
    gone = size_of(path, without=(*kept, MANIFEST))
    return gone + size_of(path / MANIFEST) - len(manifest_bytes(step, kept))
