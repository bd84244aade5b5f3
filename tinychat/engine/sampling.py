"""How the next token is chosen: the rules a person sets, and one choice made by them.

The order is fixed and written beside the sliders: repetition penalty, temperature, top-k, top-p,
min-p. Knows nothing of models, text or batches.
"""

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tinychat.config.sampling import MOST_TEMPERATURE, SEEDS
from tinychat.errors import SettingsError

# What stands in for a logit that is no number, so that a broken model still gives some token.
LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The rules of one request. Raises SettingsError with all problems; `None` is off."""

    temperature: float = 0.8
    """How freely to choose; 0 always takes the likeliest token."""
    top_k: int | None = 40
    """Choose among this many likeliest tokens."""
    top_p: float | None = None
    """Choose among the likeliest tokens that together reach this share."""
    min_p: float | None = None
    """Choose among tokens at least this share as likely as the likeliest."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that were already there less likely (Keskar et al. 2019)."""
    max_new_tokens: int = 256
    """Longest answer, in tokens."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these strings."""
    seed: int = 0
    """The same seed gives the same answer."""
    repetition_guard: bool = True
    """End an answer that says the same thing over and over."""

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise SettingsError(*problems)

    @property
    def is_greedy(self) -> bool:
        """The choice is the plain argmax of the logits."""
        return self.temperature == 0 and self.repetition_penalty == 1


Rule = Literal["temperature", "top_k", "top_p", "min_p"]


@dataclass(frozen=True)
class Candidate:
    """A token that could have come."""

    id: int
    probability: float  # the model's own, before any rule
    share: float  # after the rules: the chance that it had
    removed_by: Rule | None  # the rule that left it no share


@dataclass(frozen=True)
class TokenDetail:
    """What the model thought when it gave a token. All but `share` is before any rule."""

    id: int
    logprob: float  # natural logarithm of its probability
    rank: int  # 1 is the likeliest
    entropy: float  # of all probabilities, in nats
    candidates: tuple[Candidate, ...]  # the likeliest, and the token itself


def pick(
    logits: Tensor, sampling: Sampling, generator: torch.Generator, seen_ids: Collection[int] = ()
) -> int:
    """The next token id, from logits (V,) on the CPU of any float type.

    An id whose logit is -inf is never taken. Draws one number from the generator, or none where
    the choice is greedy. Any logits give an id: +inf counts as the largest number, NaN as the
    smallest.
    """
    logits = logits.double()  # so wide that no temperature or penalty overflows it
    if seen_ids and sampling.repetition_penalty != 1:
        logits = penalise(logits, sampling.repetition_penalty, seen_ids)
    logits = no_nan(logits)
    best = logits.max()
    if sampling.temperature == 0 or best == -math.inf:
        return int(logits.argmax())
    ids = None
    if sampling.top_k is not None and sampling.top_k < len(logits):
        logits, ids = logits.topk(sampling.top_k)  # temperature keeps the order: k first is cheaper
    elif sampling.top_p is not None:
        logits, ids = logits.sort(descending=True)
    shares = torch.softmax((logits - best) / sampling.temperature, 0)
    if sampling.top_p is not None:
        likelier = shares.cumsum(0) - shares  # what all likelier tokens have together
        shares = shares.where(likelier < sampling.top_p, 0)
    if sampling.min_p is not None:
        shares = shares.where(shares >= sampling.min_p * shares.max(), 0)
    chosen = draw(shares, generator)
    return chosen if ids is None else int(ids[chosen])


def explain(
    logits: Tensor, token: int, sampling: Sampling, seen_ids: Collection[int], candidates: int
) -> TokenDetail:
    """What stood behind the choice of a token, from the logits (V,) that `pick` was given."""
    logits = no_nan(logits.double())
    logprobs = torch.log_softmax(logits, 0)
    told: list[Candidate] = []
    if candidates:
        shares, removed_by = _after_rules(logits, sampling, seen_ids)
        likeliest = logprobs.topk(min(candidates, len(logits))).indices.tolist()
        for id in likeliest if token in likeliest else [*likeliest, token]:
            probability, share = float(logprobs[id].exp()), float(shares[id])
            told.append(Candidate(id, probability, share, None if share else removed_by(id)))
    return TokenDetail(
        id=token,
        logprob=float(logprobs[token]),
        rank=1 + int((logprobs > logprobs[token]).sum()),
        entropy=float(torch.special.entr(logprobs.exp()).sum()),
        candidates=tuple(told),
    )


def _after_rules(
    logits: Tensor, sampling: Sampling, seen_ids: Collection[int]
) -> tuple[Tensor, Callable[[int], Rule]]:
    """The share of every token (V,), and which rule took it from one that has none."""
    if seen_ids and sampling.repetition_penalty != 1:
        logits = penalise(logits, sampling.repetition_penalty, seen_ids)
    if sampling.temperature == 0:
        likeliest = torch.zeros_like(logits)
        likeliest[logits.argmax()] = 1
        return likeliest, lambda id: "temperature"
    left: dict[Rule, Tensor] = {}
    if sampling.top_k is not None and sampling.top_k < len(logits):
        values, ids = logits.topk(sampling.top_k)  # a sort of all takes ten times as long
    else:
        values, ids = logits.sort(descending=True)
    shares = torch.softmax((values - values[0]) / sampling.temperature, 0)
    left["temperature"] = shares > 0
    if sampling.top_p is not None:
        shares = shares.where(shares.cumsum(0) - shares < sampling.top_p, 0)
        left["top_p"] = shares > 0
    if sampling.min_p is not None:
        shares = shares.where(shares >= sampling.min_p * shares.max(), 0)
        left["min_p"] = shares > 0
    place = torch.full_like(logits, -1, dtype=torch.long)
    place[ids] = torch.arange(len(ids))

    def removed_by(id: int) -> Rule:
        at = int(place[id])
        if at < 0:
            return "top_k"
        for rule, there in left.items():
            if not there[at]:
                return rule
        return "temperature"

    return torch.zeros_like(logits).index_put((ids,), shares / shares.sum()), removed_by


def no_nan(logits: Tensor) -> Tensor:
    """Logits in which +inf counts as the largest number and NaN as the smallest."""
    return logits.nan_to_num(nan=-LARGEST, posinf=LARGEST, neginf=-math.inf)


def penalise(logits: Tensor, penalty: float, seen_ids: Collection[int]) -> Tensor:
    """Logits in which each seen id counts less: divided where positive, else multiplied."""
    seen = torch.tensor(list(seen_ids))
    values = logits[seen]
    return logits.index_put((seen,), torch.where(values > 0, values / penalty, values * penalty))


def draw(shares: Tensor, generator: torch.Generator) -> int:
    """An index, drawn in proportion to the shares (V,) by one uniform number."""
    edges = shares.cumsum(0)
    # 53-bit u < 1, so u * total < total in float64, and the index found has a share above 0
    point = torch.rand((), generator=generator, dtype=torch.float64) * edges[-1]
    return int(torch.searchsorted(edges, point, right=True))


def _problems(sampling: Sampling) -> Iterator[str]:
    """One sentence for each field that cannot be used."""
    if not _is_number(sampling.temperature, 0, MOST_TEMPERATURE):
        yield (
            f"temperature must be a number from 0 to {MOST_TEMPERATURE:g}, "
            f"not {sampling.temperature!r}"
        )
    if sampling.top_k is not None and not _is_whole(sampling.top_k, 1):
        yield f"top_k must be a whole number from 1 up, or none for off, not {sampling.top_k!r}"
    if sampling.top_p is not None and not (_is_number(sampling.top_p, 0, 1) and sampling.top_p):
        yield f"top_p must be above 0 and at most 1, or none for off, not {sampling.top_p!r}"
    if sampling.min_p is not None and not _is_number(sampling.min_p, 0, 1):
        yield f"min_p must be from 0 to 1, or none for off, not {sampling.min_p!r}"
    if not _is_number(sampling.repetition_penalty, 0.01, 100):
        yield (
            "repetition_penalty must be from 0.01 to 100 (1 is off), "
            f"not {sampling.repetition_penalty!r}"
        )
    if not _is_whole(sampling.max_new_tokens, 1):
        yield f"max_new_tokens must be a whole number from 1 up, not {sampling.max_new_tokens!r}"
    if not isinstance(sampling.stop, tuple) or not all(
        isinstance(text, str) and text for text in sampling.stop
    ):
        yield f"stop must be a tuple of texts, none of them empty, not {sampling.stop!r}"
    if not isinstance(sampling.repetition_guard, bool):
        yield f"repetition_guard must be true or false, not {sampling.repetition_guard!r}"
    if not _is_whole(sampling.seed, 0) or sampling.seed >= SEEDS:
        yield f"seed must be a whole number from 0 to 2^63 - 1, not {sampling.seed!r}"


def _is_number(value: object, low: float, high: float) -> bool:
    """A finite number (never a bool) within both ends."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return low <= value <= high


def _is_whole(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low
