"""Publishing under fire: a failing disk at every operation, a kill at any moment."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.errors import NoCheckpointError
from tinychat.runs import RunLock, list_checkpoints, newest_good, prune, read_checkpoint, sweep

Publish = Callable[..., Path]


@pytest.mark.parametrize("dead", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("step", [6, 5], ids=["new step", "same step again"])
def test_a_disk_that_fails_costs_no_earlier_checkpoint(
    run: Path, publish: Publish, refusing: Callable, step: int, dead: bool
) -> None:
    publish(5)
    nth, done = 0, False
    while not done:
        nth += 1
        disk = refusing(nth, dead=dead)
        try:
            publish(step, disk=disk, salt=str(nth))
            done = disk.count < nth
        except OSError:
            pass
        if not dead:
            assert 5 in list_checkpoints(run)  # also for a trainer that goes on
        sweep(run)  # what the next start does
        found, problems = newest_good(run)
        assert not problems
        assert found.step in (5, step)
        assert sweep(run) == []
        assert 5 in list_checkpoints(run)
        if step != 5 and not done:
            prune(run, {5}, set())
    assert nth > 12
    assert newest_good(run)[0].step == step


@pytest.mark.parametrize("dead", [False, True], ids=["once", "for good"])
def test_pruning_on_a_failing_disk_leaves_only_whole_checkpoints(
    run: Path, publish: Publish, refusing: Callable, dead: bool
) -> None:
    nth, done = 0, False
    while not done:
        nth += 1
        for step in (1, 2, 3):
            publish(step)
        disk = refusing(nth, dead=dead)
        try:
            prune(run, {3}, {2}, disk=disk)
            done = disk.count < nth
        except OSError:
            pass
        sweep(run)
        assert {2, 3} <= set(list_checkpoints(run))
        for step in list_checkpoints(run):
            read_checkpoint(run / f"step-{step:08d}")
    assert set(read_checkpoint(run / "step-00000002").files) == {"model.safetensors", "config.json"}
    assert list_checkpoints(run) == [2, 3]


def test_the_order_that_makes_a_checkpoint_durable(publish: Publish, recording: Callable) -> None:
    disk = recording()
    publish(5, disk=disk)
    files = ("config.json", "model.safetensors", "optimizer.safetensors", "state.json")
    temporary = disk.operations[0][1]
    assert temporary.startswith(".tmp-step-00000005-")
    expected = [("make_folder", temporary)]
    for name in (*files, "manifest.json"):
        expected += [("write_file", name), ("fsync", name)]
    expected += [("fsync_folder", temporary), ("rename", "step-00000005"), ("fsync_folder", "demo")]
    assert disk.operations == expected


def test_a_replaced_checkpoint_is_removed_only_after_the_new_one_is_durable(
    publish: Publish, recording: Callable
) -> None:
    publish(5)
    disk = recording()
    publish(5, disk=disk)
    operations = [operation for operation, _ in disk.operations]
    assert operations.index("remove") > len(operations) - 1 - operations[::-1].index("fsync_folder")
    renamed = [name for operation, name in disk.operations if operation == "rename"]
    assert renamed[0].startswith(".old-step-00000005-")
    assert renamed[1:] == ["step-00000005"]


TRAINER = """
import sys
from pathlib import Path
from tinychat.runs import (
    RunLock, list_checkpoints, plan_retention, prune, publish_checkpoint, sweep)

run = Path(sys.argv[1])
with RunLock(run):
    sweep(run)
    step = max(list_checkpoints(run), default=-1)
    while True:
        step += 1
        files = {name: f"{name} {step} ".encode() * 3000
                 for name in ("model.safetensors", "optimizer.safetensors", "state.json")}
        publish_checkpoint(run, step, files)
        print(step, flush=True)
        if step % 3 == 0:
            publish_checkpoint(run, step, files)
        prune(run, *plan_retention(list_checkpoints(run), best=0, latest_n=2, milestones=4))
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_verified_checkpoint(run: Path) -> None:
    chance = random.Random(7)
    for _ in range(20):
        trainer = subprocess.Popen(
            [sys.executable, "-c", TRAINER, str(run)], stdout=subprocess.PIPE, text=True
        )
        assert trainer.stdout is not None
        acknowledged = int(trainer.stdout.readline())  # it lives and has published once
        try:
            trainer.wait(timeout=chance.uniform(0, 0.15))
        except subprocess.TimeoutExpired:
            trainer.kill()
        rest = trainer.stdout.read().split()
        trainer.wait()
        trainer.stdout.close()
        acknowledged = int(rest[-1]) if rest else acknowledged
        with RunLock(run):
            sweep(run)
            assert sweep(run) == []
        found, problems = newest_good(run)
        assert not problems
        assert found.step in (acknowledged, acknowledged + 1)
        for step in list_checkpoints(run):
            read_checkpoint(run / f"step-{step:08d}")


def test_a_run_without_checkpoints_stays_so_when_the_first_one_fails(
    run: Path, publish: Publish, refusing: Callable
) -> None:
    for nth in range(1, 11):
        with pytest.raises(OSError):
            publish(0, disk=refusing(nth, dead=True))
        sweep(run)
        with pytest.raises(NoCheckpointError):
            newest_good(run)
