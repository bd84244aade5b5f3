"""Reading a run, live or old, whole or hurt: what can be read is read, the rest is passed over.

Reads only; a monitor can look at a run from another machine or a week later. Whether the process
behind a status still lives is the charge of `liveness`.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from tinychat.errors import RunError, TinychatError
from tinychat.runs.layout import RunPaths, list_checkpoints, run_names
from tinychat.runs.lineage import lineage_line
from tinychat.runs.records import AttemptRecord, BestCheckpoint, RunRecord, Status, parse

Row = dict[str, Any]
Log = Literal["metrics", "samples", "events"]

_BLOCK_BYTES = 64 * 1024


class RunReader:
    """A view of one run folder. Nothing is kept: every look reads the files anew."""

    def __init__(self, run: Path) -> None:
        self.paths = RunPaths(run)

    @property
    def name(self) -> str:
        return self.paths.root.absolute().name

    @property
    def run(self) -> RunRecord:
        """run.json. Raises RunError if it is missing or damaged, FormatError if it is newer."""
        return RunRecord.from_json(_read(self.paths.run_json), str(self.paths.run_json))

    @property
    def settings(self) -> Row:
        """settings.json as it stands. Raises RunError if it is missing or damaged."""
        try:
            return parse(_read(self.paths.settings_json))
        except ValueError as error:
            raise RunError(f"{self.paths.settings_json} is damaged: {error}.") from None

    @property
    def status(self) -> Status | None:
        """status.json, or None if it is missing or damaged. Raises FormatError if it is newer."""
        try:
            return Status.from_json(_read(self.paths.status_json), str(self.paths.status_json))
        except RunError:
            return None

    def attempts(self) -> list[tuple[int, AttemptRecord]]:
        """(number, record) of each attempt, oldest first; one without a record never began."""
        found = []
        for number in self.paths.attempt_numbers():
            path = self.paths.attempt(number).attempt_json
            try:
                found.append((number, AttemptRecord.from_json(_read(path), str(path))))
            except RunError:
                continue
        return found

    def lost_attempts(self) -> list[int]:
        """Attempts that wrote rows, but whose record is gone: nobody can use those rows."""
        known = {number for number, _ in self.attempts()}
        return [
            number
            for number in self.paths.attempt_numbers()
            if number not in known and _size(self.paths.attempt(number).metrics)
        ]

    @property
    def lineage(self) -> str:
        """How far back the weights are bit-exact, in one line; empty if nothing has begun."""
        attempts = self.attempts()
        return lineage_line(attempts) if attempts else ""

    @property
    def data_fingerprint(self) -> str | None:
        """Of the data that the run goes on with: that of the newest attempt that says one."""
        told = [record.data_fingerprint for _, record in self.attempts()]
        return next((each for each in reversed(told) if each), self.run.data_fingerprint)

    @property
    def replay_fingerprint(self) -> str | None:
        """Of the old data that the run goes on with; None for a run that mixes none in."""
        told = [record.replay_fingerprint for _, record in self.attempts()]
        replay = self.run.replay
        return next((each for each in reversed(told) if each), replay and replay.fingerprint)

    def rows(self, log: Log) -> Iterator[Row]:
        """The logical log, oldest row first: each step once, as the weights really went.

        An attempt that starts at step s masks the rows of older attempts with step > s; one that
        takes over what could not be made durable masks that too. Lines that are torn or are not
        JSON objects are passed over.
        """
        for number, limit, sizes in self._limits():
            for row in _rows(self._log_file(number, log), sizes.get(log)):
                if _counts(row, limit):
                    yield row

    def history(self, log: Log) -> Iterator[Row]:
        """Every row that was ever written, the masked ones too, oldest first."""
        for number in self.paths.attempt_numbers():
            yield from _rows(self._log_file(number, log))

    def rows_backwards(self, log: Log) -> Iterator[Row]:
        """The logical log, newest row first; reads only as far back as it is asked."""
        for number, limit, sizes in reversed(self._limits()):
            for row in _rows_backwards(self._log_file(number, log), sizes.get(log)):
                if _counts(row, limit):
                    yield row

    def last(self, log: Log, kind: str | None = None) -> Row | None:
        """The newest row that counts, of one kind if `kind` is given."""
        rows = self.rows_backwards(log)
        return next((row for row in rows if kind is None or row.get("kind") == kind), None)

    def checkpoints(self) -> list[int]:
        """The steps of the published checkpoints, ascending."""
        return list_checkpoints(self.paths.root)

    @property
    def latest(self) -> int | None:
        """The step of the newest checkpoint of the latest stretch of steps.

        A run that was extended from an earlier step still holds later ones of its old end.
        """
        steps, status = self.checkpoints(), self.status
        if status is not None and status.latest in steps:
            return status.latest
        return max(steps, default=None)

    @property
    def best(self) -> BestCheckpoint | None:
        """The published checkpoint with the lowest validation loss, as far as is known; of
        preference tuning, with the lowest loss of what was held out, if any was."""
        steps = set(self.checkpoints())
        status = self.status
        if status is not None and status.best is not None and status.best.step in steps:
            return status.best
        evaluated = [
            row
            for row in self.rows("metrics")
            if row.get("kind") == "eval"
            and row.get("step") in steps
            and isinstance(row.get("val_loss"), int | float)
        ]
        tuned = [row for row in evaluated if isinstance(row.get("preference_loss"), int | float)]
        by = "preference_loss" if tuned else "val_loss"
        later = [row for row in tuned if row["step"]]  # whoever tunes wants no copy of the parent
        best = min(later or tuned or evaluated, key=lambda row: row[by], default=None)
        if best is None:
            return None
        return BestCheckpoint(step=best["step"], val_loss=float(best["val_loss"]))

    def log_tail(self, lines: int) -> list[str]:
        """The last lines of train.log, oldest first, as they were written (not made harmless)."""
        found: list[str] = []
        for number in reversed(self.paths.attempt_numbers()):
            for line in _lines_backwards(self.paths.attempt(number).train_log):
                if len(found) == lines:
                    return found[::-1]
                found.append(line.decode("utf-8", errors="replace"))
        return found[::-1]

    def _limits(self) -> list[tuple[int, int | None, Mapping[str, int]]]:
        """(attempt, the last step for which its rows count, the bytes that count of those logs
        that are not whole), oldest first; None is no limit."""
        limits: list[tuple[int, int | None, Mapping[str, int]]] = []
        lowest: int | None = None
        sizes: dict[int, Mapping[str, int]] = {}
        for number, record in reversed(self.attempts()):
            limits.append((number, lowest, sizes.get(number, {})))
            if record.takes_over:
                sizes[record.takes_over.get("attempt", 0)] = record.takes_over
            lowest = record.from_step if lowest is None else min(lowest, record.from_step)
        return limits[::-1]

    def _log_file(self, number: int, log: Log) -> Path:
        attempt = self.paths.attempt(number)
        return {
            "metrics": attempt.metrics,
            "samples": attempt.samples,
            "events": attempt.events,
        }[log]


def list_runs(checkpoints: Path) -> list[RunReader]:
    """The runs in a folder, newest first. A run whose run.json cannot be read comes last."""
    readers = [RunReader(checkpoints / name) for name in run_names(checkpoints)]
    return sorted(readers, key=_created_at, reverse=True)


def _created_at(reader: RunReader) -> str:
    try:
        return reader.run.created_at
    except TinychatError:
        return ""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from None


def _counts(row: Row, limit: int | None) -> bool:
    step = row.get("step")
    return limit is None or not isinstance(step, int) or step <= limit


def _rows(path: Path, size: int | None = None) -> Iterator[Row]:
    try:
        with open(path, "rb") as file:
            for line in file:
                if size is not None and (size := size - len(line)) < 0:
                    return
                if (row := parse_line(line)) is not None:
                    yield row
    except FileNotFoundError:
        return


def _rows_backwards(path: Path, size: int | None) -> Iterator[Row]:
    for line in _lines_backwards(path, size):
        if (row := parse_line(line)) is not None:
            yield row


def _lines_backwards(path: Path, size: int | None = None) -> Iterator[bytes]:
    """The lines of a file, or of its first bytes, last first, without newlines; empty ones are left
    out."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        position = file.seek(0, os.SEEK_END)
        position = position if size is None else min(position, size)
        head = b""  # the beginning of a line whose rest lies in the block after
        while position > 0:
            length = min(_BLOCK_BYTES, position)
            position -= length
            file.seek(position)
            head, *lines = (file.read(length) + head).split(b"\n")
            yield from (line for line in reversed(lines) if line)
        if head:
            yield head


def parse_line(line: bytes) -> Row | None:
    """The row on a line, or None. A power cut may leave a block of NULs before it."""
    try:
        row = json.loads(line.strip(b"\0 \r\n"), parse_constant=lambda word: None)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
