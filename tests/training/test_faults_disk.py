"""What happens to a run whose disk refuses, fills up or goes away."""

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.runs import (
    Disk,
    RunReader,
    list_checkpoints,
    send_command,
)
from tinychat.runs.durable import Disk as RealDisk
from tinychat.training import job, patience

from .conftest import digests
from .rows import events, train_rows, until_alive

Train = Callable[..., Path]
Spawn = Callable[..., "subprocess.Popen[str]"]
QUIET = ("--eval.every-steps=none", "--sample.every-steps=none")


class RefusingDisk(RealDisk):
    """Refuses an operation on names that hold `word`, from its first to its last time."""

    def __init__(self, operation: str, word: str, times: range, number: int) -> None:
        self.left, self.seen, self.error = times, 0, number
        real = getattr(self, operation)

        def refusing(path: Path, *rest: object) -> object:
            if word in str(path):
                self.seen += 1
                if self.seen in times:
                    raise OSError(number, os.strerror(number), str(path))
            return real(path, *rest)

        setattr(self, operation, refusing)


@pytest.mark.parametrize(
    ("operation", "word", "number"),
    [
        ("write_file", "model.safetensors", errno.ENOSPC),
        ("fsync", "optimizer.safetensors", errno.EIO),
        ("fsync", "metrics.jsonl", errno.EIO),
        ("rename", ".tmp-step", errno.EROFS),
        ("replace", "status.json", errno.EIO),
    ],
)
def test_a_disk_that_refuses_is_waited_for(
    operation: str, word: str, number: int, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--max-steps=24", "--checkpoint.every-steps=4", "--model.dropout=0.1",
             "--checkpoint.milestones=0", *QUIET)  # fmt: skip
    reference = train("reference", *flags)
    monkeypatch.setattr(patience, "FIRST_WAIT_SECONDS", 0.01)
    disk = RefusingDisk(operation, word, range(3, 6), number)
    monkeypatch.setattr(job, "Disk", lambda: disk)
    run = train("refused", *flags)
    assert disk.seen > 5
    told = events(run, "disk")
    assert told
    assert "nothing was lost" in told[-1]["message"]
    assert [row["step"] for row in train_rows(run)] == list(range(1, 25))
    assert digests(run, 24) == digests(reference, 24)
    assert not [p.name for p in run.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(
    ("operation", "word", "number"),
    [("remove_folder", ".del-", errno.EIO), ("rename", "/step-00000004", errno.EPERM)],
)
def test_an_old_checkpoint_that_cannot_go_is_told_once_and_stops_nothing(
    operation: str, word: str, number: int, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--max-steps=24", "--checkpoint.every-steps=2", "--model.dropout=0.1",
             "--checkpoint.milestones=0", *QUIET)  # fmt: skip
    reference = train("reference", *flags)
    disk = RefusingDisk(operation, word, range(1, 4), number)
    monkeypatch.setattr(job, "Disk", lambda: disk)
    run = train("refused", *flags)
    assert disk.seen > 3
    (told,) = [row["message"] for row in events(run, "warning") if "yet: " in row["message"]]
    assert os.strerror(number) in told
    assert not events(run, "disk"), "nothing was waited for"
    assert digests(run, 24) == digests(reference, 24)
    assert list_checkpoints(run) == list_checkpoints(reference)
    assert not [p.name for p in run.iterdir() if p.name.startswith(".")]


def test_what_the_last_save_could_not_remove_is_tried_once_more_at_the_end(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--max-steps=8", "--checkpoint.every-steps=2", "--checkpoint.milestones=0",
             "--checkpoint.keep-last=2", "--optim.schedule=cosine", *QUIET)  # fmt: skip
    disk = RefusingDisk("rename", "/step-00000004", range(1, 2), errno.EPERM)
    monkeypatch.setattr(job, "Disk", lambda: disk)
    run = train("untidy", *flags)
    assert disk.seen == 2
    assert list_checkpoints(run) == [6, 8]
    assert events(run, "checkpoint_pruned")[-1]["message"] == "removed steps 4"


def test_a_row_that_was_half_written_is_written_again(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Narrow(Disk):
        """Has room for half a row, three times."""

        rows = 0

        def append(self, fd: int, data: bytes) -> int:
            self.rows += 1
            if self.rows in (40, 41, 42):
                return super().append(fd, data[: len(data) // 2])
            return super().append(fd, data)

    monkeypatch.setattr(patience, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(job, "Disk", Narrow)
    run = train("narrow", "--max-steps=30", *QUIET)
    assert [row["step"] for row in train_rows(run)] == list(range(1, 31))


@pytest.mark.slow
def test_a_run_whose_folder_goes_away_waits_and_goes_on(
    train: Train, spawn: Spawn, tmp_path: Path
) -> None:
    flags = ("--max-steps=300", "--checkpoint.every-steps=20", *QUIET)
    reference = train("reference", *flags)
    process = spawn("train", "away", *flags)
    run, elsewhere = tmp_path / "away", tmp_path / "elsewhere"
    until_alive(process, lambda: len(list_checkpoints(run)) > 1)
    run.rename(elsewhere)
    until_alive(
        process, lambda: b"the disk refuses" in (elsewhere / "attempts/0001/train.log").read_bytes()
    )
    at = len(train_rows(elsewhere))
    elsewhere.rename(run)
    assert process.wait(120) == 0
    assert at < 300
    assert [row["step"] for row in train_rows(run)] == list(range(1, 301))
    assert digests(run, 300) == digests(reference, 300)


@pytest.mark.slow
def test_asked_to_end_while_the_disk_refuses(spawn: Spawn, tmp_path: Path) -> None:
    process = spawn("train", "gone", "--max-steps=100000", "--checkpoint.every-steps=20", *QUIET)
    run, elsewhere = tmp_path / "gone", tmp_path / "elsewhere"
    until_alive(process, lambda: len(list_checkpoints(run)) > 1)
    run.rename(elsewhere)
    until_alive(
        process, lambda: b"the disk refuses" in (elsewhere / "attempts/0001/train.log").read_bytes()
    )
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "could not be saved; make room or mend the disk, then resume" in told
    assert "Traceback" not in told


def test_a_stop_that_was_sent_ends_the_wait_for_the_disk(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The monitor's key, where nobody can send the process a signal."""
    monkeypatch.setattr(patience, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(patience, "STOPPING_SECONDS", 0.1)
    run = tmp_path / "asked"

    class Full(RealDisk):
        def write_file(self, path: Path, data: bytes) -> None:
            if path.name == "model.safetensors" and "step-00000004" in str(path):
                if not any((run / "control").iterdir()):
                    send_command(run, "stop", by="test")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            super().write_file(path, data)

    monkeypatch.setattr(job, "Disk", Full)
    train("asked", "--max-steps=9", "--checkpoint.every-steps=4", *QUIET, exit_code=1)
    assert len(list((run / "control").iterdir())) == 1, "it was looked at, not taken"
    status = RunReader(run).status
    assert status is not None
    assert "make room or mend the disk, then resume" in status.message


def test_waiting_for_the_disk_is_not_counted_as_saving(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "FIRST_WAIT_SECONDS", 0.5)
    disk = RefusingDisk("write_file", "model.safetensors", range(2, 5), errno.ENOSPC)
    monkeypatch.setattr(job, "Disk", lambda: disk)
    run = train("waits", "--max-steps=4", "--checkpoint.every-steps=2", *QUIET)
    (told,) = events(run, "disk")
    saved = {row["step"]: row["seconds"] for row in events(run, "checkpoint_saved")}
    assert told["seconds"] >= 3.5, "three waits, each twice as long"
    assert saved[2] < told["seconds"] - 0.5


@pytest.mark.slow
def test_a_corpus_that_is_cut_under_a_run_ends_it_whole(
    train: Train, spawn: Spawn, resume: Train, tmp_path: Path
) -> None:
    flags = ("--max-steps=300", "--checkpoint.every-steps=none", *QUIET)
    reference = train("reference", *flags)
    process = spawn("train", "cut", *flags)
    run = tmp_path / "cut"
    until_alive(process, lambda: len(train_rows(run)) > 20)
    (tokens,) = (tmp_path / ".cache").glob("*/train.bin")
    os.truncate(tokens, 100)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "train.bin cannot be used" in told
    saved = list_checkpoints(run)[-1]
    assert saved == train_rows(run)[-1]["step"] > 20, "no step is redone"
    resume("cut")  # prepares it again
    assert digests(run, 300) == digests(reference, 300)
