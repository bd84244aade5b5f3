"""Curves as characters. The only file that knows plotext (5): it draws the canvas, we the axes.

plotext keeps one figure for the whole process: call `draw` from one thread only. It meets whole
numbers within the canvas and nothing else, so no value of a log can upset it.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tinychat.words import to_ascii

Marker = Literal["braille", "block", "ascii"]
Ticks = tuple[tuple[float, str], ...]

SMALLEST_FRAME = 8  # rows; below that the axes would take what the curves need
_DOTS = {"braille": (2, 4), "block": (2, 2), "ascii": (1, 1)}
# what each dot of a cell is worth, by its place from the left and from the bottom
_BITS = {
    "braille": ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08)),
    "block": ((4, 1), (8, 2)),
    "ascii": ((1,),),
}
_QUADRANTS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
_FAR = 1e9  # canvases above or below
_BEHIND = {"faint": 0, "line": 1, "dots": 2}
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Line:
    """One curve in its own units; x ascending. A faint one is drawn behind the others."""

    xs: Sequence[float]
    ys: Sequence[float]
    colour: str  # "#56B4E9"
    style: Literal["line", "dots", "faint"] = "line"
    marker: str = ""  # the sign of its dots, one cell wide; "" is the picture's own marker


@dataclass(frozen=True)
class Mark:
    """A sign on the x axis, for something that happened there."""

    x: float
    sign: str
    label: str
    colour: str = ""  # "" is the colour of the axes


@dataclass(frozen=True)
class Picture:
    """What a chart shows, in the units of its data; what lies outside the ranges is not drawn."""

    lines: tuple[Line, ...]
    x_low: float
    x_high: float
    y_low: float
    y_high: float
    x_ticks: Ticks = ()
    y_ticks: Ticks = ()
    x_name: str = ""  # of the axis; written at its right end
    log_x: bool = False
    log_y: bool = False
    marks: tuple[Mark, ...] = ()
    crosshair: float | None = None
    marker: Marker = "braille"
    axes_colour: str = "#808080"


@dataclass(frozen=True)
class Canvas:
    """Where the curves stand in a drawing of so many cells; without a frame it is all of it."""

    left: int
    width: int
    height: int
    dots: tuple[int, int]  # of a cell: across, up

    @classmethod
    def of(cls, picture: Picture, width: int, height: int, *, frame: bool) -> "Canvas":
        left = 1 + max((len(label) for _, label in picture.y_ticks), default=0)
        if not frame or width < left + 4 or height < 4:
            return cls(0, max(0, width), max(0, height), _DOTS[picture.marker])
        return cls(left, width - left, height - 2, _DOTS[picture.marker])

    @property
    def wide(self) -> int:
        """The last dot to the right, counted from 0."""
        return self.width * self.dots[0] - 1

    @property
    def high(self) -> int:
        """The last dot to the top."""
        return self.height * self.dots[1] - 1

    def share(self, column: int) -> float:
        """How far right the middle of a column of the drawing is on the canvas, 0 to 1."""
        dot = (column - self.left + 0.5) * self.dots[0] - 0.5
        return min(1.0, max(0.0, dot / max(1, self.wide)))

    def column(self, share: float | None) -> int | None:
        """The cell, from the left, that such a share falls into; None outside."""
        if share is None or not 0 <= share <= 1:
            return None
        return math.floor(share * self.wide + 0.5) // self.dots[0]

    def row(self, share: float | None) -> int | None:
        """The cell, from the bottom."""
        if share is None or not 0 <= share <= 1:
            return None
        return math.floor(share * self.high + 0.5) // self.dots[1]


def position(value: float, low: float, high: float, log: bool) -> float | None:
    """Where a value lies between two: 0 at low, 1 at high; None for what has no place there."""
    if log:
        if not (value > 0 and low > 0 and high > 0):
            return None
        value, low, high = math.log10(value), math.log10(low), math.log10(high)
    if not (math.isfinite(value) and math.isfinite(low) and math.isfinite(high)):
        return None
    extent = high / 2 - low / 2  # halves: the whole may be beyond floats
    if not extent:
        return 0.5 + (value > high) - (value < low)
    return (value / 2 - low / 2) / extent


def _positions(
    values: Sequence[float], low: float, high: float, log: bool
) -> Sequence[float | None]:
    """`position` of each; on an ordinary linear axis at a third of the cost."""
    half, extent = low / 2, high / 2 - low / 2
    if log or not extent or not math.isfinite(extent):
        return [position(value, low, high, log) for value in values]
    return [(v / 2 - half) / extent if v - v == 0 else None for v in values]


def value_at(share: float, low: float, high: float, log: bool) -> float:
    """The value at that share of the way from low to high."""
    if log and low > 0 and high > 0:
        power = math.log(low) * (1 - share) + math.log(high) * share
        return math.exp(min(709.0, power))  # beyond it there are no floats
    return low * (1 - share) + high * share


def faded(colour: str, ground: str = "#808080", share: float = 0.45) -> str:
    """A colour of which that share is left, the rest being the ground's."""
    pairs = zip(_rgb(colour), _rgb(ground), strict=True)
    return "#" + "".join(f"{round(c * share + g * (1 - share)):02x}" for c, g in pairs)


def draw(picture: Picture, width: int, height: int, *, colour: bool, frame: bool) -> str:
    """The picture in exactly so many columns and rows, lines parted by newlines.

    With colour it holds ANSI escapes (24 bits), without none. Where there is no room for the
    frame it is left out. Never raises for odd numbers: they are not drawn.
    """
    canvas = Canvas.of(picture, width, height, frame=frame)
    if not canvas.width or not canvas.height:
        return ""
    rows = _canvas_rows(picture, canvas)
    if canvas.left:
        rows = _framed(picture, canvas, rows)
    text = "\n".join(rows)
    if picture.marker == "ascii":
        text = to_ascii(text)
    return text if colour else _ESCAPES.sub("", text)


def _canvas_rows(picture: Picture, canvas: Canvas) -> list[str]:
    import plotext as plt

    plt.clear_figure()
    plt.limit_size(False, False)
    plt.plot_size(canvas.width, canvas.height)
    for axes in (plt.xaxes, plt.yaxes):
        axes(False, False)
    for many in (plt.xfrequency, plt.yfrequency):
        many(0)
    for paint in (plt.canvas_color, plt.axes_color, plt.ticks_color):
        paint("default")
    plt.xlim(0, 1)
    plt.ylim(0, 1)
    if picture.crosshair is not None:
        column = canvas.column(position(picture.crosshair, *_x(picture)))
        if column is not None:
            plt.vertical_line(column / max(1, canvas.width - 1), _rgb(picture.axes_colour))
    drawn = False
    for line in sorted(picture.lines, key=lambda line: _BEHIND[line.style]):
        cells = _cells(picture, line, canvas)
        if cells:
            xs = [column / max(1, canvas.width - 1) for column, _ in cells]
            ys = [row / max(1, canvas.height - 1) for _, row in cells]
            plt.scatter(xs, ys, marker=list(cells.values()), color=_rgb(line.colour))
            drawn = True
    if not drawn:  # plotext draws no crosshair without a point
        plt.scatter([2], [2], marker=".")
    rows = plt.build().split("\n")[: canvas.height]
    plt.clear_figure()
    return rows


def _cells(picture: Picture, line: Line, canvas: Canvas) -> dict[tuple[int, int], str]:
    """What stands in which cell (column, row from the bottom) of the canvas.

    plotext would join the dots and gather them in cells itself, at twice the cost of all.
    """
    places, high = _places(picture, line, canvas), canvas.high
    if line.style == "dots":
        dots: Iterable[tuple[int, int]] = (
            (x, round(y)) for x, y in places if -0.5 <= y <= high + 0.5
        )
    else:
        dots = _joined(_compact(_clipped(places, high)))
    across, up = canvas.dots
    filled: dict[tuple[int, int], int] = {}
    bits = _BITS[picture.marker]
    for x, y in dots:
        if 0 <= y <= high:
            cell = x // across, y // up
            filled[cell] = filled.get(cell, 0) | bits[x % across][y % up]
    if line.marker or picture.marker == "ascii":
        sign = line.marker[:1] or {"faint": ".", "line": "*", "dots": "o"}[line.style]
        return dict.fromkeys(filled, sign)
    if picture.marker == "block":
        return {cell: _QUADRANTS[dots] for cell, dots in filled.items()}
    return {cell: chr(0x2800 + dots) for cell, dots in filled.items()}


def _joined(dots: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """All dots on the way from each to the next."""
    before: tuple[int, int] | None = None
    for x, y in dots:
        if before is not None:
            x0, y0 = before
            far = max(abs(x - x0), abs(y - y0))
            for i in range(1, far):
                yield x0 + round((x - x0) * i / far), y0 + round((y - y0) * i / far)
        yield x, y
        before = x, y


def _places(picture: Picture, line: Line, canvas: Canvas) -> list[tuple[int, float]]:
    """The line's points in dots of the canvas: whole columns, heights that may lie outside."""
    wide, high = canvas.wide, canvas.high
    rights = _positions(line.xs, *_x(picture))
    heights = _positions(line.ys, *_y(picture))
    return [
        (math.floor(right * wide + 0.5), min(_FAR, max(-_FAR, above)) * high)  # it may be infinite
        for right, above in zip(rights, heights, strict=False)
        if right is not None and above is not None and 0 <= right <= 1
    ]


def _clipped(places: Sequence[tuple[int, float]], high: int) -> Iterable[tuple[int, int]]:
    """The same way with nothing far outside, which nobody should walk dot by dot.

    A stretch outside runs just beyond the edge, and the way leaves and enters where it should.
    """
    if all(-1.0 <= y <= high + 1.0 for _, y in places):
        return [(x, round(y)) for x, y in places]
    return _led_along_the_edges(places, high)


def _led_along_the_edges(
    places: Iterable[tuple[int, float]], high: int
) -> Iterator[tuple[int, int]]:
    before: tuple[int, float] | None = None
    for x, y in places:
        if before is not None:
            x0, y0 = before
            edges = [edge for edge in (-1.0, high + 1.0) if min(y0, y) < edge < max(y0, y)]
            for edge in edges if y0 < y else reversed(edges):
                yield round(x0 + (x - x0) * ((edge - y0) / (y - y0))), int(edge)
        yield x, round(min(high + 1.0, max(-1.0, y)))
        before = x, y


def _compact(dots: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same dots set with at most two points a column: its lowest and highest, nearer first."""
    column: int | None = None
    low = high = last = 0
    for x, y in dots:
        if x == column:
            low, high = min(low, y), max(high, y)
            continue
        if column is not None:
            ends = (low, high) if abs(last - low) < abs(last - high) else (high, low)
            yield from ((column, end) for end in dict.fromkeys(ends))
            last = ends[1]
        else:
            last = y
        column, low, high = x, y, y
    if column is not None:
        ends = (low, high) if abs(last - low) < abs(last - high) else (high, low)
        yield from ((column, end) for end in dict.fromkeys(ends))


def _framed(picture: Picture, canvas: Canvas, rows: list[str]) -> list[str]:
    """The rows with the y axis at their left, and the x axis and its numbers below."""
    ink = picture.axes_colour
    labels = {
        canvas.height - 1 - row: label
        for value, label in picture.y_ticks
        if (row := canvas.row(position(value, *_y(picture)))) is not None
    }
    room = canvas.left - 1
    framed = [
        _paint(f"{labels.get(row, ''):>{room}}" + ("┤" if row in labels else "│"), ink) + text
        for row, text in enumerate(rows)
    ]
    axis, numbers = _x_axis(picture, canvas)
    framed.append(_paint(" " * room + "└", ink) + axis)
    framed.append(_paint(" " * canvas.left + numbers, ink))
    return framed


def _x_axis(picture: Picture, canvas: Canvas) -> tuple[str, str]:
    """The axis with its marks, and the numbers below it; those that would touch are left out."""
    ink = picture.axes_colour
    axis = [_paint("─", ink)] * canvas.width
    numbers = [" "] * canvas.width
    if picture.x_name and 4 * len(picture.x_name) < canvas.width:
        numbers[-len(picture.x_name) :] = picture.x_name
    for value, label in picture.x_ticks:
        column = canvas.column(position(value, *_x(picture)))
        if column is None or len(label) > canvas.width:
            continue
        start = max(0, min(canvas.width - len(label), column - len(label) // 2))
        if not "".join(numbers[max(0, start - 1) : start + len(label) + 1]).strip():
            numbers[start : start + len(label)] = label
            axis[column] = _paint("┬", ink)
    for mark in picture.marks:
        column = canvas.column(position(mark.x, *_x(picture)))
        if column is not None:
            axis[column] = _paint(mark.sign[:1], mark.colour or ink)
    joined = "".join(axis).replace(_CLOSED + _opened(ink), "")
    return joined, "".join(numbers)


def _x(picture: Picture) -> tuple[float, float, bool]:
    return picture.x_low, picture.x_high, picture.log_x


def _y(picture: Picture) -> tuple[float, float, bool]:
    return picture.y_low, picture.y_high, picture.log_y


_CLOSED = "\x1b[0m"


def _opened(colour: str) -> str:
    return "\x1b[38;2;{};{};{}m".format(*_rgb(colour))


def _paint(text: str, colour: str) -> str:
    return _opened(colour) + text + _CLOSED


def _rgb(colour: str) -> tuple[int, int, int]:
    """The three numbers of "#rrggbb"."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
