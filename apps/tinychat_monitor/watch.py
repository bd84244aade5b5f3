"""Looking at runs again and again, reading only what has changed. Knows no screen."""

import itertools
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tinychat.errors import TinychatError
from tinychat.runs import Row, RunPaths, RunReader, Status, list_runs, true_state

ENDED = ("finished", "stopped", "failed")
_ROWS_BACK = 2000  # how far back the newest evaluation is looked for
_LOG_LINES = 5

Marks = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class Glance:
    """What the list shows of one run."""

    name: str
    path: Path
    state: str  # a true state, or "unknown" where there is nothing to judge by
    reason: str
    step: int | None = None
    max_steps: int | None = None
    tokens_seen: int | None = None
    train: Row | None = None  # the newest train row
    eval: Row | None = None  # the newest eval row
    eta_seconds: float | None = None  # None also when nothing more is coming
    age_seconds: float | None = None  # since the last beat


@dataclass(frozen=True)
class Details:
    """What the details page shows of one run."""

    glance: Glance
    status: Status | None
    sample: Row | None
    log: tuple[str, ...]
    checkpoints: tuple[int, ...]


class Watch:
    """Keeps what it read of each run until one of the run's files changes."""

    def __init__(self, checkpoints: Path) -> None:
        self.checkpoints = checkpoints
        self._kept: dict[Path, tuple[Marks, Glance, Status | None]] = {}

    def look(self) -> list[Glance]:
        """All runs of the folder, newest first."""
        readers = list_runs(self.checkpoints)
        here = {reader.paths.root for reader in readers}
        self._kept = {run: kept for run, kept in self._kept.items() if run in here}
        return [self._glance(reader)[0] for reader in readers]

    def look_at(self, run: Path) -> Details:
        """One run, with more of it."""
        reader = RunReader(run)
        glance, status = self._glance(reader)
        try:
            sample, log = reader.last("samples"), tuple(reader.log_tail(_LOG_LINES))
            return Details(glance, status, sample, log, tuple(reader.checkpoints()))
        except OSError as error:
            return Details(replace(glance, reason=str(error)), status, None, (), ())

    def _glance(self, reader: RunReader) -> tuple[Glance, Status | None]:
        run, marks = reader.paths.root, _marks(reader.paths)
        kept = self._kept.get(run)
        if kept is None or kept[0] != marks:
            kept = (marks, *_read(reader))
            self._kept[run] = kept
        _, glance, status = kept
        return (glance if status is None else _judge(glance, status)), status


def _read(reader: RunReader) -> tuple[Glance, Status | None]:
    glance = Glance(reader.name, reader.paths.root, "unknown", "It has not reported yet.")
    try:
        _ = reader.run
        status = reader.status
        rows = list(itertools.islice(reader.rows_backwards("metrics"), _ROWS_BACK))
    except (TinychatError, OSError) as error:
        return replace(glance, reason=str(error)), None
    train, evaluated = (
        next((row for row in rows if row.get("kind") == kind), None) for kind in ("train", "eval")
    )
    glance = replace(glance, train=train, eval=evaluated)
    if status is None:
        return glance, None
    told = replace(glance, step=status.step, max_steps=status.max_steps)
    return replace(told, tokens_seen=status.tokens_seen), status


def _judge(glance: Glance, status: Status) -> Glance:
    state, reason = true_state(status)
    over = state in (*ENDED, "crashed", "stalled", "other host")
    return replace(
        glance,
        state=state,
        reason=reason,
        eta_seconds=None if over else status.eta_seconds,
        age_seconds=time.time() - status.time,
    )


def _marks(paths: RunPaths) -> Marks:
    """Changes whenever a glance would."""
    newest = paths.attempt(max(paths.attempt_numbers(), default=0))
    files = (paths.run_json, paths.status_json, newest.attempt_json, newest.metrics)
    return tuple(_mark(file) for file in files)


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns
