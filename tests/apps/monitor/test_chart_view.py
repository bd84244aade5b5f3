"""The part of a run that a chart shows: zoomed, panned, followed, pointed at."""

import math

import pytest

from tests.apps.monitor.rows import add, falling, history
from tinychat.watch.history import History
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
