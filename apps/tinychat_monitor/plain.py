"""Following runs in plain lines, for screen readers and scripts: no cursor control, no colours."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tinychat.errors import TinychatError
from tinychat.runs import Row, RunPaths, RunReader
from tinychat.watch.lines import evaluation_sentence, no_runs, run_sentence, summary
from tinychat.watch.overview import Overview, Watch, finite_number
from tinychat.watch.states import LIVE, NOT_GOING_ON, OVER, look_of
from tinychat.watch.tail import FileReplacedError, LogTail, parse_lines
from tinychat.words import clock, inert, to_ascii

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_LINES = 60.0
_LOG_LINES = 5


def follow_plain(checkpoints: Path, run: Path | None, *, ascii: bool = False) -> int:
    """Print what happens until the run has ended; without one, all runs until Ctrl+C.

    A line a minute for each run that goes on, and one for each event, evaluation and change of
    state. Returns the exit code.
    """
    follower = Follower(checkpoints, run)
    try:
        while True:
            for line in follower.look(time.monotonic()):
                sys.stdout.write(f"{to_ascii(line) if ascii else line}\n")
            sys.stdout.flush()
            if follower.over:
                return 0
            time.sleep(SECONDS_BETWEEN_LOOKS)
    except KeyboardInterrupt:
        return 0


class Follower:
    """Tells what is new of one run, or of all runs of a folder. `over` once the run has ended."""

    def __init__(self, checkpoints: Path, run: Path | None) -> None:
        self.over = False
        self._watch = Watch(checkpoints)
        self._run = run
        self._followed: dict[Path, _Followed] | None = None  # None before the first look
        self._problem = ""

    def look(self, now: float) -> Iterator[str]:
        """The lines since the last look; `now` is seconds on a clock that nobody sets."""
        if self._run is not None:
            overview = self._watch.look_at(self._run)
            yield from self._tell([overview], now)
            self.over = overview.state in OVER
            return
        try:
            overviews = self._watch.look()
        except OSError as error:
            if str(error) != self._problem:
                yield inert(str(error))
            self._problem = str(error)
            return
        if self._followed is None:
            folder = self._watch.checkpoints
            yield summary(folder, overviews) if overviews else no_runs(folder)
        yield from self._tell(overviews, now)

    def _tell(self, overviews: list[Overview], now: float) -> Iterator[str]:
        """A run that was there at the first look is told from now on, a later one whole; of many
        runs the ones that ended before are passed over."""
        known, first = self._followed or {}, self._followed is None
        self._followed = {}
        for each in overviews:
            followed = known.get(each.path)
            if followed is None:
                quiet = first and self._run is None and each.state in NOT_GOING_ON
                followed = _Followed(each, from_now=first, quiet=quiet)
            self._followed[each.path] = followed
            yield from followed.tell(each, now)


class _Followed:
    """One run as it was told last, and how far its logs have been told."""

    def __init__(self, overview: Overview, *, from_now: bool, quiet: bool) -> None:
        self._told = overview if quiet else None
        self._told_at = 0.0
        self._paths = RunPaths(overview.path)
        self._attempt = 0
        self._tails: list[LogTail] = []
        self._follow_newest_attempt(from_now=from_now)

    def tell(self, overview: Overview, now: float) -> Iterator[str]:
        """The lines that a look at this run is worth."""
        name = inert(overview.name)
        self._follow_newest_attempt(from_now=False)
        for row in self._new_rows():
            if (sentence := _sentence(row)) is not None:
                yield f"{clock(finite_number(row.get('time')))} {name}: {sentence}"
        said = self._told is not None and _as_shown(self._told) == _as_shown(overview)
        due = overview.state in LIVE and now - self._told_at >= SECONDS_BETWEEN_LINES
        if said and not due:
            return
        yield f"{clock(time.time())} {name}: {run_sentence(overview)}"
        if not said and overview.state in ("crashed", "failed"):
            for line in _log_tail(overview):
                yield f"  log: {inert(line)}"
        self._told, self._told_at = overview, now

    def _new_rows(self) -> list[Row]:
        rows: list[Row] = []
        for tail in self._tails:
            tail.look()
            try:
                while tail.offset < tail.size and not tail.problem:
                    lines = tail.read()
                    rows += parse_lines(lines)[0] if lines else []
            except FileReplacedError:  # by a copy: what it holds was told
                self._attempt = 0
        if not self._attempt:
            self._follow_newest_attempt(from_now=True)
        return rows

    def _follow_newest_attempt(self, *, from_now: bool) -> None:
        try:
            newest = max(self._paths.attempt_numbers(), default=0)
        except OSError:
            return
        if newest == self._attempt:
            return
        attempt, self._attempt = self._paths.attempt(newest), newest
        self._tails = [LogTail(attempt.events), LogTail(attempt.metrics)]
        for tail in self._tails:
            tail.look()
            if from_now:
                tail.offset = tail.size


def _as_shown(overview: Overview) -> tuple[str, str]:
    """Changes when a person sees another state: evaluating between two steps is none."""
    look = look_of(overview.state)
    return look.glyph, "" if overview.state in LIVE else f"{overview.state} {overview.reason}"


def _sentence(row: Row) -> str | None:
    if row.get("kind") == "eval":
        return evaluation_sentence(row)
    return inert(f"{row.get('kind')}: {row['message']}") if "message" in row else None


def _log_tail(overview: Overview) -> list[str]:
    try:
        return RunReader(overview.path).log_tail(_LOG_LINES)
    except (TinychatError, OSError):
        return []
