"""The update of a preference-tuned run: rows of its data, and examples of what people want.

A step has `batch_size` units, of which the share `replay.share` are rows of the run's data, as in
any run, and the rest examples. Its loss is the mean over units: for the rows the nats per target
token of all of them, for examples the loss of each one's objective.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from tinychat.keys import draw_key
from tinychat.model import seed_dropout
from tinychat.training.batches import Batch, Order, batch_at
from tinychat.training.events import Stepped
from tinychat.training.preferences.dataset import PreferenceDataset
from tinychat.training.preferences.followed import Followed
from tinychat.training.preferences.forward import (
    PreferenceExample,
    estimate_kl,
    preference_losses,
)
from tinychat.training.preferences.sequences import in_parts
from tinychat.training.team import Work
from tinychat.training.updates import Updates, add_gradients


@dataclass(frozen=True)
class MixedBatch:
    """What one step learns from."""

    replay: Batch | None
    examples: tuple[PreferenceExample, ...]


@dataclass
class PreferenceUpdates(Updates):
    """Updates of a run of preference tuning."""

    preferences: PreferenceDataset | None = None

    def __post_init__(self) -> None:
        preferences = self.preferences
        assert preferences is not None
        assert preferences.reference is not None, "the reference comes before the first update"
        self._training = preferences.training
        self._loss_settings = preferences.loss_settings(self.settings)
        self._order = Order(len(self._training))
        self._pad = self.rows.file.format.pad
        self._margins = torch.zeros(0)  # of the step in progress

    def batch(self) -> MixedBatch:  # type: ignore[override]
        """Raises DataError if the data's file is not what it was."""
        seed, step = self.settings.seed, self.progress.step
        rows = self.settings.batch_size - self.settings.examples_a_step
        count = self.settings.examples_a_step
        where = (divmod(i, self._order.count) for i in range(step * count, (step + 1) * count))
        key = draw_key(seed, "order of examples")
        places = [self._order.at(key, epoch, index) for epoch, index in where]
        return MixedBatch(
            replay=batch_at(self.rows, seed, step, rows) if rows else None,
            examples=tuple(self._training[place] for place in places),
        )

    def gradients(self, batch: MixedBatch) -> Tensor:  # type: ignore[override]
        try:
            return self._examples(batch.examples) + self._replay(batch.replay)
        except BaseException:
            self.optimizer.zero_grad()
            raise

    def _replay(self, batch: Batch | None) -> Tensor | float:
        if batch is None:
            return 0.0
        share = len(batch.ids) / self.settings.batch_size
        targets = batch.target_tokens / share  # so that the sum of nats over them has that weight
        work = self._work(targets)
        return add_gradients(self._nats, self.facts.runtime, self.settings, work, batch)

    def _examples(self, examples: Sequence[PreferenceExample]) -> Tensor:
        runtime, at_once = self.facts.runtime, self.facts.micro_batch_size
        kl = estimate_kl(self.decoder, examples, self._pad, runtime, at_once)
        loss = torch.zeros((), device=runtime.torch_device)
        margins: list[Tensor] = []
        for number, some in enumerate(in_parts(examples, at_once)):
            if self.settings.model.dropout:
                key = (self.settings.seed, "dropout of examples", self.progress.step, number)
                seed_dropout(runtime.device, draw_key(*key))
            with runtime.autocast():
                found = preference_losses(self.decoder, some, self._loss_settings, kl, self._pad)
            part = found.losses.sum() / self._divisor(examples)
            (part * self.progress.loss_scale).backward()
            loss += part.detach()
            margins.append(found.margins)
        self._margins = torch.cat(margins)
        return loss

    def _divisor(self, examples: Sequence[PreferenceExample]) -> float:
        """What their summed losses are divided by, to weigh as much as their units."""
        return self.settings.batch_size

    def _work(self, targets: float) -> Work:
        scale = self.progress.loss_scale
        return Work(self.progress.step, self.facts.micro_batch_size, targets, scale)

    def apply(self, batch: MixedBatch, loss: Tensor, began: float) -> Stepped:  # type: ignore[override]
        stepped = super().apply(batch, loss, began)  # type: ignore[arg-type]
        return replace(stepped, **told_of(self._margins))

    def _tokens(self, batch: MixedBatch) -> tuple[int, int]:  # type: ignore[override]
        seen, computed = super()._tokens(batch.replay) if batch.replay else (0, 0)
        said = sum(len(each.ids) for one in batch.examples for each in one.encoded.replies)
        return seen + said, computed + said


@dataclass
class FollowUpdates(PreferenceUpdates):
    """Updates of a run that learns from judgements as they come, one a step.

    However many examples a judgement makes, together they weigh as much as the examples of any
    other run of preference tuning.
    """

    followed: Followed = field(kw_only=True)

    def __post_init__(self) -> None:
        self._loss_settings = self.followed.loss_settings()
        self._pad = self.rows.file.format.pad
        self._margins = torch.zeros(0)

    def ready(self) -> bool:
        return self.followed.n_steps > self.progress.step

    def batch(self) -> MixedBatch:  # type: ignore[override]
        """Raises DataError if the data's file is not what it was."""
        seed, step = self.settings.seed, self.progress.step
        rows = self.settings.batch_size - self.settings.examples_a_step
        return MixedBatch(
            replay=batch_at(self.rows, seed, step, rows) if rows else None,
            examples=self.followed.of_step(step),
        )

    def apply(self, batch: MixedBatch, loss: Tensor, began: float) -> Stepped:  # type: ignore[override]
        return replace(super().apply(batch, loss, began), eta_seconds=None)  # nobody knows

    def _divisor(self, examples: Sequence[PreferenceExample]) -> float:
        return len(examples) * self.settings.batch_size / self.settings.examples_a_step


def told_of(margins: Tensor) -> dict[str, float | None]:
    """Margins as columns of a row: what they are on average, and how many are on the right side."""
    if not len(margins):
        return {"reward_margin": None, "preference_accuracy": None}
    return {
        "reward_margin": margins.mean().item(),
        "preference_accuracy": (margins > 0).float().mean().item(),
    }
