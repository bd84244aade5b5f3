"""The trainer's loop. It emits events, prints nothing and knows no paths.

    for step in start .. max_steps:  obey commands; update; then what is due of
                                     evaluate, sample, checkpoint

Step n means n updates are done. Everything random in the update from n to n + 1 is keyed by
(seed, n), so a resumed run needs the weights, the optimizer's memory and this one number.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch

from tinychat.config import CheckpointSettings, Settings, learning_rate
from tinychat.config.schedule import decay_start
from tinychat.errors import TinychatError, TrainingError
from tinychat.keys import draw_key
from tinychat.model import Decoder, Runtime, memory_bytes, synchronize
from tinychat.runs import Command, State
from tinychat.training.alerts import Alerts
from tinychat.training.batches import Rows, batch_at
from tinychat.training.evaluate import Evaluation, summed_loss
from tinychat.training.events import (
    Beat,
    CheckpointSaved,
    CommandAnswered,
    Evaluated,
    Listener,
    Noted,
    Sampled,
    StateChanged,
    Stepped,
)
from tinychat.training.optimizer import Optimizer, gradient_norm
from tinychat.training.pace import Pace
from tinychat.training.requests import RunRequests

POLL_SECONDS = 0.1
# fp16 gradients are computed on a scaled loss, or the small ones would vanish
FIRST_LOSS_SCALE = 2.0**14
STEPS_UNTIL_LARGER_SCALE = 1000


@dataclass
class Progress:
    """Where a run stands; state.json is this, word for word."""

    step: int = 0
    tokens_seen: int = 0
    best_step: int | None = None
    best_val_loss: float | None = None
    skipped_steps: int = 0
    bad_steps_in_a_row: int = 0
    dtype: str = "fp32"  # what loss_scale belongs to
    loss_scale: float = 1.0
    steps_at_this_scale: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"format": 1, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Progress":
        return cls(**{name: document[name] for name in cls.__dataclass_fields__})


class _AbandonedError(Exception):
    """Somebody wants the process to end in the middle of an evaluation."""


class Store(Protocol):
    """Where checkpoints go."""

    def publish(
        self, progress: Progress, keep: CheckpointSettings, pinned: set[int]
    ) -> tuple[int, tuple[int, ...]]:
        """Write a checkpoint durably, then thin older ones: (bytes written, steps removed)."""
        ...


@dataclass
class Trainer:
    """One unbroken stretch of steps: everything it needs is handed to it."""

    settings: Settings
    max_steps: int
    decoder: Decoder
    optimizer: Optimizer
    rows: Rows
    runtime: Runtime
    progress: Progress
    evaluator: Callable[[Callable[[], None]], Evaluation]
    sampler: Callable[[int, str | None], Iterable[Sampled]]
    store: Store
    requests: RunRequests
    emit: Listener

    def __post_init__(self) -> None:
        self.pace = Pace()
        self.alerts = Alerts()
        self.paused = False
        self.stop: bool | None = None  # None: go on; else stop, True = save first
        self.saved_step: int | None = None
        self.saved_at = time.monotonic()

    def run(self) -> State:
        """Train to the end or until told to stop. Returns "finished" or "stopped"."""
        self.decoder.train()
        while True:
            self._turn_to("training")
            self.obey()
            while self.paused and self.stop is None:
                time.sleep(POLL_SECONDS)
                self.emit(Beat())
                self.obey()
            if self.stop is not None or self.progress.step >= self.max_steps:
                break
            stepped = self.update()
            self.emit(stepped)
            for alert in self.alerts.look(stepped):
                self.emit(alert)
            self.do_what_is_due()
        if self.stop is not False:
            self.checkpoint()
        return "finished" if self.stop is None else "stopped"

    def update(self) -> Stepped:
        """One optimizer update: from `progress.step` to the next."""
        began = time.monotonic()
        progress, optim = self.progress, self.settings.optim
        step = progress.step
        batch = batch_at(self.rows, self.settings.seed, step, self.settings.batch_size)
        targets = batch.target_tokens
        rate = learning_rate(step, self.max_steps, optim)
        loss = torch.zeros((), device=self.runtime.torch_device)
        for micro_step, micro in enumerate(batch.split(self.settings.rows_per_micro_batch)):
            if self.settings.model.dropout:
                torch.manual_seed(draw_key(self.settings.seed, "dropout", step, micro_step, 0))
            with self.runtime.autocast():
                part = summed_loss(self.decoder, micro.to(self.runtime.torch_device)) / targets
            (part * progress.loss_scale).backward()
            loss += part.detach()
        norm = gradient_norm(self.decoder).item() / progress.loss_scale
        good = math.isfinite(norm) and bool(torch.isfinite(loss))
        if good:
            self._apply(rate, norm)
        self.optimizer.zero_grad()
        progress.step += 1
        progress.tokens_seen += int((batch.ids != self.rows.file.format.pad).sum())
        self._count(good, step)
        synchronize(self.runtime.device)
        seconds = time.monotonic() - began
        self.pace.note("step", seconds)
        return Stepped(
            step=progress.step,
            train_loss=loss.item(),
            learning_rate=rate,
            grad_norm=norm,
            tokens_seen=progress.tokens_seen,
            tokens_per_second=batch.ids.numel() / seconds,
            step_seconds=seconds,
            memory_bytes=memory_bytes(self.runtime.device),
            eta_seconds=self.pace.eta_seconds(progress.step, self.max_steps, self.settings),
            skipped=not good,
        )

    def _apply(self, rate: float, norm: float) -> None:
        longest = self.settings.optim.max_grad_norm
        factor = min(1.0, longest / (norm + 1e-6)) if longest else 1.0
        factor /= self.progress.loss_scale
        if factor != 1.0:
            for parameter in self.decoder.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)
        self.optimizer.step(rate)

    def _count(self, good: bool, step: int) -> None:
        """Keep the loss scale and the count of steps that came to nothing."""
        progress = self.progress
        scaled = self.runtime.dtype == "fp16"
        if good:
            progress.bad_steps_in_a_row = 0
            progress.steps_at_this_scale += 1
            if scaled and progress.steps_at_this_scale >= STEPS_UNTIL_LARGER_SCALE:
                progress.loss_scale *= 2
                progress.steps_at_this_scale = 0
            return
        progress.skipped_steps += 1
        if scaled and progress.loss_scale > 1:  # how fp16 finds its scale; nothing is wrong
            progress.loss_scale /= 2
            progress.steps_at_this_scale = 0
            return
        progress.bad_steps_in_a_row += 1
        self.emit(Noted("skipped", step + 1, "loss or gradient not finite: the update was skipped"))
        if progress.bad_steps_in_a_row >= self.settings.optim.max_bad_steps:
            raise TrainingError(
                f"{progress.bad_steps_in_a_row} steps in a row up to step {step + 1} had no finite "
                "loss or gradient; resume from the newest checkpoint will do the same, so start "
                "again with a lower optim.learning_rate"
            )

    def do_what_is_due(self) -> None:
        """After each step: evaluate, sample, checkpoint, in this order."""
        step, settings = self.progress.step, self.settings
        is_best = False
        if _due(step, settings.eval.every_steps) or step == self.max_steps:
            is_best = self.evaluate()
        if _due(step, settings.sample.every_steps):
            self.sample(None)
        minutes = settings.checkpoint.every_minutes
        late = minutes is not None and time.monotonic() - self.saved_at >= 60 * minutes
        if is_best or late or _due(step, settings.checkpoint.every_steps) or step in self._pinned():
            self.checkpoint()

    def evaluate(self) -> bool:
        """Evaluate now; True when no earlier evaluation was as good."""
        self._turn_to("evaluating")
        began = time.monotonic()
        try:
            result = self.evaluator(self._beat_in_evaluation)
        except _AbandonedError:
            return False
        seconds = time.monotonic() - began
        self.pace.note("evaluate", seconds)
        progress = self.progress
        best = progress.best_val_loss
        is_best = math.isfinite(result.val_loss) and (best is None or result.val_loss < best)
        if is_best:
            progress.best_step, progress.best_val_loss = progress.step, result.val_loss
            self.saved_step = None  # a checkpoint of this step does not know it is the best
        self.emit(
            Evaluated(
                progress.step,
                result.val_loss,
                result.bits_per_byte,
                seconds,
                is_best,
            )
        )
        self._turn_to("training")
        return is_best

    def _beat_in_evaluation(self) -> None:
        self.emit(Beat())
        if self.requests.stop_signals():
            raise _AbandonedError

    def sample(self, prompt: str | None) -> None:
        """A round of live samples, or one of a prompt that somebody typed."""
        self._turn_to("sampling")
        began = time.monotonic()
        try:
            for sampled in self.sampler(self.progress.step, prompt):
                self.emit(sampled)
        except TinychatError as error:
            if prompt is not None:
                raise
            self.emit(Noted("warning", self.progress.step, f"no samples: {error}"))
        self.pace.note("sample", time.monotonic() - began)
        self._turn_to("training")

    def checkpoint(self) -> None:
        """Publish the weights as they are now. Does nothing when that has been done already."""
        progress = self.progress
        if self.saved_step == progress.step:
            return
        if not self._all_finite():
            raise TrainingError(
                f"the weights at step {progress.step} are not finite, so they are not saved; "
                "resume from the newest checkpoint with a lower optim.learning_rate"
            )
        self._turn_to("saving")
        began = time.monotonic()
        size, pruned = self.store.publish(progress, self.settings.checkpoint, self._pinned())
        seconds = time.monotonic() - began
        self.pace.note("save", seconds)
        self.saved_step, self.saved_at = progress.step, time.monotonic()
        self.emit(
            CheckpointSaved(
                progress.step, seconds, size, progress.best_step, progress.best_val_loss, pruned
            )
        )
        self._turn_to("training")

    def _all_finite(self) -> bool:
        tensors = [*self.decoder.parameters(), *self.optimizer.tensors().values()]
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
                result, applied = self._do(command), True
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

    def _do(self, command: Command) -> str:
        step = self.progress.step
        match command.command:
            case "pause":
                if command.args.get("free"):
                    raise TrainingError("giving memory back in a pause is not built yet")
                self.paused = True
                self._turn_to("paused", "until told to resume")
                return f"paused at step {step}"
            case "resume":
                self.paused = False
                self._turn_to("training")
                return f"going on at step {step}"
            case "checkpoint":
                self.checkpoint()
                return f"checkpoint of step {step} is saved"
            case "sample":
                self.sample(command.args.get("prompt"))
                return f"sampled at step {step}"
            case "evaluate":
                if self.evaluate():
                    self.checkpoint()
                return f"evaluated at step {step}"
            case "stop":
                self.stop = bool(command.args.get("save", True))
                return f"stopping at step {step}"
            case "set":
                name, value = command.args.get("setting"), command.args.get("value")
                self.settings = self.requests.change(str(name), value)
                return f"{name} is now {value}"
        raise TrainingError(f"there is no command {command.command!r}")

    def _pinned(self) -> set[int]:
        """Where an extended run may go on from: the last weights before the decay."""
        start = decay_start(self.max_steps, self.settings.optim)
        return set() if start is None else {start}

    def _turn_to(self, state: State, message: str = "") -> None:
        if self.paused and state == "training":
            state = "paused"
        self.emit(StateChanged(state, self.progress.step, message))


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
