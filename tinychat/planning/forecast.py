"""What a run will take, from its settings, its data and a few measured steps: pure arithmetic.

`probe` measures; here nothing is measured, built or read, so that every figure can be checked by
hand. Bytes, seconds, tokens; a step is one update.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tinychat.config import Settings, learning_rate
from tinychat.planning.probe import Measured
from tinychat.training.space import state_bytes

FLOAT_BYTES = 4  # weights, gradients and moments are fp32 whatever the computation is in
LEAST_RANGE = 0.05  # no estimate is closer than this: machines warm up, other programs come and go
PART_RANGE = 0.10  # where a step was reckoned from a part of it
TIMELINE_ROWS = 10
_NICE_SECONDS = (60, 300, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400)


@dataclass(frozen=True)
class Shape:
    """The model as it is built. `matrices` are what Muon would take."""

    total: int
    embedding: int  # embedding and head; a tied head is counted once
    rest: int
    matrices: int
    vocab_size: int


@dataclass(frozen=True)
class Data:
    """What only the data can tell."""

    rows_per_epoch: int
    tokens: int  # of the training split
    documents: int


@dataclass(frozen=True)
class Memory:
    """Bytes while it trains; `activations` holds the logits too."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    program: int  # Python, torch, and what they keep
    peak: int
    rows: int  # through the model at once
    available: int

    @property
    def fits(self) -> bool:
        return self.peak <= self.available


@dataclass(frozen=True)
class Duration:
    """Seconds by what they are spent on; `low` to `high` is where the whole is expected."""

    training: float
    evaluating: float
    sampling: float
    saving: float
    low: float
    high: float

    @property
    def total(self) -> float:
        return self.training + self.evaluating + self.sampling + self.saving


@dataclass(frozen=True)
class Moment:
    """Where the run will stand after so many seconds, and what it will have done."""

    seconds: float
    step: int
    tokens: int
    epochs: float | None
    learning_rate: float
    evaluations: int
    sample_rounds: int
    checkpoints: int


@dataclass(frozen=True)
class Forecast:
    """Everything that can be said before the first step. None: only data can tell."""

    max_steps: int | None
    tokens_a_step: int
    tokens: int | None
    tokens_per_parameter: float | None
    epochs: float | None
    memory: Memory
    seconds_a_step: float
    duration: Duration | None
    timeline: tuple[Moment, ...]


def forecast(
    settings: Settings, shape: Shape, data: Data | None, measured: Measured, available: int
) -> Forecast:
    """The whole plan. `available` is the memory that the run may take, in bytes."""
    steps = steps_of(settings, data)
    tokens_a_step = settings.batch_size * settings.model.context_length
    tokens = None if steps is None else steps * tokens_a_step
    epochs = None
    if steps is not None and data is not None:
        epochs = steps * settings.own_rows_a_step / data.rows_per_epoch
    duration = None if steps is None else duration_of(settings, steps, measured)
    return Forecast(
        max_steps=steps,
        tokens_a_step=tokens_a_step,
        tokens=tokens,
        tokens_per_parameter=None if tokens is None else tokens / shape.total,
        epochs=epochs,
        memory=memory_of(settings, shape, measured, available),
        seconds_a_step=measured.step_seconds,
        duration=duration,
        timeline=()
        if steps is None or duration is None
        else timeline(settings, steps, duration, epochs),
    )


def steps_of(settings: Settings, data: Data | None) -> int | None:
    """The length of the run; None if it is given in epochs of data that nobody has seen."""
    if settings.max_epochs is None:
        return settings.max_steps
    if data is None:
        return None
    return max(1, round(settings.max_epochs * data.rows_per_epoch / settings.own_rows_a_step))


def fixed_bytes(settings: Settings, shape: Shape) -> tuple[int, int, int]:
    """(weights, gradients, optimizer): what does not depend on the batch."""
    return state_bytes(settings.optim, shape.total, shape.matrices)


def row_bytes(settings: Settings, shape: Shape) -> int:
    """Activations and logits of one row, by counting what the backward pass needs (fp32)."""
    model = settings.model
    block = 8 * model.n_embd + (3 if model.mlp == "swiglu" else 2) * model.mlp_width
    if settings.runtime.gradient_checkpointing:
        block = model.n_embd
    logits = 3 * shape.vocab_size  # themselves, their logarithms, their gradient
    return model.context_length * (model.n_layer * block + logits) * FLOAT_BYTES


def rows_that_fit(settings: Settings, shape: Shape, available: int) -> int:
    """The micro-batch, halved until it should fit; 0 if not even one row does."""
    rows = settings.rows_per_micro_batch
    fixed = sum(fixed_bytes(settings, shape))
    while rows and fixed + rows * row_bytes(settings, shape) > available:
        rows //= 2
    return rows


def memory_of(settings: Settings, shape: Shape, measured: Measured, available: int) -> Memory:
    """Measured, where the micro-batch was; else in proportion to the rows that were."""
    weights, gradients, optimizer = fixed_bytes(settings, shape)
    rows = settings.rows_per_micro_batch
    fixed = weights + gradients + optimizer
    most = max(0, measured.peak_bytes - measured.resting_bytes - fixed)
    activations = most * max(rows, measured.rows) // measured.rows
    logits = rows * settings.model.context_length * shape.vocab_size * FLOAT_BYTES
    return Memory(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        activations=activations,
        logits=min(logits, activations),
        program=measured.resting_bytes,
        peak=measured.resting_bytes + fixed + activations,
        rows=rows,
        available=available,
    )


def duration_of(settings: Settings, steps: int, measured: Measured) -> Duration:
    """Every kind of work as often as it comes."""
    training = steps * measured.step_seconds
    parts = (
        training,
        _evaluations(settings, steps, steps) * (measured.evaluate_seconds or 0.0),
        _multiples(steps, settings.sample.every_steps) * measured.sample_seconds,
        _checkpoints(settings, steps, steps, training) * measured.save_seconds,
    )
    total = sum(parts)
    # twice the standard error covers what the few measured steps had by chance
    share = max(LEAST_RANGE if measured.whole else PART_RANGE, 2 * measured.step_spread)
    return Duration(*parts, low=total * (1 - share), high=total * (1 + share))


def _evaluations(settings: Settings, step: int, steps: int) -> int:
    """How many there were after `step` of `steps` steps; the last step always has one, and the
    start where old data is watched."""
    every = settings.eval.every_steps
    last = step == steps and (every is None or steps % every > 0)
    return settings.watches_old_data + _multiples(step, every) + last


def _checkpoints(settings: Settings, step: int, steps: int, seconds: float) -> int:
    """How many were saved after `step` of `steps` steps and so many seconds: the one before the
    first step, those due by steps or minutes, the last, and one for each evaluation, as if each
    were the best so far; that of the start too, where there is one."""
    every, looks = settings.checkpoint.every_steps, settings.eval.every_steps
    due = _multiples(step, every) + _multiples(step, looks)
    if every and looks:
        due -= _multiples(step, math.lcm(every, looks))
    due += step == steps and not any(each and steps % each == 0 for each in (every, looks))
    if settings.checkpoint.every_minutes:
        due = max(due, int(seconds / 60 / settings.checkpoint.every_minutes))
    return 1 + due + settings.watches_old_data


def _multiples(step: int, every: int | None) -> int:
    """Steps up to `step` at which something comes that comes every so many steps."""
    return step // every if every else 0


def timeline(
    settings: Settings, steps: int, duration: Duration, epochs: float | None
) -> tuple[Moment, ...]:
    """The run at round times, and at its end: by days if it takes days."""
    total = duration.total
    apart = next((s for s in _NICE_SECONDS if total / s <= TIMELINE_ROWS), None)
    if apart is None:
        apart = 86400 * math.ceil(total / 86400 / TIMELINE_ROWS)
    times = [i * apart for i in range(1, math.ceil(total / apart))]
    places = [(seconds, max(1, round(steps * seconds / total))) for seconds in times]
    return tuple(
        _moment(settings, steps, seconds, step, duration, epochs)
        for seconds, step in [*places, (total, steps)]
    )


def _moment(
    settings: Settings,
    steps: int,
    seconds: float,
    step: int,
    duration: Duration,
    epochs: float | None,
) -> Moment:
    share = step / steps
    return Moment(
        seconds=seconds,
        step=step,
        tokens=step * settings.batch_size * settings.model.context_length,
        epochs=None if epochs is None else epochs * share,
        learning_rate=learning_rate(step - 1, steps, settings.optim),
        evaluations=_evaluations(settings, step, steps),
        sample_rounds=_multiples(step, settings.sample.every_steps),
        checkpoints=_checkpoints(settings, step, steps, duration.training * share),
    )


@dataclass(frozen=True)
class Rung:
    """One size of our ladder."""

    preset: str
    parameters: int
    tokens: int


def advice(
    settings: Settings, shape: Shape, found: Forecast, ladder: Sequence[Rung] = ()
) -> list[str]:
    """Sentences a person can act on; none if all is well."""
    return [
        *_about_memory(settings, shape, found.memory),
        *_about_time(found, shape, ladder),
        *_about_model(shape),
        *_about_data(found),
        *_about_schedule(settings, found.max_steps),
        *_about_saving(found.duration),
    ]


def _about_memory(settings: Settings, shape: Shape, memory: Memory) -> list[str]:
    if memory.fits:
        return []
    spare = memory.available - memory.peak + memory.activations
    rows = int(spare * memory.rows / memory.activations) if memory.activations else 0
    told = (
        f"it will not fit: it takes {memory.peak / 1e9:,.1f} GB and {memory.available / 1e9:,.1f} "
        "GB are free"
    )
    if rows >= 1:
        return [f"{told}; --micro-batch-size {rows} fits, with the same batches"]
    if not settings.runtime.gradient_checkpointing:
        return [f"{told}; try --runtime.gradient-checkpointing, or a smaller model"]
    return [f"{told}; take a smaller model or a shorter context"]


def _about_time(found: Forecast, shape: Shape, ladder: Sequence[Rung]) -> list[str]:
    """Which of our sizes this machine trains within a day, if this run takes longer."""
    if found.duration is None or found.duration.total <= 86400 or not ladder:
        return []
    # arithmetic of a step goes with parameters times tokens (6 ND, Kaplan et al. 2020)
    speed = shape.total * found.tokens_a_step / found.seconds_a_step
    fitting = [r for r in ladder if r.parameters * r.tokens / speed <= 86400]
    days = found.duration.total / 86400
    told = f"it takes {days:,.1f} days here"
    if not fitting:
        return [f"{told}; so does every size of our own but the demo"]
    best = max(fitting, key=lambda rung: rung.parameters)
    return [
        f"{told}; of our own sizes, {best.preset} is the largest that this machine trains in a day"
    ]


def _about_model(shape: Shape) -> list[str]:
    share = shape.embedding / shape.total
    if share <= 0.5:
        return []
    return [
        f"{share:.0%} of the parameters are the vocabulary of {shape.vocab_size:,} tokens; a "
        "smaller tokenizer.vocab_size leaves more for the model"
    ]


def _about_data(found: Forecast) -> list[str]:
    if found.epochs is None or found.epochs <= 4:
        return []
    return [
        f"the data will be seen {found.epochs:,.0f} times; beyond about 4 a model learns it by "
        "heart: bring more text, or take fewer steps or more dropout"
    ]


def _about_schedule(settings: Settings, steps: int | None) -> list[str]:
    if steps is None:
        return []
    told = []
    planned = settings.optim.schedule_steps or steps
    if settings.optim.warmup_steps > planned // 2:
        told.append(
            f"warmup_steps ({settings.optim.warmup_steps:,}) is more than half of the "
            f"{planned:,} steps and is cut to {planned // 2:,}"
        )
    if planned < 0.95 * steps:
        told.append(
            f"the learning rate is at its floor for the last {1 - planned / steps:.0%} of the steps"
        )
    if planned > steps:
        told.append(
            f"the learning rate never reaches its floor: it is planned over {planned:,} steps"
        )
    return told


def _about_saving(duration: Duration | None) -> list[str]:
    if duration is None or duration.saving <= 0.02 * duration.total:
        return []
    return [
        f"saving takes {duration.saving / duration.total:.0%} of the time; a larger "
        "checkpoint.every_steps saves some of it"
    ]
