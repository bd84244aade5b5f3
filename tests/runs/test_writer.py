"""What the trainer's pen writes, and what it does on a disk that refuses."""

import dataclasses
import errno
import json
import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tinychat.errors import RunExistsError
from tinychat.runs import Disk, LineLog, RunReader, RunRecord, RunWriter, Status, replace_file

Begin = Callable[[int], int]
Train = Callable[..., None]


def test_a_new_run_is_private(run: Path) -> None:
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    assert stat.S_IMODE((run / "control").stat().st_mode) == 0o700
    assert stat.S_IMODE((run / "run.json").stat().st_mode) == 0o600


def test_a_name_that_is_taken_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunExistsError, match="tinychat resume demo"):
        RunWriter(run).create_run()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x", encoding="utf-8")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for name in ("mine", "file"):
        with pytest.raises(RunExistsError):
            RunWriter(tmp_path / name).create_run()


def test_a_folder_that_a_dead_start_left_is_taken_over(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "deeper" / "demo")
    for _ in range(2):
        writer.create_run()
        writer.write_settings({})
    record = RunRecord(id="1", created_at="", version="0.1")
    writer.write_run(record)
    with pytest.raises(RunExistsError):
        writer.write_run(record)


def test_numbers_that_are_not_finite_are_null_and_named(
    run: Path, writer: RunWriter, begin: Begin, train: Train
) -> None:
    begin(0)
    train(1, loss=float("nan"))
    writer.sample_row(
        step=1, prompt="a", text="b", settings={"temperature": float("inf"), "stops": [1.5]}, seed=1
    )
    row, sample = next(RunReader(run).rows("metrics")), next(RunReader(run).rows("samples"))
    assert (row["train_loss"], row["nonfinite"]) == (None, ["train_loss"])
    assert sample["settings"] == {"temperature": None, "stops": [1.5]}
    assert sample["nonfinite"] == ["settings.temperature"]


@pytest.mark.parametrize(
    "text", ["line\nbreak\r\n", "\u2028\u2029\x85\x0b", "\0\x1b[31m", "\ud800 half", "é 漢字 🙂"]
)
def test_any_text_is_one_line_and_comes_back(
    run: Path, writer: RunWriter, begin: Begin, text: str
) -> None:
    begin(0)
    writer.sample_row(step=1, prompt=text, text=text, settings={}, seed=1)
    writer.sample_row(step=2, prompt="", text="", settings={}, seed=1)
    rows = list(RunReader(run).rows("samples"))
    assert [row["text"] for row in rows] == [text, ""]
    assert RunReader(run).paths.attempt(1).samples.read_bytes().count(b"\n") == 2


def test_status_is_counted_up_also_by_the_next_process(
    run: Path, writer: RunWriter, make_status: Callable[..., Status]
) -> None:
    assert [writer.status(make_status(step=step)).seq for step in (1, 2)] == [1, 2]
    assert RunWriter(run).status(make_status(eta_seconds=float("inf"))).seq == 3
    status = RunReader(run).status
    assert status is not None
    assert (status.step, status.eta_seconds) == (7, None)


def test_status_is_whole_at_every_look(
    run: Path, writer: RunWriter, make_status: Callable[..., Status]
) -> None:
    writer.status(make_status(step=0))
    enough = threading.Event()

    def beat() -> None:
        step = 0
        while not enough.is_set():
            step += 1
            writer.status(make_status(step=step, message="x" * (step % 5000)))

    threads = [threading.Thread(target=beat) for _ in range(2)]
    for thread in threads:
        thread.start()
    seen = [RunReader(run).status for _ in range(300)]
    enough.set()
    for thread in threads:
        thread.join()
    sequence = [status.seq for status in seen if status is not None]
    assert len(sequence) == 300
    assert sequence == sorted(sequence)


def test_rows_of_several_threads_do_not_mix(run: Path, begin: Begin, train: Train) -> None:
    begin(0)
    threads = [
        threading.Thread(target=lambda start=start: [train(start + i) for i in range(100)])
        for start in (0, 1000, 2000)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(RunReader(run).rows("metrics"))) == 300


def test_nothing_can_be_logged_before_an_attempt(writer: RunWriter) -> None:
    with pytest.raises(ValueError, match="no attempt"):
        writer.log_line("hello")


def test_a_line_after_a_torn_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for torn in (b'{"a": 1}\n{"b', b'{"a": 1}\n{"b": "\xc3', b"", b"\n"):
        path.write_bytes(torn)
        log = LineLog(path, Disk())
        log.append(b'{"c": 3}')
        log.append(b'{"d": 4}')
        log.close()
        assert path.read_bytes().split(b"\n")[-3:] == [b'{"c": 3}', b'{"d": 4}', b""]


class HalfFull(Disk):
    """A disk with room for some more bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def append(self, fd: int, data: bytes) -> int:
        if not self.room:
            raise OSError(28, os.strerror(28))
        part = data[: self.room]
        self.room -= len(part)
        return os.write(fd, part)


def test_a_line_that_did_not_fit_is_an_error_and_spoils_no_other(tmp_path: Path) -> None:
    disk = HalfFull(room=13)
    log = LineLog(tmp_path / "log.jsonl", disk)
    log.append(b'{"a": 1}')
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            log.append(b'{"b": 2}')
    disk.room = 1000
    log.append(b'{"c": 3}')
    log.close()
    assert log.path.read_bytes() == b'{"a": 1}\n{"b"\n{"c": 3}\n'


def test_a_failed_flush_is_never_tried_again(tmp_path: Path) -> None:
    class Unwell(Disk):
        flushes = 0

        def fsync(self, path: Path) -> None:
            self.flushes += 1
            raise OSError(5, os.strerror(5))

    disk = Unwell()
    log = LineLog(tmp_path / "log.jsonl", disk)
    for _ in range(3):
        with pytest.raises(OSError):
            log.sync()
    assert disk.flushes == 1
    log.close()


def test_sync_flushes_each_log_and_a_new_attempt_gets_new_files(
    writer: RunWriter, begin: Begin, recording: Callable[[], Any]
) -> None:
    disk = recording()
    watched = RunWriter(writer.paths.root, disk)
    with pytest.raises(ValueError):
        watched.sync(0)
    begin(0)
    writer.close()
    watched = RunWriter(writer.paths.root, disk)
    reader = RunReader(writer.paths.root)
    watched.begin_attempt(reader.attempts()[0][1])
    disk.log.clear()
    watched.sync(0)
    flushed = ["metrics.jsonl", "samples.jsonl", "events.jsonl"]
    assert disk.operations == [("fsync", name) for name in flushed]
    watched.close()


def test_after_a_failed_sync_rows_go_on_in_new_files(run: Path, begin: Begin) -> None:
    class Failing(Disk):
        left = 1

        def fsync(self, path: Path) -> None:
            if self.left and path.name == "samples.jsonl":
                self.left -= 1
                raise OSError(errno.EIO, "Input/output error", str(path))
            super().fsync(path)

    begin(0)
    disk = Failing()
    disk.left = 0
    writer = RunWriter(run, disk)
    writer.begin_attempt(RunReader(run).attempts()[0][1])
    writer.event_row("start", step=0, message="begins")
    writer.sync(4)
    writer.event_row("middle", step=4, message="goes on")
    disk.left = 1
    with pytest.raises(OSError):
        writer.sync(7)
    writer.sync(7)
    writer.event_row("end", step=7, message="ends")
    number, attempt = RunReader(run).attempts()[-1]
    assert (number, attempt.from_step, attempt.resume_class) == (3, 4, "A")
    assert "could not be made durable" in attempt.reason
    assert [row["kind"] for row in RunReader(run).rows("events")] == ["start", "middle", "end"]
    writer.close()


class Forgetful(Disk):
    """What is not flushed is lost in a power cut; so is what a failed flush left, for good: the
    system takes it for written from then on."""

    def __init__(self) -> None:
        self.failures = 0  # that are still to come, of the log `fails`
        self.fails = ""
        self.durable: dict[Path, bytes] = {}

    def fsync(self, path: Path) -> None:
        if self.failures and path.name == self.fails:
            self.failures -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        super().fsync(path)
        self.durable[path] = path.read_bytes()

    def cut_the_power(self, run: Path) -> None:
        for path in run.glob("attempts/*/*.jsonl"):
            path.write_bytes(self.durable.get(path, b""))


def write_all(writer: RunWriter, step: int) -> None:
    writer.train_row(
        step=step, train_loss=1.0, learning_rate=1e-3, grad_norm=1.0, tokens_seen=step,
        tokens_per_second=1.0, step_seconds=1.0,
    )  # fmt: skip
    writer.sample_row(step=step, prompt="a", text="b", settings={}, seed=1)
    writer.event_row("note", step=step, message="c")


def steps_of_all(run: Path) -> list[list[int]]:
    reader = RunReader(run)
    logs: list[Any] = ["metrics", "samples", "events"]
    forwards = [[row["step"] for row in reader.rows(log)] for log in logs]
    assert [[r["step"] for r in reader.rows_backwards(log)][::-1] for log in logs] == forwards
    return forwards


@pytest.mark.parametrize("failures", [1, 2, 3])
@pytest.mark.parametrize("fails", ["metrics.jsonl", "samples.jsonl", "events.jsonl"])
@pytest.mark.parametrize("synced", [0, 3])
def test_rows_whose_flush_failed_outlive_a_power_cut(
    synced: int, fails: str, failures: int, run: Path, begin: Begin
) -> None:
    begin(0)
    disk = Forgetful()
    writer = RunWriter(run, disk)
    writer.begin_attempt(RunReader(run).attempts()[0][1])
    for step in range(1, synced + 1):
        write_all(writer, step)
    if synced:
        writer.sync(synced)
        writer.event_row("checkpoint_saved", step=synced, message="after the flush")
    for step in range(synced + 1, 7):
        write_all(writer, step)
    disk.fails, disk.failures = fails, failures
    for _ in range(failures):
        with pytest.raises(OSError):
            writer.sync(6)
    writer.sync(6)
    before = steps_of_all(run)
    assert before[:2] == [[1, 2, 3, 4, 5, 6]] * 2, "each stands once"
    assert before[2] == sorted([1, 2, 3, 4, 5, 6, *([3] if synced else [])])
    write_all(writer, 7)
    writer.close()
    disk.cut_the_power(run)
    assert steps_of_all(run) == before


@pytest.mark.parametrize("failures", [0, 1])
def test_rows_of_an_attempt_that_another_follows_outlive_a_power_cut(
    failures: int, run: Path, begin: Begin
) -> None:
    begin(0)
    disk = Forgetful()
    writer = RunWriter(run, disk)
    record = RunReader(run).attempts()[0][1]
    writer.begin_attempt(record)
    for step in range(1, 4):
        write_all(writer, step)
    disk.fails, disk.failures = "events.jsonl", failures
    following = dataclasses.replace(record, from_step=3, reason="out of memory: rows 8 -> 4")
    if failures:
        with pytest.raises(OSError):
            writer.begin_attempt(following)
    writer.begin_attempt(following)
    write_all(writer, 4)
    writer.sync(4)
    writer.close()
    disk.cut_the_power(run)
    assert steps_of_all(run) == [[1, 2, 3, 4]] * 3
    assert RunReader(run).attempts()[-1][1].reason == following.reason


def test_new_files_for_a_stretch_keep_its_break(run: Path, begin: Begin) -> None:
    begin(0)
    disk = Forgetful()
    writer = RunWriter(run, disk)
    why = "resume: data_fingerprint aaaa -> bbbb"
    record = dataclasses.replace(
        RunReader(run).attempts()[0][1], from_step=6, resume_class="C", reason=why
    )
    writer.begin_attempt(record)
    write_all(writer, 6)
    disk.fails, disk.failures = "metrics.jsonl", 1
    lineage = RunReader(run).lineage
    with pytest.raises(OSError):
        writer.sync(6)
    writer.sync(6)
    write_all(writer, 7)
    disk.failures = 1
    with pytest.raises(OSError):
        writer.sync(7)
    assert len(RunReader(run).attempts()) == 4
    assert RunReader(run).lineage == lineage
    assert "data_fingerprint" in lineage
    writer.close()


@pytest.mark.skipif(sys.platform == "win32", reason="counts open files")
def test_an_attempt_that_could_not_begin_leaves_nothing_behind(
    run: Path, begin: Begin, refusing: Callable[..., Any], recording: Callable[[], Any]
) -> None:
    begin(0)
    record = RunReader(run).attempts()[0][1]
    counting = recording()
    writer = RunWriter(run, counting)
    writer.begin_attempt(record)
    writer.close()
    there, opened = sorted(run.rglob("*")), psutil.Process().num_fds()
    for nth in range(1, len(counting.operations) + 1):
        writer = RunWriter(run, refusing(nth, dead=False))
        with pytest.raises(OSError):
            writer.begin_attempt(record)
        assert sorted(run.rglob("*")) == there
        assert psutil.Process().num_fds() == opened


def test_replacing_a_file_on_a_failing_disk_keeps_the_old_one(
    tmp_path: Path, refusing: Callable
) -> None:
    path = tmp_path / "status.json"
    path.write_bytes(b"old")
    for nth in range(1, 4):
        with pytest.raises(OSError):
            replace_file(refusing(nth, dead=False), path, b"new")
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["status.json"]
    replace_file(Disk(), path, b"new")
    assert path.read_bytes() == b"new"


def test_settings_are_kept_as_given(run: Path, writer: RunWriter) -> None:
    settings = {"seed": {"value": 1, "source": "flag"}, "name": "Zoë"}
    writer.write_settings(settings)
    assert RunReader(run).settings == settings
    assert "Zoë" in json.dumps(settings, ensure_ascii=False)
