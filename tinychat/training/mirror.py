"""The second copy of a run while it trains: one thread that is told of each checkpoint and copies.

It never holds up a step. If it lags, only the newest checkpoint that waits is copied; if the copy
cannot be written, that is told once and tried again, with the next checkpoint and after waits that
grow. What there is to tell is fetched by the trainer's thread, which writes it down.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tinychat.errors import RunError
from tinychat.runs import (
    BestCheckpoint,
    Mirror,
    MirrorStatus,
    list_checkpoints,
    newest_good,
    why_not_a_copy,
)
from tinychat.words import size

FIRST_WAIT_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 300.0
POLL_SECONDS = 0.1
LOWEST_PRIORITY = 19


class _AbandonedError(Exception):
    """Nobody waits for this copy any more."""


class MirrorKeeper:
    """Keeps `mirror` up to date from `start` until `finish` or `abandon`."""

    def __init__(self, mirror: Mirror, known: MirrorStatus | None) -> None:
        self._mirror = mirror
        self._changed = threading.Condition()  # guards everything below
        # publications are numbered: the same step may be published again
        self._published = self._done = 0  # how many there were, and the last that was copied
        self._waiting: tuple[int, BestCheckpoint | None] | None = None  # the newest checkpoint
        self._copied: int | None = known.step if known else None
        self._problem = ""  # in words; empty: the last try succeeded, or there was none
        self._flaw = ""  # in words: what beside the newest checkpoint cannot be copied or removed
        self._news: list[str] = []
        self._doing = ""
        self._wait = FIRST_WAIT_SECONDS
        self._ending = self._abandoned = False
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)

    @property
    def status(self) -> MirrorStatus:
        """How the copy is now."""
        with self._changed:
            return MirrorStatus(
                folder=str(self._mirror.target.root),
                step=self._copied,
                problem=self._problem or self._flaw,
            )

    def start(self) -> None:
        self._thread.start()

    def published(self, step: int, best: BestCheckpoint | None) -> None:
        """A checkpoint is durable in the run, so it may be copied."""
        with self._changed:
            self._waiting = (step, best)
            self._published += 1
            self._changed.notify()

    def news(self) -> list[str]:
        """What has happened since the last time, for the run's events."""
        with self._changed:
            told, self._news = self._news, []
        return told

    def finish(self, go_on: Callable[[str], bool]) -> None:
        """Wait until the newest checkpoint is copied, or cannot be.

        `go_on` is called several times a second with what is being done, and ends the wait by
        returning False.
        """
        with self._changed:
            self._ending = True
            self._changed.notify()
        while self._thread.is_alive():
            self._thread.join(POLL_SECONDS)
            if self._thread.is_alive() and not go_on(self._doing):
                with self._changed:
                    self._news.append(
                        f"the copy in {self._mirror.target.root} was not waited for and is "
                        f"{_up_to(self._copied)}; the next resume brings it up to date"
                    )
                self.abandon()
                return

    def abandon(self) -> None:
        """Leave off after the file that is being written."""
        with self._changed:
            self._abandoned = True
            self._changed.notify()

    def _work(self) -> None:
        if sys.platform == "linux":  # elsewhere a thread has no priority of its own
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
        tried = 0  # the publication of the last try
        last_try = False
        while True:
            with self._changed:
                self._await(tried)
                if self._abandoned or self._waiting is None or last_try:
                    return
                if self._ending and self._done == self._published and not self._problem:
                    return
                tried, (step, best) = self._published, self._waiting
                last_try = self._ending
            with suppress(_AbandonedError):
                self._try(tried, step, best)

    def _await(self, tried: int) -> None:
        """Wait for the next checkpoint; after a failure, no longer than it is worth."""
        until = time.monotonic() + self._wait
        while not self._ending and not self._abandoned:
            if self._published != tried:
                return
            left = until - time.monotonic() if self._problem else None
            if left is not None and left <= 0:
                return
            self._changed.wait(left)

    def _try(self, number: int, step: int, best: BestCheckpoint | None) -> None:
        try:
            done = self._mirror.update(
                step,
                best,
                copied=lambda done, total: self._tell(step, done, total),
                superseded=lambda: self._published != number,
            )
        except _AbandonedError:
            raise
        except Exception as error:  # whatever it is: the run goes on, and its person must know
            self._failed(_sentence(error))
        else:
            self._succeeded(number, step if done.whole else None, done.problems)

    def _tell(self, step: int, done: int, total: int) -> None:
        if self._abandoned:
            raise _AbandonedError
        share = f"{size(done)} of {size(total)}" if done < total else "verifying"
        self._doing = f"step {step}, {share}"

    def _failed(self, why: str) -> None:
        with self._changed:
            if not self._problem:
                self._news.append(
                    f"the second copy in {self._mirror.target.root} is {_up_to(self._copied)}: "
                    f"{why}; the run goes on, and it is tried again"
                )
                self._wait = FIRST_WAIT_SECONDS
            else:
                self._wait = min(2 * self._wait, LONGEST_WAIT_SECONDS)
            self._problem = why

    def _succeeded(self, number: int, step: int | None, problems: Sequence[str]) -> None:
        with self._changed:
            if step is not None:
                self._done, self._copied = number, step
                if self._problem:
                    self._news.append(f"the second copy works again: it is {_up_to(step)}")
                flaw = "; ".join(problems)
                if flaw and flaw != self._flaw:
                    self._news.append(
                        f"the second copy in {self._mirror.target.root} is {_up_to(step)}, but not "
                        f"all of it is as in the run: {flaw}"
                    )
                self._flaw = flaw
            self._problem = ""


def mirror_of(
    run: Path, folder: str | None, before: MirrorStatus | None, *, anew: bool
) -> MirrorKeeper | None:
    """The keeper of a run's second copy, if it has one; `before` is what the last status said."""
    if folder is None:
        return None
    same = before is not None and Path(before.folder) == Path(folder) / run.name
    known = before if same else None
    there = known is not None and known.step is not None
    return MirrorKeeper(Mirror(run, Path(folder), known=there and not anew), known)


def newer_in_copy(run: Path, mirror: MirrorStatus | None, step: int) -> str:
    """A sentence if the second copy has a whole checkpoint beyond `step`; else empty."""
    if mirror is None:
        return ""
    copy = Path(mirror.folder)
    try:
        if why_not_a_copy(run, copy) or max(list_checkpoints(copy), default=step) <= step:
            return ""
        found = newest_good(copy)[0].step
    except (OSError, RunError):
        return ""
    if found <= step:
        return ""
    return (
        f"the second copy in {copy} has a whole checkpoint of step {found}; to lose nothing, stop "
        f"this run, and `tinychat resume {run.name} --checkpoints {copy.parent}` goes on from there"
    )


def _up_to(step: int | None) -> str:
    return "empty" if step is None else f"at step {step}"


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror or error}{where}"
    return str(error).rstrip(".") if isinstance(error, RunError) else repr(error)
