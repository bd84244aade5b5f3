"""The losses of preference tuning, as functions of log-probabilities; one value for each example.

A log-probability is that of a whole reply given its prompt, the sum over its target tokens. The
reference is the model that training began with. dpo: Rafailov et al. 2023, kto: Ethayarajh et al.
2024, orpo: Hong et al. 2024, each as Hugging Face's TRL computes it, with one difference: the
likelihood term of orpo counts the reply's tokens and not the prompt's, as all training here does.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_NATS_FOR_ODDS = 1e-6  # nats: the odds of what is certain are infinite


def sft(chosen: Tensor, tokens: Tensor) -> Tensor:
    """Nats per target token."""
    return -chosen / tokens


def dpo(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """Of pairs; both are log-ratios, the log-probability less that in the reference."""
    return -F.logsigmoid(beta * (chosen - rejected))


def kto(ratio: Tensor, is_good: Tensor, kl: Tensor, beta: float) -> Tensor:
    """Of single replies and whether each is to become likelier. `kl` () says how far the model is
    from the reference as it is (`kl_estimate`)."""
    gain = torch.where(is_good, ratio - kl, kl - ratio)
    return 1 - torch.sigmoid(beta * gain)


def kl_estimate(ratios: Tensor) -> Tensor:
    """From the log-ratios of replies to prompts they do not belong to; carries no gradient."""
    return ratios.detach().mean().clamp(min=0)


def orpo(
    chosen: Tensor, rejected: Tensor, tokens: Tensor, rejected_tokens: Tensor, beta: float
) -> Tensor:
    """Of pairs, from log-probabilities and the numbers of target tokens; it needs no reference."""
    return sft(chosen, tokens) - beta * F.logsigmoid(
        log_odds(chosen / tokens) - log_odds(rejected / rejected_tokens)
    )


def log_odds(mean: Tensor) -> Tensor:
    """Of the mean log-probability of a reply's tokens: log(p / (1 - p))."""
    certain = mean.clamp(max=-LEAST_NATS_FOR_ODDS)
    return mean - torch.log1p(-torch.exp(certain))
