"""What a person asked of a running trainer, pending until the trainer has answered."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tinychat.errors import RunError, TinychatError
from tinychat.runs import Row, RunReader, send_command, true_state
from tinychat.runs.control import EXPIRES_IN_SECONDS
from tinychat.watch.states import OVER

_ANSWERS: Mapping[str, Literal["applied", "refused"]] = {
    "command_applied": "applied",
    "command_refused": "refused",
}
_OVERDUE_STEPS = 2  # a trainer looks into its mailbox between steps
_OVERDUE_SECONDS = 3.0


@dataclass
class Pending:
    """A command that was sent, and what has come of it."""

    id: str
    command: str
    sent_at: float  # on the monotonic clock
    answer: Literal["applied", "refused"] | None = None
    result: str = ""  # the trainer's sentence; foreign text
    overdue: bool = False  # longer than a trainer that only takes a step would need


class Requests:
    """The commands that this screen sent to one run. For one thread."""

    def __init__(self, run: Path, by: str) -> None:
        self.pending: list[Pending] = []  # oldest first
        self._run = run
        self._by = by

    def send(self, command: str, args: Mapping[str, Any] | None = None) -> Pending:
        """Put a command into the run's mailbox.

        Raises SettingsError for a command or argument that does not exist, RunError if nobody
        trains the run, OSError if the folder cannot be written: each tells the reason.
        """
        over = self._why_nobody_obeys()
        if over:
            raise RunError(over)
        sent = send_command(self._run, command, args, by=self._by)
        pending = Pending(sent, command, time.monotonic())
        self.pending.append(pending)
        return pending

    def update(self, events: Sequence[Row], step_seconds: float | None) -> list[Pending]:
        """Look for answers among the run's events; returns what was answered just now.

        A command whose trainer ended without an answer counts as refused.
        """
        if not self.pending:
            return []
        waiting = {pending.id: pending for pending in self.pending}
        for row in reversed(events):
            answer = _ANSWERS.get(str(row.get("kind")))
            if answer and (pending := waiting.pop(str(row.get("id")), None)):
                pending.answer, pending.result = answer, str(row.get("message", ""))
            if not waiting:
                break
        self._remind(list(waiting.values()), step_seconds or 0.0)
        answered = [pending for pending in self.pending if pending.answer is not None]
        self.pending = [pending for pending in self.pending if pending.answer is None]
        return answered

    def _remind(self, waiting: list[Pending], step_seconds: float) -> None:
        patience = _OVERDUE_SECONDS + _OVERDUE_STEPS * step_seconds
        now = time.monotonic()
        for pending in waiting:
            pending.overdue = now - pending.sent_at > patience
            if now - pending.sent_at > EXPIRES_IN_SECONDS + patience:
                pending.answer, pending.result = "refused", "it has expired without an answer"
        if any(pending.overdue for pending in waiting) and self._why_nobody_obeys():
            for pending in waiting:
                pending.answer = "refused"
                pending.result = "the trainer ended before it answered"

    def _why_nobody_obeys(self) -> str:
        """A sentence if the run's trainer is known to be gone, else nothing."""
        try:
            status = RunReader(self._run).status
        except TinychatError as error:
            return str(error)
        state = "unknown" if status is None else true_state(status).state
        return f"{self._run.name} has {state}: nobody is there to obey." if state in OVER else ""
