"""The trainer's loop. It emits events, prints nothing and knows no paths.

    for step in start .. max_steps:  obey commands; update; then what is due of
                                     evaluate, sample, checkpoint

Step n means n updates are done. Everything random in the update from n to n + 1 is keyed by
(seed, n), so a resumed run needs the weights, the optimizer's memory and this one number.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch

from tinychat.config import CheckpointSettings, Settings
from tinychat.config.schedule import decay_start
from tinychat.errors import (
    CheckpointError,
    DataError,
    HalfDoneError,
    TinychatError,
    TrainingError,
)
from tinychat.model import is_out_of_memory
from tinychat.runs import WAITS_FOR_JUDGEMENT, State
from tinychat.training.alerts import Alerts
from tinychat.training.best import forgotten, is_best, keep, keep_as_best
from tinychat.training.commands import do
from tinychat.training.estimate import Estimate
from tinychat.training.evaluate import Evaluation
from tinychat.training.events import (
    Beat,
    CheckpointSaved,
    CommandAnswered,
    Evaluated,
    Listener,
    Noted,
    Sampled,
    StateChanged,
    WentBack,
)
from tinychat.training.following import take_back, waits
from tinychat.training.gaps import Clocks
from tinychat.training.guards import roll_back, sparing_memory
from tinychat.training.lineage import Facts
from tinychat.training.progress import Progress
from tinychat.training.requests import RunRequests
from tinychat.training.team import RankLostError
from tinychat.training.updates import Updates

POLL_SECONDS = 0.1


class _AbandonedError(Exception):
    """Somebody wants the process to end in the middle of an evaluation."""


class Store(Protocol):
    """Where checkpoints go and come from."""

    def publish(
        self, progress: Progress, keep: CheckpointSettings, pinned: set[int]
    ) -> tuple[int, tuple[int, ...]]:
        """Write a checkpoint durably, then thin older ones: (bytes written, steps removed)."""
        ...

    def restore(self) -> Progress:
        """Put weights and the optimizer's memory back to the newest good checkpoint, of before
        the bad steps if there is one."""
        ...

    def take_back(self, step: int, forget: Callable[[], object]) -> Progress:
        """Put them back to the checkpoint of `step`, once it is read and `forget` was called.
        Raises CheckpointError if it cannot be read."""
        ...

    def begin_stretch(self, step: int, facts: Facts, why: str) -> None:
        """Write down that from `step` on other facts decide the bits, and which."""
        ...

    def waited_seconds(self) -> float:
        """How long a disk that refused has been waited for so far."""
        ...


@dataclass
class Trainer:
    """One attempt: everything it needs is handed to it.

    `evaluator` is called with a sign of life and the rows that fit into memory at once, `sampler`
    with the step, a typed prompt or None, and what tells it to leave off.
    """

    updates: Updates
    evaluator: Callable[[Callable[[], None], int], Evaluation]
    sampler: Callable[[int, str | None, Callable[[], bool]], Iterable[Sampled]]
    store: Store
    requests: RunRequests
    emit: Listener

    def __post_init__(self) -> None:
        self.pace = self.updates.pace
        self.alerts, self.estimate = Alerts(), Estimate()
        self.clocks = Clocks()
        self.paused = False
        self.waiting = False  # for something to learn from
        self.stop: bool | None = None  # None: go on; else stop, True = save first
        self.saved_step: int | None = None
        self.saved_at = time.monotonic()
        self.save_is_owed = False  # from a step at which nothing was to be published

    @property
    def settings(self) -> Settings:
        """As they are now: commands may change intervals."""
        return self.updates.settings

    @property
    def facts(self) -> Facts:
        return self.updates.facts

    @property
    def progress(self) -> Progress:
        return self.updates.progress

    def run(self) -> State:
        """Train to the end or until told to stop. Returns "finished" or "stopped"."""
        try:
            return self._run()
        except RankLostError:  # the weights of this process are those of the last whole step
            self.updates.optimizer.zero_grad()
            self.checkpoint()
            raise

    def _run(self) -> State:
        self.updates.decoder.train()
        if self._evaluation_is_due():  # of the start, or interrupted when the run last ended
            self.evaluate()
            self.checkpoint()
        while True:
            self.turn_to("training")
            self.obey()
            while self.stop is None and self._waits():
                time.sleep(POLL_SECONDS)
                self.emit(Beat())
                self.obey()
            for told in self.clocks.look():
                self.note("gap", told)
            told = forgotten(self.progress, self.settings)
            if told and self.settings.tune.follow and self.progress.step:
                try:
                    take_back(self, None, "too much was forgotten")
                except CheckpointError as error:
                    self.note("warning", f"this step stays, though: {error}")
            if self.stop is None and self.progress.step < self.updates.max_steps and not told:
                self.update()
            elif self.stop is False or self.checkpoint() or self.stop:
                break
        if self.stop is not None and not self._is_whole():
            return "stopped"
        if told:
            self.note("forgetting", told)
        return "finished"

    def _is_whole(self) -> bool:
        """Whether all is done and saved, also where somebody asked to stop meanwhile."""
        step = self.progress.step
        is_last = step == self.updates.max_steps and not self._evaluation_is_due()
        return is_last and self.saved_step == step

    def _waits(self) -> bool:
        """Until somebody says so, or until there is something to learn from."""
        if self.paused or self.progress.step == self.updates.max_steps:
            return self.paused
        return not forgotten(self.progress, self.settings) and waits(self)

    def update(self) -> None:
        """One optimizer update, and what is due after it."""
        began = time.monotonic()
        try:
            batch = self.updates.batch()
        except DataError:  # somebody cut or changed the file; the weights are good
            self.checkpoint()
            raise
        loss = sparing_memory(self, lambda: self.updates.gradients(batch))
        stepped = self.updates.apply(batch, loss, began)
        self.emit(stepped)
        if stepped.held_up_seconds:
            held_up = f"the process was held up for {stepped.held_up_seconds:,.1f} s; "
            self.note("gap", held_up + "that time is not counted")
        for alert in self.alerts.look(stepped):
            self.emit(alert)
        told = self.estimate.look(stepped, self.pace, self.updates.max_steps, self.settings)
        if told and not self.settings.tune.follow:
            self.note("estimate", told)
        if stepped.skipped and self.progress.bad_steps_in_a_row:
            self.note("skipped", "loss or gradient not finite: the update was skipped")
        bad = self.progress.bad_steps_in_a_row
        if bad and bad >= self.settings.optim.max_bad_steps:
            roll_back(self, f"{bad} steps in a row had no finite loss or gradient")
        else:
            self.do_what_is_due()

    def go_back(self, before: Progress, why: str, facts: Facts | None = None) -> None:
        """The weights are those of `before` again: go on from there, by these facts if they are
        others."""
        progress = self.progress
        progress.become(before)
        self.saved_step, self.save_is_owed, self.waiting = progress.step, False, False
        self.updates.spread()  # whoever is lost now, these are the weights of this step
        self.begin_stretch(facts or self.facts, why)
        self.emit(
            WentBack(
                progress.step, progress.tokens_seen, progress.best_step, progress.best_val_loss
            )
        )

    def begin_stretch(self, facts: Facts, why: str) -> None:
        """Go on from here by these facts."""
        self.updates.facts = facts
        self.store.begin_stretch(self.progress.step, facts, why)

    def do_what_is_due(self) -> None:
        """After each step: evaluate, sample, checkpoint, in this order.

        A checkpoint waits until no bad step is the last one: what is saved among bad steps would
        only lead to the same steps again, should the run be rolled back.
        """
        step, settings = self.progress.step, self.settings
        best = False
        if self._evaluation_is_due():
            best = self.evaluate()
        if _due(step, settings.sample.every_steps):
            self.sample(None)
        minutes = settings.checkpoint.every_minutes
        late = minutes is not None and time.monotonic() - self.saved_at >= 60 * minutes
        due = best or late or _due(step, settings.checkpoint.every_steps)
        self.save_is_owed |= due or step in self._pinned()
        if self.save_is_owed and not self._is_among_bad_steps():
            self.checkpoint()

    def _is_among_bad_steps(self) -> bool:
        return self.progress.bad_steps_in_a_row > 0 and self.progress.step < self.updates.max_steps

    def _evaluation_is_due(self) -> bool:
        step, settings = self.progress.step, self.settings
        due = _due(step, settings.eval.every_steps) if step else settings.watches_old_data
        return (due or step == self.updates.max_steps) and self.progress.evaluated_step != step

    def evaluate(self) -> bool:
        """Evaluate now; True when no earlier evaluation was as good."""
        self.turn_to("evaluating")
        began = self._clock()
        try:
            result = sparing_memory(
                self, lambda: self.evaluator(self._beat_in_evaluation, self.facts.micro_batch_size)
            )
        except _AbandonedError:
            return False
        except DataError:  # the file of the validation split; the weights are good
            self.checkpoint()
            raise
        seconds = self._clock() - began
        self.pace.note("evaluate", seconds)
        progress = self.progress
        keep(result, progress, self.settings)
        self.saved_step = None  # a checkpoint of this step does not know of it
        best = is_best(result, progress, self.settings) and not self._is_among_bad_steps()
        if best:  # else it would not be saved
            keep_as_best(result, progress)
        self.emit(
            Evaluated(
                progress.step,
                result.val_loss,
                result.bits_per_byte,
                seconds,
                best,
                result.replay_val_loss,
                result.preference_loss,
                result.preference_accuracy,
                result.reward_margin,
            )
        )
        self.turn_to("training")
        return best

    def _beat_in_evaluation(self) -> None:
        self.emit(Beat())
        if self._asked_to_end():
            raise _AbandonedError

    def _asked_to_end(self) -> bool:
        return self.requests.stop_signals() > 0

    def sample(self, prompt: str | None) -> None:
        """A round of live samples, or one of a prompt that somebody typed."""
        self.turn_to("sampling")
        began = self._clock()
        try:
            for sampled in self.sampler(self.progress.step, prompt, self._asked_to_end):
                self.emit(sampled)
        except Exception as error:
            out_of_memory = is_out_of_memory(error)
            if not isinstance(error, TinychatError) and not out_of_memory:
                raise
            told = "memory ran out" if out_of_memory else str(error)
            if prompt is not None:
                raise TrainingError(f"no sample: {told}") from None
            self.note("warning", f"no samples: {told}")
        self.pace.note("sample", self._clock() - began)
        self.turn_to("training")

    def checkpoint(self) -> bool:
        """Publish the weights as they are now, unless that has been done already.

        Weights that are not finite are never published: False then, and the run is rolled back.
        """
        progress = self.progress
        if self.saved_step == progress.step:
            return True
        if not self._all_finite():
            roll_back(self, "the weights are not finite")
            return False
        self.turn_to("saving")
        began = self._clock()
        size, pruned = self.store.publish(progress, self.settings.checkpoint, self._pinned())
        seconds = self._clock() - began
        self.pace.note("save", seconds)
        self.saved_step, self.saved_at = progress.step, time.monotonic()
        self.save_is_owed = False
        self.emit(
            CheckpointSaved(
                progress.step, seconds, size, progress.best_step, progress.best_val_loss, pruned
            )
        )
        self.turn_to("training")
        return True

    def _clock(self) -> float:
        """Seconds from any beginning, without those in which the disk was waited for."""
        return time.monotonic() - self.store.waited_seconds()

    def _all_finite(self) -> bool:
        tensors = [*self.updates.decoder.parameters(), *self.updates.optimizer.tensors().values()]
        return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)

    def obey(self) -> None:
        """Take the commands that have come, and the signals."""
        commands, refused = self.requests.poll()
        for refusal in refused:
            self.emit(
                CommandAnswered(
                    self.progress.step,
                    refusal.id or "",
                    refusal.command or "",
                    False,
                    refusal.reason,
                    refusal.by,
                )
            )
        for command in commands:
            try:
                result, applied = do(self, command), True
            except HalfDoneError:
                raise
            except TinychatError as error:
                result, applied = str(error), False
            step = self.progress.step
            name = command.command
            self.emit(CommandAnswered(step, command.id, name, applied, result, command.by))
        signals = self.requests.stop_signals()
        if signals > 1:
            self.stop = False
        elif signals and self.stop is None:
            self.stop = True

    def _pinned(self) -> set[int]:
        """Where an extended run may go on from: the last weights before the decay."""
        start = decay_start(self.updates.max_steps, self.settings.optim)
        first = {0} if self.settings.tune.follow else set()  # judgements to come ask it
        return first if start is None else {*first, start}

    def note(self, kind: str, message: str) -> None:
        self.emit(Noted(kind, self.progress.step, message))

    def turn_to(self, state: State, message: str = "") -> None:
        if (self.paused or self.waiting) and state == "training":
            state, message = "paused", message or (WAITS_FOR_JUDGEMENT if self.waiting else "")
        self.emit(StateChanged(state, self.progress.step, message))


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
