"""What a chart says about itself, and the values under its crosshair."""

import math
from typing import Literal

from tinychat import words
from tinychat.watch.curves import nearest
from tinychat.watch.plot import SMALLEST_FRAME, Picture
from tinychat.watch.table import Table
from tinychat_monitor.widgets.chart_options import ChartOptions
from tinychat_monitor.widgets.chart_series import ChartView, Series


def power(value: float, places: int) -> str:
    """2e-4"""
    if value == 0:
        return "0"
    digits, _, power = f"{value:.{places}e}".partition("e")
    return f"{digits}e{int(power)}"


def value_text(value: float, unit: str) -> str:
    """One value as a person reads it, without its unit unless that is bytes."""
    if not math.isfinite(value):
        return words.NOT_FINITE
    if unit == "B":
        return words.size(value)
    if value and abs(value) < 0.01:
        return power(value, 2)
    return words.loss(value) if abs(value) < 1000 else words.short(value)


def says(
    view: ChartView,
    picture: Picture,
    rows_per_column: int,
    broken: int,
    *,
    clipped: bool,
    height: int,
) -> str:
    """What the chart shows, and what it leaves out."""
    options = view.options
    parts = [_density(rows_per_column, view.sources[0].history.train)]
    if height < SMALLEST_FRAME:  # the axes are not drawn
        ends = (value_text(end, view.unit) for end in (picture.y_low, picture.y_high))
        parts.insert(0, " to ".join(ends))
    if options.ema > 0 and any(one.noisy for one in view.series):
        parts.append(f"EMA {options.ema:g}".replace("0.", "."))
    if clipped:
        parts.append("warm-up clipped (v)")
    if broken:
        parts.append(f"x {words.count(broken, 'place')} not finite")
    parts += [f"log {axis}" for axis, on in (("x", options.log_x), ("y", options.log_y)) if on]
    if options.low is not None:
        parts.append("zoomed, follows" if options.follow else "zoomed")
    if options.frozen:
        parts.append("FROZEN (space)")
    parts += deltas(view)
    marks = {mark.label: mark.sign for mark in picture.marks}
    parts += [f"{sign} {label}" for label, sign in marks.items()]
    said = " · ".join(parts)
    return words.to_ascii(said) if options.marker == "ascii" else said


def _density(rows_per_column: int, train: Table) -> str:
    steps = train.steps
    every = len(steps) > 1 and steps[-1] - steps[0] == len(steps) - 1
    noun = "step" if every else "row"
    if rows_per_column <= 1:
        return f"every {noun}"
    return f"min/max of {words.count(rows_per_column, noun)} per column"


def readout(view: ChartView) -> str:
    """The values under the crosshair, of every run that has some there; empty without one."""
    options, unit = view.options, view.unit
    x = options.crosshair
    if x is None:
        return ""
    parts = [where(x, options.axis)]
    for source in view.sources:
        told: list[str] = []
        for one in view.series:
            table: Table = getattr(source.history, one.table)
            row = _row_at(table, options.axis, x)
            if row is None or one.key not in table.columns:
                continue
            if one.optional and math.isnan(table.columns[one.key].values[row]):
                continue
            text = f"{one.label} {value_text(table.columns[one.key].values[row], unit)}"
            if one.style == "line" and one.noisy and options.ema > 0:
                smooth = table.ema(one.key, options.ema).values[row]
                text += f" (ema {value_text(smooth, unit)})"
            if one.style == "dots":
                text += f" @{table.steps[row]:,}"
            told.append(text)
        name = f"{words.inert(source.name)}: " if len(view.sources) > 1 else ""
        parts.append(name + (", ".join(told) or "no rows here"))
    # the differences first: the border cuts what has no room
    return " · ".join([parts[0], *deltas(view), *parts[1:]])


def where(x: float, axis: str) -> str:
    """A place on the x axis."""
    if axis == "time":
        return words.duration(x)
    return f"step {x:,.0f}" if axis == "step" else f"{words.short(x)} tokens"


def deltas(view: ChartView) -> list[str]:
    """How much lower or higher the first run is than each other one, at the same x.

    That x is the crosshair's, or else the newest at which both have rows.
    """
    one, options = view.series[0], view.options
    mine: Table = getattr(view.sources[0].history, one.table)
    said: list[str] = []
    for other in view.sources[1:]:
        theirs: Table = getattr(other.history, one.table)
        if not len(mine) or not len(theirs):
            continue
        newest = min(mine.xs(options.axis)[-1], theirs.xs(options.axis)[-1])
        x = newest if options.crosshair is None else options.crosshair
        values = [_value_at(table, one, options, x) for table in (mine, theirs)]
        if values[0] is not None and values[1] is not None:
            delta = values[0] - values[1]
            name = words.clip(words.inert(other.name), 24)
            small = abs(delta) < 0.01 <= abs(values[0])  # 0.004 of a loss, not 4.00e-3
            text = words.loss(abs(delta)) if small else value_text(abs(delta), view.unit)
            said.append(f"{words.signed(text, delta)} vs {name}")
    return said


def _value_at(table: Table, series: Series, options: ChartOptions, x: float) -> float | None:
    row = _row_at(table, options.axis, x)
    if row is None or series.key not in table.columns:
        return None
    smooth = series.noisy and options.ema > 0
    column = table.ema(series.key, options.ema) if smooth else table.columns[series.key]
    value = column.values[row]
    return value if math.isfinite(value) else None


def _row_at(table: Table, axis: Literal["step", "tokens", "time"], x: float) -> int | None:
    """The row nearest to x; None beyond the ends of the table."""
    row = nearest(table, axis, x)
    if row is None or len(table) < 2:
        return row
    xs = table.xs(axis)
    gap = (xs[-1] - xs[0]) / (len(table) - 1)
    return row if xs[0] - 2 * gap <= x <= xs[-1] + 2 * gap else None
