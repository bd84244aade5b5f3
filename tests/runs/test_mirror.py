"""The second copy: all there or not there, a run by itself, and nobody else's folder."""

import json
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import until
from tinychat.chaos.disks import JournalDisk, RefusingDisk
from tinychat.config.load import Layer, from_json, resolve
from tinychat.errors import RunError, SettingsError
from tinychat.runs import (
    BestCheckpoint,
    Mirror,
    RunReader,
    RunWriter,
    check_mirror,
    inspect_run,
    list_checkpoints,
    newest_good,
    pin,
    pinned,
    prune,
    quarantine,
    read_checkpoint,
    unpin,
)
from tinychat.training import mirror as keeping
from tinychat.training.mirror import MirrorKeeper

Publish = Callable[..., Path]


@pytest.fixture
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("copies")


@pytest.fixture
def run(writer: RunWriter, begin: Callable[[int], int], train: Callable[..., None]) -> Path:
    """A run with real settings, one attempt and one row."""
    values = {"max_steps": 5, "checkpoint": {"mirror": "/somewhere"}}
    writer.write_settings(resolve(Layer("test", values)).to_json())
    writer.write_tokenizer('{"a": 1}')
    begin(0)
    train(1)
    return writer.paths.root


def same(run: Path, copy: Path) -> bool:
    """Whether all checkpoints are there, byte for byte, and nothing else."""
    steps = list_checkpoints(run)
    return steps == list_checkpoints(copy) and all(
        read_checkpoint(run / f"step-{step:08d}").files
        == read_checkpoint(copy / f"step-{step:08d}").files
        for step in steps
    )


def test_the_copy_is_a_run_by_itself_and_follows_the_run(
    run: Path, copies: Path, writer: RunWriter, publish: Publish, train: Callable[..., None],
    make_status: Callable,
) -> None:  # fmt: skip
    copy, mirror = copies / "demo", Mirror(run, copies)
    writer.status(make_status(step=2))
    publish(1)
    publish(2)
    pin(run, 1)
    assert mirror.update(2, BestCheckpoint(step=1, val_loss=2.0)).whole
    assert same(run, copy)
    assert pinned(copy) == {1}
    reader = RunReader(copy)
    assert reader.run == RunReader(run).run
    assert from_json(reader.settings).settings.checkpoint.mirror is None
    status = reader.status
    assert status is not None
    assert (status.state, status.latest, reader.best) == (
        "stopped", 2, BestCheckpoint(step=1, val_loss=2.0),
    )  # fmt: skip
    train(2)
    train(3)
    publish(3)
    unpin(run, 1)
    prune(run, {2, 3}, {1})
    assert mirror.update(3, None).whole
    prune(run, {3}, {1})
    publish(3, salt="again")
    assert mirror.update(3, None).whole
    assert same(run, copy)
    assert pinned(copy) == set()
    assert [row["step"] for row in reader.rows("metrics")] == [1, 2, 3]
    assert not inspect_run(copy, lambda *_: None).damage
    assert not [path.name for path in copy.rglob(".*")]


def test_a_log_that_a_power_cut_spoiled_is_written_anew(
    run: Path, copies: Path, publish: Publish, train: Callable[..., None]
) -> None:
    mirror = Mirror(run, copies)
    publish(1)
    mirror.update(1, None)
    log = copies / "demo" / "attempts" / "0001" / "metrics.jsonl"
    log.write_bytes(bytes(log.stat().st_size))
    train(2)
    mirror.update(1, None)
    assert log.read_bytes() == (run / "attempts" / "0001" / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("dead", [False, True], ids=["once", "for good"])
def test_a_disk_that_fails_anywhere_costs_no_checkpoint_of_the_copy(
    run: Path, copies: Path, publish: Publish, dead: bool
) -> None:
    copy = copies / "demo"
    publish(1)
    publish(2)
    Mirror(run, copies).update(2, None)
    shutil.copytree(copy, copies / "before")
    publish(3)
    prune(run, {3}, {1})  # so that the update copies, thins and deletes
    nth, done = 0, False
    while not done:
        nth += 1
        shutil.rmtree(copy)
        shutil.copytree(copies / "before", copy)
        disk = RefusingDisk(nth, dead=dead)
        try:
            Mirror(run, copies, disk=disk).update(3, None)
            done = disk.count < nth
        except OSError:
            assert 2 in list_checkpoints(copy) or 3 in list_checkpoints(copy)
        for step in list_checkpoints(copy):
            read_checkpoint(copy / f"step-{step:08d}")
        assert newest_good(copy)[0].step in (2, 3)
        Mirror(run, copies).update(3, None)  # what the next try does
        assert same(run, copy)
        assert not [path.name for path in copy.iterdir() if path.name.startswith(".")]
    assert nth > 25


def test_nothing_old_goes_before_the_new_is_durable(
    run: Path, copies: Path, publish: Publish
) -> None:
    publish(1)
    Mirror(run, copies).update(1, None)
    publish(2)
    prune(run, {2}, ())
    disk = JournalDisk()
    Mirror(run, copies, disk=disk).update(2, None)
    renamed = [str(args[-1].name) for op, *args in disk.log if op == "rename"]
    assert renamed[0] == "step-00000002"
    assert renamed[1].startswith(".del-step-00000001-")


def test_what_the_disk_gives_back_wrong_is_never_published(
    run: Path, copies: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1)
    disk = JournalDisk()
    real = disk.write_file

    def lying(path: Path, data: bytes) -> None:
        flipped = bytes([data[0] ^ 1]) + data[1:]
        real(path, flipped if path.name == "model.safetensors" else data)

    monkeypatch.setattr(disk, "write_file", lying)
    with pytest.raises(RunError, match="is damaged: its sha256"):
        Mirror(run, copies, disk=disk).update(1, None)
    assert list_checkpoints(copies / "demo") == []


def test_a_checkpoint_that_is_removed_meanwhile_is_passed_over(
    run: Path, copies: Path, publish: Publish
) -> None:
    publish(1)
    publish(2)

    def remove(done: int, total: int) -> None:
        prune(run, {1}, ())

    assert not Mirror(run, copies).update(2, None, copied=remove).whole
    assert list_checkpoints(copies / "demo") == []
    assert Mirror(run, copies).update(1, None).whole
    assert same(run, copies / "demo")


def test_a_disk_that_is_away_is_not_taken_for_an_empty_one(
    run: Path, copies: Path, publish: Publish
) -> None:
    publish(1)
    mirror = Mirror(run, copies)
    mirror.update(1, None)
    shutil.rmtree(copies / "demo")
    for again in (mirror, Mirror(run, copies, known=True)):
        with pytest.raises(RunError, match="is its disk away"):
            again.update(1, None)
        assert list(copies.iterdir()) == []
    copies.rmdir()
    with pytest.raises(RunError, match="is its disk away"):
        Mirror(run, copies).update(1, None)


def test_other_folders_are_refused_before_the_start(
    run: Path, copies: Path, publish: Publish, tmp_path: Path
) -> None:
    publish(1)
    check_mirror(run, copies, anew=True)
    check_mirror(run, tmp_path.parent / "away", anew=False)
    for folder, why in (
        (tmp_path.parent / "nowhere", "there is no folder"),
        (run.parent, "where the run itself is"),
        (run / "inside", "where the run itself is"),
    ):
        with pytest.raises(SettingsError, match=why):
            check_mirror(run, folder, anew=True)
    copy = copies / "demo"
    copy.mkdir()
    (copy / "letter.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SettingsError, match="is no copy of a run"):
        check_mirror(run, copies, anew=True)
    (copy / "letter.txt").unlink()
    Mirror(run, copies).update(1, None)
    check_mirror(run, copies, anew=True)
    (copy / "attempts" / "0002").mkdir()
    shutil.copy(copy / "attempts" / "0001" / "attempt.json", copy / "attempts" / "0002")
    with pytest.raises(SettingsError, match="trained by itself"):
        check_mirror(run, copies, anew=False)
    with pytest.raises(RunError, match="trained by itself"):
        Mirror(run, copies).update(1, None)
    record = json.loads((copy / "run.json").read_text(encoding="utf-8"))
    (copy / "run.json").write_text(json.dumps(record | {"id": "2"}), encoding="utf-8")
    with pytest.raises(SettingsError, match="another run of that name"):
        check_mirror(run, copies, anew=True)


def test_what_the_run_lost_stays_in_the_copy_until_the_run_has_passed_it(
    run: Path, copies: Path, publish: Publish
) -> None:
    copy = copies / "demo"
    for step in (10, 20, 30):
        publish(step)
    Mirror(run, copies).update(30, None)
    for step in (20, 30):
        (run / f"step-{step:08d}" / "model.safetensors").write_bytes(b"rotten")
        quarantine(run, step)
    for step, left in ((10, [10, 20, 30]), (20, [10, 20, 30]), (25, [10, 20, 25, 30])):
        publish(step)
        assert Mirror(run, copies).update(step, None).whole
        assert list_checkpoints(copy) == left
        assert newest_good(copy)[0].step == 30
    publish(40)
    prune(run, {25, 40}, ())
    Mirror(run, copies).update(40, None)
    assert same(run, copy)


def test_one_rotten_checkpoint_of_the_run_is_told_and_the_others_are_copied(
    run: Path, copies: Path, publish: Publish
) -> None:
    for step in (1, 2, 3, 4):
        publish(step)
    (run / "step-00000002" / "model.safetensors").write_bytes(b"rotten")
    manifest = run / "step-00000003" / "manifest.json"
    manifest.unlink()
    manifest.mkdir()  # an error of reading that is not its absence
    done = Mirror(run, copies).update(4, None)
    assert done.whole
    assert [problem.rpartition("/")[0][-13:] for problem in done.problems] == [
        "step-00000003", "step-00000002",
    ]  # fmt: skip
    assert list_checkpoints(copies / "demo") == [1, 4]


# --- the thread


def test_a_step_that_is_published_again_is_copied_again(
    run: Path, copies: Path, publish: Publish
) -> None:
    keeper = MirrorKeeper(Mirror(run, copies), None)
    keeper.start()
    publish(1)
    keeper.published(1, None)
    until(lambda: keeper.status.step == 1)
    publish(1, salt="again")
    keeper.published(1, None)
    until(lambda: keeper._done == 2)  # while it trains, not only at its end
    assert same(run, copies / "demo")
    publish(1, salt="and again")
    keeper.published(1, None)
    keeper.finish(lambda doing: True)
    assert same(run, copies / "demo")


def test_a_rotten_checkpoint_is_told_once_and_is_no_failure(
    run: Path, copies: Path, publish: Publish
) -> None:
    keeper = MirrorKeeper(Mirror(run, copies), None)
    keeper.start()
    publish(1)
    (run / "step-00000001" / "model.safetensors").write_bytes(b"rotten")
    for step in (2, 3):
        publish(step)
        keeper.published(step, None)
        until(lambda step=step: keeper.status.step == step)
    keeper.finish(lambda doing: True)
    (told,) = keeper.news()
    assert "is at step 2, but not all of it is as in the run: " in told
    assert "step-00000001/model.safetensors is damaged" in told
    assert "is damaged" in keeper.status.problem
    assert list_checkpoints(copies / "demo") == [2, 3]


class Gate(JournalDisk):
    """Lets nothing through while it is shut, and fails while it is broken."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.reached = threading.Event()
        self.broken = False

    def before(self, operation: str, *args: object) -> None:
        super().before(operation, *args)
        self.reached.set()
        self.open.wait()
        if self.broken:
            raise OSError(28, "No space left on device", str(args[0]))


def test_a_copy_that_lags_takes_only_the_newest(run: Path, copies: Path, publish: Publish) -> None:
    gate = Gate()
    keeper = MirrorKeeper(Mirror(run, copies, disk=gate), None)
    keeper.start()
    publish(0)
    keeper.published(0, None)
    gate.reached.wait()
    for step in (1, 2, 3):
        publish(step)
        keeper.published(step, None)  # at once, though the copy stands still
    prune(run, {3}, {0})
    gate.open.set()
    until(lambda: keeper.status.step == 3)
    keeper.finish(lambda doing: True)
    folders = [args[0].name for operation, *args in gate.log if operation == "make_folder"]
    made = {name.split("-")[2] for name in folders if name.startswith(".tmp-step")}
    assert made == {"00000000", "00000003"}
    assert same(run, copies / "demo")
    assert keeper.news() == []


def test_trouble_is_told_once_and_so_is_its_end(
    run: Path, copies: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "FIRST_WAIT_SECONDS", 0.01)
    gate = Gate()
    gate.broken = True
    gate.open.set()
    keeper = MirrorKeeper(Mirror(run, copies, disk=gate), None)
    keeper.start()
    for step in (1, 2):
        publish(step)
        keeper.published(step, None)
        until(lambda: keeper.status.problem)
    tries = len(gate.log)
    until(lambda: len(gate.log) > tries + 3)  # nothing new is published, and it tries
    assert "No space left on device" in keeper.status.problem
    (told,) = keeper.news()
    assert "is empty: No space left" in told
    gate.broken = False
    until(lambda: keeper.status.step == 2)
    assert keeper.status.problem == ""
    assert keeper.news() == ["the second copy works again: it is at step 2"]
    keeper.finish(lambda doing: True)
    assert same(run, copies / "demo")


def test_the_end_waits_for_the_last_copy_unless_somebody_wants_to_go(
    run: Path, copies: Path, publish: Publish
) -> None:
    gate = Gate()
    keeper = MirrorKeeper(Mirror(run, copies, disk=gate), None)
    keeper.start()
    publish(1)
    keeper.published(1, None)
    gate.reached.wait()
    asked: list[str] = []
    keeper.finish(lambda doing: asked.append(doing) or len(asked) < 3)
    assert len(asked) == 3
    assert "was not waited for and is empty" in keeper.news()[0]
    gate.open.set()
    until(lambda: not keeper._thread.is_alive())
    again = MirrorKeeper(Mirror(run, copies), None)
    again.start()
    again.published(1, None)
    again.finish(lambda doing: True)
    assert again.status.step == 1
    assert same(run, copies / "demo")


def test_an_end_in_trouble_is_no_endless_wait(run: Path, copies: Path, publish: Publish) -> None:
    gate = Gate()
    gate.broken = True
    gate.open.set()
    keeper = MirrorKeeper(Mirror(run, copies, disk=gate), None)
    keeper.start()
    publish(1)
    keeper.published(1, None)
    keeper.finish(lambda doing: True)
    assert keeper.status.problem
    assert len(keeper.news()) == 1


COPIER = """
import sys
from pathlib import Path
from tinychat.runs import Mirror, list_checkpoints, plan_retention, prune, publish_checkpoint

run, copies = Path(sys.argv[1]), Path(sys.argv[2])
mirror, step = Mirror(run, copies), max(list_checkpoints(run), default=-1)
while True:
    step += 1
    publish_checkpoint(run, step, {name: f"{name} {step} ".encode() * 3000
                       for name in ("model.safetensors", "optimizer.safetensors", "state.json")})
    prune(run, *plan_retention(list_checkpoints(run), best=0, latest_n=2, milestones=4))
    mirror.update(step, None)
    print(step, flush=True)
"""


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_copy_leaves_only_whole_checkpoints(
    run: Path, copies: Path
) -> None:
    chance = random.Random(7)
    for _ in range(20):
        copier = subprocess.Popen(
            [sys.executable, "-c", COPIER, str(run), str(copies)], stdout=subprocess.PIPE, text=True
        )
        assert copier.stdout is not None
        done = int(copier.stdout.readline())
        try:
            copier.wait(timeout=chance.uniform(0, 0.15))
        except subprocess.TimeoutExpired:
            copier.kill()
        rest = copier.stdout.read().split()
        copier.wait()
        copier.stdout.close()
        done = int(rest[-1]) if rest else done
        copy = copies / "demo"
        for step in list_checkpoints(copy):
            read_checkpoint(copy / f"step-{step:08d}")
        assert list_checkpoints(copy)[-1] in (done, done + 1)
        assert not inspect_run(copy, lambda *_: None).damage
