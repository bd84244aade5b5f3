"""What a chart shows and says, and how keys and mouse change the view."""

import asyncio
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.events import MouseScrollUp
from textual.pilot import Pilot

from tests.apps.monitor.rows import add, history
from tinychat.config import Settings
from tinychat.runs import RunWriter
from tinychat.watch.history import History
from tinychat.watch.plot import Line, Mark
from tinychat_monitor.options import Options
from tinychat_monitor.themes import THEMES
from tinychat_monitor.widgets.chart import Chart
from tinychat_monitor.widgets.chart_options import (
    ChartOptions,
    between,
    crosshair_moved,
    crosshair_toggled,
    followed,
    log_x_toggled,
    next_axis,
    next_smoothing,
    next_zoom,
    panned,
    shown_range,
    whole_range,
    whole_run,
    zoomed,
)
from tinychat_monitor.widgets.chart_picture import Drawn, drawn
from tinychat_monitor.widgets.chart_series import (
    GRADIENT,
    LEARNING_RATE,
    LOSS,
    MEMORY,
    THROUGHPUT,
    ChartView,
    Palette,
    Series,
    Source,
)

PALETTE = Palette(
    series={
        "train": "#56B4E9", "val": "#E69F00", "lr": "#009E73", "grad_norm": "#CC79A7",
        "tokens_per_second": "#F0E442", "memory": "#D55E00",
    },
    runs=("#000001", "#000002", "#000003"),
    background="#000000",
    axes="#808080",
    alarm="#FF0000",
    ink="#FFFFFF",
)  # fmt: skip


def falling(step: int) -> float:
    return 1.0 + 8.0 * math.exp(-step / 10) + 0.1 * (step % 2)


def chart(
    *histories: History,
    series: Sequence[Series] = LOSS,
    options: ChartOptions | None = None,
    marks: Sequence[Mark] = (),
    size: tuple[int, int] = (78, 12),
    unit: str = "nats/token",
    **first: Any,
) -> Drawn:
    sources = [
        Source(f"run-{'abcdef'[i]}", made, i, **(first if i == 0 else {}))
        for i, made in enumerate(histories)
    ]
    view = ChartView("loss", unit, series, sources, options or ChartOptions(), marks, PALETTE)
    return drawn(view, *size)


def lines(made: Drawn, style: str) -> list[Line]:
    assert made.picture is not None
    return [line for line in made.picture.lines if line.style == style]


# --- what is drawn


def test_the_raw_loss_stands_faint_behind_its_average_and_evaluations_before_it() -> None:
    made = chart(history(range(1, 101), {50: 2.0, 100: 1.5}, train_loss=falling))
    (average,), (raw,), (evals,) = (lines(made, style) for style in ("line", "faint", "dots"))
    assert (max(raw.ys), min(raw.ys)) == (falling(1), falling(100))
    assert max(average.ys) - min(average.ys) < max(raw.ys) - min(raw.ys)
    assert average.colour == PALETTE.series["train"] != raw.colour
    assert (evals.xs, evals.ys, evals.marker) == ([50.0, 100.0], [2.0, 1.5], "o")
    assert [sign for sign, _, _ in made.legend] == ["━", "o"]


def test_without_smoothing_the_raw_loss_is_the_line() -> None:
    made = chart(history(range(1, 51), train_loss=falling), options=ChartOptions(ema=0.0))
    assert [line.ys for line in lines(made, "line")] == [[falling(s) for s in range(1, 51)]]
    assert lines(made, "faint") == []
    assert "EMA" not in made.says


def test_it_says_how_many_steps_a_column_holds() -> None:
    assert chart(history(range(1, 51), train_loss=falling)).says.startswith("every step")
    dense = chart(history(range(1, 7201), train_loss=falling))
    assert dense.says.startswith("min/max of 100 steps per column · EMA .9")
    sparse = chart(history(range(10, 510, 10), train_loss=falling))
    assert sparse.says.startswith("every row")


def test_a_spike_of_one_step_in_many_thousands_is_drawn() -> None:
    spiked = history(range(1, 50_001), train_loss=lambda s: 99.0 if s == 33_333 else 2.0)
    (raw,) = lines(chart(spiked), "faint")
    assert max(raw.ys) == 99.0


def test_the_warm_up_is_clipped_and_that_is_said() -> None:
    made = history(range(1, 1001), train_loss=falling)
    clipped, whole = chart(made), chart(made, options=ChartOptions(clip_warm_up=False))
    assert clipped.picture is not None
    assert whole.picture is not None
    assert clipped.picture.y_high < 4.0 < falling(1) < whole.picture.y_high
    assert "warm-up clipped (v)" in clipped.says
    assert "warm-up" not in whole.says


def test_nothing_is_said_about_clipping_where_nothing_is_outside() -> None:
    assert "warm-up" not in chart(history(range(1, 1001), train_loss=lambda s: 2.0)).says


def test_places_that_are_not_finite_are_marked_and_counted() -> None:
    made = history(range(1, 51), train_loss=lambda s: math.nan if s in (20, 40) else 2.0)
    shown = chart(made)
    assert shown.picture is not None
    (broken,) = (line for line in shown.picture.lines if line.marker == "x")
    assert list(broken.xs) == [20.0, 40.0]
    assert set(broken.ys) == {shown.picture.y_high}
    assert "2 places not finite" in shown.says


@pytest.mark.parametrize("log_y", [False, True])
@pytest.mark.parametrize("log_x", [False, True])
@pytest.mark.parametrize("axis", ["step", "tokens", "time"])
@pytest.mark.parametrize(
    "value",
    [
        lambda s: math.nan,
        lambda s: math.inf,
        lambda s: 0.0,
        lambda s: -3.0,
        lambda s: 2.0,
        lambda s: 1e300,
        lambda s: (-1) ** s * 1.7e308,
        lambda s: 5e-324,
    ],
)
@pytest.mark.parametrize("count", [1, 2, 300])
def test_odd_values_are_drawn_or_left_out_but_never_raise(
    count: int, value: Callable[[int], float], axis: Any, log_x: bool, log_y: bool
) -> None:
    made = history(range(1, count + 1), {1: value(1)}, train_loss=value)
    options = ChartOptions(axis=axis, log_x=log_x, log_y=log_y, crosshair=1.0)
    shown = chart(made, made, options=options)
    assert shown.says


def test_no_rows_is_said() -> None:
    assert chart(history()).says == "no rows yet"
    assert chart(history()).picture is None
    assert chart().says == "no rows yet"
    only_zero = history([], {0: 9.0})
    assert "above 0" in chart(only_zero, options=ChartOptions(log_x=True)).says


def test_a_number_that_no_row_has_is_said() -> None:
    made = history(range(1, 51), train_loss=falling)
    assert chart(made, series=MEMORY, unit="B").says == "no memory in these rows"


def test_the_learning_rate_goes_on_as_planned() -> None:
    made = history(range(1, 501), learning_rate=lambda s: 3e-4)
    shown = chart(made, series=LEARNING_RATE, plan=Settings(), max_steps=2000)
    (ahead,) = lines(shown, "faint")
    assert (ahead.xs[0], ahead.xs[-1]) == (501.0, 2000.0)
    assert shown.picture is not None
    assert shown.picture.x_high == 2000.0
    assert ("planned" in [label for _, label, _ in shown.legend]) is True
    ended = chart(made, series=LEARNING_RATE, plan=Settings(), max_steps=500)
    assert lines(ended, "faint") == []


def test_the_plan_is_drawn_on_the_other_axes_too() -> None:
    made = history(range(1, 501), seconds_a_step=2.0, learning_rate=lambda s: 3e-4)
    shown = chart(
        made, series=LEARNING_RATE, options=ChartOptions(axis="time"),
        plan=Settings(), max_steps=1000,
    )  # fmt: skip
    (ahead,) = lines(shown, "faint")
    assert ahead.xs[-1] == pytest.approx(2000.0)


def test_several_runs_differ_in_colour_and_in_sign() -> None:
    runs = [history(range(1, 401), {400: 1.0 + i}, train_loss=falling) for i in range(3)]
    shown = chart(*runs)
    assert [line.colour for line in lines(shown, "line")] == list(PALETTE.runs)
    assert {line.marker for line in lines(shown, "dots")} == {"o", "▲", "△", "■", "□"}
    assert len({(sign, colour) for sign, _, colour in shown.legend}) == 6
    assert [label for _, label, _ in shown.legend][:2] == ["run-a train", "run-a val"]
    ascii = chart(*runs, options=ChartOptions(marker="ascii"))
    assert "".join(sign for sign, _, _ in ascii.legend).isascii()


def test_a_chart_says_the_difference_at_the_same_place() -> None:
    mine = history(range(1, 101), train_loss=lambda s: 2.0)
    longer = history(range(1, 201), train_loss=lambda s: 2.25 if s <= 100 else 1.0)
    assert "-0.250 vs run-b" in chart(mine, longer).says
    at = ChartOptions(crosshair=40.0)
    assert "-0.250 vs run-b" in chart(mine, longer, options=at).reads
    beyond = ChartOptions(crosshair=180.0)
    assert "run-a: no rows here" in chart(mine, longer, options=beyond).reads
    assert " vs " not in chart(mine, longer, options=beyond).reads


def test_the_crosshair_reads_every_series() -> None:
    made = history(range(1, 101), {40: 2.5}, train_loss=lambda s: float(s))
    reads = chart(made, options=ChartOptions(crosshair=41.2)).reads
    assert reads.startswith("step 41 · train 41.000 (ema ") or reads.startswith(
        "step 41 · train 41 (ema "
    )
    assert reads.endswith("val 2.500 @40")
    made = history(range(1, 101), memory_bytes=lambda s: 1.5e9)
    at = ChartOptions(axis="time", crosshair=100.0)
    reads = chart(made, series=MEMORY, options=at, unit="B").reads
    assert reads == "1m40s · memory 1.5 GB"


def test_a_small_chart_without_axes_says_its_range() -> None:
    made = history(range(1, 101), grad_norm=lambda s: 0.5 + 0.001 * s)
    assert re.match(
        r"[\d.]+ to [\d.]+ · every step", chart(made, series=GRADIENT, size=(40, 5)).says
    )


def test_only_marks_in_view_are_drawn_and_named() -> None:
    made = history(range(1, 101), train_loss=falling)
    marks = [Mark(20.0, "▲", "checkpoint"), Mark(90.0, "!", "alert")]
    shown = chart(made, options=ChartOptions(low=50, high=100), marks=marks)
    assert shown.picture is not None
    assert [mark.label for mark in shown.picture.marks] == ["alert"]
    assert shown.says.endswith("! alert")


# --- views


def test_the_whole_range_spans_all_runs_and_log_begins_above_0() -> None:
    first = history(range(1, 51), {0: 9.0}, train_loss=falling)
    second = history(range(1, 201), train_loss=falling)
    assert whole_range([first, second], "step", log=False) == (0, 200)
    assert whole_range([first, second], "step", log=True) == (1, 200)
    assert whole_range([history()], "step", log=False) is None


MADE = history(range(0, 1001), train_loss=falling)


def seen(options: ChartOptions, *histories: History) -> tuple[float, float]:
    found = shown_range(options, whole_range(histories or [MADE], options.axis, log=options.log_x))
    assert found is not None
    return found


def test_zooming_keeps_the_newest_step_or_the_crosshair_in_its_place() -> None:
    assert seen(zoomed(ChartOptions(), [MADE])) == (500, 1000)
    at = ChartOptions(crosshair=250.0)
    assert seen(zoomed(at, [MADE])) == (125, 625)
    assert zoomed(zoomed(at, [MADE]), [MADE], 0.5).low is None  # the whole run again
    log = zoomed(ChartOptions(log_x=True), [MADE])
    assert seen(log)[0] == pytest.approx(math.sqrt(1000))


def test_a_zoomed_view_moves_with_the_newest_step_if_it_follows() -> None:
    made = history(range(0, 1001), train_loss=falling)
    view = zoomed(ChartOptions(), [made])
    add(made, range(1001, 1201), train_loss=falling)
    assert seen(view, made) == (700, 1200)
    stays = followed(view, [made])
    add(made, range(1201, 1301), train_loss=falling)
    assert seen(stays, made) == (700, 1200)
    assert seen(followed(stays, [made]), made) == (800, 1300)


def test_panning_stops_at_the_ends() -> None:
    view = between(ChartOptions(), [MADE], 400, 600)
    assert seen(view) == (400, 600)
    assert seen(panned(view, [MADE], -0.25)) == pytest.approx((350, 550))
    assert seen(panned(view, [MADE], -99)) == pytest.approx((0, 200))
    assert seen(panned(view, [MADE], 99)) == pytest.approx((800, 1000))
    assert panned(ChartOptions(), [MADE]) == ChartOptions()


def test_zoom_goes_round() -> None:
    view, parts = ChartOptions(), []
    for _ in range(5):
        view = next_zoom(view, [MADE])
        parts.append(seen(view)[0])
    assert parts == pytest.approx([500, 900, 990, 0, 500])


def test_the_crosshair_moves_by_a_row_at_least_and_stays_in_view() -> None:
    made = history(range(1, 11), train_loss=falling)
    assert crosshair_moved(ChartOptions(), [made], 1) == ChartOptions()
    view = crosshair_toggled(ChartOptions(), [made])
    assert view.crosshair == 10
    assert crosshair_moved(view, [made], -1, 1000).crosshair == 9
    assert crosshair_moved(view, [made], 5).crosshair == 10
    assert crosshair_toggled(view, [made]).crosshair is None


def test_another_axis_keeps_the_part() -> None:
    view = ChartOptions(low=250, high=500, crosshair=300, follow=False)
    view = next_axis(view, [MADE])
    assert (view.axis, view.low, view.high, view.crosshair) == ("tokens", 250e3, 500e3, 300e3)
    view = next_axis(view, [MADE])
    assert (view.axis, view.low, view.high) == ("time", 500.0, 1000.0)
    assert next_axis(ChartOptions(axis="time"), [MADE]) == ChartOptions()


def test_smoothing_goes_round_and_log_x_leaves_0_out() -> None:
    weights = [next_smoothing(ChartOptions(ema=ema)).ema for ema in (0.0, 0.9, 0.98)]
    assert weights == [0.9, 0.98, 0.0]
    assert log_x_toggled(ChartOptions(low=0, high=10)) == ChartOptions(log_x=True)
    assert log_x_toggled(ChartOptions(low=5, high=10)).low == 5


def test_views_of_nothing_stay_as_they_are() -> None:
    empty, view = [history()], ChartOptions()
    for change in (zoomed, next_zoom, panned, crosshair_toggled, followed):
        assert change(view, empty) == view
    assert whole_run(view) == between(view, empty, 1, 2) == view


# --- the widget


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


def test_it_follows_what_a_run_writes(
    record: Callable[..., RunWriter], train: Callable[..., None]
) -> None:
    writer = record("demo", step=1)
    for step in range(2, 40):
        train(writer, step, falling(step))
    made = History(writer.paths.root)
    while made.share < 1.0:
        made.follow(1.0)
    first = chart(made, series=THROUGHPUT, unit="")
    train(writer, 40, math.nan)
    made.follow(1.0)
    second = chart(made)
    assert first.says.startswith("every step")
    assert "1 place not finite" in second.says
