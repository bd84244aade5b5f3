"""What stays of a run's checkpoints, as a pure function and on disk."""

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinychat.chaos.disks import JournalDisk
from tinychat.runs import list_checkpoints, plan_retention, prune, read_checkpoint

Steps = st.sets(st.integers(0, 100_000), max_size=80)


@settings(deadline=None)
@given(Steps, st.integers(1, 6), st.integers(0, 12), st.data())
def test_what_matters_always_stays_whole(
    steps: set[int], latest_n: int, milestones: int, data: st.DataObject
) -> None:
    some = st.sampled_from(sorted(steps)) if steps else st.none()
    best = data.draw(st.none() | some)
    pinned = {step for step in data.draw(st.lists(some, max_size=3)) if step is not None}
    keep, weights_only = plan_retention(
        steps, best=best, latest_n=latest_n, pinned=pinned, milestones=milestones
    )
    assert keep | weights_only <= steps
    assert not keep & weights_only
    assert keep == set(sorted(steps)[-latest_n:]) | pinned | ({best} - {None})
    assert len(weights_only) <= milestones


@settings(deadline=None)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=120))
def test_thinning_as_the_run_grows_ends_where_thinning_once_would(gaps: list[int]) -> None:
    published, step, alive = [], 0, set()
    for gap in [0, *gaps]:
        step += gap
        published.append(step)
        alive |= {step}
        alive = set.union(*plan_retention(alive, best=None, latest_n=2))
    assert alive == set.union(*plan_retention(published, best=None, latest_n=2))


@pytest.mark.parametrize("every", [1, 50, 300, 777])
def test_milestones_are_many_and_evenly_spread(every: int) -> None:
    for count in range(13, 400):
        steps = range(0, count * every, every)
        keep, weights_only = plan_retention(steps, best=None, latest_n=1)
        stops = sorted(keep | weights_only)
        gaps = [b - a for a, b in itertools.pairwise(stops[:-1])]
        assert 6 <= len(stops) <= 13
        assert stops[0] == 0
        assert max(gaps) <= min(gaps) + every


def test_small_cases() -> None:
    assert plan_retention([], best=None, latest_n=3) == (set(), set())
    assert plan_retention([10], best=99, latest_n=3, pinned=[98]) == ({10}, set())
    assert plan_retention([1, 2, 3, 4], best=2, latest_n=1, milestones=0) == ({2, 4}, set())


def test_prune_deletes_thins_and_keeps(run: Path, publish: Callable[..., Path]) -> None:
    for step in range(6):
        publish(step)
    (run / "step-00000002" / "model.safetensors").write_bytes(b"damaged")
    done = prune(run, {4, 5}, {0, 2, 5})
    assert (done.deleted, done.thinned) == ([1, 3], [0])
    assert "step-00000002" in done.problems[0]
    assert list_checkpoints(run) == [0, 2, 4, 5]
    assert set(read_checkpoint(run / "step-00000000").files) == {"model.safetensors", "config.json"}
    assert len(read_checkpoint(run / "step-00000005").files) == 4
    assert prune(run, {4, 5}, {0}) == ([2], [], [], {})


class Stubborn(JournalDisk):
    """Does not let go of one checkpoint, and has no room to thin another."""

    def before(self, operation: str, *args: object) -> None:
        super().before(operation, *args)
        path = args[0]
        assert isinstance(path, Path)
        if (operation, path.name) == ("rename", "step-00000001"):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(path))
        if operation == "write_file" and path.parent.name.startswith(".tmp-step-00000000"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_room_is_made_first_and_what_is_refused_holds_up_nothing_else(
    run: Path, publish: Callable[..., Path]
) -> None:
    for step in range(6):
        publish(step)
    disk = Stubborn()
    done = prune(run, {5}, {0, 2}, disk=disk)
    assert (done.deleted, done.thinned) == ([3, 4], [2])
    assert done.refused == {"Operation not permitted": [1], "No space left on device": [0]}
    assert list_checkpoints(run) == [0, 1, 2, 5]
    for step in (0, 1, 5):
        assert len(read_checkpoint(run / f"step-{step:08d}").files) == 4
    order = [operation for operation, *_ in disk.log if operation in ("remove", "write_file")]
    assert order.index("write_file") >= 2 * 5, "ten files of two checkpoints went first"
    assert prune(run, {5}, {0, 2}).deleted == [1]
    assert not [path.name for path in run.iterdir() if path.name.startswith(".")]
