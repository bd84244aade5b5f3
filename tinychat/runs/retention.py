"""Which checkpoints stay, and making it so."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from tinychat.errors import CheckpointError
from tinychat.runs.checkpoints import beside, publish_checkpoint, read_checkpoint, read_manifest
from tinychat.runs.durable import Disk, remove_tree
from tinychat.runs.layout import (
    DELETED,
    RESUME_FILES,
    RunPaths,
    list_checkpoints,
    resumable_checkpoints,
)
from tinychat.runs.pins import pinned


class Pruned(NamedTuple):
    """What `prune` did."""

    deleted: list[int]
    thinned: list[int]  # now weights only
    problems: list[str]  # damaged checkpoints that were to be thinned; left as they are
    refused: dict[str, list[int]]  # what the disk said, and of which steps; the rest is done


def prune(
    run: Path, keep: Collection[int], weights_only: Collection[int], *, disk: Disk | None = None
) -> Pruned:
    """Delete every checkpoint that stands in neither set, then thin those in `weights_only`.

    A step in both sets stays whole. Each change is atomic: a crash leaves every checkpoint
    either as it was or as it shall be. What the disk refuses keeps nothing else from being done.
    """
    disk = disk or Disk()
    done = Pruned([], [], [], {})
    going = [step for step in list_checkpoints(run) if step not in keep]
    # thinning writes before it frees, so room is made for it first
    for step in sorted(going, key=lambda step: step in weights_only):
        try:
            if step not in weights_only:
                remove_aside(disk, RunPaths(run).checkpoint(step))
                done.deleted.append(step)
            elif _thin(run, step, disk):
                done.thinned.append(step)
        except CheckpointError as error:
            done.problems.append(str(error))
        except OSError as error:
            done.refused.setdefault(error.strerror or str(error), []).append(step)
    return done


def remove_aside(disk: Disk, folder: Path) -> None:
    """Remove a folder of a run; a crash meanwhile leaves a name that nobody takes for one."""
    gone = beside(folder, DELETED)
    disk.rename(folder, gone)
    remove_tree(disk, gone)


def _thin(run: Path, step: int, disk: Disk) -> bool:
    """Make a checkpoint weights only; False if it was already. Raises CheckpointError, OSError."""
    path = RunPaths(run).checkpoint(step)
    _, listed = read_manifest(path)
    if not listed.keys() & RESUME_FILES:
        return False
    whole = read_checkpoint(path, only=listed.keys() - RESUME_FILES)
    publish_checkpoint(run, step, whole.files, disk=disk)
    return True


class KeepRule(NamedTuple):
    """What a run's settings say about what stays."""

    latest_n: int
    milestones: int
    # steps that a longer run would go on from; where there is no checkpoint of one, it is from the
    # newest before it, which stays whole too
    planned: frozenset[int] = frozenset()


class Retention(NamedTuple):
    """Which checkpoints stay; the two sets share nothing."""

    keep: set[int]  # whole
    weights_only: set[int]


def plan_retention(
    steps: Collection[int],
    *,
    best: int | None,
    latest_n: int,
    pinned: Collection[int] = (),
    milestones: int = 12,
) -> Retention:
    """Decide what stays of the published `steps`: a pure function.

    The best, the last `latest_n` (at least one) and the pinned stay whole. Up to `milestones`
    more, spread evenly over the run so far, stay as weights. The run is cut into spans of a
    power of two of steps, as short as that number allows, and the first checkpoint of each span
    stays: as the run grows, spans join in pairs, so thinning again and again ends where thinning
    once would.
    """
    ordered = sorted(steps)
    keep = set(ordered[-max(1, latest_n) :]) | ({best, *pinned} & set(ordered))
    first_of_span: dict[int, int] = {}
    if ordered and milestones > 0:
        span = 1
        while ordered[-1] // span >= milestones:
            span *= 2
        for step in ordered:
            first_of_span.setdefault(step // span, step)
    return Retention(keep, set(first_of_span.values()) - keep)


def newest_until(steps: Collection[int], last: int) -> int | None:
    """The highest of these steps that is not beyond `last`; None if all are."""
    return max((step for step in steps if step <= last), default=None)


def retention_of(run: Path, rule: KeepRule, *, step: int, best: int | None) -> Retention:
    """What stays in the folder of a run that stands at `step`: its rule, and what people pinned.

    Checkpoints beyond this step are another future's (the run was extended from an earlier step):
    they stay as weights and never count.
    """
    steps = list_checkpoints(run)
    later = {each for each in steps if each > step}
    whole = resumable_checkpoints(run) if rule.planned else []
    planned = {newest_until(whole, min(each, step)) for each in rule.planned}
    keep, weights_only = plan_retention(
        set(steps) - later,
        best=best,
        latest_n=rule.latest_n,
        pinned={each for each in planned if each is not None} | pinned(run),
        milestones=rule.milestones,
    )
    return Retention(keep, weights_only | later)
