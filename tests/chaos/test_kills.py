"""Kills at random moments change no bit."""

import pytest

from tinychat.chaos.ground import Ground
from tinychat.chaos.kills import kills


@pytest.mark.parametrize(
    "count", [5, pytest.param(100, marks=pytest.mark.slow)], ids=["five", "hundred"]
)
def test_kills_change_no_bit(count: int, ground: Ground) -> None:
    outcome = kills(ground, print, count=count)
    assert outcome.passed, outcome
    assert outcome.tried == count
