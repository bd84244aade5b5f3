"""Everything that a run has logged, read once and followed while it grows.

The same logical log as `runs.RunReader` gives, in a form that a screen can draw at once: an attempt
that starts at step s masks what older attempts wrote beyond s, and one that takes over what could
not be made durable masks that.
"""

import math
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, islice, repeat
from operator import eq, itemgetter, le
from pathlib import Path
from typing import Any

from tinychat.errors import FormatError, RunError
from tinychat.runs import AttemptRecord, EvalRow, Row, RunPaths, TrainRow
from tinychat.watch.table import Table, to_numbers
from tinychat.watch.tail import AttemptsLog, FileReplacedError, Signature

MAX_SAMPLES = 20_000  # rows kept; older rounds are dropped
MAX_EVENTS = 5_000
MAX_TEXT = 100_000  # characters of one text that are kept
MAX_SAMPLE_TEXT = 50_000_000  # characters of all samples that are kept
_AXES = {"step", "time", "tokens_seen"}
_TRAIN = [name for name in TrainRow.__annotations__ if name not in _AXES]
_EVAL = [name for name in EvalRow.__annotations__ if name not in _AXES]
_LAST_STEP = 2**63 - 1
_NO_LIMIT = _LAST_STEP


@dataclass
class Round:
    """The samples of one step, in the order of their writing."""

    step: int
    time: float  # Unix seconds of the first, 0.0 if it has none
    samples: list[Row] = field(default_factory=list)
    characters: int = 0  # of all its texts


class History:
    """The logs of one run. One thread calls `follow`; others read while they hold `lock`.

    `train` and `evals` hold the numbers, `samples` the rounds and `events` what happened, each
    oldest first. `samples_dropped` counts the oldest samples, which are not kept beyond
    MAX_SAMPLES; of the events the newest MAX_EVENTS are. `share` says how much of what is there
    has been read (1.0: all), `skipped` how many lines or rows could not be used and
    `skipped_where` in which file lies the newest of them. `problem` is a sentence while something
    cannot be read, else "". `version` grows with each change.
    """

    def __init__(self, run: Path) -> None:
        self.lock = threading.Lock()
        self.version = 0
        self.share = 0.0
        self.problem = ""
        self.train = Table(_TRAIN)
        self.evals = Table(_EVAL)
        self.samples: list[Round] = []
        self.samples_dropped = 0
        self.events: list[Row] = []
        self.attempts: list[tuple[int, AttemptRecord]] = []
        self._paths = RunPaths(run)
        self._records: dict[int, tuple[Signature, AttemptRecord | None]] = {}
        self._limits: dict[int, int] = {}  # the last step for which an attempt's rows count
        self._began_at: float | None = None  # time of the run's first row
        self._takers: dict[str, Callable[[AttemptsLog, list[Row], int], None]] = {
            "events.jsonl": self._take_events,
            "metrics.jsonl": self._take_metrics,
            "samples.jsonl": self._take_samples,
        }
        self._logs = {name: AttemptsLog(name) for name in self._takers}

    @property
    def skipped(self) -> int:
        return sum(log.skipped for log in self._logs.values())

    @property
    def skipped_where(self) -> str:
        logs = self._logs.values()
        return next((log.skipped_where for log in logs if log.skipped_where), "")

    @property
    def reading(self) -> bool:
        """Whether there is more to read at once, and nothing hinders it."""
        return self.share < 1.0 and not self.problem

    def follow(self, seconds: float = 0.05) -> bool:
        """Read what is new, for about that long at most; whether anything was or changed.

        What stands in the files, or that they are gone, raises nothing: see `problem`.
        """
        deadline = time.perf_counter() + seconds
        before = (self.version, self.share, self.problem, self.skipped)
        problem = self._find_attempts()
        for name in self._logs:
            self._guarded(name, lambda log: log.look())
        going = list(self._logs)
        while going:  # each log gets its turn
            going = [name for name in going if self._guarded(name, self._take_block)]
            if time.perf_counter() > deadline:
                break
        logs = self._logs.values()
        size = sum(log.size for log in logs)
        self.share = sum(log.offset for log in logs) / size if size else 1.0
        self.problem = problem or next((log.problem for log in logs if log.problem), "")
        return before != (self.version, self.share, self.problem, self.skipped)

    def _guarded(self, name: str, read: Callable[[AttemptsLog], Any]) -> Any:
        """Read of one log; if a file of it was replaced, forget the log and begin anew."""
        try:
            return read(self._logs[name])
        except FileReplacedError:
            self._begin_anew(name)
            return True

    def _take_block(self, log: AttemptsLog) -> bool:
        block = log.read()
        if block is None:
            return False
        number, rows = block
        if rows:
            with self.lock:
                self._takers[log.name](log, rows, self._limits.get(number, _NO_LIMIT))
                self.version += 1
        return True

    # attempts

    def _find_attempts(self) -> str:
        """Learn which attempts there are; returns what hinders it."""
        try:
            numbers = self._paths.attempt_numbers()
            if not numbers and not self._paths.root.is_dir():
                return f"{self._paths.root} is not there{' any more' if self.attempts else ''}."
            problem = self._read_records(numbers)
        except OSError as error:
            return f"{self._paths.attempts} cannot be read: {error.strerror}."
        if self._begun()[: len(self.attempts)] != self.attempts:  # another run of the same name
            self._records = {each: self._records[each] for each in numbers if each in self._records}
        if self._begun() != self.attempts:
            self._set_attempts(self._begun())
        return problem

    def _begun(self) -> list[tuple[int, AttemptRecord]]:
        return [(each, record) for each, (_, record) in sorted(self._records.items()) if record]

    def _read_records(self, numbers: Sequence[int]) -> str:
        problem = ""
        for number in numbers:
            path = self._paths.attempt(number).attempt_json
            try:
                about = path.stat()
                signature = (about.st_ino, about.st_size, about.st_mtime_ns)
                known = self._records.get(number)
                if known is not None and known[0] == signature:
                    continue
                self._records[number] = (signature, _record(path))
            except OSError:
                continue  # it never began, or is gone; what was read of it stays
            except FormatError as error:
                problem = str(error)
        return problem

    def _set_attempts(self, found: list[tuple[int, AttemptRecord]]) -> None:
        known = len(self.attempts)
        grown = found[:known] == self.attempts
        with self.lock:
            self.attempts = found
            self._limits = _limits(found)
            self.version += 1
            # what is taken over may have been read from the old files already
            grown = grown and not any(record.takes_over for _, record in found[known:])
            if grown:
                for number, record in found[known:]:
                    self._add_attempt(number, record.from_step)
        if not grown:
            for name in self._logs:
                self._begin_anew(name)

    def _add_attempt(self, number: int, from_step: int) -> None:
        for log in self._logs.values():
            log.add(number, self._paths.attempt(number).root)
        for table in (self.train, self.evals):
            table.truncate(bisect_right(table.steps, from_step))
        while self.samples and self.samples[-1].step > from_step:
            self.samples.pop()

    def _begin_anew(self, name: str) -> None:
        log = AttemptsLog(name)
        taken_over = _taken_over(self.attempts)
        for number, _ in self.attempts:
            counts = taken_over.get(number, {}).get(name.removesuffix(".jsonl"))
            log.add(number, self._paths.attempt(number).root, counts)
        log.look()
        with self.lock:
            self._logs[name] = log
            self.version += 1
            if name == "metrics.jsonl":
                self.train, self.evals = Table(_TRAIN), Table(_EVAL)
                self._began_at = None
            elif name == "samples.jsonl":
                self.samples, self.samples_dropped = [], 0
            else:
                self.events = []

    # rows

    def _take_metrics(self, log: AttemptsLog, rows: list[Row], limit: int) -> None:
        if self._began_at is None:
            times = to_numbers(_values(rows, "time"))
            self._began_at = next(filter(math.isfinite, times), None)
        kinds = _values(rows, "kind")
        for table, kind in ((self.train, "train"), (self.evals, "eval")):
            if kind not in kinds:
                continue
            chosen = list(compress(rows, map(eq, kinds, repeat(kind))))
            last = table.steps[-1] if len(table) else 0
            chosen, steps, skipped = _usable(chosen, last, limit)
            log.skip(skipped)
            if kind == "train":
                tokens = _values(chosen, "tokens_seen")
            else:
                tokens = [self._tokens_at(step) for step in steps]
            times = _values(chosen, "time")
            table.extend(chosen, steps, tokens, times, self._began_at or 0.0)

    def _tokens_at(self, step: int) -> float:
        row = bisect_right(self.train.steps, step) - 1
        return self.train.tokens[row] if row >= 0 else 0.0

    def _take_samples(self, log: AttemptsLog, rows: list[Row], limit: int) -> None:
        last = self.samples[-1].step if self.samples else 0
        chosen, steps, skipped = _usable(rows, last, limit)
        log.skip(skipped)
        for step, row in zip(steps, chosen, strict=True):
            if not self.samples or self.samples[-1].step != step:
                time_ = to_numbers([row.get("time")])[0]
                self.samples.append(Round(step, time_ if math.isfinite(time_) else 0.0))
            row, characters = _cut(row)
            self.samples[-1].samples.append(row)
            self.samples[-1].characters += characters
        self._drop_old_rounds()

    def _drop_old_rounds(self) -> None:
        kept = sum(len(each.samples) for each in self.samples)
        characters = sum(each.characters for each in self.samples)
        drop = 0
        while drop < len(self.samples) - 1 and (kept > MAX_SAMPLES or characters > MAX_SAMPLE_TEXT):
            kept -= len(self.samples[drop].samples)
            characters -= self.samples[drop].characters
            self.samples_dropped += len(self.samples[drop].samples)
            drop += 1
        del self.samples[:drop]

    def _take_events(self, log: AttemptsLog, rows: list[Row], limit: int) -> None:
        self.events.extend(_cut(row)[0] for row in rows)
        del self.events[:-MAX_EVENTS]


def _record(path: Path) -> AttemptRecord | None:
    try:
        return AttemptRecord.from_json(path.read_bytes(), str(path))
    except RunError:
        return None


def _limits(attempts: Iterable[tuple[int, AttemptRecord]]) -> dict[int, int]:
    limits: dict[int, int] = {}
    lowest = _NO_LIMIT
    for number, record in reversed(list(attempts)):
        limits[number] = lowest
        lowest = min(lowest, record.from_step)
    return limits


def _taken_over(attempts: Iterable[tuple[int, AttemptRecord]]) -> dict[int, Mapping[str, int]]:
    """How many bytes still count of each log of an attempt whose end another one has taken over:
    the rule of `runs.RunReader`."""
    records = [record for _, record in reversed(list(attempts)) if record.takes_over]
    return {record.takes_over.get("attempt", 0): record.takes_over for record in records}


def _usable(rows: list[Row], last: int, limit: int) -> tuple[list[Row], list[int], int]:
    """The rows that count with their steps, which never go down from `last`; how many others are
    no rows at all (those beyond `limit` are: a later attempt masks them)."""
    steps = _values(rows, "step")
    if (
        set(map(type, steps)) == {int}
        and last <= steps[0]
        and steps[-1] <= limit
        and all(map(le, steps, islice(steps, 1, None)))
    ):
        return rows, steps, 0
    chosen: list[Row] = []
    usable: list[int] = []
    masked = 0
    for row, step in zip(rows, steps, strict=True):
        if type(step) is int and limit < step <= _LAST_STEP:
            masked += 1
        elif type(step) is int and last <= step <= limit:
            chosen.append(row)
            usable.append(step)
            last = step
    return chosen, usable, len(rows) - len(chosen) - masked


def _values(rows: list[Row], name: str) -> list[Any]:
    """The value of a key in each row, None where it is not there. It is called a million times."""
    try:
        return list(map(itemgetter(name), rows))
    except KeyError:
        return [row.get(name) for row in rows]


def _cut(row: Row) -> tuple[Row, int]:
    """The row with each text cut to MAX_TEXT, and how many characters it has."""
    characters = sum([len(value) for value in row.values() if isinstance(value, str)])
    if characters <= MAX_TEXT:
        return row, characters
    texts = {key: value[:MAX_TEXT] for key, value in row.items() if isinstance(value, str)}
    return row | texts, sum(map(len, texts.values()))
