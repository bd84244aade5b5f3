"""The learning rate ahead is what the trainer will write."""

from dataclasses import replace

import pytest

from tinychat.config import OptimSettings, Settings, learning_rate
from tinychat.watch.schedule import planned_rate


@pytest.mark.parametrize("schedule", ["warmup-stable-decay", "cosine", "linear"])
def test_every_row_ahead_has_the_rate_of_its_update(schedule: str) -> None:
    settings = Settings(optim=OptimSettings(schedule=schedule, warmup_steps=20))  # type: ignore[arg-type]
    steps, rates = planned_rate(settings, 100, 0, 100, 1000)
    assert steps == list(range(1, 101))  # the update from s to s + 1 writes row s + 1
    assert rates == [learning_rate(step, 100, settings.optim) for step in range(100)]
    assert rates[-1] == settings.optim.min_learning_rate


def test_few_points_hold_the_first_and_the_last() -> None:
    steps, rates = planned_rate(Settings(), 1_000_000, 41_250, 1_000_000, 60)
    assert len(steps) == len(rates) == 60
    assert (steps[0], steps[-1]) == (41_251, 1_000_000)
    assert steps == sorted(set(steps))


def test_an_extended_run_stays_at_the_floor() -> None:
    optim = replace(OptimSettings(), schedule="cosine", schedule_steps=100)
    _, rates = planned_rate(Settings(optim=optim), 200, 100, 200, 10)
    assert set(rates) == {optim.min_learning_rate}


@pytest.mark.parametrize(("low", "high", "columns"), [(100, 100, 5), (7, 3, 5), (0, 9, 0)])
def test_nothing_ahead_is_empty(low: int, high: int, columns: int) -> None:
    assert planned_rate(Settings(), 100, low, high, columns) == ([], [])


def test_nothing_is_planned_beyond_the_end() -> None:
    assert planned_rate(Settings(), 100, 98, 5000, 9)[0] == [99.0, 100.0]
