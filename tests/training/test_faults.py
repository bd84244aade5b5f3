"""What goes wrong in the middle of a run, for real, and that nothing is lost by it."""

import errno
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tinychat.config import Settings
from tinychat.config.load import Resolved
from tinychat.model import is_out_of_memory
from tinychat.runs import (
    Disk,
    RunPaths,
    RunReader,
    RunWriter,
    Status,
    list_checkpoints,
    process_identity,
    send_command,
)
from tinychat.runs.durable import Disk as RealDisk
from tinychat.runs.reader import Row
from tinychat.training import job, patience, requests, updates
from tinychat.training.gaps import Clocks, held_up_seconds

from .conftest import DiskOf, digests, poison

Train = Callable[..., Path]
Spawn = Callable[..., "subprocess.Popen[str]"]
QUIET = ("--eval.every-steps=none", "--sample.every-steps=none")


def train_rows(run: Path) -> list[Row]:
    return [row for row in RunReader(run).rows("metrics") if row["kind"] == "train"]


def events(run: Path, kind: str) -> list[Row]:
    return [row for row in RunReader(run).rows("events") if row["kind"] == kind]


def until(process: "subprocess.Popen[str]", condition: Callable[[], object]) -> None:
    """Wait until that is true of what a process does."""
    deadline = time.monotonic() + 60
    while process.poll() is None:
        try:
            if condition():
                return
        except (OSError, ValueError):
            pass
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)
    raise AssertionError(f"it ended too early: {process.communicate()[1]}")


# --- numbers that are not finite


def test_bad_steps_in_a_row_roll_the_run_back_to_half_the_rate(
    train: Train, resume: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, steps={8, 9, 10})
    flags = ("--optim.warmup-steps=1", "--optim.schedule=cosine", *QUIET)
    run = train("poisoned", "--max-steps=20", "--checkpoint.every-steps=5", *flags)
    rows = train_rows(run)
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert not any("nonfinite" in row for row in rows), "the bad steps were done again"
    (event,) = events(run, "roll_back")
    assert "3 steps in a row had no finite loss or gradient up to step 10" in event["message"]
    _, attempt = RunReader(run).attempts()[-1]
    assert (attempt.from_step, attempt.rate_factor, attempt.resume_class) == (5, 0.5, "B")
    plain = {row["step"]: row for row in train_rows(train("plain", "--max-steps=20", *flags))}
    for row in rows:
        factor = 1.0 if row["step"] <= 5 else 0.5
        assert row["learning_rate"] == pytest.approx(factor * plain[row["step"]]["learning_rate"])
    resume("poisoned", "--max-steps=25")
    _, attempt = RunReader(run).attempts()[-1]
    assert attempt.rate_factor == 0.5, "a resume goes on with it"
    card = json.loads((RunPaths(run).checkpoint(25) / "tinychat.json").read_text("utf-8"))
    assert "step 5: rate_factor 1 -> 0.5" in card["lineage"]


def test_a_recipe_that_never_becomes_finite_ends_with_a_sentence(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    poison(monkeypatch, steps=range(4, 100))
    run = train("fails", "--max-steps=50", *QUIET, exit_code=1)
    assert "start again with a lower optim.learning_rate" in capsys.readouterr().err
    assert [a.rate_factor for _, a in RunReader(run).attempts()] == [1.0, 0.5, 0.25, 0.125]
    status = RunReader(run).status
    assert status is not None
    assert status.state == "failed"
    assert list_checkpoints(run) == [0], "nothing of it was published"


def test_a_roll_back_passes_checkpoints_among_bad_steps_by(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, steps={9, 10, 11})
    flags = ("--checkpoint.every-steps=5", "--checkpoint.keep-last=9", *QUIET)
    flags = ("--optim.schedule=cosine", *flags)
    run = train("among", "--max-steps=16", *flags)
    assert list_checkpoints(run) == [0, 5, 10, 15, 16]
    (event,) = events(run, "roll_back")
    assert "back to step 5" in event["message"]
    assert [row["step"] for row in train_rows(run)] == list(range(1, 17))
    state = json.loads((RunPaths(run).checkpoint(10) / "state.json").read_bytes())
    assert state["bad_steps_in_a_row"] == 0, "saved after it was done again"


def test_a_checkpoint_that_is_due_among_bad_steps_comes_after_them(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, steps={4, 5})
    flags = ("--eval.every-steps=5", "--sample.every-steps=none", "--optim.schedule=cosine")
    run = train("owed", "--max-steps=8", "--checkpoint.every-steps=5", *flags)
    assert list_checkpoints(run) == [0, 6, 8]
    assert events(run, "roll_back") == []
    best = RunReader(run).best
    assert best is not None
    assert best.step == 8, "what was evaluated at step 5 is not there"


# --- good weights whose evaluation fails


def test_a_validation_file_that_is_cut_costs_no_step(
    train: Train, resume: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flags = ("--max-steps=12", "--checkpoint.every-steps=none", "--eval.every-steps=7",
             "--sample.every-steps=none", "--optim.schedule=cosine")  # fmt: skip
    reference = train("reference", *flags)
    real = job.evaluate

    def cut(*args: Any) -> object:
        (tokens,) = (tmp_path / ".cache").glob("*/valid.bin")
        os.truncate(tokens, 10)
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(job, "evaluate", cut)
        run = train("cut", *flags, exit_code=1)
    assert list_checkpoints(run) == [0, 7]
    resume("cut")
    assert digests(run, 12) == digests(reference, 12)


@pytest.mark.parametrize("where", ["evaluate", "update"])
def test_weights_are_kept_when_not_one_row_fits(
    where: str, train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = updates.Updates.gradients

    def without_memory(*args: Any) -> Any:
        if where == "evaluate" or args[0].progress.step == 4:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")
        return real(*args)

    if where == "evaluate":
        monkeypatch.setattr(job, "evaluate", without_memory)
    else:
        monkeypatch.setattr(updates.Updates, "gradients", without_memory)
    run = train("tight", "--max-steps=9", "--checkpoint.every-steps=none", "--eval.every-steps=4",
                "--sample.every-steps=none", exit_code=1)  # fmt: skip
    assert "with one row at a time" in capsys.readouterr().err
    assert list_checkpoints(run)[-1] == 4


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_BAD_PARAM"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_how_devices_say_that_memory_ran_out(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) is is_one


def test_what_gives_no_equal_bits_is_told_in_a_sentence(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("some_cuda does not have a deterministic implementation, but you set")

    monkeypatch.setattr(updates.Updates, "gradients", refuse)
    train("unequal", "--max-steps=2", *QUIET, exit_code=1)
    told = capsys.readouterr().err
    assert "resume with --device cpu" in told
    assert "Traceback" not in told


# --- the disk


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


def test_a_run_whose_folder_goes_away_waits_and_goes_on(
    train: Train, spawn: Spawn, tmp_path: Path
) -> None:
    flags = ("--max-steps=300", "--checkpoint.every-steps=20", *QUIET)
    reference = train("reference", *flags)
    process = spawn("train", "away", *flags)
    run, elsewhere = tmp_path / "away", tmp_path / "elsewhere"
    until(process, lambda: len(list_checkpoints(run)) > 1)
    run.rename(elsewhere)
    until(
        process, lambda: b"the disk refuses" in (elsewhere / "attempts/0001/train.log").read_bytes()
    )
    at = len(train_rows(elsewhere))
    elsewhere.rename(run)
    assert process.wait(120) == 0
    assert at < 300
    assert [row["step"] for row in train_rows(run)] == list(range(1, 301))
    assert digests(run, 300) == digests(reference, 300)


def test_asked_to_end_while_the_disk_refuses(spawn: Spawn, tmp_path: Path) -> None:
    process = spawn("train", "gone", "--max-steps=100000", "--checkpoint.every-steps=20", *QUIET)
    run, elsewhere = tmp_path / "gone", tmp_path / "elsewhere"
    until(process, lambda: len(list_checkpoints(run)) > 1)
    run.rename(elsewhere)
    until(
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


def test_a_corpus_that_is_cut_under_a_run_ends_it_whole(
    train: Train, spawn: Spawn, resume: Train, tmp_path: Path
) -> None:
    flags = ("--max-steps=300", "--checkpoint.every-steps=none", *QUIET)
    reference = train("reference", *flags)
    process = spawn("train", "cut", *flags)
    run = tmp_path / "cut"
    until(process, lambda: len(train_rows(run)) > 20)
    (tokens,) = (tmp_path / ".cache").glob("*/train.bin")
    os.truncate(tokens, 100)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "train.bin cannot be used" in told
    saved = list_checkpoints(run)[-1]
    assert saved == train_rows(run)[-1]["step"] > 20, "no step is redone"
    resume("cut")  # prepares it again
    assert digests(run, 300) == digests(reference, 300)


# --- time


def test_a_process_that_was_stopped_tells_of_the_gap(
    train: Train, spawn: Spawn, tmp_path: Path
) -> None:
    flags = ("--max-steps=1200", *QUIET)
    reference = train("reference", *flags)
    process = spawn("train", "held", *flags)
    run = tmp_path / "held"
    until(process, lambda: len(train_rows(run)) > 60)
    process.send_signal(signal.SIGSTOP)
    time.sleep(2.0)  # what is tested is that this very time is told, and not counted
    process.send_signal(signal.SIGCONT)
    assert process.wait(120) == 0
    told = [row["message"] for row in events(run, "gap")]
    assert len(told) == 1
    assert "held up for" in told[0]
    assert max(row["step_seconds"] for row in train_rows(run)[5:]) < 2.0
    assert digests(run, 1200) == digests(reference, 1200)


def test_what_clocks_tell() -> None:
    now = Clocks()
    assert not now.look()
    now.awake += 60  # it stood still for a minute
    assert now.look() == ["the machine slept for 60 s; that time is not counted"]
    now.wall += 86_400
    (told,) = now.look()
    assert told.startswith("the clock was set back by 86,400 s")
    assert not now.look()


def test_a_long_step_among_short_ones_was_held_up() -> None:
    assert held_up_seconds(5.0, [0.1] * 20) == pytest.approx(4.9)
    assert held_up_seconds(0.9, [0.01] * 20) == 0.0, "too short to be told"
    assert held_up_seconds(12.0, [5.0] * 20) == 0.0, "merely slow"
    assert held_up_seconds(100.0, [0.1]) == 0.0, "nobody knows what is usual"


@pytest.mark.parametrize("seconds", [-86_400.0, 86_400.0])
def test_a_clock_that_is_set_refuses_no_stop(
    seconds: float, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train("set", "--max-steps=1", *QUIET)
    found = Resolved(Settings(), {})
    asked = requests.RunRequests(run, requests.StopSignals(), found, lambda _: None)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + seconds)
    send_command(run, "stop", by="test")
    assert asked.asked_to_end() == 1
    commands, refused = asked.poll()
    assert ([command.command for command in commands], refused) == (["stop"], [])
    assert asked.asked_to_end() == 0


# --- signals


def test_an_evaluation_that_a_signal_cut_short_is_done_at_the_next_start(
    train: Train, spawn: Spawn, resume: Train, tmp_path: Path
) -> None:
    flags = ("--max-steps=8", "--eval.every-steps=4", "--sample.every-steps=none",
             "--micro-batch-size=1")  # fmt: skip
    reference = train("reference", *flags)
    process = spawn("train", "ended", *flags)
    run = tmp_path / "ended"
    until(process, lambda: (s := RunReader(run).status) is not None and s.state == "evaluating")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    status = RunReader(run).status
    assert status is not None
    assert status.state == "stopped"
    assert list_checkpoints(run)[-1] == status.step == train_rows(run)[-1]["step"]
    resume("ended")
    assert digests(run, 8) == digests(reference, 8)
    evaluated = [row for row in RunReader(run).rows("metrics") if row["kind"] == "eval"]
    assert [row["step"] for row in evaluated] == [4, 8]


def test_that_there_is_no_room_at_all_can_still_be_seen(disk_of: DiskOf) -> None:
    folder = disk_of("1m")
    writer = RunWriter(folder / "demo")
    writer.create_run()
    known: dict[str, Any] = {"max_steps": 9, "time": 1.0, "next_beat_by": 2.0}
    saving = Status(state="saving", step=7, **known, **process_identity())
    writer.status(saving)
    with open(folder / "ballast", "wb", buffering=0) as ballast, suppress(OSError):
        while ballast.write(bytes(4096)):
            pass
    assert shutil.disk_usage(folder).free == 0
    told = "the disk refuses: no room"
    writer.status(replace(saving, state="paused", message=told))
    status = RunReader(folder / "demo").status
    assert status is not None
    assert (status.state, status.step, status.message) == ("paused", 7, told)
    writer.status(replace(saving, step=8))
    status = RunReader(folder / "demo").status
    assert status is not None
    assert (status.state, status.step, status.message) == ("saving", 8, "")
