"""A plan's document as the few rows of a screen: what is missing or odd stops nothing."""

import copy
from typing import Any

import pytest

from tinychat.config.load import read_preset, resolve
from tinychat.errors import FormatError
from tinychat.watch.plan import plan_arguments, short_plan

NOW = 1_790_000_000.0


@pytest.fixture
def document() -> dict[str, Any]:
    """As much of what `tinychat plan --json` prints as the short form reads."""
    return {
        "format": 1,
        "parameters": {"total": 1_968_064, "embedding": 196_608},
        "computed_on": {"device": "cpu", "dtype": "bf16", "threads": 2},
        "disk": {"bytes": 179_040_400, "free": 78_221_385_728},
        "max_steps": 1400,
        "tokens_a_step": 2048,
        "tokens": 2_867_200,
        "tokens_per_parameter": 1.4569,
        "epochs": 3.2179,
        "memory": {"peak": 611_213_312, "available": 20_763_742_208},
        "seconds_a_step": 1.24,
        "duration": {"low": 1973.0, "high": 2972.0, "total": 2472.0},
        "advice": ["bring more text"],
        **resolve(read_preset("demo")).to_json(),
    }


def test_what_is_decided_by_stands_in_it(document: dict[str, Any]) -> None:
    plan = short_plan(document, NOW)
    assert plan.parameters == "1,968,064, 196,608 of them for the vocabulary"
    assert plan.length == "1,400 steps, 2.87M tokens, 3.22 passes, 1.5 tokens a parameter"
    assert plan.time == "41 min 12 s (32 min 53 s to 49 min 32 s)"
    assert plan.ends
    assert plan.memory == "611.2 MB of 20.8 GB free"
    assert plan.memory_share == pytest.approx(611_213_312 / 20_763_742_208)
    assert plan.disk == "179.0 MB of 78.2 GB free"
    assert plan.schedule == "warmup-stable-decay, 0.02 to 1e-05"
    assert max(plan.rates) == 0.02
    assert plan.rates[-1] == 1e-05
    assert plan.pace == "1.24 s a step, 1.65k tokens/s"
    assert plan.computed_on == "cpu in bf16, 2 threads"
    assert plan.advice == ("bring more text",)


def test_what_a_later_version_adds_is_passed_over(document: dict[str, Any]) -> None:
    before = short_plan(document, NOW)
    document |= {"autotune": {"threads": [1, 2]}, "weather": "fine"}
    document["computed_on"] |= {"attention": "flash", "why": ["measured"]}
    document["memory"]["unheard_of"] = None
    assert short_plan(document, NOW) == before


@pytest.mark.parametrize(
    "name", ["parameters", "computed_on", "disk", "memory", "duration", "advice", "settings",
             "max_steps", "tokens", "epochs", "seconds_a_step"],
)  # fmt: skip
@pytest.mark.parametrize("value", [None, "odd", [], {}, -1])
def test_what_is_missing_or_odd_leaves_the_rest(
    document: dict[str, Any], name: str, value: object
) -> None:
    hurt = copy.deepcopy(document)
    hurt[name] = value
    plan, whole = short_plan(hurt, NOW), short_plan(document, NOW)
    same = [field for field in vars(whole) if getattr(plan, field) == getattr(whole, field)]
    assert len(same) >= len(vars(whole)) - 4, same
    del hurt[name]
    short_plan(hurt, NOW)


def test_a_later_format_is_refused_in_a_sentence(document: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="format 2"):
        short_plan(document | {"format": 2}, NOW)


def test_a_plan_is_asked_for_with_the_words_of_its_start() -> None:
    asked = plan_arguments(["train", "--preset=demo", "--name=mine", "--seed", "3"])
    assert asked == ["plan", "--preset=demo", "--name=mine", "--seed", "3", "--json"]
