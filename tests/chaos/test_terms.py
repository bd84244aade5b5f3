"""Whoever is asked to end loses no step."""

import pytest

from tinychat.chaos.ground import Ground
from tinychat.chaos.terms import MOMENTS, never_hit, terms


@pytest.mark.slow
@pytest.mark.parametrize(
    "count", [5, pytest.param(30, marks=pytest.mark.slow)], ids=["five", "thirty"]
)
def test_no_step_is_redone(count: int, ground: Ground) -> None:
    outcome = terms(ground, print, count=count)
    assert outcome.passed, outcome
    assert outcome.tried == count
    assert all(outcome.figures[moment] for moment in MOMENTS), outcome


def test_a_moment_that_was_never_hit_is_told() -> None:
    hits: dict[str, int] = dict.fromkeys(MOMENTS, 6)
    assert not never_hit(hits)
    assert never_hit(hits | {"saving": 0}) == [
        "no signal came while saving, which proves too little"
    ]
