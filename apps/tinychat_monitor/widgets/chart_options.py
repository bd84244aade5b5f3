"""How charts are looked at: which axis, which part, how smooth. What keys and mouse do to that."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tinychat.watch.curves import Axis, nearest
from tinychat.watch.history import History
from tinychat.watch.plot import Marker, position, value_at

AXES: tuple[Axis, ...] = ("step", "tokens", "time")
SMOOTHINGS = (0.0, 0.9, 0.98)  # weights of the exponential moving average
ZOOMS = (1.0, 0.5, 0.1, 0.01)  # the last part of the run that is shown
_ZOOM_STEP = 2.0
_PAN = 0.25
_SMALLEST = 1e-6  # of the run: a part that is still told apart


@dataclass(frozen=True)
class ChartOptions:
    """What a person chose for the charts of a screen; `low` and `high` are in units of the axis."""

    axis: Axis = "step"
    log_x: bool = False
    log_y: bool = False
    ema: float = 0.9
    low: float | None = None  # None, None: the whole run
    high: float | None = None
    clip_warm_up: bool = True  # the first 2 % of the steps do not decide the y range
    crosshair: float | None = None
    marker: Marker = "braille"
    follow: bool = True  # a part keeps its length and moves with the newest step
    frozen: bool = False


def whole_range(
    histories: Sequence[History], axis: Axis, *, log: bool
) -> tuple[float, float] | None:
    """From the first to the last value on the x axis, over train and eval rows; None without rows.

    On a logarithmic axis the first is the first above 0.
    """
    lows: list[float] = []
    highs: list[float] = []
    for history in histories:
        for table in (history.train, history.evals):
            xs = table.xs(axis)
            first = next((x for x in xs if x > 0 or not log), None)
            last = xs[-1:]  # a slice: keys come without the lock, and a resume drops rows
            if first is not None and last:
                lows.append(first)
                highs.append(last[0])
    return (min(lows), max(highs)) if lows else None


def shown_range(
    options: ChartOptions, whole: tuple[float, float] | None
) -> tuple[float, float] | None:
    """The part of the x axis that is in view; None where there are no rows."""
    if whole is None or options.low is None or options.high is None:
        return whole
    low, high = options.low, options.high
    if options.log_x and low <= 0:
        low = whole[0]
    if not low < high:
        return whole
    if options.follow:
        end = whole[1]
        return (end * (low / high) if options.log_x else end - (high - low)), end
    return low, high


def zoomed(
    options: ChartOptions,
    histories: Sequence[History],
    factor: float = _ZOOM_STEP,
    at: float | None = None,
) -> ChartOptions:
    """A view `factor` times as close (below 1: farther away), `at` staying where it is on screen.

    Without `at` that is the crosshair, or else the newest step while following, or the middle.
    """
    whole = whole_range(histories, options.axis, log=options.log_x)
    shown = shown_range(options, whole)
    if whole is None or shown is None or shown[0] == shown[1]:
        return options
    log = options.log_x
    anchor = 1.0 if options.follow else 0.5
    at = options.crosshair if at is None else at
    if at is not None:
        share = position(at, *shown, log=log)
        anchor = anchor if share is None else min(1.0, max(0.0, share))
    low = value_at(anchor - anchor / factor, *shown, log=log)
    high = value_at(anchor + (1 - anchor) / factor, *shown, log=log)
    return between(options, histories, low, high)


def between(
    options: ChartOptions, histories: Sequence[History], low: float, high: float
) -> ChartOptions:
    """A view of that part, cut to what there is; the whole run if that is all of it."""
    whole = whole_range(histories, options.axis, log=options.log_x)
    if whole is None:
        return options
    low, high = max(whole[0], min(low, high)), min(whole[1], max(low, high))
    length = whole[1] - whole[0]
    if low <= whole[0] and high >= whole[1]:
        return whole_run(options)
    if not high - low > length * _SMALLEST:
        return options
    return replace(options, low=low, high=high, follow=high >= whole[1] and options.follow)


def whole_run(options: ChartOptions) -> ChartOptions:
    """A view of everything."""
    return replace(options, low=None, high=None, follow=True)


def next_zoom(options: ChartOptions, histories: Sequence[History]) -> ChartOptions:
    """All, then the last half, the last 10 %, the last 1 %, and all again; each follows."""
    whole = whole_range(histories, options.axis, log=options.log_x)
    if whole is None or whole[0] == whole[1]:
        return options
    length = whole[1] - whole[0]
    now = 1.0 if options.low is None or options.high is None else _share(options, length)
    part = next((zoom for zoom in ZOOMS if zoom < now * 0.99), ZOOMS[0])
    if part == 1.0:
        return whole_run(options)
    return replace(options, low=whole[1] - length * part, high=whole[1], follow=True)


def _share(options: ChartOptions, length: float) -> float:
    return ((options.high or 0.0) - (options.low or 0.0)) / length


def panned(
    options: ChartOptions, histories: Sequence[History], share: float = _PAN
) -> ChartOptions:
    """The view moved by that share of itself, to the right if positive, up to the run's ends."""
    whole = whole_range(histories, options.axis, log=options.log_x)
    shown = shown_range(options, whole)
    if whole is None or shown is None or options.low is None:
        return options
    log = options.log_x
    ends = [position(end, *shown, log=log) for end in whole]
    share = max(ends[0] or 0.0, min((ends[1] or 1.0) - 1.0, share))
    low, high = (value_at(place + share, *shown, log=log) for place in (0.0, 1.0))
    return replace(options, low=low, high=high, follow=False)


def followed(options: ChartOptions, histories: Sequence[History]) -> ChartOptions:
    """A zoomed view that moves with the newest step from now on, or no longer."""
    if not options.follow:
        return replace(options, follow=True)
    shown = shown_range(options, whole_range(histories, options.axis, log=options.log_x))
    if options.low is None or shown is None:
        return options
    return replace(options, low=shown[0], high=shown[1], follow=False)


def crosshair_toggled(options: ChartOptions, histories: Sequence[History]) -> ChartOptions:
    """The crosshair at the newest step in view, or none."""
    if options.crosshair is not None:
        return replace(options, crosshair=None)
    shown = shown_range(options, whole_range(histories, options.axis, log=options.log_x))
    return options if shown is None else replace(options, crosshair=shown[1])


def crosshair_moved(
    options: ChartOptions, histories: Sequence[History], columns: int, width: int = 100
) -> ChartOptions:
    """The crosshair so many of `width` columns to the right, and by one row at least."""
    shown = shown_range(options, whole_range(histories, options.axis, log=options.log_x))
    if options.crosshair is None or shown is None or not histories:
        return options
    log = options.log_x
    share = position(options.crosshair, *shown, log=log)
    share = 1.0 if share is None else share
    moved = value_at(min(1.0, max(0.0, share + columns / width)), *shown, log=log)
    with histories[0].lock:
        table = histories[0].train
        before = nearest(table, options.axis, options.crosshair)
        if before is not None and before == nearest(table, options.axis, moved):
            row = min(len(table) - 1, max(0, before + (1 if columns > 0 else -1)))
            moved = min(shown[1], max(shown[0], table.xs(options.axis)[row]))
    return replace(options, crosshair=moved)


def next_axis(options: ChartOptions, histories: Sequence[History]) -> ChartOptions:
    """x in steps, then tokens, then time; the same part of the first run stays in view."""
    axis = AXES[(AXES.index(options.axis) + 1) % len(AXES)]

    def moved(x: float | None) -> float | None:
        if x is None or not histories:
            return None
        with histories[0].lock:
            table = histories[0].train
            row = nearest(table, options.axis, x)
            return None if row is None else float(table.xs(axis)[row])

    low, high = moved(options.low), moved(options.high)
    if low is None or high is None or not low < high:
        low = high = None
    return replace(options, axis=axis, low=low, high=high, crosshair=moved(options.crosshair))


def log_x_toggled(options: ChartOptions) -> ChartOptions:
    """A logarithmic x axis, or back; a part that holds 0 becomes the whole run."""
    options = replace(options, log_x=not options.log_x)
    return whole_run(options) if options.low is not None and options.low <= 0 else options


def next_smoothing(options: ChartOptions) -> ChartOptions:
    """The next weight of the moving average."""
    after = [weight for weight in SMOOTHINGS if weight > options.ema]
    return replace(options, ema=after[0] if after else SMOOTHINGS[0])
