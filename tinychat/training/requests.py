"""What people ask of a running trainer: the control mailbox, signals, and changed settings."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from tinychat.config import Settings
from tinychat.config.load import Resolved
from tinychat.config.resume import change_setting
from tinychat.runs import Command, ControlInbox, Refusal
from tinychat.text import Progress
from tinychat.training.gaps import steady_seconds


class AskedToEndError(Exception):
    """The process was asked to end while it was still preparing."""


class StopSignals(AbstractContextManager["StopSignals"]):
    """SIGINT and SIGTERM as a count: the first saves and stops, the second stops without saving,
    the third ends the process at once. A closed terminal (SIGHUP) is survived.

    The handler only counts; the trainer looks between steps and inside evaluations and samples,
    and so does the preparation of data.
    """

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._count)
        if hasattr(signal, "SIGHUP"):
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return self

    def ending(self, progress: Progress | None) -> Progress:
        """The same progress of a preparation, but it raises AskedToEndError after a signal."""

        def told(stage: str, done_bytes: int, total_bytes: int) -> None:
            if self.count:
                raise AskedToEndError
            if progress is not None:
                progress(stage, done_bytes, total_bytes)

        return told

    def none_since(self, seconds: float, tell: Callable[[str], None]) -> Callable[[str], bool]:
        """For a wait, to be asked often with what it is for: whether no further signal has come,
        nor two before.

        What is waited for is told every so many seconds.
        """
        before, told_at = self.count, time.monotonic()

        def none(what: str) -> bool:
            nonlocal told_at
            if time.monotonic() - told_at >= seconds:
                told_at = time.monotonic()
                tell(what)
            return self.count == before <= 1

        return none

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _count(self, number: int, _: FrameType | None) -> None:
        self.count += 1
        if self.count >= 3:
            os._exit(128 + number)


class RunRequests:
    """The requests that reach one run."""

    def __init__(
        self,
        run: Path,
        signals: StopSignals,
        resolved: Resolved,
        save: Callable[[Resolved], None],
        elsewhere: Callable[[], int] = lambda: 0,
    ) -> None:
        self._inbox = ControlInbox(run)
        self._signals = signals
        self._resolved = resolved
        self._save = save
        self._elsewhere = elsewhere
        # on a clock that nobody sets; the wall's may be set back while the run trains
        age = time.time() - psutil.Process().create_time()
        self._born = steady_seconds() - age

    def poll(self) -> tuple[list[Command], list[Refusal]]:
        """Commands that have come, and what is refused without being tried.

        A stop or pause from before this process was meant for the one before it.
        """
        commands, refused = [], []
        for command in self._inbox.poll():
            if command.command in ("stop", "pause") and command.at < self._since():
                reason = f"this {command.command} was sent to a trainer that has ended"
                refused.append(Refusal(command.id, command.command, reason, command.by))
            else:
                commands.append(command)
        return commands, [*refused, *self._inbox.refusals()]

    def _since(self) -> float:
        """When this process began, on the wall's clock as it goes now (Unix seconds)."""
        return time.time() - (steady_seconds() - self._born)

    def stop_signals(self) -> int:
        """How often the process was asked to end, or another that computes with it."""
        return max(self._signals.count, self._elsewhere())

    def asked_to_end(self) -> int:
        """The same, for who cannot obey commands: a stop that waits in the mailbox is one."""
        waiting = (c for c in self._inbox.peek() if c.command == "stop" and c.at >= self._since())
        return self._signals.count or int(any(waiting))

    def change(self, name: str, value: Any) -> Settings:
        """Change one setting that decides no bit of the weights, and write it down.

        Raises SettingsError for any other.
        """
        self._resolved = change_setting(self._resolved, name, value)
        self._save(self._resolved)
        return self._resolved.settings
