"""What the trainer's pen writes, and what it does on a disk that refuses."""

import errno
import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    writer = RunWriter(run, Failing())
    writer.begin_attempt(RunReader(run).attempts()[0][1])
    writer.event_row("start", step=0, message="begins")
    with pytest.raises(OSError):
        writer.sync(7)
    writer.sync(7)
    writer.event_row("end", step=7, message="ends")
    number, attempt = RunReader(run).attempts()[-1]
    assert (number, attempt.from_step, attempt.resume_class) == (3, 7, "A")
    assert "could not be made durable" in attempt.reason
    assert [row["kind"] for row in RunReader(run).rows("events")] == ["start", "end"]
    writer.close()


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
