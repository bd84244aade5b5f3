"""Runs in a few numbers each, looked at again and again but read only where files have changed."""

import itertools
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from tinychat.errors import TinychatError
from tinychat.runs import (
    BestCheckpoint,
    ProcessIdentity,
    Row,
    RunReader,
    Status,
    TuneRecord,
    folder_label,
    process_identity,
    true_state,
)
from tinychat.runs.layout import run_names
from tinychat.watch.states import LIVE
from tinychat.watch.tail import (
    BLOCK_BYTES,
    FileReplacedError,
    LogTail,
    Signature,
    parse_lines,
    signature,
)
from tinychat.words import NOT_FINITE, NOTHING, loss, shares

# what only some runs measure when they evaluate
ONLY_SOME_RUNS = ("replay_val_loss", "preference_loss", "preference_accuracy", "reward_margin")
_ROWS_BACK = 5000  # how far back the newest evaluation is looked for
_RECENT_ROWS = 500  # of training, behind the sparkline
_RECENT_POINTS = 32
_MOST_SAMPLES = 100


@dataclass(frozen=True)
class Overview:
    """One run in a few numbers. What cannot be read is None, and `reason` says why."""

    name: str
    path: Path
    state: str  # a true state, or "unknown" where there is nothing to judge by
    reason: str  # a sentence, or empty
    step: int | None = None
    max_steps: int | None = None
    tokens_seen: int | None = None
    train: Row | None = None  # the newest row of that kind
    eval: Row | None = None
    start: Row | None = None  # the evaluation before the first step, where there was one
    eta_seconds: float | None = None  # None also when nothing more is coming
    age_seconds: float | None = None  # since the last beat
    status: Status | None = None
    best: BestCheckpoint | None = None
    latest: int | None = None  # step of the newest checkpoint
    lineage: str = ""  # how far back the weights are bit-exact, in one line
    parameters: int | None = None
    created_at: str | None = None
    parent: str | None = None  # the checkpoint it grew from: demo@300, or a model folder's name
    tune: TuneRecord | None = None  # what it learns from, in preference tuning
    recent: tuple[float, ...] = ()  # the last training losses, at most 32 means, oldest first

    def number(self, key: str) -> float | None:
        """A number of the newest train or eval row."""
        for row in (self.train, self.eval):
            value = None if row is None else finite_number(row.get(key))
            if value is not None:
                return value
        return None

    def loss_word(self, key: str) -> str:
        """A number of these rows as a loss is written: 1.842; NaN/∞ is said, not hidden."""
        told = (loss_of(row, key) for row in (self.train, self.eval) if row is not None)
        return next((word for word in told if word != NOTHING), NOTHING)

    def evaluated(self, key: str) -> float | None:
        """A number of the newest evaluation."""
        return None if self.eval is None else finite_number(self.eval.get(key))

    @property
    def follows(self) -> bool:
        """Whether it learns from judgements as they come."""
        return self.tune is not None and self.tune.follows

    @property
    def old_val_loss_rise(self) -> float | None:
        """By how much val_loss on what the weights had learnt before has risen since the start, in
        nats per token; None for a run that does not watch it."""
        if self.start is None or self.eval is None:
            return None
        key = "replay_val_loss" if "replay_val_loss" in self.eval else "val_loss"
        before, now = finite_number(self.start.get(key)), finite_number(self.eval.get(key))
        return None if before is None or now is None else now - before

    def to_json(self) -> Row:
        """What `tinychat runs --json` and `tinychat-monitor --json` tell of a run."""
        return {
            "name": self.name,
            "path": str(self.path.absolute()),
            "state": self.state,
            "reason": self.reason,
            "step": self.step,
            "max_steps": self.max_steps,
            "tokens_seen": self.tokens_seen,
            "eta_seconds": self.eta_seconds,
            "age_seconds": None if self.age_seconds is None else round(self.age_seconds, 1),
            "train_loss": self.number("train_loss"),
            "val_loss": self.number("val_loss"),
            "bits_per_byte": self.number("bits_per_byte"),
            **{key: self.evaluated(key) for key in ONLY_SOME_RUNS},
            "old_val_loss_rise": self.old_val_loss_rise,
            "tokens_per_second": self.number("tokens_per_second"),
            "nonfinite": [
                key for key in ("train_loss", "val_loss") if self.loss_word(key) == NOT_FINITE
            ],
            "best": best_json(self.best),
            "latest": self.latest,
            "lineage": self.lineage,
            "parameters": self.parameters,
            "created_at": self.created_at,
        }


def loss_of(row: Row, key: str) -> str:
    """A loss of one row as it is written; a dash if there is none."""
    nonfinite = row.get("nonfinite")
    if isinstance(nonfinite, list) and key in nonfinite:
        return NOT_FINITE
    return loss(finite_number(row.get(key)))


def finite_number(value: Any) -> float | None:
    """A value of a log if it is a number to calculate with, else None."""
    try:
        return value if type(value) in (int, float) and math.isfinite(value) else None
    except OverflowError:  # an integer beyond all floats
        return None


def best_json(best: BestCheckpoint | None) -> Row | None:
    """A best checkpoint as JSON."""
    return None if best is None else {"step": best.step, "val_loss": best.val_loss}


def parent_label(parent: str | None) -> str | None:
    """A parent as run.json names it, as people do: demo@300 for the checkpoint's folder."""
    return None if parent is None else folder_label(Path(parent))


def runs_json(checkpoints: Path, overviews: Sequence[Overview]) -> Row:
    """All runs of a folder as one JSON document."""
    return {
        "format": 1,
        "checkpoints": str(checkpoints.absolute()),
        "runs": [each.to_json() for each in overviews],
    }


def newest_samples(reader: RunReader) -> list[Row]:
    """The samples of the newest step that has some, in their order; at most a hundred."""
    newest: list[Row] = []
    for row in itertools.islice(reader.rows_backwards("samples"), _MOST_SAMPLES):
        if newest and row.get("step") != newest[0].get("step"):
            break
        newest.append(row)
    return newest[::-1]


class Watch:
    """Keeps what it read of each run until one of the run's files changes."""

    def __init__(self, checkpoints: Path) -> None:
        self.checkpoints = checkpoints
        self._kept: dict[Path, _Kept] = {}

    def look(self) -> list[Overview]:
        """All runs of the folder, newest first; one whose run.json cannot be read comes last.

        Raises OSError if the folder is there but cannot be read.
        """
        runs = [self.checkpoints / name for name in run_names(self.checkpoints)]
        self._kept = {run: self._kept.get(run) or _Kept(run) for run in runs}
        here = process_identity()
        seen = [_judged(kept.overview(), here) for kept in self._kept.values()]
        return sorted(seen, key=lambda each: each.created_at or "", reverse=True)

    def look_at(self, run: Path) -> Overview:
        """One run. Whatever stands in its files, nothing is raised: `reason` tells it."""
        kept = self._kept.get(run)
        if kept is None:
            kept = self._kept[run] = _Kept(run)
        return _judged(kept.overview(), process_identity())


class _Signatures(NamedTuple):
    """Change whenever an overview would."""

    run: Signature | None
    status: Signature | None
    attempts: Signature | None  # of the folder of all of them
    attempt: Signature | None  # of the newest one's record
    metrics: Signature | None


class _Kept:
    """What was read of one run, and the signatures its files had then."""

    def __init__(self, run: Path) -> None:
        self._reader = RunReader(run)
        paths = self._reader.paths
        self._files = (paths.run_json, paths.status_json, paths.attempts)
        self._newest = (paths.attempt(0).attempt_json, paths.attempt(0).metrics)
        self._signatures: _Signatures | None = None
        self._told = self._unread()
        self._losses: _Losses | None = None

    def overview(self) -> Overview:
        """The run as its files tell it; they are read only if one has changed."""
        try:
            found = self._look()
            if found != self._signatures:
                self._told = self._read(found)
                self._signatures = found
        except (TinychatError, OSError) as error:
            self._signatures = None
            return replace(self._told, state="unknown", reason=str(error), status=None)
        return self._told

    def _look(self) -> _Signatures:
        run, status, attempts = map(signature, self._files)
        if self._signatures is None or attempts != self._signatures.attempts:
            paths = self._reader.paths
            newest = paths.attempt(max(paths.attempt_numbers(), default=0))
            self._newest = (newest.attempt_json, newest.metrics)
        return _Signatures(run, status, attempts, *map(signature, self._newest))

    def _unread(self) -> Overview:
        reader = self._reader
        return Overview(reader.name, reader.paths.root, "unknown", "It has not reported yet.")

    def _read(self, found: _Signatures) -> Overview:
        """Read what has changed. What was read stays if something cannot be read."""
        reader = self._reader
        record, status, steps = reader.run, reader.status, reader.checkpoints()
        self._told = replace(
            self._unread(),
            parameters=record.parameters.get("total"),
            created_at=record.created_at,
            parent=parent_label(record.parent),
            tune=record.tune,
            latest=max(steps, default=None),
        )
        if status is None and found.status is not None:
            self._told = replace(self._told, reason=f"{reader.paths.status_json} is damaged.")
        if status is not None:
            self._told = replace(
                self._told,
                status=status,
                step=status.step,
                max_steps=status.max_steps,
                tokens_seen=status.tokens_seen,
                best=status.best,
                lineage=status.lineage,
                latest=status.latest if status.latest in steps else self._told.latest,
            )
        if not self._told.lineage:  # a start, or a run of an older tinychat
            self._told = replace(self._told, lineage=reader.lineage)
        losses, before = self._losses, self._signatures.metrics if self._signatures else None
        if not (losses and _same_file(found.metrics, before) and losses.follow()):
            losses = self._losses = _Losses(reader, self._newest[1])
        recent = tuple(shares(tuple(losses.recent), _RECENT_POINTS))
        found_rows = {"train": losses.train, "eval": losses.eval, "start": losses.start}
        return replace(self._told, **found_rows, recent=recent)


class _Losses:
    """The newest rows of a run's metrics: read backwards once, then followed."""

    def __init__(self, reader: RunReader, metrics: Path) -> None:
        self.train: Row | None = None
        self.eval: Row | None = None
        self.start: Row | None = None
        self.recent: deque[float] = deque(maxlen=_RECENT_ROWS)
        self._tail = LogTail(metrics)
        self._tail.look()
        self._tail.offset = self._tail.size
        read: list[Row] = []
        kinds: set[str] = set()
        for row in itertools.islice(reader.rows_backwards("metrics"), _ROWS_BACK):
            if len(read) >= _RECENT_ROWS and {"train", "eval"} <= kinds:
                break
            read.append(row)
            kinds.add(str(row.get("kind")))
        if (first := next(reader.rows("metrics"), None)) is not None and _is_of_start(first):
            self.start = first
        self._add(read[::-1])

    def follow(self) -> bool:
        """Read what is new; False if that is not possible, or more than is worth it."""
        self._tail.look()
        if not 0 <= self._tail.size - self._tail.offset <= BLOCK_BYTES:
            return False
        try:
            lines = self._tail.read()
        except FileReplacedError:
            return False
        self._add(parse_lines(lines)[0] if lines else [])
        return not self._tail.problem

    def _add(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row.get("kind") == "train":
                self.train = row
                if (value := finite_number(row.get("train_loss"))) is not None:
                    self.recent.append(value)
            elif row.get("kind") == "eval":
                self.eval = row
                self.start = row if _is_of_start(row) else self.start


def _is_of_start(row: Row) -> bool:
    return row.get("kind") == "eval" and row.get("step") == 0


def _judged(overview: Overview, here: ProcessIdentity) -> Overview:
    """The same with what is true just now: processes die and beats fail without a file changing."""
    status = overview.status
    if status is None:
        return overview
    state, reason = true_state(status, host=here["host"], boot_id=here["boot_id"])
    return replace(
        overview,
        state=state,
        reason=reason,
        eta_seconds=finite_number(status.eta_seconds) if state in LIVE else None,
        age_seconds=max(0.0, time.time() - status.time),
    )


def _same_file(now: Signature | None, before: Signature | None) -> bool:
    return now is not None and before is not None and now[0] == before[0]
