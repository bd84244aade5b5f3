"""From examples to losses: all replies in one forward pass, each example by its own objective."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from tinychat.config import TuneSettings
from tinychat.conversations import Objective
from tinychat.model import AnsweringDecoder, Decoder, Runtime
from tinychat.training.preferences import losses
from tinychat.training.preferences.reference import LogProbs
from tinychat.training.preferences.sequences import (
    EncodedExample,
    batch_of,
    log_probs,
    log_probs_of,
)


@dataclass(frozen=True)
class PreferenceExample:
    """An example as ids, and what the reference makes of it."""

    encoded: EncodedExample
    reference: LogProbs

    @property
    def is_desirable(self) -> bool:
        """Of kto: whether its reply is to become likelier."""
        return self.encoded.chosen is not None

    @property
    def reference_of_replies(self) -> list[float]:
        """The reference's log-probability of each reply in their order; nan where it is unknown."""
        sides = (
            (self.encoded.chosen, self.reference.chosen),
            (self.encoded.rejected, self.reference.rejected),
        )
        known = [value for reply, value in sides if reply is not None]
        return [math.nan if value is None else value for value in known]


@dataclass(frozen=True)
class LossSettings:
    """What the losses depend on besides log-probabilities. The last two are kto's weights."""

    beta: float
    chosen_weight: float
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0

    @classmethod
    def of(cls, settings: TuneSettings, examples: Sequence[PreferenceExample]) -> "LossSettings":
        """Of desirable and undesirable replies the fewer ones weigh more, so that both sides weigh
        the same (Ethayarajh et al. 2024, equation 8, at the lower end of its range)."""
        kto = [each for each in examples if each.encoded.objective == "kto"]
        good = sum(each.is_desirable for each in kto)
        bad = len(kto) - good
        weights = (max(1.0, bad / good), max(1.0, good / bad)) if good and bad else (1.0, 1.0)
        return cls(settings.beta, settings.chosen_weight, *weights)


@dataclass(frozen=True)
class PreferenceLosses:
    """What a model makes of examples. Margins: how much further the model is from the reference
    towards the better reply than towards the worse one, in units of 1 / beta nats; of those that
    compare (all but sft)."""

    losses: Tensor  # (examples,), in no certain order
    margins: Tensor  # (those that compare,), without gradient


def preference_losses(
    decoder: Decoder | AnsweringDecoder,
    examples: Sequence[PreferenceExample],
    settings: LossSettings,
    kl: Tensor,
    pad: int,
) -> PreferenceLosses:
    """One forward pass of all replies of the examples; the caller sees to precision and gradients.
    `kl` is what `estimate_kl` says of the whole step."""
    device = decoder.embedding.weight.device
    replies = [each for example in examples for each in example.encoded.replies]
    known = [each for example in examples for each in example.reference_of_replies]
    batch = batch_of(replies, pad, decoder.settings.context_length).to(device)
    values = log_probs(decoder, batch)
    ratios = values - torch.tensor(known, dtype=torch.float32, device=device)
    tokens = torch.tensor([float(len(each.reply)) for each in replies], device=device)
    beta, margins = settings.beta, [values.new_zeros(0)]
    found: list[Tensor] = []
    first = _first_replies(examples)
    second = {objective: [place + 1 for place in places] for objective, places in first.items()}
    if sft := first["sft"]:
        found.append(losses.sft(values[sft], tokens[sft]))
    if dpo := first["dpo"]:
        chosen, rejected = ratios[dpo], ratios[second["dpo"]]
        loss = losses.dpo(chosen, rejected, beta)
        if settings.chosen_weight:
            loss = loss + settings.chosen_weight * losses.sft(values[dpo], tokens[dpo])
        found.append(loss)
        margins.append(beta * (chosen - rejected))
    if kto := first["kto"]:
        good = [each.is_desirable for each in examples if each.encoded.objective == "kto"]
        desirable, ratio = torch.tensor(good, device=device), ratios[kto]
        weights = torch.where(desirable, settings.desirable_weight, settings.undesirable_weight)
        found.append(weights * losses.kto(ratio, desirable, kl, beta))
        margins.append(beta * torch.where(desirable, ratio, -ratio))
    if orpo := first["orpo"]:
        both = (values[orpo], values[second["orpo"]])
        lengths = (tokens[orpo], tokens[second["orpo"]])
        found.append(losses.orpo(*both, *lengths, beta))
        margins.append(beta * (both[0] / lengths[0] - both[1] / lengths[1]))
    return PreferenceLosses(torch.cat(found), torch.cat(margins).detach())


def _first_replies(examples: Sequence[PreferenceExample]) -> dict[str, list[int]]:
    """By objective, where in the forward pass the first reply of each of its examples is."""
    found: dict[str, list[int]] = {objective: [] for objective in get_args(Objective)}
    place = 0
    for example in examples:
        found[example.encoded.objective].append(place)
        place += len(example.encoded.replies)
    return found


def estimate_kl(
    decoder: Decoder | AnsweringDecoder,
    examples: Sequence[PreferenceExample],
    pad: int,
    runtime: Runtime,
    at_once: int,
) -> Tensor:
    """kto's measure of how far the model is from its reference, (), from the examples' mismatched
    replies; 0 where there are none."""
    asked = [
        (each.encoded.mismatched, each.reference.mismatched)
        for each in examples
        if each.encoded.mismatched is not None
    ]
    if not asked:
        return torch.zeros((), device=runtime.torch_device)
    replies, values = zip(*asked, strict=True)
    found = log_probs_of(decoder, replies, pad, runtime, at_once)
    return losses.kl_estimate(found - torch.tensor(values, device=runtime.torch_device))
