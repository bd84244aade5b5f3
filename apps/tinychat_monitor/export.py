"""A chart as a file: its rows as CSV, or its picture as SVG or PNG (one layout for both).

Files are made in a folder of the person's choice, never in a run, and never over another file.
"""

import math
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, Literal

from tinychat import words
from tinychat.watch.plot import Line, Picture, faded, position
from tinychat_monitor.widgets.chart_options import shown_range, whole_range
from tinychat_monitor.widgets.chart_picture import Drawn, drawn, holding
from tinychat_monitor.widgets.chart_series import ChartView, Source

Format = Literal["csv", "svg", "png"]

_SIZE = (1200, 640)
_BOX = (84, 84, 1160, 560)  # where the curves stand: left, top, right, bottom
_CELLS = ((_BOX[2] - _BOX[0]) // 4, (_BOX[3] - _BOX[1]) // 20)
_OUTSIDE = 20.0  # heights of the box: farther away a curve is as good as vertical
_SHAPES = {"o": "ring", "x": "cross", "▲": "up", "△": "up hollow", "▼": "down",
           "▽": "down hollow", "■": "square", "□": "square hollow", "◆": "diamond",
           "◇": "diamond hollow", "★": "star", "☆": "star hollow"}  # fmt: skip
_FONTS = ("DejaVuSans.ttf", "Helvetica.ttc", "Arial.ttf", "LiberationSans-Regular.ttf")

Point = tuple[float, float]


def export(view: ChartView, kind: Format, folder: Path) -> Path:
    """Write the chart into the folder; returns the new file. Raises OSError if it cannot be."""
    name = "-".join([*(source.name for source in view.sources[:3]), view.heading])
    stem = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[:80] or "chart"
    content = {"csv": to_csv, "svg": to_svg, "png": to_png}[kind](view)
    for number in count():
        path = folder / (f"{stem}-{number}.{kind}" if number else f"{stem}.{kind}")
        try:
            with path.open("xb") as file:
                file.write(content)
            return path.absolute()
        except FileExistsError:
            continue
    raise AssertionError


# --- CSV


def to_csv(view: ChartView) -> bytes:
    """Every row in the view's range: run, step, tokens, seconds and each series; "" for none."""
    with holding(view.histories):
        whole = whole_range(view.histories, view.options.axis, log=view.options.log_x)
        shown = shown_range(view.options, whole)
        copies = [
            (source.name, _columns(source, view, table, shown))
            for source in view.sources
            for table in ("train", "evals")
        ]
    keys = [one.key for one in view.series]
    lines = [",".join(["run", "step", "tokens", "seconds", *keys])]
    for source in view.sources:
        own = [columns for name, columns in copies if name == source.name]
        lines += _csv_lines(_quoted(source.name), own, keys)
    return ("\n".join(lines) + "\n").encode()


def _quoted(name: str) -> str:
    """A run's name as one field that a spreadsheet takes for text."""
    name = ("'" + name if name[:1] in ("=", "+", "-", "@") else name).replace('"', '""')
    return f'"{words.inert(name)}"' if not re.fullmatch(r"[\w.-]+", name) else name


def _columns(
    source: Source, view: ChartView, name: str, shown: tuple[float, float] | None
) -> dict[str, Any]:
    """Copies of the columns of one table within a range of the axis."""
    table = getattr(source.history, name)
    xs = table.xs(view.options.axis)
    low, high = shown or (math.inf, -math.inf)
    inside = [row for row, x in enumerate(xs) if low <= x <= high]
    rows = slice(inside[0], inside[-1] + 1) if inside else slice(0, 0)
    keys = [one.key for one in view.series if one.table == name and one.key in table.columns]
    return {
        "step": table.steps[rows],
        "tokens": table.tokens[rows],
        "seconds": table.times[rows],
        **{key: table.columns[key].values[rows] for key in keys},
    }


def _csv_lines(run: str, tables: Sequence[dict[str, Any]], keys: Sequence[str]) -> Iterator[str]:
    """The rows of a run's tables as lines, by step; rows of one step are one line."""
    at = [0] * len(tables)
    while True:
        ahead = [
            table["step"][i] for table, i in zip(tables, at, strict=True) if i < len(table["step"])
        ]
        if not ahead:
            return
        step, fields = min(ahead), ["", ""]
        values: dict[str, str] = {}
        for which, table in enumerate(tables):
            row = at[which]
            if row < len(table["step"]) and table["step"][row] == step:
                at[which] += 1
                fields = [f"{table[name][row]:.10g}" for name in ("tokens", "seconds")]
                values |= {key: _field(table[key], row) for key in keys if key in table}
        yield ",".join([run, str(step), *fields, *(values.get(key, "") for key in keys)])


def _field(column: "array[float]", row: int) -> str:
    value = column[row]
    return repr(value) if math.isfinite(value) else ""


# --- pictures


@dataclass(frozen=True)
class Stroke:
    """A line through points, in pixels; within the box of the curves if `inside`."""

    points: tuple[Point, ...]
    colour: str
    width: float = 1.0
    inside: bool = False


@dataclass(frozen=True)
class Sign:
    """A small shape around a point."""

    shape: str
    at: Point
    colour: str


@dataclass(frozen=True)
class Words:
    """A line of text at a point of its baseline."""

    text: str
    at: Point
    colour: str
    size: int = 15
    anchor: Literal["start", "middle", "end"] = "start"


Shape = Stroke | Sign | Words


def layout(view: ChartView) -> list[Shape]:
    """The chart as shapes on a canvas of 1200 by 640 pixels."""
    made = drawn(replace(view, options=replace(view.options, marker="braille")), *_CELLS)
    names = ", ".join(words.clip(words.inert(source.name), 40) for source in view.sources)
    shapes: list[Shape] = [Words(f"{names}: {view.heading}", (24, 34), view.palette.ink, 20)]
    shapes += _legend(made, view)
    shapes.append(Words(made.reads or made.says, (24, 626), view.palette.axes, 13))
    if made.picture is None:
        middle = (_BOX[0] + _BOX[2]) / 2, (_BOX[1] + _BOX[3]) / 2
        return [*shapes, Words(made.says, middle, view.palette.ink, 20, "middle")]
    return [*shapes, *_axes(made.picture, view), *_curves(made.picture)]


def _legend(made: Drawn, view: ChartView) -> Iterator[Shape]:
    left = 24.0
    for sign, label, colour in made.legend:
        if sign in _SHAPES:
            yield Sign(_SHAPES[sign], (left + 12, 57), colour)
        else:
            yield Stroke(((left, 57), (left + 24, 57)), colour, 2.5)
        yield Words(label, (left + 32, 62), view.palette.ink)
        left += 56 + 8.5 * len(label)


def _axes(picture: Picture, view: ChartView) -> Iterator[Shape]:
    left, top, right, bottom = _BOX
    axes = view.palette.axes
    grid = faded(axes, view.palette.background, 0.3)
    yield Stroke(((left, top), (left, bottom), (right, bottom)), axes)
    for value, label in picture.y_ticks:
        place = _place(picture, picture.x_low, value)
        if place is not None and top <= place[1] <= bottom:
            yield Stroke(((left - 5, place[1]), (right, place[1])), grid)
            yield Words(label, (left - 9, place[1] + 5), axes, 14, "end")
    for value, label in picture.x_ticks:
        place = _place(picture, value, picture.y_low)
        if place is not None and left <= place[0] <= right:
            yield Stroke(((place[0], bottom), (place[0], bottom + 5)), axes)
            yield Words(label, (place[0], bottom + 21), axes, 14, "middle")
    yield Words(picture.x_name, (right, bottom + 42), axes, 14, "end")
    for mark in picture.marks:
        place = _place(picture, mark.x, picture.y_low)
        if place is not None:
            colour = mark.colour or axes
            if mark.sign in _SHAPES:
                yield Sign(_SHAPES[mark.sign], (place[0], bottom), colour)
            else:
                yield Words(mark.sign, (place[0], bottom + 6), colour, 16, "middle")
    if picture.crosshair is not None:
        place = _place(picture, picture.crosshair, picture.y_low)
        if place is not None and left <= place[0] <= right:
            yield Stroke(((place[0], top), (place[0], bottom)), axes)


def _curves(picture: Picture) -> Iterator[Shape]:
    for line in sorted(picture.lines, key=lambda line: ("faint", "line", "dots").index(line.style)):
        points = tuple(_points(picture, line))
        if line.style != "dots":
            yield Stroke(points, line.colour, 1.5 if line.style == "faint" else 2.2, inside=True)
            continue
        shape = _SHAPES.get(line.marker, "ring")
        for point in points:
            if _BOX[1] - 1 <= point[1] <= _BOX[3] + 1:
                yield Sign(shape, point, line.colour)


def _points(picture: Picture, line: Line) -> Iterator[Point]:
    for x, y in zip(line.xs, line.ys, strict=True):
        place = _place(picture, x, y)
        if place is not None:
            yield place


def _place(picture: Picture, x: float, y: float) -> Point | None:
    """Where a value stands, in pixels; None for what has no place."""
    right = position(x, picture.x_low, picture.x_high, log=picture.log_x)
    up = position(y, picture.y_low, picture.y_high, log=picture.log_y)
    if right is None or up is None or not 0 <= right <= 1:
        return None
    up = min(_OUTSIDE, max(-_OUTSIDE, up))
    x_pixel = _BOX[0] + right * (_BOX[2] - _BOX[0])
    return round(x_pixel, 2), round(_BOX[3] - up * (_BOX[3] - _BOX[1]), 2)


def _outline(sign: Sign) -> list[Point]:
    """The corners of a sign's shape, which is neither ring nor cross."""
    x, y = sign.at
    star = [
        (math.sin(i * math.pi / 5) * r, -math.cos(i * math.pi / 5) * r)
        for i, r in enumerate((7.5, 3) * 5)
    ]
    corners = {
        "up": ((0, -6), (6, 5), (-6, 5)),
        "down": ((0, 6), (6, -5), (-6, -5)),
        "square": ((-5, -5), (5, -5), (5, 5), (-5, 5)),
        "diamond": ((0, -7), (7, 0), (0, 7), (-7, 0)),
        "star": star,
    }
    return [(x + right, y + down) for right, down in corners[sign.shape.split()[0]]]


def to_svg(view: ChartView) -> bytes:
    """The chart as an SVG document."""
    width, height = _SIZE
    left, top, right, bottom = _BOX
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="DejaVu Sans, Arial, sans-serif">',
        f'<clipPath id="box"><rect x="{left}" y="{top}" width="{right - left}" '
        f'height="{bottom - top}"/></clipPath>',
        f'<rect width="{width}" height="{height}" fill="{view.palette.background}"/>',
        *(_svg(shape) for shape in layout(view)),
        "</svg>\n",
    ]
    return "\n".join(parts).encode()


def _svg(shape: Shape) -> str:
    if isinstance(shape, Words):
        x, y = shape.at
        return (
            f'<text x="{x}" y="{y}" fill="{shape.colour}" font-size="{shape.size}" '
            f'text-anchor="{shape.anchor}">{escape(words.inert(shape.text))}</text>'
        )
    if isinstance(shape, Stroke):
        inside = ' clip-path="url(#box)"' if shape.inside else ""
        return (
            f'<polyline points="{_svg_points(shape.points)}" fill="none" stroke="{shape.colour}" '
            f'stroke-width="{shape.width}" stroke-linejoin="round"{inside}/>'
        )
    x, y = shape.at
    pen = f'fill="none" stroke="{shape.colour}" stroke-width="2"'
    if shape.shape == "ring":
        return f'<circle cx="{x}" cy="{y}" r="4.5" {pen}/>'
    if shape.shape == "cross":
        path = f"M{x - 5} {y - 5}L{x + 5} {y + 5}M{x - 5} {y + 5}L{x + 5} {y - 5}"
        return f'<path d="{path}" {pen}/>'
    look = pen if shape.shape.endswith("hollow") else f'fill="{shape.colour}"'
    return f'<polygon points="{_svg_points(_outline(shape))}" {look}/>'


def _svg_points(points: Sequence[Point]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def to_png(view: ChartView) -> bytes:
    """The chart as a PNG image, two pixels for one."""
    from PIL import Image, ImageDraw

    scale = 2
    size = (_SIZE[0] * scale, _SIZE[1] * scale)
    image = Image.new("RGB", size, view.palette.background)
    shapes = layout(view)
    curves = [shape for shape in shapes if isinstance(shape, Stroke) and shape.inside]
    below = [shape for shape in shapes if not isinstance(shape, Sign) and shape not in curves]
    for shape in below:
        _paint(ImageDraw.Draw(image), shape, scale)
    box = image.copy()
    for shape in curves:
        _paint(ImageDraw.Draw(box), shape, scale)
    left, top, right, bottom = (edge * scale for edge in _BOX)
    image.paste(box.crop((left, top, right, bottom)), (left, top))
    for shape in shapes:
        if isinstance(shape, Sign):
            _paint(ImageDraw.Draw(image), shape, scale)
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _paint(pen: Any, shape: Shape, scale: int) -> None:
    """One shape onto an image."""
    if isinstance(shape, Words):
        font, plain = _font(shape.size * scale)
        text = words.to_ascii(words.inert(shape.text)) if plain else words.inert(shape.text)
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
        at = (shape.at[0] * scale, shape.at[1] * scale)
        pen.text(at, text, shape.colour, font=font, anchor=anchor)
    elif isinstance(shape, Stroke):
        points = [(x * scale, y * scale) for x, y in shape.points]
        pen.line(points, shape.colour, max(1, round(shape.width * scale)), joint="curve")
    else:
        x, y = (number * scale for number in shape.at)
        if shape.shape == "ring":
            pen.ellipse((x - 9, y - 9, x + 9, y + 9), outline=shape.colour, width=4)
        elif shape.shape == "cross":
            for down in (-10, 10):
                pen.line((x - 10, y - down, x + 10, y + down), shape.colour, 4)
        else:
            corners = [(a * scale, b * scale) for a, b in _outline(shape)]
            fill = None if shape.shape.endswith("hollow") else shape.colour
            pen.polygon(corners, fill, shape.colour, 3)


def _font(size: int) -> tuple[Any, bool]:
    """A font of this machine, or Pillow's own, which knows ASCII only (True)."""
    from PIL import ImageFont

    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size), False
        except OSError:
            continue
    return ImageFont.load_default(size), True
