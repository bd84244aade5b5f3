"""What people ask of a running trainer: the control mailbox, signals, and changed settings."""

import os
import signal
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
    ) -> None:
        self._inbox = ControlInbox(run)
        self._signals = signals
        self._resolved = resolved
        self._save = save
        self._since = psutil.Process().create_time()

    def poll(self) -> tuple[list[Command], list[Refusal]]:
        """Commands that have come, and what is refused without being tried.

        A stop or pause from before this process was meant for the one before it.
        """
        commands, refused = [], []
        for command in self._inbox.poll():
            if command.command in ("stop", "pause") and command.at < self._since:
                reason = f"this {command.command} was sent to a trainer that has ended"
                refused.append(Refusal(command.id, command.command, reason, command.by))
            else:
                commands.append(command)
        return commands, [*refused, *self._inbox.refusals()]

    def stop_signals(self) -> int:
        """How often the process was asked to end."""
        return self._signals.count

    def change(self, name: str, value: Any) -> Settings:
        """Change one setting that decides no bit of the weights, and write it down.

        Raises SettingsError for any other.
        """
        self._resolved = change_setting(self._resolved, name, value)
        self._save(self._resolved)
        return self._resolved.settings
