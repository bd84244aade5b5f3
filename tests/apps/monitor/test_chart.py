"""What a chart shows and says."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.apps.monitor.rows import falling, history
from tinychat.config import Settings
from tinychat.runs import RunWriter
from tinychat.watch.history import History
from tinychat.watch.plot import Line, Mark
from tinychat_monitor.widgets.chart_options import (
    ChartOptions,
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
        "train": "#56B4E9", "val": "#E69F00", "old": "#009E74", "lr": "#009E73",
        "grad_norm": "#CC79A7", "tokens_per_second": "#F0E442", "memory": "#D55E00",
    },
    runs=("#000001", "#000002", "#000003"),
    background="#000000",
    axes="#808080",
    alarm="#FF0000",
    ink="#FFFFFF",
)  # fmt: skip


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


def test_the_raw_loss_stands_faint_behind_its_average_and_evaluations_before_it() -> None:
    made = chart(history(range(1, 101), {50: 2.0, 100: 1.5}, train_loss=falling))
    (average,), (raw,), (evals,) = (lines(made, style) for style in ("line", "faint", "dots"))
    assert (max(raw.ys), min(raw.ys)) == (falling(1), falling(100))
    assert max(average.ys) - min(average.ys) < max(raw.ys) - min(raw.ys)
    assert average.colour == PALETTE.series["train"] != raw.colour
    assert (evals.xs, evals.ys, evals.marker) == ([50.0, 100.0], [2.0, 1.5], "o")
    assert [sign for sign, _, _ in made.legend] == ["━", "o"]


def test_evaluations_of_old_data_are_dots_of_their_own_where_there_are_some() -> None:
    made = history(range(1, 101), {50: 2.0, 100: 1.5}, train_loss=falling)
    assert [label for _, label, _ in chart(made).legend] == ["train", "val"]
    fine_tune = history(range(1, 101), train_loss=falling)
    rows = [{"val_loss": 2.0, "replay_val_loss": 1.0}, {"val_loss": 1.5, "replay_val_loss": 1.1}]
    fine_tune.evals.extend(rows, [50, 100], [5e4, 1e5], [100.0, 200.0])
    seen = chart(fine_tune, options=ChartOptions(crosshair=100.0))
    assert [label for _, label, _ in seen.legend] == ["train", "val", "old data"]
    own, old = lines(seen, "dots")
    assert (own.ys, old.ys) == ([2.0, 1.5], [1.0, 1.1])
    assert old.colour == PALETTE.series["old"]
    assert "old data 1.100 @100" in seen.reads
    assert "old data" not in chart(made, options=ChartOptions(crosshair=100.0)).reads


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
