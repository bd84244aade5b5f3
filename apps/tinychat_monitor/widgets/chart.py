"""A chart of the numbers of one run or several, in a box that says what it shows."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.text import Text
from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.message import Message
from textual.style import Style
from textual.widget import Widget

from tinychat.watch.plot import SMALLEST_FRAME, Canvas, Mark, draw, value_at
from tinychat_monitor.options import options_of
from tinychat_monitor.themes import run_colours, series_colours
from tinychat_monitor.widgets.chart_options import (
    ChartOptions,
    between,
    panned,
    zoomed,
)
from tinychat_monitor.widgets.chart_picture import Drawn, drawn
from tinychat_monitor.widgets.chart_series import ChartView, Palette, Series, Source
from tinychat_monitor.widgets.chart_words import where

_WHEEL = 1.25  # how much closer one notch of the wheel goes


class Chart(Widget, can_focus=True):
    """Curves over steps, tokens or time; drawn again only when something about it has changed.

    What is shown is the screen's business: it calls `show`, also in answer to `Crosshair` and
    `Zoom`, which the mouse asks for. Click: crosshair; drag: zoom to that part; drag with shift or
    the right button: pan; wheel: zoom at the pointer.
    """

    DEFAULT_CSS = """
    Chart {
        border: round $border-blurred;
        border-title-color: $foreground;
        border-subtitle-color: $text-muted;
        height: 1fr;
        min-height: 3;
    }
    Chart:focus { border: round $border; }
    """

    class Crosshair(Message):
        """The crosshair is wanted at x."""

        def __init__(self, x: float) -> None:
            super().__init__()
            self.x = x

    class Zoom(Message):
        """This part of the x axis is wanted; (-inf, inf) is the whole run."""

        def __init__(self, low: float, high: float) -> None:
            super().__init__()
            self.low = low
            self.high = high

    def __init__(
        self,
        series: Sequence[Series],
        *,
        title: str,
        unit: str = "",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._series = series
        self._title = title
        self._unit = unit
        self._sources: tuple[Source, ...] = ()
        self._options = ChartOptions()
        self._marks: tuple[Mark, ...] = ()
        self._built: object = None  # what the text was made from
        self._text: Text = Text("no rows yet", justify="center")
        self._drawn = Drawn(None, (), "no rows yet")
        self._held_at: int | None = None  # the column where a button went down
        self.border_title = Content(title)

    @property
    def drawn(self) -> Drawn:
        """What is on the screen."""
        return self._drawn

    @property
    def view(self) -> ChartView:
        """All that an export of it needs."""
        return ChartView(
            self._heading, self._unit, self._series, self._sources,
            replace(self._options, marker=self._marker()), self._marks, self._palette(),
        )  # fmt: skip

    @property
    def _heading(self) -> str:
        return f"{self._title} ({self._unit})" if self._unit else self._title

    def show(
        self, sources: Sequence[Source], options: ChartOptions, marks: Sequence[Mark] = ()
    ) -> None:
        """Draw these runs so, with these marks, unless that is what stands there."""
        self._sources, self._options, self._marks = tuple(sources), options, tuple(marks)
        self._build()

    def on_resize(self) -> None:
        self._build()

    def on_show(self) -> None:
        self._build()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._build()

    def render(self) -> RenderResult:
        return self._text

    def _build(self) -> None:
        """Make the text, if it would be another one."""
        width, height = self.content_size
        if not self.is_mounted or not width or not height or not self.is_on_screen:
            return
        versions = () if self._options.frozen else tuple(s.history.version for s in self._sources)
        theme = self.app.current_theme.name
        made_from = (versions, self._sources, self._options, self._marks, width, height, theme)
        if made_from == self._built:
            return
        self._built = made_from
        self._drawn = drawn(self.view, width, height)
        picture = self._drawn.picture
        if picture is None:
            self._text = Text("\n" * (height // 2) + self._drawn.says, justify="center")
        else:
            self._text = Text.from_ansi(
                draw(picture, width, height, colour=True, frame=self._framed(height)), no_wrap=True
            )
        self._tell()
        self.refresh()

    def _tell(self) -> None:
        """The legend and what is shown, on the border."""
        named = any(label == self._title for _, label, _ in self._drawn.legend)
        pieces = [] if named else [Content(self._heading)]
        for sign, label, colour in self._drawn.legend:
            label = self._heading if label == self._title else label
            pieces.append(Content.styled(f"{sign} {label}", Style.parse(colour)))
        self.border_title = Content("  ").join(pieces)
        self.border_subtitle = Content(self._drawn.reads or self._drawn.says)

    def _marker(self) -> Any:
        options = options_of(self)
        return "ascii" if options.ascii else options.marker

    def _palette(self) -> Palette:
        theme = self.app.current_theme
        colours = self.app.theme_variables
        ground = self.background_colors[1].hex6
        return Palette(
            series_colours(theme), run_colours(theme), ground,
            axes="#808080", alarm=_hex(colours.get("error", ""), "#FF5555"),
            ink=_hex(colours.get("foreground", ""), "#808080"),
        )  # fmt: skip

    def _framed(self, height: int) -> bool:
        return height >= SMALLEST_FRAME

    # --- the mouse

    def _x_at(self, column: int) -> float | None:
        """The x under a column of the widget's inside."""
        picture = self._drawn.picture
        if picture is None:
            return None
        width, height = self.content_size
        canvas = Canvas.of(picture, width, height, frame=self._framed(height))
        share = canvas.share(column)
        return value_at(share, picture.x_low, picture.x_high, log=picture.log_x)

    def _column(self, event: events.MouseEvent) -> int:
        return event.x - self.gutter.left

    def _histories(self) -> list[Any]:
        return [source.history for source in self._sources]

    def _ask(self, options: ChartOptions) -> None:
        if options == self._options:
            return
        low = -math.inf if options.low is None else options.low
        high = math.inf if options.high is None else options.high
        self.post_message(self.Zoom(low, high))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._ask(zoomed(self._options, self._histories(), _WHEEL, self._x_at(self._column(event))))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        at = self._x_at(self._column(event))
        self._ask(zoomed(self._options, self._histories(), 1 / _WHEEL, at))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self._held_at = self._column(event)
        self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        low, high = self._held_x(), self._x_at(self._column(event))
        if low is None or high is None or self._held_at == self._column(event):
            return
        if not _pans(event):
            ends = [where(x, self._options.axis) for x in sorted((low, high))]
            self.border_subtitle = Content(f"{ends[0]} to {ends[1]}: let go to zoom in")

    def on_mouse_up(self, event: events.MouseUp) -> None:
        self.release_mouse()
        start, begun = self._held_x(), self._held_at
        self._held_at = None
        x, column = self._x_at(self._column(event)), self._column(event)
        if start is None or x is None or begun is None:
            return
        if column == begun:
            self.post_message(self.Crosshair(x))
        elif _pans(event):
            canvas_width = max(1, self.content_size.width - 8)
            self._ask(panned(self._options, self._histories(), (begun - column) / canvas_width))
        else:
            self._ask(between(self._options, self._histories(), start, x))

    def _held_x(self) -> float | None:
        return None if self._held_at is None else self._x_at(self._held_at)


def _pans(event: events.MouseEvent) -> bool:
    return event.shift or event.button == 3


def _hex(colour: str, otherwise: str) -> str:
    return colour if len(colour) == 7 and colour.startswith("#") else otherwise
