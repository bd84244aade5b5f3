"""One run in every detail that a screen shows, looked at again and again.

A look when nothing has changed costs a few stats. Whatever stands in the files, and whether they
can be read at all, a look never raises: what could not be read is empty, and the overview's
reason says why.
"""

import math
import os
import shutil
import socket
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from tinychat import words
from tinychat.config import Settings
from tinychat.config.help import setting_help
from tinychat.config.names import flatten
from tinychat.errors import TinychatError
from tinychat.runs import AttemptRecord, Row, RunPaths, RunReader, list_checkpoints, pinned
from tinychat.runs.layout import MANIFEST, OPTIMIZER
from tinychat.watch.health import Note, health
from tinychat.watch.history import History
from tinychat.watch.overview import Overview, Watch
from tinychat.watch.requests import Requests
from tinychat.watch.tail import Signature, signature

LOG_LINES = 500
_LOG_BYTES = 512 * 1024  # read back at most, however long the lines are
_LINE_CHARACTERS = 2000
# Of reading before the rest is looked at: little for the first picture, then as much as leaves
# a person watching it grow, for all that is judged and drawn after each slice takes time too.
_QUICK_SECONDS, _SLICE_SECONDS = 0.02, 0.25

T = TypeVar("T")


@dataclass(frozen=True)
class CheckpointLine:
    """A published checkpoint."""

    step: int
    size_bytes: int
    saved_at: float | None  # Unix seconds
    val_loss: float | None  # of the evaluation at its step
    is_best: bool
    is_latest: bool
    is_pinned: bool
    weights_only: bool


@dataclass(frozen=True)
class SettingLine:
    """A setting of the run, its value in words."""

    name: str
    value: str
    source: str  # "default", "preset demo", a file, "command line"
    help: str


@dataclass(frozen=True)
class RunLook:
    """All that the run screen shows, as it was at one moment (the history goes on)."""

    overview: Overview
    history: History
    notes: list[Note]
    checkpoints: list[CheckpointLine]  # oldest first
    settings: list[SettingLine]
    log: list[str]  # the last lines of train.log, made harmless
    attempts: list[tuple[int, AttemptRecord]]
    free_bytes: int | None  # on the run's disk
    plan: Settings | None  # None if settings.json cannot be read


class RunWatch:
    """Looks at one run. `look` is for one worker thread; the looks it gives are for any."""

    def __init__(self, run: Path) -> None:
        self.history = History(run)
        self.requests = Requests(run, by=f"monitor@{socket.gethostname()}")
        self._run = run
        self._watch = Watch(run.parent)
        self._folders = _Folders(run)
        self._log: _Kept[list[str]] = _Kept([])
        self._settings: _Kept[tuple[list[SettingLine], Settings | None]] = _Kept(([], None))
        self._notes: tuple[Any, list[Note]] = (None, [])

    def look(self, *, quick: bool = False) -> RunLook:
        """How the run is now. Reads at most a slice of the history: see `history.share`.

        A quick look is for the first picture: it reads less, and no settings.
        """
        self.history.follow(_QUICK_SECONDS if quick else _SLICE_SECONDS)
        overview = self._watch.look_at(self._run)
        settings, plan = ([], None) if quick else self._read_settings()
        free_bytes = _free_bytes(self._run)
        with self.history.lock:
            attempts = list(self.history.attempts)
            checkpoints = self._folders.lines(overview, self.history)
        return RunLook(
            overview=overview,
            history=self.history,
            notes=self._judge(overview, plan, free_bytes),
            checkpoints=checkpoints,
            settings=settings,
            log=self._read_log(),
            attempts=attempts,
            free_bytes=free_bytes,
            plan=plan,
        )

    def _judge(
        self, overview: Overview, plan: Settings | None, free_bytes: int | None
    ) -> list[Note]:
        """Health, judged again only when something it depends on has changed, and all is read."""
        if self.history.share < 1.0 and not self.history.problem:
            return self._notes[1]
        free = None if free_bytes is None else free_bytes // 2**20
        depends_on = (self.history.version, overview.state, overview.reason, id(plan), free)
        if self._notes[0] != depends_on:
            self._notes = (depends_on, health(overview, self.history, plan, free_bytes))
        return self._notes[1]

    def _read_settings(self) -> tuple[list[SettingLine], Settings | None]:
        kept = self._settings
        if kept.changed(signature(RunPaths(self._run).settings_json)):
            try:
                document = RunReader(self._run).settings
            except (TinychatError, OSError):
                document = {}
            kept.value = (_setting_lines(document), _plan(document))
        return kept.value

    def _read_log(self) -> list[str]:
        paths = RunPaths(self._run)
        try:
            numbers = paths.attempt_numbers()
        except OSError:
            return self._log.value
        files = [paths.attempt(number).train_log for number in numbers]
        if files and self._log.changed(len(files), signature(files[-1])):
            self._log.value = _tail(files)
        return self._log.value


class _Kept(Generic[T]):
    """Something that was read, and the signatures its files had then."""

    def __init__(self, value: T) -> None:
        self.value = value
        self._signatures: tuple[Any, ...] = ()

    def changed(self, *signatures: Any) -> bool:
        """Whether they are others than at the last call."""
        before, self._signatures = self._signatures, signatures
        return before != signatures


class _Folder(NamedTuple):
    """What is known of a checkpoint's folder, which never changes under its signature."""

    signature: Signature | None
    size_bytes: int
    saved_at: float | None
    weights_only: bool


class _Folders:
    """The run's checkpoints; each folder is looked into once."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._known: dict[int, _Folder] = {}

    def lines(self, overview: Overview, history: History) -> list[CheckpointLine]:
        """The published checkpoints, oldest first. Call with the history's lock held."""
        try:
            steps = list_checkpoints(self._run)
        except OSError:
            return []
        self._known = {step: self._look(step) for step in steps}
        kept = pinned(self._run)
        best = None if overview.best is None else overview.best.step
        return [
            CheckpointLine(
                step=step,
                size_bytes=folder.size_bytes,
                saved_at=folder.saved_at,
                val_loss=_val_loss(history, step),
                is_best=step == best,
                is_latest=step == overview.latest,
                is_pinned=step in kept,
                weights_only=folder.weights_only,
            )
            for step, folder in self._known.items()
        ]

    def _look(self, step: int) -> _Folder:
        path = RunPaths(self._run).checkpoint(step)
        now, known = signature(path), self._known.get(step)
        return known if known is not None and known.signature == now else _look_into(path, now)


def _look_into(path: Path, now: Signature | None) -> _Folder:
    try:
        files = {entry.name: entry.stat(follow_symlinks=False) for entry in os.scandir(path)}
    except OSError:
        return _Folder(now, 0, None, False)
    manifest = files.get(MANIFEST)
    return _Folder(
        now,
        size_bytes=sum(about.st_size for about in files.values()),
        saved_at=None if manifest is None else manifest.st_mtime,
        weights_only=OPTIMIZER not in files,
    )


def _val_loss(history: History, step: int) -> float | None:
    evals = history.evals
    column = evals.columns.get("val_loss")
    row = bisect_left(evals.steps, step)
    if column is None or row >= len(evals.steps) or evals.steps[row] != step:
        return None
    value = column.values[row]
    return value if math.isfinite(value) else None


def _setting_lines(document: Row) -> list[SettingLine]:
    """In the order of the file; settings of other versions stand there without help."""
    values, sources = document.get("settings"), document.get("sources")
    if not isinstance(values, dict):
        return []
    known = sources if isinstance(sources, dict) else {}
    told = setting_help()
    return [
        SettingLine(name, _value(value), str(known.get(name, "?")), told.get(name, ""))
        for name, value in flatten(values).items()
    ]


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)


def _plan(document: Row) -> Settings | None:
    from tinychat.config.load import from_json  # it costs pydantic

    try:
        return from_json(document).settings
    except (TinychatError, ValueError, TypeError, RecursionError):
        return None


def _tail(files: Sequence[Path]) -> list[str]:
    """The last lines of the newest files together, oldest first, made harmless."""
    lines: list[str] = []
    for file in reversed(files):
        lines = [*_last_lines(file, LOG_LINES - len(lines)), *lines]
        if len(lines) >= LOG_LINES:
            break
    return [words.inert(line[:_LINE_CHARACTERS], keep="\t").expandtabs() for line in lines]


def _last_lines(file: Path, count: int) -> list[str]:
    try:
        with open(file, "rb") as log:
            cut = log.seek(0, os.SEEK_END) > _LOG_BYTES
            log.seek(-_LOG_BYTES if cut else 0, os.SEEK_END if cut else os.SEEK_SET)
            lines = log.read(_LOG_BYTES).decode("utf-8", errors="replace").split("\n")
    except OSError:
        return []
    lines = [line for line in lines if line.strip("\r")]
    if cut and len(lines) > 1:
        del lines[0]  # only a part of it was read
    return lines[-count:]


def _free_bytes(run: Path) -> int | None:
    try:
        return shutil.disk_usage(run).free
    except OSError:
        return None
