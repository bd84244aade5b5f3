"""The sampling rules: what is refused, what each rule keeps, and that any logits give a token."""

import math
from collections import Counter
from itertools import product

import pytest
import torch

from tinychat.engine import Sampling, pick
from tinychat.errors import SettingsError


def draws(
    logits: list[float], sampling: Sampling, count: int = 300, **more: object
) -> Counter[int]:
    generator = torch.Generator().manual_seed(5)
    seen = more.get("seen_ids", ())
    assert isinstance(seen, tuple | set)
    return Counter(pick(torch.tensor(logits), sampling, generator, seen) for _ in range(count))


def plain(**rules: object) -> Sampling:
    """Sampling with every rule off but these."""
    return Sampling(**{"temperature": 1.0, "top_k": None, **rules})  # pyright: ignore


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", 10**400),
        ("seed", 2**63),
        ("temperature", math.inf),
        ("temperature", 2.01),
        ("temperature", "hot"),
        ("temperature", True),
        ("top_k", 0),
        ("top_k", -1),
        ("top_k", 2.5),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_p", math.nan),
        ("min_p", -0.1),
        ("min_p", 1.5),
        ("min_p", math.nan),
        ("repetition_penalty", 0),
        ("repetition_penalty", math.inf),
        ("repetition_penalty", math.nan),
        ("max_new_tokens", 0),
        ("max_new_tokens", 3.0),
        ("stop", "end"),
        ("stop", ("",)),
        ("stop", (3,)),
        ("seed", -1),
        ("seed", 0.5),
    ],
)
def test_impossible_rules_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(SettingsError) as refused:
        Sampling(**{field: value})  # pyright: ignore[reportArgumentType]
    assert len(refused.value.problems) == 1
    assert refused.value.problems[0].startswith(field)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        Sampling(temperature=math.nan, top_k=0, top_p=2.0, max_new_tokens=0, seed=-1)
    assert [p.split()[0] for p in refused.value.problems] == [
        "temperature",
        "top_k",
        "top_p",
        "max_new_tokens",
        "seed",
    ]


def test_temperature_zero_takes_the_likeliest() -> None:
    assert draws([0.0, 2.0, 1.9], plain(temperature=0.0)) == {1: 300}
    assert draws([0.0, 2.0, 1.9], plain(temperature=1e-6)) == {1: 300}


def test_without_rules_tokens_come_by_their_shares() -> None:
    shares = [0.5, 0.3, 0.15, 0.05]
    counts = draws([math.log(s) for s in shares], plain(), count=20_000)
    for token, share in enumerate(shares):
        assert abs(counts[token] / 20_000 - share) < 0.015


def test_temperature_sharpens_and_flattens() -> None:
    logits = [math.log(0.8), math.log(0.2)]
    cold, warm = (draws(logits, plain(temperature=t), count=10_000)[1] for t in (0.5, 2.0))
    assert abs(cold / 10_000 - 1 / 17) < 0.015  # 0.04 / (0.64 + 0.04)
    assert abs(warm / 10_000 - 1 / 3) < 0.02


def test_top_k_keeps_the_k_likeliest() -> None:
    assert set(draws([1.0, 3.0, 2.0, 0.0], plain(top_k=2))) == {1, 2}
    assert set(draws([1.0, 3.0, 2.0, 0.0], plain(top_k=1))) == {1}
    assert set(draws([1.0, 1.5, 1.2, 1.1], plain(top_k=99))) == {0, 1, 2, 3}


def test_top_p_keeps_the_fewest_that_reach_the_share() -> None:
    logits = [math.log(s) for s in (0.1, 0.5, 0.3, 0.1)]
    assert set(draws(logits, plain(top_p=0.5))) == {1}
    assert set(draws(logits, plain(top_p=0.51))) == {1, 2}
    assert set(draws(logits, plain(top_p=1e-9))) == {1}
    assert set(draws(logits, plain(top_p=1.0))) == {0, 1, 2, 3}


def test_top_p_is_a_share_of_what_top_k_left() -> None:
    logits = [math.log(s) for s in (0.4, 0.3, 0.2, 0.1)]
    # among the first two, the likelier has 4/7 = 0.571
    assert set(draws(logits, plain(top_k=2, top_p=0.57))) == {0}
    assert set(draws(logits, plain(top_k=2, top_p=0.58))) == {0, 1}


def test_temperature_comes_before_top_p_and_min_p() -> None:
    logits = [math.log(0.8), math.log(0.2)]
    assert set(draws(logits, plain(top_p=0.75))) == {0}
    assert set(draws(logits, plain(top_p=0.75, temperature=2.0))) == {0, 1}
    assert set(draws(logits, plain(min_p=0.4))) == {0}
    assert set(draws(logits, plain(min_p=0.4, temperature=2.0))) == {0, 1}


def test_min_p_is_measured_against_the_likeliest() -> None:
    logits = [math.log(s) for s in (0.5, 0.3, 0.15, 0.05)]
    assert set(draws(logits, plain(min_p=0.29))) == {0, 1, 2}
    assert set(draws(logits, plain(min_p=1.0))) == {0}


def test_the_repetition_penalty_lowers_what_was_seen_on_both_sides_of_zero() -> None:
    rules = plain(temperature=0.0, repetition_penalty=1.5)
    assert draws([3.0, 2.5, -1.0], rules, seen_ids={0}) == {1: 300}
    assert draws([-1.0, -1.2, -9.0], rules, seen_ids={0}) == {1: 300}
    assert draws([3.0, 1.0, -1.0], rules, seen_ids={0}) == {0: 300}
    assert draws([3.0, 2.5, -1.0], rules) == {0: 300}


def test_the_same_generator_state_gives_the_same_token() -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(1))
    for rules in (plain(), plain(top_k=20), plain(top_p=0.9, min_p=0.01)):
        first, again = (
            [pick(logits, rules, torch.Generator().manual_seed(s)) for s in range(20)]
            for _ in range(2)
        )
        assert first == again
        assert len(set(first)) > 3


EXTREMES = [
    [3e38, -3e38, 0.0, 1.0],
    [-3e38, -3e38, -3e38, -3e38],
    [0.0, 0.0, 0.0, 0.0],
    [math.inf, 1.0, math.inf, -math.inf],
    [-math.inf, -math.inf, 1e-40, -math.inf],
    [math.nan, math.nan, math.nan, -math.inf],
    [math.nan, 1.0, 2.0, -math.inf],
    [1.0],
]


@pytest.mark.parametrize("logits", EXTREMES, ids=str)
def test_any_logits_and_rules_give_an_allowed_token(logits: list[float]) -> None:
    allowed = {i for i, logit in enumerate(logits) if logit != -math.inf}
    for temperature, top_k, top_p, min_p, penalty in product(
        (0.0, 5e-324, 1e-6, 1.0, 2.0), (None, 1, 3, 40), (None, 1e-9, 1.0), (None, 1.0), (1, 100)
    ):
        rules = plain(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=penalty,
        )
        assert set(draws(logits, rules, count=3, seen_ids={0})) <= allowed, rules


def test_no_number_is_never_preferred_to_a_number() -> None:
    assert draws([math.nan, -50.0, -60.0], plain(temperature=0.0)) == {1: 300}


def test_half_precision_logits_are_welcome() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        logits = torch.tensor([1.0, 60_000.0, 2.0], dtype=dtype)
        assert pick(logits, plain(temperature=1e-6), torch.Generator()) == 1
