"""From the rows of runs to the picture of a chart and to the words that say what it shows."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from tinychat import words
from tinychat.watch.curves import Curve, curve, nice_ticks, tick_labels
from tinychat.watch.history import History
from tinychat.watch.plot import Line, Picture, Ticks, faded
from tinychat.watch.schedule import planned_rate
from tinychat.watch.table import Table
from tinychat_monitor.widgets.chart_options import ChartOptions, shown_range, whole_range
from tinychat_monitor.widgets.chart_series import ChartView, Palette, Series
from tinychat_monitor.widgets.chart_words import power, readout, says

WARM_UP = 0.02  # the share of the rows whose values need not fit into a clipped chart
_DOTS_A_CELL = {"braille": 2, "block": 2, "ascii": 1}
_MOST = 1e300  # a range of floats must itself be a float
_LONG_LABEL = 6  # of a y axis; longer ones are written as powers of ten
_CELLS_A_TAG = 14  # between the signs that name the line of a compared run
# For each compared run the sign on its line and that of its evaluations, and both in ASCII.
_SIGNS = (("", "o"), ("▲", "△"), ("■", "□"), ("◆", "◇"), ("▼", "▽"), ("★", "☆"), ("✚", "+"))
_ASCII_SIGNS = (("", "o"), ("^", "A"), ("#", "H"), ("x", "X"), ("v", "V"), ("s", "S"), ("+", "t"))


@dataclass(frozen=True)
class Drawn:
    """A picture (none without rows), its legend as (sign, words, colour), and what it shows."""

    picture: Picture | None
    legend: tuple[tuple[str, str, str], ...]
    says: str
    reads: str = ""  # the values under the crosshair


@dataclass
class _Shape:
    """What a picture is made of, while it grows."""

    lines: list[Line] = field(default_factory=list)
    fitting: list[float] = field(default_factory=list)  # values the y range must hold
    others: list[float] = field(default_factory=list)  # values of the warm-up
    broken: list[float] = field(default_factory=list)  # where values are not finite
    legend: list[tuple[str, str, str]] = field(default_factory=list)
    rows_per_column: int = 1


def drawn(view: ChartView, width: int, height: int) -> Drawn:
    """The chart for so many cells."""
    with holding(view.histories):
        return _drawn(view, width, height)


@contextmanager
def holding(histories: Sequence[History]) -> Iterator[None]:
    """Nobody changes the histories meanwhile; one of them may be there twice."""
    with ExitStack() as held:
        for history in dict.fromkeys(histories):
            held.enter_context(history.lock)
        yield


def _drawn(view: ChartView, width: int, height: int) -> Drawn:
    options = view.options
    shown = shown_range(options, whole_range(view.histories, options.axis, log=options.log_x))
    if shown is None:
        empty = not any(len(h.train) or len(h.evals) for h in view.histories)
        return Drawn(None, (), "no rows yet" if empty else "no rows above 0 on this axis (x)")
    ahead = _ahead(view, shown)
    shape = _Shape()
    cells = max(2, width - 6)
    for index in range(len(view.sources)):
        for one in view.series:
            _add(shape, one, index, view, shown, cells)
    if ahead is not None:
        _add_ahead(shape, ahead, view.palette)
        shown = shown[0], max(shown[1], ahead[0][-1])
    if not shape.fitting and not shape.others and not shape.broken:
        names = " or ".join(one.label for one in view.series)
        return Drawn(None, (), f"no {names} in these rows")
    low, high, clipped = _y_range(shape, log=options.log_y)
    picture = Picture(
        lines=(*shape.lines, *_broken(shape, high, view.palette)),
        x_low=shown[0],
        x_high=shown[1],
        y_low=low,
        y_high=high,
        x_ticks=_x_ticks(shown, options, width),
        y_ticks=_y_ticks(low, high, options, height),
        x_name=options.axis,
        log_x=options.log_x,
        log_y=options.log_y,
        marks=tuple(mark for mark in view.marks if shown[0] <= mark.x <= shown[1]),
        crosshair=options.crosshair,
        marker=options.marker,
        axes_colour=view.palette.axes,
    )
    said = says(
        view, picture, shape.rows_per_column, len(set(shape.broken)), clipped=clipped, height=height
    )
    return Drawn(picture, tuple(shape.legend), said, readout(view))


def has_any(table: Table, key: str) -> bool:
    """Whether any row has that number."""
    return key in table.columns and table.columns[key].extremes(0, len(table)) is not None


def _add(
    shape: _Shape,
    series: Series,
    index: int,
    view: ChartView,
    shown: tuple[float, float],
    cells: int,
) -> None:
    """The lines of one series of the run at that place."""
    source, options, palette = view.sources[index], view.options, view.palette
    alone = len(view.sources) == 1
    table: Table = getattr(source.history, series.table)
    if series.key not in table.columns or (series.optional and not has_any(table, series.key)):
        return
    dots = cells * _DOTS_A_CELL[options.marker]
    fit = _fitting_from(source.history.train, options) if series.noisy else -math.inf

    def take(ema: float, columns: int) -> Curve:
        return curve(
            table, series.key, axis=options.axis, low=shown[0], high=shown[1],
            columns=columns, log_x=options.log_x, ema=ema,
        )  # fmt: skip

    def keep(taken: Curve) -> None:
        for x, y in zip(taken.xs, taken.ys, strict=True):
            (shape.fitting if x >= fit else shape.others).append(y)

    signs = (_ASCII_SIGNS if options.marker == "ascii" else _SIGNS)[index % len(_SIGNS)]
    colour = (
        palette.series[series.role] if alone else palette.runs[source.colour % len(palette.runs)]
    )
    label = series.label if alone else words.clip(words.inert(source.name), 24)
    if not alone and len(view.series) > 1:
        label += f" {series.label}"
    if series.style == "dots":
        raw = take(0.0, dots)
        shape.lines.append(Line(raw.xs, raw.ys, colour, "dots", signs[1]))
        shape.legend.append((signs[1], label, colour))
        keep(raw)
        return
    smoothed = series.noisy and options.ema > 0
    main = take(options.ema if smoothed else 0.0, dots)
    shape.lines.append(Line(main.xs, main.ys, colour))
    shape.broken += main.nonfinite_xs
    keep(main)
    if smoothed and alone:
        raw = take(0.0, cells)  # half as fine: lighter to look at, and to draw
        shape.lines.append(Line(raw.xs, raw.ys, faded(colour, palette.background), "faint"))
        shape.broken += raw.nonfinite_xs
        keep(raw)
        shape.rows_per_column = max(shape.rows_per_column, raw.rows_per_column)
    shape.rows_per_column = max(shape.rows_per_column, main.rows_per_column)
    if signs[0]:
        tags = _tags(main, cells, index)
        shape.lines.append(Line(*tags, colour, "dots", signs[0]))
    shape.legend.append((signs[0] or ("*" if options.marker == "ascii" else "━"), label, colour))


def _tags(line: Curve, cells: int, index: int) -> tuple[list[float], list[float]]:
    """A few of a line's points, spread over it, elsewhere for each run."""
    apart = max(1, len(line.xs) * _CELLS_A_TAG // max(1, cells))
    chosen = range((apart * index // len(_SIGNS)) % apart, len(line.xs), apart)
    return [line.xs[i] for i in chosen], [line.ys[i] for i in chosen]


def _fitting_from(train: Table, options: ChartOptions) -> float:
    """The x from which values decide the y range. A logarithmic x axis shows the warm-up anyway."""
    if not options.clip_warm_up or options.log_x or not len(train):
        return -math.inf
    return train.xs(options.axis)[int(len(train) * WARM_UP)]


def _ahead(view: ChartView, shown: tuple[float, float]) -> tuple[list[float], list[float]] | None:
    """The planned learning rate beyond the newest row, in units of the axis; None if not asked."""
    options = view.options
    if not any(one.planned for one in view.series) or options.low is not None:
        return None
    source = view.sources[0]
    train = source.history.train
    if source.plan is None or source.max_steps is None or not len(train):
        return None
    newest = train.steps[-1]
    if newest >= source.max_steps:
        return None
    xs, ys = planned_rate(source.plan, source.max_steps, newest, source.max_steps, 200)
    if not xs:
        return None
    if options.axis != "step":  # as fast as the run was on the whole
        axis = train.xs(options.axis)
        a_step = axis[-1] / newest if newest else 0.0
        xs = [axis[-1] + (x - newest) * a_step for x in xs]
    return (xs, ys) if xs[-1] > shown[0] else None


def _add_ahead(shape: _Shape, ahead: tuple[list[float], list[float]], palette: Palette) -> None:
    colour = faded(palette.series["lr"], palette.background)
    shape.lines.append(Line(*ahead, colour, "faint"))
    shape.fitting += ahead[1]
    shape.legend.append(("━", "planned", colour))


def _broken(shape: _Shape, high: float, palette: Palette) -> Iterator[Line]:
    """Where values are not finite: a sign at the top, for there is no place for them."""
    if shape.broken:
        xs = sorted(set(shape.broken))
        yield Line(xs, [high] * len(xs), palette.alarm, "dots", "x")


def _y_range(shape: _Shape, *, log: bool) -> tuple[float, float, bool]:
    """From, to, and whether values of the warm-up lie outside."""
    fitting = [y for y in shape.fitting if y > 0 or not log]
    others = [y for y in shape.others if y > 0 or not log]
    if not fitting:
        fitting, others = others, []
    if not fitting:
        return (0.1, 1.0, False) if log else (0.0, 1.0, False)
    least = 1 / _MOST if log else -_MOST
    low, high = (max(least, min(_MOST, end)) for end in (min(fitting), max(fitting)))
    low, high = _padded(low, high, log=log)
    return low, high, any(not low <= y <= high for y in others)


def _padded(low: float, high: float, *, log: bool) -> tuple[float, float]:
    """The range with a margin, and with some extent where all values are one."""
    if log:
        margin = (high / low) ** 0.04 if high > low else 1.5
        wider = low / margin, high * margin
        return wider if wider[0] > 0 and wider[1] < math.inf else (low, high)
    margin = (high / 2 - low / 2) * 0.08 or abs(high) * 0.1 or 1.0
    wider = low - margin, high + margin
    if not all(map(math.isfinite, wider)):
        return low, high
    return (0.0 if low >= 0 > wider[0] else wider[0]), wider[1]


def _x_ticks(shown: tuple[float, float], options: ChartOptions, width: int) -> Ticks:
    ticks = nice_ticks(*shown, max(2, width // 14), log=options.log_x, axis=options.axis)
    return tuple(zip(ticks, tick_labels(ticks, options.axis), strict=True))


def _y_ticks(low: float, high: float, options: ChartOptions, height: int) -> Ticks:
    ticks = nice_ticks(low, high, max(3, min(6, height // 3)), log=options.log_y)
    labels = tick_labels(ticks)
    if max(map(len, labels), default=0) > _LONG_LABEL:
        labels = [power(tick, 1).replace(".0e", "e") for tick in ticks]
    return tuple(zip(ticks, labels, strict=True))
