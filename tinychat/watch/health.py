"""Notes on a run that a person can act on: what is the matter, since when, and what to do.

Judged from means of windows and from samples of points, never from every row, so that a run of a
million steps costs no more than one of a thousand.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal, get_args

from tinychat import words
from tinychat.config import Settings
from tinychat.config.schedule import decay_start
from tinychat.runs import checkpoint_label
from tinychat.watch.history import History
from tinychat.watch.overview import Overview
from tinychat.watch.states import LIVE
from tinychat.watch.table import Table

Level = Literal["alarm", "warning", "info"]

_LEAST_ROWS = 200  # of training, before its course means anything
_WINDOWS = 50  # that a run is cut into
_POINTS = 40  # of a window that its mean is taken from
_RISE = 0.1  # share of the loss that a diverging run has lost again, and at least
_RISE_LEAST = 0.3  # nats per token
_STALE_EVALUATIONS = 5  # without a better one
_BETTER = 0.002  # share of the loss that counts as better
_WORSE = 0.01  # share that counts as worse
_FLAT = 0.005  # share that the training loss falls by from one tenth of the run to the next
_SLOW = 0.6  # of the usual tokens a second
_SKIPS_IN_A_ROW = 3
_NEWS_STEPS = 500  # how long an alert is news
_CHECKPOINTS_OF_ROOM = 2


@dataclass(frozen=True)
class Note:
    """One finding. `sentence` says what, since when, and what to do."""

    kind: str
    level: Level
    sentence: str
    step: int | None  # since when


@dataclass(frozen=True)
class _Facts:
    """What the findings are made from. The history is read under its lock."""

    overview: Overview
    history: History
    settings: Settings | None
    free_bytes: int | None

    @property
    def name(self) -> str:
        return words.inert(self.overview.name)

    @property
    def step(self) -> int:
        return self.overview.step or 0

    @property
    def is_live(self) -> bool:
        return self.overview.state in LIVE


def health(
    overview: Overview, history: History, settings: Settings | None, free_bytes: int | None
) -> list[Note]:
    """What is worth saying about a run, the most urgent first.

    `settings` and `free_bytes` (of the run's disk) may be unknown; what needs them is then not
    judged. Takes the history's lock.
    """
    facts = _Facts(overview, history, settings, free_bytes)
    with history.lock:
        found = [note for look in _LOOKS if (note := look(facts)) is not None]
    return most_urgent_first(found)


def most_urgent_first(notes: Iterable[Note]) -> list[Note]:
    """Alarms, then warnings, then what is only news; each kind in its order."""
    return sorted(notes, key=lambda note: get_args(Level).index(note.level))


def _skipped(facts: _Facts) -> Note | None:
    """Updates that came to nothing."""
    train = facts.history.train
    newest = train.steps[-1] if len(train) else 0
    events = (e.get("step") for e in facts.history.events if e.get("kind") == "skipped")
    steps = sorted(step for step in events if isinstance(step, int) and step <= newest)
    column = train.columns.get("train_loss")
    nonfinite = column.nonfinite if column is not None else []
    if nonfinite and len(nonfinite) > len(steps):  # an older trainer, or events that were dropped
        number, last = len(nonfinite), train.steps[nonfinite[-1]]
    elif steps:
        number, last = len(steps), steps[-1]
    else:
        return None
    what = f"{words.count(number, 'update')} {'was' if number == 1 else 'were'} skipped"
    why = "because the loss or gradient was not finite"
    tail = steps[-_SKIPS_IN_A_ROW:]
    if len(tail) == _SKIPS_IN_A_ROW and tail[-1] - tail[0] == len(tail) - 1 and last == newest:
        told = f"{what} {why}, the last ones in a row up to step {last:,}; {_NEW_RUN}."
        return Note("skipped", "alarm", told, tail[0])
    recent = facts.is_live and facts.step - last <= max(_NEWS_STEPS, facts.step // 20)
    told = f"{what} {why}, the last at step {last:,}; if more follow, {_NEW_RUN}."
    return Note("skipped", "warning" if recent else "info", told, last)


_NEW_RUN = (
    "begin a new run from an earlier checkpoint (`tinychat train --init-from`) with a lower "
    "optim.learning_rate"
)


def _spike(facts: _Facts) -> Note | None:
    """A jump of the loss that the trainer has told of lately."""
    for event in reversed(facts.history.events) if facts.is_live else ():
        step = event.get("step")
        if not isinstance(step, int) or facts.step - step > _NEWS_STEPS:
            return None
        if event.get("kind") == "alert" and event.get("about") == "spike" and step <= facts.step:
            told = words.inert(str(event.get("message", "")))
            return Note("spike", "warning", f"At step {step:,} {told}.", step)
    return None


def _diverging(facts: _Facts) -> Note | None:
    """The training loss has lost much of what it had won."""
    train = facts.history.train
    means = _window_means(train, "train_loss")
    if not means:
        return None
    (_, now), (row, lowest) = means[-1], min(means, key=lambda each: each[1])
    if now - lowest <= max(_RISE_LEAST, _RISE * lowest):
        return None
    step = train.steps[row]
    told = (
        f"The training loss has risen from {lowest:.2f} around step {step:,} to {now:.2f}: "
        f"the run may be diverging; {_NEW_RUN}."
    )
    return Note("diverging", "alarm", told, step)


def _overfitting(facts: _Facts) -> Note | None:
    """Validation rises while training falls."""
    train, evaluated = facts.history.train, _evaluations(facts.history.evals)
    if len(evaluated) < 4 or len(train) < _WINDOWS:
        return None
    best = min(range(len(evaluated)), key=lambda i: evaluated[i][1])
    step, lowest = evaluated[best]
    since = [value for _, value in evaluated[best + 1 :]]
    last = since[-3:]
    if len(since) < 3 or sum(last) / 3 < lowest + _share(_WORSE, lowest):
        return None
    width = max(20, len(train) // _WINDOWS)
    then_row = bisect_right(train.steps, step)
    then = _mean(train, "train_loss", max(0, then_row - width), then_row)
    now = _mean(train, "train_loss", max(0, len(train) - width), len(train))
    if then is None or now is None or now >= then - _share(_FLAT, then):
        return None
    told = (
        f"The validation loss has risen from {lowest:.3f} at step {step:,} to {since[-1]:.3f} "
        "while the training loss still falls: the model learns its text by heart. "
        f"`{checkpoint_label(facts.name, step)}` is the best; more text, a smaller model or "
        "model.dropout help."
    )
    return Note("overfitting", "warning", told, step)


def _plateau(facts: _Facts) -> Note | None:
    """Neither validation nor training gets better any more."""
    train, evaluated = facts.history.train, _evaluations(facts.history.evals)
    if not facts.is_live or len(evaluated) < _STALE_EVALUATIONS + 2 or len(train) < _LEAST_ROWS:
        return None
    if _decay_is_ahead(facts):
        return None  # the loss falls once more when the rate goes down
    earlier, recent = evaluated[:-_STALE_EVALUATIONS], evaluated[-_STALE_EVALUATIONS:]
    step, lowest = min(earlier, key=lambda each: each[1])
    found = min(value for _, value in recent)
    if found < lowest - _share(_BETTER, lowest) or _overfitting(facts) is not None:
        return None
    tenth = len(train) // 10
    now = _mean(train, "train_loss", len(train) - tenth, len(train))
    before = _mean(train, "train_loss", len(train) - 2 * tenth, len(train) - tenth)
    if now is None or before is None or before - now > _share(_FLAT, before):
        return None
    told = (
        f"The validation loss has not got better since step {step:,} ({lowest:.3f}), and the "
        "training loss is flat: more steps will change little; a larger model or more text may."
    )
    return Note("plateau", "info", told, step)


def _rate_at_floor(facts: _Facts) -> Note | None:
    """The schedule is over, but the run is not."""
    column = facts.history.train.columns.get("learning_rate")
    total = facts.overview.max_steps
    if facts.settings is None or not facts.is_live or not total or not column or not column.values:
        return None
    optim = facts.settings.optim
    left = total - facts.step
    constant = optim.min_learning_rate >= optim.learning_rate
    if constant or left <= max(100, total // 20):
        return None
    if not column.values[-1] <= optim.min_learning_rate * (1 + 1e-6):
        return None
    since = optim.schedule_steps
    told = (
        f"The learning rate is at its floor of {optim.min_learning_rate:g}"
        f"{'' if since is None else f' since step {since:,}'}, and {words.count(left, 'step')} "
        "are left: they will change little. Stop, or plan the curve anew with "
        f"`tinychat resume {facts.name} --max-steps N --rewarm`."
    )
    return Note("rate at floor", "info", told, since)


def _slow(facts: _Facts) -> Note | None:
    """Fewer tokens a second than the run's own usual number."""
    train = facts.history.train
    column = train.columns.get("tokens_per_second")
    if not facts.is_live or column is None or len(train) < _LEAST_ROWS:
        return None
    values = column.values
    points = _finite(values[:: max(1, len(values) // 400)])
    recent = _finite(values[-20:])
    if not points or not recent:
        return None
    usual, now = median(points), median(recent)
    if now >= _SLOW * usual:
        return None
    row = _slow_since(train, _SLOW * usual)
    told = (
        f"Training runs at {words.short(now)} tokens/s instead of the usual {words.short(usual)} "
        f"since about step {train.steps[row]:,}: look for other programs, heat, or a battery."
    )
    return Note("slow", "warning", told, train.steps[row])


def _slow_since(train: Table, limit: float) -> int:
    """About the row from which on the speed stayed below `limit`: back in growing strides to where
    it did not, then by halves."""
    values = train.columns["tokens_per_second"].values
    fast, slow = len(values) - 20, len(values)
    while fast > 0 and not _reaches(values[max(0, fast - 20) : fast], limit):
        fast, slow = fast - max(20, slow - fast) * 2, fast
    fast = max(fast, 0)
    while slow - fast > 20:
        middle = (slow + fast) // 2
        if _reaches(values[max(0, middle - 20) : middle], limit):
            fast = middle
        else:
            slow = middle
    return fast


def _reaches(values: Iterable[float], limit: float) -> bool:
    finite = _finite(values)
    return bool(finite) and median(finite) >= limit


def _disk(facts: _Facts) -> Note | None:
    """Less room than the next checkpoints need."""
    sizes = (
        e.get("size_bytes")
        for e in reversed(facts.history.events)
        if e.get("kind") == "checkpoint_saved"
    )
    size = next((size for size in sizes if isinstance(size, int) and 0 <= size < 2**63), None)
    if not facts.is_live or facts.free_bytes is None or size is None:
        return None
    if facts.free_bytes >= _CHECKPOINTS_OF_ROOM * size:
        return None
    told = (
        f"The disk has {words.size(facts.free_bytes)} left, and a checkpoint takes "
        f"{words.size(size)}: make room, or the next one cannot be saved and the run ends."
    )
    return Note("disk", "alarm", told, None)


_LOOKS: tuple[Callable[[_Facts], Note | None], ...] = (
    _skipped, _disk, _diverging, _spike, _overfitting, _slow, _plateau, _rate_at_floor,
)  # fmt: skip


def _decay_is_ahead(facts: _Facts) -> bool:
    total = facts.overview.max_steps
    if facts.settings is None or not total:
        return False
    start = decay_start(total, facts.settings.optim)
    # the decay itself takes effect over its whole length
    return start is not None and facts.step < (start + total) // 2


def _evaluations(evals: Table) -> list[tuple[int, float]]:
    """(step, val_loss) of each that is finite, oldest first."""
    column = evals.columns.get("val_loss")
    if column is None:
        return []
    return [
        (step, value)
        for step, value in zip(evals.steps, column.values, strict=False)
        if math.isfinite(value)
    ]


def _window_means(table: Table, name: str) -> list[tuple[int, float]]:
    """(row where it ends, mean) of each window of the table; none while it is short."""
    if len(table) < _LEAST_ROWS:
        return []
    edges = [len(table) * i // _WINDOWS for i in range(_WINDOWS + 1)]
    means = [(b - 1, _mean(table, name, a, b)) for a, b in pairwise(edges)]
    return [(row, mean) for row, mean in means if mean is not None]


def _mean(table: Table, name: str, first: int, end: int) -> float | None:
    """The mean of finite values in rows first to end, from some points spread over them."""
    column = table.columns.get(name)
    if column is None or end <= first:
        return None
    values = _finite(column.values[first : end : max(1, (end - first) // _POINTS)])
    return sum(values) / len(values) if values else None


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _share(share: float, loss: float) -> float:
    """That share of a loss, of one below a nat that share of a nat."""
    return share * max(loss, 1.0)
