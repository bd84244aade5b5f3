"""One optimizer update: the batch of a step, its gradients, the guard, the clip, the step.

Step n means n updates are done. Everything random in the update from n to n + 1 is keyed by
(seed, n), so a resumed run needs the weights, the optimizer's memory and this one number.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tinychat.config import Settings, learning_rate
from tinychat.keys import draw_key
from tinychat.model import Decoder, Runtime, memory_bytes, seed_dropout, synchronize
from tinychat.training.batches import Batch, Replay, Rows, batch_at
from tinychat.training.compiled import CompiledLoss
from tinychat.training.evaluate import summed_loss
from tinychat.training.events import Stepped
from tinychat.training.gaps import held_up_seconds
from tinychat.training.lineage import Facts
from tinychat.training.optimizer import Optimizer, gradient_norm
from tinychat.training.pace import Pace
from tinychat.training.progress import Progress
from tinychat.training.team import Alone, Team, Work

STEPS_UNTIL_LARGER_SCALE = 1000


@dataclass
class Updates:
    """Makes the updates of one attempt, one at a time; `progress` says where it stands.

    `facts` may be replaced between updates: how many rows go through the model at once, and the
    share of the planned learning rate.
    """

    settings: Settings
    max_steps: int
    decoder: Decoder
    optimizer: Optimizer
    rows: Rows
    facts: Facts
    progress: Progress
    pace: Pace = field(default_factory=Pace)
    team: Team = field(default_factory=Alone)
    replay: Replay | None = None
    _compiled: CompiledLoss | None = None

    def use(self, facts: Facts) -> None:
        """Compute in another way from here on."""
        self.facts = facts
        facts.runtime.apply()
        facts.runtime.configure(self.decoder)

    def spread(self) -> None:
        """Bring the rest of the team to these weights and this memory."""
        self.team.spread(self.decoder, self.optimizer)

    def batch(self) -> Batch:
        """The whole batch of the next step. Raises DataError if its file is not what it was."""
        seed, rows = self.settings.seed, self.settings.batch_size
        return batch_at(self.rows, seed, self.progress.step, rows, self.replay)

    def gradients(self, batch: Batch) -> Tensor:
        """Compute the batch's gradients; returns its loss, nats per target token.

        Nothing is left behind if that fails, so it can be tried again with smaller micro-batches.
        """
        work = Work(
            self.progress.step,
            self.facts.micro_batch_size,
            batch.target_tokens,
            self.progress.loss_scale,
        )
        try:
            return self.team.gradients(work, batch, lambda rows: self._share(work, rows))
        except BaseException:
            self.optimizer.zero_grad()
            raise

    def _share(self, work: Work, rows: Batch) -> Tensor:
        return add_gradients(self._nats, self.facts.runtime, self.settings, work, rows)

    def apply(self, batch: Batch, loss: Tensor, began: float) -> Stepped:
        """Take the step, or skip it if loss or gradient is not finite. `began` is a monotonic time.

        Time in which the process was held up does not count as the step's.
        """
        progress, device = self.progress, self.facts.runtime.device
        planned = learning_rate(progress.step, self.max_steps, self.settings.optim)
        rate = planned * self.facts.rate_factor
        norm = gradient_norm(self.decoder).item() / progress.loss_scale
        good = math.isfinite(norm) and bool(torch.isfinite(loss))
        factor = self._factor(norm) if good else 0.0
        self.team.step(rate, factor)
        take_step(self.decoder, self.optimizer, rate, factor)
        progress.step += 1
        seen, computed = self._tokens(batch)
        progress.tokens_seen += seen
        self._count(good)
        synchronize(device)
        seconds = time.monotonic() - began
        held_up = held_up_seconds(seconds, self.pace.steps)
        seconds -= held_up
        self.pace.note("step", seconds)
        return Stepped(
            step=progress.step,
            train_loss=loss.item(),
            learning_rate=rate,
            grad_norm=norm,
            tokens_seen=progress.tokens_seen,
            tokens_per_second=computed / seconds,
            step_seconds=seconds,
            memory_bytes=memory_bytes(device),
            eta_seconds=self.pace.eta_seconds(progress.step, self.max_steps, self.settings),
            skipped=not good,
            held_up_seconds=held_up,
        )

    def _tokens(self, batch: Batch) -> tuple[int, int]:
        """How many tokens a step learns from, and with how many it computes."""
        return int((batch.ids != self.rows.file.format.pad).sum()), batch.ids.numel()

    def _nats(self, batch: Batch) -> Tensor:
        if not self.facts.runtime.compile:
            return summed_loss(self.decoder, batch)
        self._compiled = self._compiled or CompiledLoss(self.decoder)
        return self._compiled(batch)

    def _factor(self, norm: float) -> float:
        """What gradients are multiplied with: the clip, and back from the loss scale."""
        longest = self.settings.optim.max_grad_norm
        factor = min(1.0, longest / (norm + 1e-6)) if longest else 1.0
        return factor / self.progress.loss_scale

    def _count(self, good: bool) -> None:
        """Keep the loss scale and the count of steps that came to nothing."""
        progress = self.progress
        scaled = self.facts.runtime.dtype == "fp16"
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
        else:
            progress.bad_steps_in_a_row += 1


def add_gradients(
    nats: Callable[[Batch], Tensor],
    runtime: Runtime,
    settings: Settings,
    work: Work,
    rows: Batch,
    rank: int = 0,
) -> Tensor:
    """Add some rows' gradients to the decoder's, whose summed loss is `nats`; returns their part
    of the batch's loss."""
    device = runtime.torch_device
    loss = torch.zeros((), device=device)
    for micro_step, micro in enumerate(rows.split(work.rows_at_once)):
        if settings.model.dropout:
            seed = draw_key(settings.seed, "dropout", work.step, micro_step, rank)
            seed_dropout(runtime.device, seed)
        with runtime.autocast():
            part = nats(micro.to(device)) / work.targets
        (part * work.loss_scale).backward()
        loss += part.detach()
    return loss


def take_step(decoder: Decoder, optimizer: Optimizer, rate: float, factor: float) -> None:
    """One update with gradients scaled by `factor` (0: none); they are forgotten then."""
    if factor:
        if factor != 1.0:
            for parameter in decoder.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)
        optimizer.step(rate)
    optimizer.zero_grad()
