"""Histories made in memory, with the rows that a test wants."""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tinychat.watch.history import History

Value = Callable[[int], float]


def history(
    steps: Sequence[int] = (),
    evals: Mapping[int, float] | None = None,
    *,
    seconds_a_step: float = 2.0,
    **columns: Value,
) -> History:
    """Rows at these steps, 1,000 tokens each, a column as a function of the step."""
    made = History(Path("nowhere"))
    add(made, steps, evals, seconds_a_step=seconds_a_step, **columns)
    return made


def add(
    made: History,
    steps: Sequence[int],
    evals: Mapping[int, float] | None = None,
    *,
    seconds_a_step: float = 2.0,
    **columns: Value,
) -> None:
    """The same rows behind those that are there."""
    made.lock = threading.Lock()
    for table, at, rows in (
        (made.train, list(steps), [{k: f(s) for k, f in columns.items()} for s in steps]),
        (made.evals, list(evals or {}), [{"val_loss": loss} for loss in (evals or {}).values()]),
    ):
        tokens, times = [s * 1000 for s in at], [s * seconds_a_step for s in at]
        table.extend(rows, at, tokens, times)
    made.version += 1


def falling(step: int) -> float:
    return 1.0 + 8.0 * math.exp(-step / 10) + 0.1 * (step % 2)
