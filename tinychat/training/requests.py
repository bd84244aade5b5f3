"""What people ask of a running trainer: the control mailbox, signals, and changed settings."""

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

from tinychat.config import Settings
from tinychat.config.load import Resolved
from tinychat.config.resume import change_setting
from tinychat.runs import Command, ControlInbox
from tinychat.training.events import CommandAnswered, Listener


class StopSignals(AbstractContextManager["StopSignals"]):
    """SIGINT and SIGTERM as a count: the first saves and stops, the second stops without saving,
    the third ends the process at once. A closed terminal (SIGHUP) is survived.

    The handler only counts; the trainer looks between steps and inside long work.
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
        emit: Listener,
    ) -> None:
        self._inbox = ControlInbox(run)
        self._signals = signals
        self._resolved = resolved
        self._save = save
        self._emit = emit
        self.step = 0

    def poll(self) -> Sequence[Command]:
        """Commands that have come; what is no command is refused here, with the reason."""
        commands = self._inbox.poll()
        for refusal in self._inbox.refusals():
            self._emit(
                CommandAnswered(
                    self.step, refusal.id or "", refusal.command or "", False, refusal.reason
                )
            )
        return commands

    def stop_signals(self) -> int:
        return self._signals.count

    def change(self, settings: Settings, name: str, value: Any) -> Settings:
        """Change one setting that decides no bit of the weights, and write it down."""
        self._resolved = change_setting(self._resolved, name, value)
        self._save(self._resolved)
        return self._resolved.settings
