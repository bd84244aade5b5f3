"""A second copy of real runs: the run is not disturbed, and the copy alone is enough to go on."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import until
from tinychat.chaos.disks import WatchedDisk
from tinychat.cli.app import run as tinychat
from tinychat.runs import (
    Mirror,
    RunPaths,
    RunReader,
    inspect_run,
    list_checkpoints,
    read_checkpoint,
)
from tinychat.runs.records import MirrorStatus
from tinychat.training import followers, job
from tinychat.training import mirror as keeping

from .conftest import DiskOf, digests

Train = Callable[..., Path]
Spawn = Callable[..., "subprocess.Popen[str]"]
FLAGS = ("--eval.every-steps=none", "--sample.every-steps=none", "--model.dropout=0.1")


@pytest.fixture
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("copies")


def mirror_of(run: Path) -> MirrorStatus:
    status = RunReader(run).status
    assert status is not None
    assert status.mirror is not None
    return status.mirror


def told(run: Path) -> list[str]:
    return [row["message"] for row in RunReader(run).rows("events") if row["kind"] == "mirror"]


def test_a_run_with_a_second_copy_is_the_same_run(
    train: Train, copies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--max-steps=40", "--checkpoint.every-steps=5", "--checkpoint.milestones=3", *FLAGS)
    plain = train("plain", *flags)
    run = train("copied", *flags, f"--mirror={copies}")
    copy = copies / "copied"
    assert digests(copy, 40) == digests(run, 40) == digests(plain, 40)
    assert list_checkpoints(copy) == list_checkpoints(run)
    for step in list_checkpoints(run):
        name = RunPaths(run).checkpoint(step).name
        assert read_checkpoint(copy / name).files == read_checkpoint(run / name).files
    assert not inspect_run(copy, lambda *_: None).damage
    assert mirror_of(run) == MirrorStatus(folder=str(copy), step=40)
    assert told(run) == []
    capsys.readouterr()
    assert tinychat(["show", "copied", f"--checkpoints={run.parent}"]) == 0
    assert f"step 40 in {copy}" in capsys.readouterr().out
    assert tinychat(["show", "copied", f"--checkpoints={copies}"]) == 0
    assert f"a copy of {run} as of step 40" in capsys.readouterr().out


class ShutDisk(WatchedDisk):
    """Stands still until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def before(self, operation: str, *args: object) -> None:
        self.open.wait()


def test_the_end_waits_for_the_last_copy_until_a_signal(
    train: Train, copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, run = ShutDisk(), tmp_path / "waits"
    monkeypatch.setattr(keeping, "Mirror", partial(Mirror, disk=disk))
    monkeypatch.setattr(followers, "WAIT_TOLD_SECONDS", 0.1)

    def waits() -> bool:
        status = RunReader(run).status
        return status is not None and status.message.startswith("waiting for the second copy")

    def signal_once_it_waits() -> None:
        until(waits)
        os.kill(os.getpid(), signal.SIGINT)

    person = threading.Thread(target=signal_once_it_waits)
    person.start()
    train("waits", "--max-steps=5", *FLAGS, f"--mirror={copies}")
    person.join()
    disk.open.set()
    assert list_checkpoints(run)[-1] == 5
    assert "was not waited for" in told(run)[-1]
    status = RunReader(run).status
    assert status is not None
    assert status.state == "finished"


@pytest.mark.slow
def test_the_copy_alone_goes_on_bit_for_bit_after_a_kill(
    train: Train, spawn: Spawn, copies: Path
) -> None:
    flags = ("--max-steps=300", "--checkpoint.every-steps=10", *FLAGS)
    reference = train("reference", *flags)
    process = spawn("train", "lost", *flags, f"--mirror={copies}")
    run, copy = reference.parent / "lost", copies / "lost"
    until(lambda: process.poll() is not None or len(list_checkpoints(copy)) > 3)
    process.kill()
    process.communicate()
    for step in list_checkpoints(copy):
        read_checkpoint(RunPaths(copy).checkpoint(step))
    assert list_checkpoints(copy)[-1] < 300
    shutil.rmtree(run)
    assert tinychat(["resume", "lost", f"--checkpoints={copies}"]) == 0
    assert RunReader(copy).attempts()[-1][1].from_step > 0
    assert digests(copy, 300) == digests(reference, 300)
    rows = [row for row in RunReader(copy).rows("metrics") if row["kind"] == "train"]
    assert [row["step"] for row in rows] == list(range(1, 301))


def test_a_full_disk_of_the_copy_does_not_disturb_the_run(
    train: Train, resume: Train, disk_of: DiskOf, capsys: pytest.CaptureFixture[str]
) -> None:
    small_disk = disk_of("1m")
    flags = ("--max-steps=30", "--checkpoint.every-steps=5", "--checkpoint.keep-last=4", *FLAGS)
    plain = train("plain", *flags)
    run = train("crowded", *flags, f"--mirror={small_disk}")
    assert digests(run, 30) == digests(plain, 30)
    (warning,) = told(run)
    assert "No space left on device" in warning
    mirror = mirror_of(run)
    assert "No space left on device" in mirror.problem
    copy = small_disk / "crowded"
    assert list_checkpoints(copy)
    for step in list_checkpoints(copy):
        read_checkpoint(RunPaths(copy).checkpoint(step))
    capsys.readouterr()
    assert tinychat(["show", "crowded", f"--checkpoints={run.parent}"]) == 0
    assert "No space left on device" in capsys.readouterr().out
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    resume("crowded")
    assert mirror_of(run) == MirrorStatus(folder=str(copy), step=30)
    assert list_checkpoints(copy) == list_checkpoints(run)
    assert digests(copy, 30) == digests(run, 30)


def test_a_second_copy_that_is_away_is_told_and_the_run_goes_on(
    train: Train, resume: Train, copies: Path
) -> None:
    run = train("away", "--max-steps=5", *FLAGS, f"--mirror={copies}")
    shutil.move(copies / "away", copies.parent / f"{copies.name}-elsewhere")
    resume("away", "--max-steps=10")
    assert "is its disk away" in told(run)[0]
    assert mirror_of(run).step == 5
    assert list(copies.iterdir()) == [], "it is not begun anew on what may be another disk"
    resume("away", "--max-steps=12", f"--mirror={copies}")
    assert mirror_of(run) == MirrorStatus(folder=str(copies / "away"), step=12)
    resume("away", "--max-steps=14", "--mirror=none")
    assert list_checkpoints(copies / "away")[-1] == 12


def test_when_no_checkpoint_is_good_the_second_copy_is_named(
    train: Train, resume: Train, copies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("ruined", "--max-steps=5", *FLAGS, f"--mirror={copies}")
    for step in list_checkpoints(run):
        (RunPaths(run).checkpoint(step) / "manifest.json").write_bytes(b"{}")
    resume("ruined", "--max-steps=10", exit_code=1)
    told = capsys.readouterr().err
    assert f"up to step 5 lies in {copies / 'ruined'}" in told
    assert tinychat(["resume", "ruined", f"--checkpoints={copies}", "--max-steps=10"]) == 0
    assert list_checkpoints(copies / "ruined")[-1] == 10


def test_when_the_newest_are_damaged_the_second_copy_keeps_them_and_is_named(
    train: Train, resume: Train, copies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = ("--checkpoint.every-steps=10", "--checkpoint.keep-last=5", "--optim.schedule=cosine")
    run = train("partly", "--max-steps=30", *keep, *FLAGS, f"--mirror={copies}")
    reference, copy = digests(run, 30), copies / "partly"
    assert list_checkpoints(run) == [0, 10, 20, 30]
    for step in (20, 30):
        (RunPaths(run).checkpoint(step) / "model.safetensors").write_bytes(b"rotten")
    capsys.readouterr()
    # it falls back to step 10, tells of the copy, and ends before it has passed what it lost
    resume("partly", "--max-steps=12")
    assert list_checkpoints(run) == [0, 10, 12]
    told = " ".join(row["message"] for row in RunReader(run).rows("events"))
    assert f"the second copy in {copy} has a whole checkpoint of step 30" in told
    assert f"`tinychat resume partly --checkpoints {copies}`" in told
    assert "a whole checkpoint of step 30" in capsys.readouterr().out
    assert list_checkpoints(copy) == [0, 10, 12, 20, 30]
    assert digests(copy, 30) == reference
    assert tinychat(["resume", "partly", f"--checkpoints={copies}", "--max-steps=31"]) == 0
    assert RunReader(copy).attempts()[-1][1].from_step == 30


def test_two_signals_leave_no_wait_for_the_second_copy(
    train: Train, copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = ShutDisk()
    monkeypatch.setattr(keeping, "Mirror", partial(Mirror, disk=disk))
    real = job.Trainer.run

    def ends_with_two_signals(trainer: job.Trainer) -> object:
        ended = real(trainer)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        return ended

    monkeypatch.setattr(job.Trainer, "run", ends_with_two_signals)
    run = train("hurried", "--max-steps=5", *FLAGS, f"--mirror={copies}")
    disk.open.set()
    assert "was not waited for" in told(run)[-1]
    assert list_checkpoints(run)[-1] == 5


def test_what_cannot_be_a_second_copy_is_refused_before_the_start(
    train: Train, resume: Train, copies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("one", "--max-steps=5", f"--mirror={copies}/missing", exit_code=2)
    train("one", "--max-steps=5", f"--mirror={tmp_path}", exit_code=2)
    assert not (tmp_path / "one").exists()
    train("one", "--max-steps=5", *FLAGS, f"--mirror={copies}")
    shutil.rmtree(tmp_path / "one")
    train("one", "--max-steps=5", *FLAGS, f"--mirror={copies}", exit_code=2)
    told = capsys.readouterr().err
    assert "there is no folder" in told
    assert "where the run itself is" in told
    assert "is another run of that name" in told


def test_the_second_copy_is_no_setting_to_change_while_it_trains(
    train: Train, copies: Path
) -> None:
    from tinychat.config.load import from_json
    from tinychat.config.resume import change_setting
    from tinychat.errors import SettingsError

    run = train("set", "--max-steps=2", *FLAGS)
    with pytest.raises(SettingsError, match="cannot change while the run trains"):
        change_setting(from_json(RunReader(run).settings), "checkpoint.mirror", str(copies))
