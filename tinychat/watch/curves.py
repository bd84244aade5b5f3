"""What of a column is drawn in so many columns of a screen, and where the ticks stand.

Of the rows that fall into one column of the screen the first, the least, the greatest and the last
value are drawn: no spike is ever lost, however many rows there are.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tinychat.watch.table import BLOCK, Axis, Column, Table

_SHOWN_WHOLE = 4  # as many rows in a column of the screen as it has points anyway


@dataclass(frozen=True)
class Curve:
    """The points to draw. `rows_per_column` is the most rows in one column of the screen, 1 when
    every row is a point; `nonfinite_xs` is where values were not finite."""

    xs: list[float] = field(default_factory=list)
    ys: list[float] = field(default_factory=list)
    rows_per_column: int = 1
    nonfinite_xs: list[float] = field(default_factory=list)


def curve(
    table: Table,
    name: str,
    *,
    axis: Axis = "step",
    low: float | None = None,
    high: float | None = None,
    columns: int,
    log_x: bool = False,
    ema: float = 0.0,
) -> Curve:
    """A column of the table between x = `low` and `high` (both drawn; None: all), x ascending.

    With `log_x` the columns of the screen are equally wide in log x, and x <= 0 is left out. `ema`
    is the weight of the moving average to draw instead, 0.0 for the values themselves.
    """
    if low != low or high != high or name not in table.columns:
        return Curve()
    xs = table.xs(axis)
    first = 0 if low is None else bisect_left(xs, low)
    end = len(xs) if high is None else bisect_right(xs, high)
    if log_x:
        first = max(first, bisect_right(xs, 0))
    if first >= end:
        return Curve()
    left = xs[first] if low is None or (log_x and low <= 0) else low
    edges = column_edges(left, xs[end - 1] if high is None else high, columns, log=log_x)
    grain = _grain((end - first) // max(1, columns)) if not log_x else 1
    inner = (bisect_left(xs, edge, first, end) // grain * grain for edge in edges[1:-1])
    rows = [first, *(max(first, row) for row in inner), end]
    raw = table.columns[name]
    drawn = table.ema(name, ema) if ema else raw
    points = _Points(drawn, xs)
    for start, stop in pairwise(rows):
        points.add(start, stop)
    most = max(stop - start for start, stop in pairwise(rows))
    return Curve(
        points.xs,
        points.ys,
        1 if most <= _SHOWN_WHOLE else most,
        _nonfinite_xs(raw, xs, rows),
    )


def _grain(rows_per_column: int) -> int:
    """Where so many rows share a column, its first is a whole multiple of this: whole blocks are
    taken, and the same ones again when the chart has grown a little. Points keep their true x."""
    return BLOCK if rows_per_column >= 64 * BLOCK else 1  # a column moves by a 64th at most


class _Points:
    """Gathers what is drawn of each column of the screen."""

    def __init__(self, column: Column, xs: Sequence[float]) -> None:
        self.xs: list[float] = []
        self.ys: list[float] = []
        self._column = column
        self._rows = xs

    def add(self, first: int, end: int) -> None:
        """One column of the screen: the rows first to end - 1."""
        if end - first <= _SHOWN_WHOLE:
            for row in range(first, end):
                self._point(self._rows[row], self._column.values[row])
            return
        extremes = self._column.extremes(first, end)
        if extremes is None:
            return
        first, last = self._column.finite_ends(first, end)
        start, stop = self._column.values[first], self._column.values[last]
        between = sorted(extremes, reverse=start > stop)  # the shorter way
        middle = (self._rows[first] + self._rows[last]) / 2
        self._point(self._rows[first], start)
        for y in between:
            if y != self.ys[-1]:
                self._point(middle, y)
        if last > first:
            self._point(self._rows[last], stop)

    def _point(self, x: float, y: float) -> None:
        if y == y:
            self.xs.append(float(x))
            self.ys.append(y)


def _nonfinite_xs(column: Column, xs: Sequence[float], rows: Sequence[int]) -> list[float]:
    """The first in each column of the screen."""
    found: list[float] = []
    for start, stop in pairwise(rows):
        index = bisect_left(column.nonfinite, start)
        if index < len(column.nonfinite) and column.nonfinite[index] < stop:
            found.append(float(xs[column.nonfinite[index]]))
    return found


def column_edges(low: float, high: float, columns: int, *, log: bool = False) -> list[float]:
    """The borders of the columns of a screen from x = `low` to `high`: one more than columns.

    A column holds x from its left border up to, but without, its right one; the last holds both.
    """
    columns = max(columns, 1) if low < high else 1
    if log:
        start, stop = math.log(low), math.log(high)
        inner = [math.exp(start + (stop - start) * i / columns) for i in range(1, columns)]
    else:
        inner = [low + (high - low) * (i / columns) for i in range(1, columns)]
    return [low, *(min(max(edge, low), high) for edge in inner), high]


def nearest(table: Table, axis: Axis, x: float) -> int | None:
    """The row that stands nearest to `x`, None of an empty table."""
    xs = table.xs(axis)
    after = bisect_left(xs, x)
    if after == len(xs):
        return after - 1 if after else None
    if after and x - xs[after - 1] <= xs[after] - x:
        return after - 1
    return after


_ROUND = (1.0, 2.0, 5.0)
_EXTREME = 1e305
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_CLOCK = (
    *(1.0, 2.0, 5.0, 10.0, 30.0),
    *(each * _MINUTE for each in (1, 2, 5, 10, 30)),
    *(each * _HOUR for each in (1, 2, 4, 6, 12)),
    _DAY,
)


def nice_ticks(
    low: float, high: float, count: int, *, log: bool = False, axis: Axis | None = None
) -> list[float]:
    """At most `count` round numbers from `low` to `high`, ascending.

    `axis` makes them whole for steps and tokens, and round on a clock for time (in seconds).
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high and count > 0):
        return [low] if low == high and math.isfinite(low) and count > 0 else []
    if high - low < 1 / _EXTREME or high > _EXTREME or low < -_EXTREME:
        return [low, high][:count]  # powers of ten beyond them are no floats
    if high - low < 1e-12 * max(abs(low), abs(high)):
        return [low, high][:count]  # so close that round numbers between them are no floats either
    if log and low > 0:
        ticks = _log_ticks(low, high, count)
        if len(ticks) > 1:
            return ticks
    step = _tick_step(low, high, count, axis)
    first, last = _multiples(low, high, step)
    digits = min(max(2 - math.floor(math.log10(step)), 0), 300)
    ticks = (round(index * step, digits) for index in range(first, last + 1))
    return [min(max(tick, low), high) for tick in ticks]


def _tick_step(low: float, high: float, count: int, axis: Axis | None) -> float:
    """The smallest round distance of which at most `count` multiples lie in [low, high]."""
    for step in _distances((high - low) / count, axis):
        first, last = _multiples(low, high, step)
        if last - first < count:
            return step
    return high - low


def _distances(least: float, axis: Axis | None) -> list[float]:
    """Round distances from about `least` on, ascending."""
    if axis == "time" and 1 <= least <= _CLOCK[-1]:
        return [each for each in _CLOCK if each >= least] + [_DAY * 2**i for i in range(1, 20)]
    unit, least = (_DAY, least / _DAY) if axis == "time" and least > _DAY else (1.0, least)
    power = math.floor(math.log10(least))
    steps = [each * 10.0 ** (power + i) * unit for i in range(3) for each in _ROUND]
    whole = axis in ("step", "tokens")
    return [each for each in steps if each >= least * unit and (not whole or each >= 1)] or [1.0]


def _multiples(low: float, high: float, step: float) -> tuple[int, int]:
    """The first and the last multiple of `step` in [low, high]; a rounding error is forgiven."""
    return math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    """Powers of ten, or 1, 2 and 5 of each where there are few of them."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= count:
            return ticks
    return ticks[:: -(-len(ticks) // count)]


def tick_labels(ticks: Sequence[float], axis: Axis | None = None) -> list[str]:
    """What stands at the ticks: "10k", "1.5M"; "1h30m" on the axis of time (in seconds)."""
    if axis == "time":
        return [_clock(tick) for tick in ticks]
    labels = [_short(tick) for tick in ticks]
    if None in labels:  # thousands that need all of their digits
        return [f"{tick:,.{_digits(ticks)}f}" for tick in ticks]
    if len(ticks) > 1 and all(abs(tick) < 1000 for tick in ticks):
        digits = _digits(ticks)
        evenly = math.isclose(ticks[1] - ticks[0], ticks[-1] - ticks[-2], rel_tol=1e-6)
        if evenly and digits <= 2:
            return [f"{tick:.{digits}f}" for tick in ticks]
    return [label or "" for label in labels]


def _short(tick: float) -> str | None:
    """`1500` -> "1.5k", `0.0003` -> "3e-4"; None if that would say another number."""
    size = abs(tick)
    if 0 < size < 0.01:
        mantissa, _, exponent = f"{tick:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    for unit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= unit:
            exact = math.isclose(round(tick / unit, 2), tick / unit, rel_tol=1e-9)
            return f"{round(tick / unit, 2):g}{letter}" if exact else None
    return f"{tick:g}"


def _digits(numbers: Sequence[float]) -> int:
    """Decimals that say these numbers exactly, at most 6."""
    for digits in range(6):
        if all(math.isclose(round(each, digits), each, abs_tol=1e-12) for each in numbers):
            return digits
    return 6


def _clock(seconds: float) -> str:
    """`5400` -> "1h30m": the two largest units that are not zero."""
    if seconds < _MINUTE:
        return f"{seconds:g}s"
    rest, parts = round(seconds), []
    for unit, letter in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m"), (1.0, "s")):
        number, rest = divmod(rest, int(unit))
        if number:
            parts.append(f"{number}{letter}")
    return "".join(parts[:2])
