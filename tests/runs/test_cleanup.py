"""What is shown is what is freed, to the byte, and never what a run needs."""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.chaos.disks import JournalDisk, RefusingDisk
from tinychat.errors import RunBusyError, RunError
from tinychat.runs import (
    Cleanup,
    KeepRule,
    RunLock,
    clean_up,
    list_checkpoints,
    newest_good,
    pin,
    plan_cleanup,
    publish_checkpoint,
    quarantine,
    read_checkpoint,
    resumable_checkpoints,
    retention_of,
    size_of,
)

Publish = Callable[..., Path]
RULE = KeepRule(latest_n=2, milestones=3)


@pytest.fixture
def publish(run: Path) -> Publish:
    """Publish a checkpoint that says which was the best so far."""

    def publish(step: int, best: int = 2) -> Path:
        files = {name: f"{name} {step} ".encode() * 60 for name in ("model.safetensors", "a.json")}
        files["optimizer.safetensors"] = bytes(2000)
        files["state.json"] = json.dumps({"step": step, "best_step": best}).encode()
        return publish_checkpoint(run, step, files)

    return publish


@pytest.fixture
def full(run: Path, publish: Publish) -> Path:
    """A run in which nothing was ever thinned, with all that crashes leave."""
    for step in range(12):
        publish(step)
    pin(run, 6)
    (run / "step-00000008" / "notes.txt").write_text("beside", encoding="utf-8")
    for name in (".tmp-step-00000012-aa", ".del-step-00000001-bb", ".old-step-00000003-cc"):
        shutil.copytree(run / "step-00000003", run / name)
    (run / ".tmp-status.json-dd").write_bytes(b"{}")
    return run


def bytes_of(run: Path) -> int:
    return size_of(run, without=("lock",))


def test_what_is_shown_is_freed_to_the_byte(full: Path) -> None:
    (full / "step-00000009" / "model.safetensors").write_bytes(b"damaged")
    quarantine(full, 9)
    before = bytes_of(full)
    for damaged in (False, True):
        plan = plan_cleanup(full, RULE, damaged=damaged)
        assert bytes_of(full) == before, "looking changes nothing"
        clean_up(plan, RULE)
        assert before - bytes_of(full) == plan.size_bytes > 0
        before = bytes_of(full)
        assert plan_cleanup(full, RULE, damaged=damaged) == Cleanup(full)
    assert not [name for name in os.listdir(full) if name[0] == "." or name.startswith("bad-")]


def test_what_stays_is_what_the_trainer_would_keep(full: Path) -> None:
    keep, weights_only = retention_of(full, RULE, step=11, best=2)
    clean_up(plan_cleanup(full, RULE), RULE)
    assert {10, 11, 2, 6} == keep
    assert set(list_checkpoints(full)) == keep | weights_only
    for step in list_checkpoints(full):
        files = read_checkpoint(full / f"step-{step:08d}").files
        assert ("optimizer.safetensors" in files) is (step in keep)


def test_where_a_longer_run_would_go_on_from_stays_whole(full: Path) -> None:
    """A run that was shortened begins its decay where there may be no checkpoint."""
    shutil.rmtree(full / "step-00000009")
    rule = KeepRule(latest_n=1, milestones=0, planned=frozenset({9}))
    assert retention_of(full, rule, step=11, best=None).keep == {6, 8, 11}  # 6 is pinned
    clean_up(plan_cleanup(full, rule), rule)
    assert 8 in resumable_checkpoints(full)
    beyond = KeepRule(latest_n=1, milestones=0, planned=frozenset({99}))
    assert retention_of(full, beyond, step=11, best=None).keep == {6, 11}


def test_the_only_good_checkpoint_stays(full: Path) -> None:
    for step in (6, 7, 8, 9, 10, 11):
        (full / f"step-{step:08d}" / "state.json").write_bytes(b"damaged")
    plan = plan_cleanup(full, KeepRule(latest_n=1, milestones=0))
    clean_up(plan, KeepRule(latest_n=1, milestones=0))
    assert newest_good(full)[0].step == 5
    for step in list_checkpoints(full):
        if step <= 5:
            (full / f"step-{step:08d}" / "manifest.json").unlink()
    before = list_checkpoints(full)
    plan = plan_cleanup(full, RULE)
    assert not plan.items
    assert "its checkpoints stay as they are" in plan.problems[0]
    clean_up(plan, RULE)
    assert list_checkpoints(full) == before


def test_what_the_disk_refuses_is_told_and_the_rest_goes(full: Path) -> None:
    quarantine(full, 9)
    plan, before = plan_cleanup(full, RULE, damaged=True), bytes_of(full)

    class Stubborn(JournalDisk):
        def before(self, operation: str, *args: object) -> None:
            super().before(operation, *args)
            if operation == "rename" and args[0] in stubborn:
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    gone = sorted(plan.steps("checkpoint"))[0]
    stubborn = {full / f"step-{gone:08d}", full / "bad-step-00000009-1"}
    freed, problems = clean_up(plan, RULE, disk=Stubborn())
    assert before - bytes_of(full) == freed == plan.size_bytes - sum(map(size_of, stubborn))
    assert len(problems) == 2
    for path, told in zip(sorted(stubborn), problems, strict=True):
        assert f"{path.name} could not be freed: Operation not permitted" in told
    assert clean_up(plan_cleanup(full, RULE, damaged=True), RULE)[1] == []
    assert not any(path.exists() for path in stubborn)


def test_a_milestone_that_is_damaged_is_left_and_named(full: Path) -> None:
    thinned = sorted(retention_of(full, RULE, step=11, best=2).weights_only)
    path = full / f"step-{thinned[0]:08d}"
    (path / "model.safetensors").write_bytes(b"damaged")
    before = bytes_of(full)
    plan = plan_cleanup(full, RULE)
    assert path.name in plan.problems[0]
    clean_up(plan, RULE)
    assert before - bytes_of(full) == plan.size_bytes
    assert (path / "optimizer.safetensors").exists()


def test_a_checkpoint_whose_replacement_never_came_gets_its_name_back(
    run: Path, publish: Publish
) -> None:
    publish(1)
    publish(2)
    (run / "step-00000001").rename(run / ".old-step-00000001-aa")
    plan = plan_cleanup(run, RULE)
    assert plan.items == ()
    clean_up(plan, RULE)
    assert list_checkpoints(run) == [1, 2]


def test_a_run_that_is_trained_or_has_changed_is_left_alone(full: Path, publish: Publish) -> None:
    plan, before = plan_cleanup(full, RULE), bytes_of(full)
    with RunLock(full), pytest.raises(RunBusyError):
        clean_up(plan, RULE)
    assert bytes_of(full) == before
    publish(12, best=12)
    before = bytes_of(full)
    with pytest.raises(RunError, match="has changed meanwhile"):
        clean_up(plan, RULE)
    assert bytes_of(full) == before


def test_new_ones_are_durable_before_old_ones_go(full: Path) -> None:
    disk = JournalDisk()
    clean_up(plan_cleanup(full, RULE), RULE, disk=disk)
    removed: set[str] = set()
    published: list[str] = []
    for operation, *args in disk.log:
        if operation == "rename" and args[0].name.startswith(".tmp-step"):
            published.append(args[1].name)
        if operation == "remove" and args[0].parent.name.startswith(".old-"):
            removed.add(args[0].parent.name.removeprefix(".old-").rpartition("-")[0])
            assert removed - {"step-00000003"} <= set(published)
    assert published


@pytest.mark.slow
@pytest.mark.parametrize("dead", [False, True], ids=["once", "for good"])
def test_a_disk_that_fails_anywhere_leaves_verified_checkpoints(full: Path, dead: bool) -> None:
    for step in (1, 5, 7, 9):
        shutil.rmtree(full / f"step-{step:08d}")
    kept = shutil.copytree(full, full.parent / "kept")
    nth, done = 0, False
    while not done:
        nth += 1
        shutil.rmtree(full)
        shutil.copytree(kept, full)
        disk = RefusingDisk(nth, dead=dead)
        try:
            clean_up(plan_cleanup(full, RULE), RULE, disk=disk)
            done = disk.count < nth
        except OSError:
            pass
        _all_good(full)
        before, plan = bytes_of(full), plan_cleanup(full, RULE)
        clean_up(plan, RULE)  # what the next call does
        assert before - bytes_of(full) == plan.size_bytes
        assert {2, 6, 10, 11} <= set(list_checkpoints(full))
    assert nth > 50


def _all_good(run: Path) -> None:
    for step in list_checkpoints(run):
        read_checkpoint(run / f"step-{step:08d}")
    assert newest_good(run)[0].step == 11


PRUNER = """
import sys
from pathlib import Path
from tinychat.runs import KeepRule, clean_up, plan_cleanup

run, rule = Path(sys.argv[1]), KeepRule(2, 3)
plan = plan_cleanup(run, rule)
print("planned", flush=True)
clean_up(plan, rule)
"""


@pytest.mark.slow
def test_a_kill_in_the_middle_leaves_verified_checkpoints(full: Path) -> None:
    kept, chance, cut = shutil.copytree(full, full.parent / "kept"), random.Random(7), 0
    for _ in range(20):
        shutil.rmtree(full)
        shutil.copytree(kept, full)
        words = [sys.executable, "-c", PRUNER, str(full)]
        pruner = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert pruner.stdout is not None
        pruner.stdout.readline()
        try:
            pruner.wait(timeout=chance.uniform(0, 0.05))
        except subprocess.TimeoutExpired:
            pruner.kill()
        cut += pruner.wait() != 0
        pruner.stdout.close()
        _all_good(full)
        clean_up(plan_cleanup(full, RULE), RULE)
        assert plan_cleanup(full, RULE) == Cleanup(full)
        assert {2, 6, 10, 11} <= set(list_checkpoints(full))
    assert cut
