"""What of a column is drawn: every spike, few points; and the ticks below it."""

import math
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinychat.watch.curves import Curve, column_edges, curve, nearest, nice_ticks, tick_labels
from tinychat.watch.table import Axis, Table

NAN = math.nan


def table_of(losses: list[float], steps: list[int] | None = None) -> Table:
    table = Table(["loss"])
    steps = list(range(1, len(losses) + 1)) if steps is None else steps
    table.extend([{"loss": each} for each in losses], steps, [x * 64 for x in steps], steps)
    return table


def by_column(xs: list[float], ys: list[float], edges: list[float]) -> list[list[float]]:
    found: list[list[float]] = [[] for _ in edges[1:]]
    for x, y in zip(xs, ys, strict=True):
        index = next((i for i, right in enumerate(edges[1:]) if x < right), len(edges) - 2)
        if edges[0] <= x <= edges[-1] and math.isfinite(y):
            found[index].append(y)
    return found


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.one_of(st.floats(-10, 10), st.just(NAN), st.just(math.inf)), max_size=60),
    st.integers(0, 2000),
    st.lists(st.integers(0, 9), min_size=1, max_size=20),
    st.integers(1, 60),
    st.booleans(),
    st.sampled_from(["step", "tokens", "time"]),
    st.one_of(st.none(), st.tuples(st.floats(0.5, 900), st.floats(0.5, 900))),
)
def test_each_column_keeps_its_least_and_greatest_first_and_last(
    losses: list[float],
    more: int,
    gaps: list[int],
    columns: int,
    log_x: bool,
    axis: Axis,
    window: tuple[float, float] | None,
) -> None:
    losses = losses + [math.sin(i) for i in range(more)]
    steps, step = [], 0
    for i in range(len(losses)):
        step += gaps[i % len(gaps)]
        steps.append(step)
    table = table_of(losses, steps)
    xs = [float(x) for x in table.xs(axis)]
    low, high = sorted(window) if window else (None, None)
    drawn = curve(table, "loss", axis=axis, low=low, high=high, columns=columns, log_x=log_x)
    assert drawn.xs == sorted(drawn.xs)
    assert all(map(math.isfinite, drawn.ys))
    counted = [x for x in xs if (not log_x or x > 0)]
    counted = [x for x in counted if (low is None or x >= low) and (high is None or x <= high)]
    if not counted:
        assert drawn == Curve()
        return
    left, right = counted[0] if low is None else low, counted[-1] if high is None else high
    edges = column_edges(left, right, columns, log=log_x)
    assert len(drawn.xs) <= 4 * columns
    for rows, points in zip(
        by_column(xs, losses, edges), by_column(drawn.xs, drawn.ys, edges), strict=True
    ):
        assert bool(rows) == bool(points)
        if rows:
            assert (min(points), max(points)) == (min(rows), max(rows))
            assert (points[0], points[-1]) == (rows[0], rows[-1])


def test_few_rows_are_drawn_as_they_are() -> None:
    drawn = curve(table_of([3.0, 2.0, NAN, 1.0], [10, 20, 30, 40]), "loss", columns=100)
    assert drawn == Curve([10.0, 20.0, 40.0], [3.0, 2.0, 1.0], 1, [30.0])


def test_a_spike_of_one_step_among_a_hundred_thousand_is_drawn() -> None:
    losses = [2.0] * 100_000
    losses[54_321] = 9.0
    losses[77_777] = 0.5
    drawn = curve(table_of(losses), "loss", columns=80)
    assert (min(drawn.ys), max(drawn.ys)) == (0.5, 9.0)
    assert drawn.rows_per_column == 1250
    assert len(drawn.ys) < 2 * 80 + 6  # what is equal is drawn once


def test_log_columns_show_the_first_steps_as_wide_as_the_last() -> None:
    drawn = curve(table_of([float(i) for i in range(100_000)]), "loss", columns=50, log_x=True)
    assert sum(x <= 10 for x in drawn.xs) == 10
    assert drawn.rows_per_column > 10_000


def test_where_numbers_were_not_finite_is_told_once_a_column() -> None:
    losses = [1.0] * 1000
    losses[500:600] = [NAN] * 100
    drawn = curve(table_of(losses), "loss", columns=10, ema=0.9)
    assert drawn.nonfinite_xs == [501.0]
    assert not any(501 <= x <= 600 for x in drawn.xs)


def test_the_average_is_taken_of_all_rows_before_any_are_left_out() -> None:
    losses = [2.0 + (i % 2) for i in range(10_000)]
    drawn = curve(table_of(losses), "loss", columns=20, ema=0.98, low=5000)
    assert all(2.4 < y < 2.6 for y in drawn.ys)


@pytest.mark.parametrize(("low", "high"), [(5, 1), (2000, 3000), (NAN, NAN), (-9, -1)])
@pytest.mark.parametrize("log_x", [False, True])
def test_a_window_without_rows_is_empty(low: float, high: float, log_x: bool) -> None:
    table = table_of([1.0] * 100)
    assert curve(table, "loss", low=low, high=high, columns=10, log_x=log_x).xs == []
    assert curve(Table(["loss"]), "loss", columns=10, log_x=log_x) == Curve()


def test_a_window_of_one_point_and_no_columns() -> None:
    table = table_of([1.0, 2.0, 3.0])
    assert curve(table, "loss", low=2, high=2, columns=10).ys == [2.0]
    assert curve(table, "loss", columns=0).ys == [1.0, 2.0, 3.0]
    assert curve(table, "loss", low=-5, high=2, columns=9, log_x=True).ys == [1.0, 2.0]


def test_the_nearest_row() -> None:
    table = table_of([0.0] * 4, [10, 20, 20, 40])
    found = [nearest(table, "step", x) for x in (-5, 14, 16, 31, 99)]
    assert found == [0, 0, 1, 3, 3]
    assert nearest(table, "tokens", 1290) == 2
    assert nearest(Table(["loss"]), "step", 1) is None


@settings(deadline=None)
@given(
    st.floats(-1e12, 1e12),
    st.floats(1e-9, 1e12),
    st.integers(1, 20),
    st.booleans(),
    st.sampled_from([None, "step", "tokens", "time"]),
)
@example(1801440.0, 1e-9, 20, False, None)
def test_ticks_are_few_ascending_and_inside(
    low: float, width: float, count: int, log: bool, axis: Axis | None
) -> None:
    high = low + width
    ticks = nice_ticks(low, high, count, log=log, axis=axis)
    assert len(ticks) <= count
    assert all(left < right for left, right in pairwise(ticks))
    slack = 1e-9 * max(abs(low), abs(high))
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    assert len(tick_labels(ticks, axis)) == len(ticks)


@pytest.mark.parametrize(
    ("low", "high", "count", "log", "axis", "labels"),
    [
        (0, 41250, 5, False, "step", ["0", "10k", "20k", "30k", "40k"]),
        (1, 100_000, 6, True, "step", ["1", "10", "100", "1k", "10k", "100k"]),
        (0, 2_000_000, 5, False, "tokens", ["0", "500k", "1M", "1.5M", "2M"]),
        (0, 20_000, 6, False, "time", ["0s", "1h", "2h", "3h", "4h", "5h"]),
        (0, 400, 5, False, "time", ["0s", "2m", "4m", "6m"]),
        (100, 103, 9, False, "step", ["100", "101", "102", "103"]),
        (24_990, 25_000, 3, False, "step", ["24,990", "24,995", "25,000"]),
        (1.5, 4.2, 6, False, None, ["1.5", "2.0", "2.5", "3.0", "3.5", "4.0"]),
        (0.0, 3e-4, 4, False, None, ["0", "1e-4", "2e-4", "3e-4"]),
        (2, 11, 6, True, None, ["2", "5", "10"]),
        (0.001, 2000, 9, True, None, ["1e-3", "0.01", "0.1", "1", "10", "100", "1k"]),
        (4.2e10, 4.4e10, 5, False, "tokens", ["42G", "42.5G", "43G", "43.5G", "44G"]),
        (-1, 1, 3, False, None, ["-1", "0", "1"]),
    ],
)
def test_labels_are_short_and_tell_the_ticks_apart(
    low: float, high: float, count: int, log: bool, axis: Axis | None, labels: list[str]
) -> None:
    assert tick_labels(nice_ticks(low, high, count, log=log, axis=axis), axis) == labels


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (NAN, 1), (0, math.inf)])
def test_odd_ranges_have_a_tick_or_none(low: float, high: float) -> None:
    assert nice_ticks(low, high, 5) == ([1] if low == high else [])


@pytest.mark.parametrize("axis", [None, "step", "tokens", "time"])
@pytest.mark.parametrize("log", [False, True])
@given(st.floats(0, 1.7e308), st.floats(0, 1.7e308), st.integers(1, 20))
@example(0.0, 5e-324, 6)
@example(1e97, 1.3e308, 6)
def test_no_range_of_floats_is_too_wide_or_too_narrow(
    log: bool, axis: Axis | None, one: float, other: float, count: int
) -> None:
    low, high = sorted((one, other))
    ticks = nice_ticks(low, high, count, log=log, axis=axis)
    assert len(ticks) <= count
    assert len(tick_labels(ticks, axis)) == len(ticks)
