"""Whoever is asked to end loses no step."""

import pytest

from tinychat.chaos.ground import Ground
from tinychat.chaos.terms import MOMENTS, terms


@pytest.mark.parametrize(
    "count", [5, pytest.param(30, marks=pytest.mark.slow)], ids=["five", "thirty"]
)
def test_no_step_is_redone(count: int, ground: Ground) -> None:
    outcome = terms(ground, print, count=count)
    assert outcome.passed, outcome
    assert outcome.tried == count
    assert all(outcome.figures[moment] for moment in MOMENTS), outcome
