"""The plan's arithmetic against counting, and its measurement against a real run."""

import math
from dataclasses import replace

import pytest

from tinychat.config import CheckpointSettings, EvalSettings, Settings
from tinychat.config.load import read_preset, resolve
from tinychat.planning.forecast import (
    Data,
    Rung,
    Shape,
    advice,
    duration_of,
    forecast,
    memory_of,
    rows_that_fit,
)
from tinychat.planning.probe import Measured

SHAPE = Shape(total=1_000_000, embedding=200_000, rest=800_000, matrices=700_000, vocab_size=1000)
MEASURED = Measured(
    rows=8, step_seconds=0.5, step_spread=0.01, evaluate_seconds=4.0, sample_seconds=2.0,
    save_seconds=1.0, peak_bytes=400_000_000, resting_bytes=200_000_000, whole=True,
)  # fmt: skip
PLENTY = 10**12


def settings_with(**changed: object) -> Settings:
    demo = resolve(read_preset("demo")).settings
    return replace(demo, batch_size=8, micro_batch_size=None, **changed)


@pytest.mark.parametrize("steps", [1, 99, 100, 101, 350, 1400])
@pytest.mark.parametrize("looks", [None, 70, 100])
@pytest.mark.parametrize("saves", [None, 50, 100])
def test_each_kind_of_work_is_counted_as_often_as_it_comes(
    steps: int, looks: int | None, saves: int | None
) -> None:
    """As the trainer's loop does it, with every evaluation the best so far."""
    settings = settings_with(
        max_steps=steps,
        eval=EvalSettings(every_steps=looks),
        checkpoint=CheckpointSettings(every_steps=saves, every_minutes=1e9),
    )
    evaluated = {s for s in range(1, steps + 1) if (looks and s % looks == 0) or s == steps}
    sampled = {s for s in range(1, steps + 1) if s % 50 == 0}
    saved = {0, steps} | evaluated | {s for s in range(1, steps) if saves and s % saves == 0}
    found = duration_of(settings, steps, MEASURED)
    assert found.training == steps * 0.5
    assert found.evaluating == len(evaluated) * 4.0
    assert found.sampling == len(sampled) * 2.0
    assert found.saving == len(saved) * 1.0
    assert found.low < found.total < found.high


def test_the_timeline_ends_where_the_run_does() -> None:
    settings = settings_with(max_steps=1000)
    found = forecast(settings, SHAPE, Data(500, 64_000, 10), MEASURED, PLENTY)
    assert found.duration is not None
    assert found.epochs == pytest.approx(16.0)
    *_, last = found.timeline
    assert (last.step, last.seconds) == (1000, found.duration.total)
    assert last.epochs == pytest.approx(16.0)
    assert last.learning_rate == settings.optim.min_learning_rate
    steps = [each.step for each in found.timeline]
    assert steps == sorted(set(steps))
    assert 2 <= len(steps) <= 11


def test_epochs_become_steps_only_with_data() -> None:
    settings = settings_with(max_steps=None, max_epochs=2.0)
    assert forecast(settings, SHAPE, None, MEASURED, PLENTY).duration is None
    assert forecast(settings, SHAPE, Data(400, 1, 1), MEASURED, PLENTY).max_steps == 100


def test_memory_goes_with_the_rows() -> None:
    settings = settings_with(max_steps=10)
    memory = memory_of(settings, SHAPE, MEASURED, PLENTY)
    moments = 4 * (2 * 300_000 + 700_000)  # Muon keeps one of each matrix
    assert (memory.weights, memory.gradients, memory.optimizer) == (4_000_000, 4_000_000, moments)
    assert memory.peak == MEASURED.peak_bytes
    more = memory_of(replace(settings, batch_size=32), SHAPE, MEASURED, PLENTY)
    assert more.activations == 4 * memory.activations


def test_the_micro_batch_is_halved_until_it_fits() -> None:
    settings = replace(settings_with(max_steps=10), batch_size=32)
    assert rows_that_fit(settings, SHAPE, PLENTY) == 32
    fitting = rows_that_fit(settings, SHAPE, 100_000_000)
    assert fitting in (1, 2, 4, 8, 16)
    assert rows_that_fit(settings, SHAPE, 10_000_000) == 0


def test_advice_is_given_where_there_is_something_to_do() -> None:
    settings = settings_with(max_steps=1400)
    sound = forecast(settings, SHAPE, Data(5000, 1, 1), MEASURED, PLENTY)
    assert advice(settings, SHAPE, sound) == []
    long = settings_with(max_steps=1_000_000, optim=replace(settings.optim, warmup_steps=600_000))
    found = forecast(long, SHAPE, Data(100, 1, 1), MEASURED, 300_000_000)
    wide = replace(SHAPE, embedding=900_000, rest=100_000)
    ladder = [Rung("small", 500_000, 10_000_000), Rung("large", 10**9, 10**12)]
    told = " ".join(advice(long, wide, found, ladder))
    for word in (
        "will not fit", "--micro-batch-size 3", "days here", "small is the largest",
        "90% of the parameters", "seen 80,000 times", "is cut to 500,000",
    ):  # fmt: skip
        assert word in told
    stuck = replace(settings, optim=replace(settings.optim, schedule_steps=700))
    assert "floor for the last 50%" in " ".join(advice(stuck, SHAPE, sound))
    assert math.isfinite(sound.seconds_a_step)
