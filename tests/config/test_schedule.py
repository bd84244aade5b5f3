"""The learning rate over a run."""

import pytest

from tinychat.config import OptimSettings, learning_rate
from tinychat.config.schedule import decay_start

SCHEDULES = ["warmup-stable-decay", "cosine", "linear"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("max_steps", [1, 2, 7, 100, 5000])
def test_never_zero_at_the_start_and_at_the_floor_only_in_the_last_step(
    schedule: str, max_steps: int
) -> None:
    optim = OptimSettings(
        schedule=schedule, learning_rate=1e-2, min_learning_rate=1e-3, warmup_steps=20
    )
    rates = [learning_rate(s, max_steps, optim) for s in range(max_steps)]
    assert rates[0] > 0
    assert max(rates) <= 1e-2
    if max_steps > 1:
        assert rates[-1] == 1e-3
    if max_steps > 60:  # past any warm-up the rate never rises
        after = rates[21:]
        assert after == sorted(after, reverse=True)
        assert min(after[:-1]) > 1e-3
        assert max(rates) > 0.97e-2
    assert learning_rate(max_steps + 50, max_steps, optim) == rates[-1]


def test_the_plateau_lasts_until_the_decay() -> None:
    optim = OptimSettings(
        learning_rate=1.0, min_learning_rate=0.1, warmup_steps=10, decay_share=0.4
    )
    assert decay_start(100, optim) == 60
    assert {learning_rate(s, 100, optim) for s in range(10, 61)} == {1.0}
    assert learning_rate(61, 100, optim) < 1.0


def test_an_extended_run_stays_at_the_floor_of_the_planned_curve() -> None:
    optim = OptimSettings(
        schedule="cosine", learning_rate=1.0, min_learning_rate=0.1, schedule_steps=100
    )
    planned = OptimSettings(schedule="cosine", learning_rate=1.0, min_learning_rate=0.1)
    for step in range(100):
        assert learning_rate(step, 500, optim) == learning_rate(step, 100, planned)
    assert learning_rate(300, 500, optim) == 0.1
