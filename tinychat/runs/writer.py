"""The trainer's pen: everything a training process writes into its run, except checkpoints.

One writer at a time, kept so by `lock.RunLock`. Nothing is ever truncated or rewritten: a resumed
or rolled-back run begins a new attempt. Safe to use from several threads (a beat may be written
while the loop is busy).
"""

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar, Unpack

from tinychat.errors import RunError, RunExistsError
from tinychat.runs.durable import NO_ROOM, Disk, LineLog, remove_tree, replace_file
from tinychat.runs.layout import TEMPORARY, RunPaths
from tinychat.runs.reader import parse_line
from tinychat.runs.records import (
    AttemptRecord,
    EvalRow,
    RunRecord,
    SampleRow,
    Status,
    TrainRow,
    encode_row,
    finite,
)

# What a start that died before run.json may have left; such a folder is taken over.
_HALF_BORN = {
    "attempts", "control", "examples.jsonl", "lock", "reference.json", "settings.json",
    "status.json", "tokenizer.json",
}  # fmt: skip


_ROWS = ("metrics", "samples", "events")


@dataclasses.dataclass
class _Logs:
    """The open files of the attempt in progress, and how much of them a power cut spares."""

    number: int
    record: AttemptRecord
    files: dict[str, LineLog]  # the logs of rows, and train_log
    step: int  # when they were last made durable
    sizes: dict[str, int]  # in bytes, by then


T = TypeVar("T")


class Patience(Protocol):
    """Carries out a write, and decides what to do if the disk refuses."""

    def __call__(self, action: Callable[[], T], /) -> T: ...


def once(action: Callable[[], T]) -> T:
    """Do it, and let it fail."""
    return action()


class RunWriter:
    """Writes one run. Every method raises OSError if the disk refuses.

    Unless `patiently` says otherwise: it carries out each write of a row, a record or the status,
    and may try it again.
    """

    def __init__(self, run: Path, disk: Disk | None = None) -> None:
        self.paths = RunPaths(run)
        self.patiently: Patience = once
        self._disk = disk or Disk()
        self._logs: _Logs | None = None
        self._seq = _last_seq(self.paths)
        self._mutex = threading.RLock()

    def create_run(self) -> None:
        """Make the run's private folder (or take over one that a dead start left).

        Raises RunExistsError if the name is taken by a run or by anything else.
        """
        root = self.paths.root
        root.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._disk.make_folder(root)
            self._disk.fsync_folder(root.parent)
        except FileExistsError:
            self._refuse_unless_half_born()
        for folder in (self.paths.attempts, self.paths.control):
            if not folder.exists():
                self._disk.make_folder(folder)
        self._disk.fsync_folder(root)

    def write_run(self, record: RunRecord) -> None:
        """Write run.json. From then on the folder is a run, so this comes last at its birth.

        Raises RunExistsError if there is one already.
        """
        if self.paths.run_json.exists():
            raise self._exists()
        replace_file(self._disk, self.paths.run_json, record.to_json())

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write settings.json: the resolved settings and where each came from."""
        text = json.dumps(finite(dict(settings)), ensure_ascii=False, indent=2) + "\n"
        data = text.encode("utf-8")
        self.patiently(lambda: replace_file(self._disk, self.paths.settings_json, data))

    def write_tokenizer(self, tokenizer_json: str) -> None:
        """Write tokenizer.json, so that the run is complete by itself."""
        replace_file(self._disk, self.paths.tokenizer_json, tokenizer_json.encode("utf-8"))

    def write_examples(self, examples: bytes, reference: bytes | None) -> None:
        """Write examples.jsonl and reference.json, of a run of preference tuning."""
        replace_file(self._disk, self.paths.examples_jsonl, examples)
        if reference is not None:
            replace_file(self._disk, self.paths.reference_json, reference)

    def add_example(self, line: bytes) -> None:
        """One line more in examples.jsonl; it survives a power cut once this returns.

        Where the disk does not say so it is written again: whoever reads takes a line that stands
        twice once.
        """
        self.patiently(lambda: self._add_example(line))

    def _add_example(self, line: bytes) -> None:
        log = LineLog(self.paths.examples_jsonl, self._disk)
        try:
            log.append(line)
            log.sync()
        finally:
            log.close()

    def begin_attempt(self, record: AttemptRecord) -> int:
        """Begin an unbroken stretch of steps in a folder of its own; returns its number.

        Rows of older attempts beyond `record.from_step` no longer count; all others are durable
        before that.
        """
        return self.patiently(lambda: self._begin_attempt(record))

    def _begin_attempt(self, record: AttemptRecord) -> int:
        with self._mutex:
            if self._logs is not None:
                self._flush(self._logs)
            return self._open_attempt(record, {})

    def _open_attempt(self, record: AttemptRecord, rows: Mapping[str, list[bytes]]) -> int:
        """New files that begin with these rows. If the disk refuses, nothing of it stays."""
        number = max(self.paths.attempt_numbers(), default=0) + 1
        paths = self.paths.attempt(number)
        files: dict[str, LineLog] = {}
        self._disk.make_folder(paths.root)
        try:
            self._disk.fsync_folder(self.paths.attempts)
            for name in (*_ROWS, "train_log"):
                files[name] = LineLog(getattr(paths, name), self._disk)
                for line in rows.get(name, ()):
                    files[name].append(line)
            # last, because with it the attempt has begun
            replace_file(self._disk, paths.attempt_json, record.to_json())
        except BaseException:
            for log in files.values():
                log.close()
            with suppress(OSError):
                remove_tree(self._disk, paths.root)
            raise
        self.close()
        self._logs = _Logs(number, record, files, record.from_step, dict.fromkeys(_ROWS, 0))
        return number

    def train_row(self, **row: Unpack[TrainRow]) -> None:
        """One update, into metrics.jsonl. `time` is filled in if it is not given."""
        self._append("metrics", {"kind": "train", **row})

    def eval_row(self, **row: Unpack[EvalRow]) -> None:
        """One evaluation, into metrics.jsonl; keys beyond EvalRow are kept."""
        self._append("metrics", {"kind": "eval", **row})

    def sample_row(self, **row: Unpack[SampleRow]) -> None:
        """One sampled text, into samples.jsonl."""
        self._append("samples", row)

    def event_row(self, kind: str, *, step: int | None, message: str, **more: Any) -> None:
        """Something that happened, into events.jsonl; `more` are keys of this kind of event."""
        row = {"kind": kind, "step": step, "message": message, **more}
        self._append("events", row)

    def log_line(self, text: str) -> None:
        """A line of what a person would have seen, into train.log."""
        data = text.encode("utf-8", errors="backslashreplace")
        self.patiently(lambda: self._write_line("train_log", data))

    def status(self, status: Status) -> Status:
        """Replace status.json, counting `seq` up; returns what was written.

        Costs a rename but no flush; the caller sees to it that this is at most once a second.
        """
        return self.patiently(lambda: self._write_status(status))

    def _write_status(self, status: Status) -> Status:
        with self._mutex:
            self._seq += 1
            status = dataclasses.replace(status, seq=self._seq)
            data = status.to_json()
            try:
                replace_file(self._disk, self.paths.status_json, data, sync=False)
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                # that there is no room is just what others should see
                self._disk.overwrite(self.paths.status_json, data)
        return status

    def sync(self, step: int) -> None:
        """Make all rows up to `step` survive a power cut; comes before a checkpoint is published.

        After an OSError the files so far prove nothing any more: the system may believe that what
        it lost is written. So it is tried again in those of a new attempt, which repeats what came
        after the last time that this went well.
        """
        self.patiently(lambda: self._sync(step))

    def _sync(self, step: int) -> None:
        with self._mutex:
            logs = self._open
            sizes = {name: logs.files[name].size() for name in _ROWS}
            self._flush(logs)
            logs.step, logs.sizes = step, sizes

    def _flush(self, logs: _Logs) -> None:
        try:
            for name in _ROWS:
                logs.files[name].sync()
        except OSError as error:
            self._take_over(logs, str(error.strerror))
            raise

    def _take_over(self, logs: _Logs, why: str) -> None:
        """Go on in new files, with the rows that may be lost in the old ones."""
        rows = {name: _whole_lines(logs.files[name].path, logs.sizes[name]) for name in _ROWS}
        takes_over = {"attempt": logs.number, **logs.sizes}
        again = dataclasses.replace(logs.record, from_step=logs.step, takes_over=takes_over)
        if logs.step > logs.record.from_step:  # else it stands for the same stretch, and its break
            why = f"new files: the old ones could not be made durable ({why})"
            again = dataclasses.replace(again, reason=why, resume_class="A", changed=())
        self._open_attempt(again, rows)

    def close(self) -> None:
        """Close the attempt's files."""
        with self._mutex:
            logs, self._logs = self._logs, None
            if logs is not None:
                for log in logs.files.values():
                    log.close()

    @property
    def _open(self) -> _Logs:
        if self._logs is None:
            raise ValueError("no attempt has begun")
        return self._logs

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        line = encode_row({"time": round(time.time(), 3), **row})
        self.patiently(lambda: self._write_line(name, line))

    def _write_line(self, name: str, line: bytes) -> None:
        with self._mutex:
            self._open.files[name].append(line)  # asked anew: a new attempt has other files

    def _refuse_unless_half_born(self) -> None:
        root = self.paths.root
        names = {path.name for path in root.iterdir()} if root.is_dir() else {""}
        if any(name not in _HALF_BORN and not name.startswith(TEMPORARY) for name in names):
            raise self._exists()

    def _exists(self) -> RunExistsError:
        root = self.paths.root
        return RunExistsError(
            f"{root} exists already: choose another name, "
            f"or continue it with `tinychat resume {root.name}`."
        )


def _whole_lines(path: Path, start: int) -> list[bytes]:
    """The rows of a log that lie wholly beyond its first `start` bytes."""
    *lines, _torn = path.read_bytes()[start:].split(b"\n")
    return [line for line in lines if parse_line(line) is not None]


def _last_seq(paths: RunPaths) -> int:
    try:
        return Status.from_json(paths.status_json.read_bytes(), "status.json").seq
    except (OSError, RunError):
        return 0
