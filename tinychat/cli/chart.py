"""The loss curve as characters, drawn by plotext 5. The only file here that knows plotext."""

from collections.abc import Sequence

from tinychat.cli.words import number

Point = tuple[int, float]  # step, nats per token

HEIGHT = 16
_AXIS_COLUMNS = 8  # of the width, for the numbers at the left
_DOTS_A_COLUMN = 2  # braille


def loss_chart(
    train: Sequence[Point], evaluated: Sequence[Point], width: int, *, colour: bool
) -> str:
    """Training loss as a line and validation losses as dots, over the step; no newline at its end.

    The points are finite. Where there are more than fit, each column shows its lowest and highest.
    """
    import plotext as plt

    if not train and not evaluated:
        return "no loss has been written yet"
    plt.clear_figure()
    plt.plot_size(width, HEIGHT)
    for paint in (plt.canvas_color, plt.axes_color):
        paint("default")
    plt.ticks_color("gray")
    if train:
        steps, values = zip(*thinned(train, (width - _AXIS_COLUMNS) * _DOTS_A_COLUMN), strict=True)
        plt.plot(steps, values, marker="braille", color="cyan", label="train loss")
    if evaluated:
        steps, values = zip(*thinned(evaluated, width - _AXIS_COLUMNS), strict=True)
        plt.scatter(steps, values, marker="●", color="orange", label="val loss")
    plt.xlabel("step")
    ticks = _ticks([step for step, _ in (*train, *evaluated)])
    plt.xticks(ticks, [number(step) for step in ticks])
    drawn = plt.build()
    plt.clear_figure()
    return "\n".join(
        line.rstrip() for line in (drawn if colour else plt.uncolorize(drawn)).splitlines()
    )


def _ticks(steps: Sequence[int]) -> list[int]:
    """Five whole steps, evenly apart."""
    first, last = min(steps), max(steps)
    return sorted({first + round((last - first) * i / 4) for i in range(5)})


def thinned(points: Sequence[Point], columns: int) -> list[Point]:
    """At most two points for each of the columns: the lowest and the highest, as they came."""
    if len(points) <= 2 * columns:
        return list(points)
    first, last = points[0][0], points[-1][0]
    width = max(1, (last - first) / columns)
    groups: dict[int, list[Point]] = {}
    for point in points:
        groups.setdefault(int((point[0] - first) / width), []).append(point)
    kept: list[Point] = []
    for group in groups.values():
        ends = {min(group, key=lambda p: p[1]), max(group, key=lambda p: p[1])}
        kept += sorted(ends)
    return kept
