"""What the keys ask of a run's trainer, and what comes of it."""

import signal
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from textual.screen import Screen

from tinychat import words
from tinychat.errors import TinychatError
from tinychat.runs import Status
from tinychat.watch.details import RunLook
from tinychat.watch.launch import end_process
from tinychat.watch.overview import Overview
from tinychat.watch.requests import Requests
from tinychat.watch.states import NOT_GOING_ON, OVER
from tinychat_monitor.screens.prompt import PromptScreen
from tinychat_monitor.screens.stop import EndScreen, StopScreen

STOP_PATIENCE_SECONDS = 60.0  # then a person may end the process
END_PATIENCE_SECONDS = 10.0  # then a person may kill it


class Steering(Screen[None]):
    """A screen of one run that can ask things of its trainer."""

    run: Path
    requests: Requests
    seen: RunLook | None = None
    _prompt: str | None = None  # typed, of the last sample that was asked for
    _stop_sent_at: float | None = None  # on the monotonic clock
    _stop_sent_to: int | None = None  # which process
    _end_sent_at: float | None = None
    _told_of_patience = False

    def asked(self) -> list[str]:
        """What has no answer yet, in words for the headline."""
        told = [
            f"{pending.command}…{' no answer yet' if pending.overdue else ''}"
            for pending in self.requests.pending
        ]
        return [*told, *(["resume…"] if self.run in cast(Any, self.app).resuming else [])]

    def hear(self, look: RunLook) -> None:
        """Look for answers in what was seen, and tell them."""
        if self.requests.pending:
            with look.history.lock:
                events = list(look.history.events)
            for answered in self.requests.update(events, look.overview.number("step_seconds")):
                result = words.inert(words.clip(answered.result, 300))
                if answered.answer == "applied":
                    self._tell(result or f"{answered.command}: done")
                    if answered.command == "sample" and self._prompt is not None:
                        self.show_sample_of(self._prompt)
                else:
                    self._tell(f"{answered.command} was refused: {result}", wrong=True)
                    if answered.command == "stop":
                        self._stop_sent_at = None
        self._hear_of_stop(look.overview)

    def action_pause(self) -> None:
        """Pause, or go on with a paused run."""
        paused = self.seen is not None and self.seen.overview.state == "paused"
        self._ask("resume" if paused else "pause")

    def action_checkpoint(self) -> None:
        """Save a checkpoint now."""
        self._ask("checkpoint")

    def action_sample(self) -> None:
        """Write samples now."""
        if self._ask("sample"):
            self._prompt = None

    def action_sample_prompt(self) -> None:
        """Write a sample of a prompt that a person types."""
        if self._may_ask():
            self.app.push_screen(PromptScreen(), self._sample_of)

    def action_evaluate(self) -> None:
        """Evaluate now."""
        self._ask("evaluate")

    def action_stop(self) -> None:
        """Stop training, after a question; later on, end a process that does not obey."""
        overview = None if self.seen is None else self.seen.overview
        if overview is None or not self._may_ask():
            return
        if self._stop_sent_at is None:
            question = StopScreen(overview.name, overview.step, overview.latest)
            self.app.push_screen(question, self._stop)
        elif (left := self._patience_left()) > 0:
            self._tell(f"It was asked to stop; if it does not, S ends it in {left:.0f} s.")
        elif overview.status is not None:
            kill = self._end_sent_at is not None
            question = EndScreen(overview.name, overview.status.pid, kill=kill)
            # what is asked about is ended, whoever trains the run when the answer comes
            number = signal.SIGKILL if kill else signal.SIGTERM
            self.app.push_screen(question, partial(self._end, overview.status, number))

    def action_resume(self) -> None:
        """Go on with a run that is not going on."""
        if self.seen is not None:
            cast(Any, self.app).resume_run(self.seen.overview)
            self.show_asked()

    def _ask(self, command: str, args: Mapping[str, Any] | None = None) -> bool:
        """Send a command; what stands against it is told at once."""
        if any(pending.command == command for pending in self.requests.pending):
            self._tell(f"{command} was asked already; the trainer has not answered yet.")
            return False
        try:
            self.requests.send(command, args)
        except TinychatError as error:
            self._tell(words.inert(str(error)), wrong=True)
        except OSError as error:
            why = error.strerror or str(error)
            self._tell(f"The run's folder cannot be written ({why}), so nothing was asked.", True)
        else:
            self.show_asked()
            return True
        return False

    def show_sample_of(self, prompt: str) -> None:
        """Show what the model wrote after a prompt that a person typed."""
        raise NotImplementedError

    def show_asked(self) -> None:
        """Show at once what has been asked."""
        raise NotImplementedError

    def _may_ask(self) -> bool:
        """Whether a question makes sense; if not, says why."""
        overview = None if self.seen is None else self.seen.overview
        if overview is not None and overview.state in OVER:
            name = words.inert(overview.name)
            self._tell(f"{name} has {overview.state}: there is nothing to ask of it.", True)
        return overview is not None and overview.state not in OVER

    def _sample_of(self, prompt: str | None) -> None:
        if prompt is not None and self._ask("sample", {"prompt": prompt}):
            self._prompt = prompt

    def _stop(self, answer: str | None) -> None:
        if answer is not None and self._ask("stop", {"save": answer == "save"}):
            self._stop_sent_at, self._stop_sent_to = time.monotonic(), self._process()

    def _process(self) -> int | None:
        status = None if self.seen is None else self.seen.overview.status
        return None if status is None else status.pid

    def _patience_left(self) -> float:
        if self._end_sent_at is not None:
            return self._end_sent_at + END_PATIENCE_SECONDS - time.monotonic()
        return (self._stop_sent_at or 0.0) + STOP_PATIENCE_SECONDS - time.monotonic()

    def _end(self, status: Status, number: signal.Signals, yes: bool | None) -> None:
        if not yes:
            return
        try:
            end_process(status, number)
        except (TinychatError, OSError) as error:
            self._tell(words.inert(str(error)), wrong=True)
            return
        self._end_sent_at = time.monotonic()
        self._told_of_patience = False

    def _hear_of_stop(self, overview: Overview) -> None:
        """Whether a stop was obeyed; if it is not for long, say what can be done."""
        if self._stop_sent_at is None:
            return
        if overview.state in NOT_GOING_ON or self._process() != self._stop_sent_to:
            self._stop_sent_at = self._end_sent_at = None
            self._told_of_patience = False
        elif self._patience_left() <= 0 and not self._told_of_patience:
            self._told_of_patience = True
            what = "kill it" if self._end_sent_at is not None else "end its process"
            self._tell(f"It has not stopped yet. S asks whether to {what}.", wrong=True)

    def _tell(self, sentence: str, wrong: bool = False) -> None:
        self.notify(sentence, severity="warning" if wrong else "information", markup=False)
