"""Alerts of the trainer: told once when there is something to tell, and not otherwise."""

import math
import random

import pytest

from tinychat.training import Noted, Stepped
from tinychat.training.alerts import QUIET_STEPS, Alerts


def step(number: int, loss: float = 2.0, seconds: float = 0.1, skipped: bool = False) -> Stepped:
    return Stepped(number, loss, 1e-3, 0.5, number, 1000.0, seconds, 0, None, skipped)


def looked(alerts: Alerts, steps: list[Stepped]) -> list[Noted]:
    return [note for each in steps for note in alerts.look(each)]


def ordinary(first: int, end: int, seed: int = 0) -> list[Stepped]:
    """A noisy loss that falls from 8 to 2, and steps that take about as long as each other."""
    rng = random.Random(seed)
    return [
        step(
            n,
            loss=2 + 6 * math.exp(-n / 150) + rng.gauss(0, 0.08),
            seconds=0.3 * rng.uniform(0.8, 1.3) * (6 if rng.random() < 0.01 else 1),
        )
        for n in range(first, end)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_an_ordinary_run_is_not_talked_about(seed: int) -> None:
    assert looked(Alerts(), [step(0, 8.3, 20.0), *ordinary(1, 3000, seed)]) == []


def test_a_spike_is_told_once() -> None:
    alerts = Alerts()
    assert looked(alerts, ordinary(1, 800)) == []
    told = looked(alerts, [step(800, 3.4), step(801, 3.2), step(802, 2.9)])
    assert [(note.kind, note.step, note.details) for note in told] == [
        ("alert", 800, {"about": "spike"})
    ]
    assert "jumped to 3.400 from about 2.0" in told[0].message
    assert "learning_rate" in told[0].message
    quiet = 800 + QUIET_STEPS
    assert looked(alerts, [*ordinary(803, quiet + 20), step(quiet + 20, 3.4)])[0].step == quiet + 20


def test_the_beginning_of_an_attempt_is_no_spike() -> None:
    losses = [2.0] * 20 + [9.0] * 5 + [4.0] * 20
    assert looked(Alerts(), [step(n, loss) for n, loss in enumerate(losses)]) == []


def test_steps_that_became_slow_are_told_once() -> None:
    alerts = Alerts()
    told = looked(alerts, [step(n, seconds=0.1 if n < 600 else 0.3) for n in range(900)])
    assert [note.details for note in told] == [{"about": "slow"}]
    assert 600 < told[0].step < 650
    assert "times as long as before" in told[0].message


def test_tiny_steps_and_single_slow_ones_are_not_told() -> None:
    tiny = [step(n, seconds=0.001 if n < 600 else 0.01) for n in range(900)]
    assert looked(Alerts(), tiny) == []
    hiccups = [step(n, seconds=30.0 if n % 200 == 199 else 0.1) for n in range(1000)]
    assert looked(Alerts(), hiccups) == []


def test_what_was_skipped_or_is_no_number_says_nothing() -> None:
    alerts = Alerts()
    looked(alerts, ordinary(1, 300))
    before = (alerts.mean, alerts.variance)
    for loss in (math.nan, math.inf):
        assert alerts.look(step(300, loss)) == []
    assert alerts.look(step(301, 50.0, skipped=True)) == []
    assert (alerts.mean, alerts.variance) == before
