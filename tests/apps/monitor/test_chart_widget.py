"""The chart on the screen: drawn at every size, and asked by the mouse."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.events import MouseScrollUp
from textual.pilot import Pilot

from tests.apps.monitor.rows import add, falling, history
from tinychat.watch.plot import Mark
from tinychat_monitor.options import Options
from tinychat_monitor.themes import THEMES
from tinychat_monitor.widgets.chart import Chart
from tinychat_monitor.widgets.chart_options import (
    ChartOptions,
)
from tinychat_monitor.widgets.chart_series import (
    LOSS,
    Series,
    Source,
)


class Charts(App[None]):
    """One chart, and what its mouse asked for."""

    CSS = "Chart { height: 100%; }"

    def __init__(self, *, options: Options | None = None, series: Sequence[Series] = LOSS) -> None:
        super().__init__()
        self.options = options or Options()
        self.series = series
        self.asked: list[Chart.Zoom | Chart.Crosshair] = []

    def compose(self) -> ComposeResult:
        yield Chart(self.series, title="loss", unit="nats/token")

    def on_mount(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = "tinychat-dark"

    def on_chart_zoom(self, message: Chart.Zoom) -> None:
        self.asked.append(message)

    def on_chart_crosshair(self, message: Chart.Crosshair) -> None:
        self.asked.append(message)


def play(app: Charts, size: tuple[int, int], steps: Callable[[Pilot[None], Chart], Any]) -> None:
    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await steps(pilot, app.query_one(Chart))

    asyncio.run(run())


def text(app: App[None]) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


SOURCE = (Source("run-a", history(range(1, 1001), {500: 2.0}, train_loss=falling)),)


@pytest.mark.parametrize("size", [(10, 3), (30, 6), (60, 16), (80, 24), (200, 50)])
@pytest.mark.parametrize("theme", [theme.name for theme in THEMES])
def test_the_widget_is_drawn_at_every_size_in_every_theme(
    size: tuple[int, int], theme: str
) -> None:
    app = Charts()

    async def steps(pilot: Pilot[None], shown: Chart) -> None:
        app.theme = theme
        await pilot.pause()
        shown.show((), ChartOptions())
        shown.show(SOURCE, ChartOptions(crosshair=300.0))
        await pilot.pause()
        assert shown.drawn.picture is not None
        if size[0] >= 60:
            assert "loss (nats/token)" in text(app)
            assert "step 300 · train 1.0" in text(app)

    play(app, size, steps)


def test_it_is_built_again_only_if_something_changed() -> None:
    made = history(range(1, 101), train_loss=falling)
    sources = (Source("run-a", made),)
    app = Charts()

    async def steps(pilot: Pilot[None], shown: Chart) -> None:
        shown.show(sources, ChartOptions())
        before = shown.drawn
        shown.show((Source("run-a", made),), ChartOptions())
        await pilot.hover(Chart)
        assert shown.drawn is before
        add(made, [101], train_loss=falling)
        shown.show(sources, ChartOptions(frozen=True))
        before = shown.drawn
        add(made, [102], train_loss=falling)
        shown.show(sources, ChartOptions(frozen=True))
        assert shown.drawn is before
        assert "FROZEN" in before.says
        shown.show(sources, ChartOptions())
        assert shown.drawn is not before
        before = shown.drawn
        app.theme = "tinychat-light"
        await pilot.pause()
        assert shown.drawn is not before
        before = shown.drawn
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert shown.drawn is not before

    play(app, (80, 24), steps)


def test_names_of_runs_are_never_markup() -> None:
    hostile = "[@click=app.quit]press[/] \x1b]0;owned\x07 [/oops]"
    made = history(range(1, 101), train_loss=falling)
    app = Charts()

    async def steps(pilot: Pilot[None], shown: Chart) -> None:
        shown.show((Source("run-a", made), Source(hostile, made, 1)), ChartOptions())
        await pilot.pause()
        assert "[@click=app.quit]press[" in text(app)
        assert "\x1b" not in text(app)

    play(app, (160, 24), steps)


def test_ascii_mode_draws_in_ascii() -> None:
    app = Charts(options=Options(ascii=True))

    async def steps(pilot: Pilot[None], shown: Chart) -> None:
        shown.show(SOURCE, ChartOptions(), [Mark(500.0, "▲", "checkpoint")])
        await pilot.pause()
        inside = shown.render()
        assert str(inside).isascii()
        assert "*" in str(inside)
        assert "^" in str(inside)

    play(app, (80, 24), steps)


def test_the_mouse_zooms_pans_and_points() -> None:
    app = Charts()

    async def steps(pilot: Pilot[None], shown: Chart) -> None:
        shown.show(SOURCE, ChartOptions())
        await pilot.click(Chart, offset=(40, 8))
        (pointed,) = app.asked
        assert isinstance(pointed, Chart.Crosshair)
        assert 400 < pointed.x < 600
        app.asked.clear()
        await pilot.mouse_down(Chart, offset=(20, 8))
        await pilot.hover(Chart, offset=(60, 8))
        assert "let go to zoom in" in text(app)
        await pilot.mouse_up(Chart, offset=(60, 8))
        (part,) = app.asked
        assert isinstance(part, Chart.Zoom)
        assert 150 < part.low < 300 < 600 < part.high < 850
        app.asked.clear()
        view = replace(ChartOptions(), low=part.low, high=part.high, follow=False)
        shown.show(SOURCE, view)
        await pilot.mouse_down(Chart, offset=(40, 8), shift=True)
        await pilot.mouse_up(Chart, offset=(50, 8), shift=True)
        (moved,) = app.asked
        assert isinstance(moved, Chart.Zoom)
        assert moved.low < part.low
        assert moved.high - moved.low == pytest.approx(part.high - part.low)
        app.asked.clear()
        await pilot._post_mouse_events([MouseScrollUp], Chart, (40, 8), button=0)
        (closer,) = app.asked
        assert isinstance(closer, Chart.Zoom)
        assert closer.high - closer.low == pytest.approx((part.high - part.low) / 1.25)

    play(app, (80, 24), steps)
