"""From encoded examples to losses: each by its own objective, all in one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tinychat.config import TuneSettings
from tinychat.model import AnsweringDecoder, Decoder, Runtime
from tinychat.training.preferences import losses
from tinychat.training.preferences.reference import LogProbs
from tinychat.training.preferences.sequences import (
    EncodedExample,
    batch_of,
    in_parts,
    log_probs,
)


@dataclass(frozen=True)
class Lesson:
    """An example, and what the reference makes of it."""

    example: EncodedExample
    reference: LogProbs

    @property
    def is_good(self) -> bool:
        """Of kto: whether its reply is to become likelier."""
        return self.example.chosen is not None


@dataclass(frozen=True)
class Objective:
    """How examples are learnt from. The weights are of kto's good and bad replies."""

    beta: float
    chosen_weight: float
    good_weight: float = 1.0
    bad_weight: float = 1.0

    @classmethod
    def of(cls, settings: TuneSettings, lessons: Sequence[Lesson]) -> "Objective":
        """Of good and bad replies the fewer ones weigh more, so that both sides weigh the same
        (Ethayarajh et al. 2024, equation 8, at the lower end of its range)."""
        kto = [each for each in lessons if each.example.objective == "kto"]
        good = sum(each.is_good for each in kto)
        bad = len(kto) - good
        weights = (max(1.0, bad / good), max(1.0, good / bad)) if good and bad else (1.0, 1.0)
        return cls(settings.beta, settings.chosen_weight, *weights)


@dataclass(frozen=True)
class Judged:
    """What a model makes of examples. Margins: how much further the model is from the reference
    towards the better reply than towards the worse one, in units of 1 / beta nats; of those that
    compare (all but sft)."""

    losses: Tensor  # (examples,), in no certain order
    margins: Tensor  # (those that compare,), without gradient


def judge(
    decoder: Decoder | AnsweringDecoder,
    lessons: Sequence[Lesson],
    objective: Objective,
    kl: Tensor,
    pad: int,
) -> Judged:
    """One forward pass of all replies of the lessons; the caller sees to precision and gradients.
    `kl` is what `estimate_kl` says of the whole step."""
    return _Judging(decoder, lessons, objective, pad).run(kl)


class _Judging:
    def __init__(
        self,
        decoder: Decoder | AnsweringDecoder,
        lessons: Sequence[Lesson],
        objective: Objective,
        pad: int,
    ) -> None:
        self._lessons, self._objective = lessons, objective
        replied = [each for lesson in lessons for each in lesson.example.judged]
        self._device = decoder.embedding.weight.device
        batch = batch_of(replied, pad, decoder.settings.context_length)
        self._log_probs = log_probs(decoder, batch.to(self._device))
        self._tokens = self._tensor([float(len(each.reply)) for each in replied])
        starts, at = [], 0
        for lesson in lessons:
            starts.append(at)
            at += len(lesson.example.judged)
        self._starts = starts

    def run(self, kl: Tensor) -> Judged:
        beta = self._objective.beta
        found: list[Tensor] = []
        margins: list[Tensor] = []
        if places := self._places("sft"):
            found.append(losses.sft(self._log_probs[places], self._tokens[places]))
        if places := self._places("dpo"):
            chosen, rejected = self._ratios("dpo", "chosen", 0), self._ratios("dpo", "rejected", 1)
            loss = losses.dpo(chosen, rejected, beta)
            if self._objective.chosen_weight:
                likely = losses.sft(self._log_probs[places], self._tokens[places])
                loss = loss + self._objective.chosen_weight * likely
            found.append(loss)
            margins.append(beta * (chosen - rejected))
        if self._places("kto"):
            loss, margin = self._kto(kl)
            found.append(loss)
            margins.append(margin)
        if places := self._places("orpo"):
            others = [each + 1 for each in places]
            values = (self._log_probs[places], self._log_probs[others])
            tokens = (self._tokens[places], self._tokens[others])
            found.append(losses.orpo(*values, *tokens, beta))
            margins.append(beta * (values[0] / tokens[0] - values[1] / tokens[1]))
        nothing = self._log_probs.new_zeros(0)
        return Judged(torch.cat(found), torch.cat([nothing, *margins]).detach())

    def _kto(self, kl: Tensor) -> tuple[Tensor, Tensor]:
        lessons = self._of("kto")
        good = torch.tensor([each.is_good for each in lessons], device=self._device)
        said = [
            each.reference.chosen if each.is_good else each.reference.rejected for each in lessons
        ]
        ratio = self._log_probs[self._places("kto")] - self._tensor(said)
        loss = losses.kto(ratio, good, kl, self._objective.beta)
        weights = [
            self._objective.good_weight if each.is_good else self._objective.bad_weight
            for each in lessons
        ]
        return loss * self._tensor(weights), self._objective.beta * torch.where(good, ratio, -ratio)

    def _ratios(self, objective: str, side: str, offset: int) -> Tensor:
        """Log-probabilities less those of the reference, of one side of each pair."""
        places = [each + offset for each in self._places(objective)]
        said = [getattr(each.reference, side) for each in self._of(objective)]
        return self._log_probs[places] - self._tensor(said)

    def _of(self, objective: str) -> list[Lesson]:
        return [each for each in self._lessons if each.example.objective == objective]

    def _places(self, objective: str) -> list[int]:
        """Where in the forward pass the first reply of each such example is."""
        pairs = zip(self._starts, self._lessons, strict=True)
        return [start for start, each in pairs if each.example.objective == objective]

    def _tensor(self, values: Sequence[float | None]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device)


@torch.no_grad()
def estimate_kl(
    decoder: Decoder | AnsweringDecoder,
    lessons: Sequence[Lesson],
    pad: int,
    runtime: Runtime,
    at_once: int,
) -> Tensor:
    """kto's measure of how far the model is from its reference, (), from the lessons' mismatched
    replies; 0 where there are none."""
    asked = [each for each in lessons if each.example.mismatched is not None]
    if not asked:
        return torch.zeros((), device=runtime.torch_device)
    replied = [each.example.mismatched for each in asked if each.example.mismatched is not None]
    was_training = decoder.training
    decoder.eval()
    try:
        parts = []
        for some in in_parts(replied, at_once):
            batch = batch_of(some, pad, decoder.settings.context_length)
            with runtime.autocast():
                parts.append(log_probs(decoder, batch.to(runtime.torch_device)))
    finally:
        decoder.train(was_training)
    said = torch.tensor([each.reference.mismatched for each in asked], device=runtime.torch_device)
    return losses.kl_estimate(torch.cat(parts) - said)
