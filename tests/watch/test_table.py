"""Columns: extremes at once, holes, moving averages."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinychat.watch.curves import curve
from tinychat.watch.table import BLOCK, Column, Table

NAN = math.nan
NUMBERS = st.one_of(
    st.floats(-100, 100), st.floats(), st.integers(-5, 5), st.just(10**400), st.just(NAN)
)
OTHERS = st.sampled_from([None, "7", [1.0], {}])
LONG = BLOCK * BLOCK + 3 * BLOCK + 5  # more than a block of blocks


def brute_force(values: list[Any], first: int, end: int) -> tuple[float, float] | None:
    numbers = [each for each in values[max(first, 0) : max(end, 0)] if type(each) in (int, float)]
    finite = [float(each) for each in numbers if each != 10**400 and math.isfinite(each)]
    return (min(finite), max(finite)) if finite else None


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.one_of(NUMBERS, OTHERS), min_size=1, max_size=40),
    st.integers(0, LONG),
    st.lists(st.integers(-3, LONG + 50), min_size=2, max_size=2),
    st.integers(1, 2 * BLOCK),
    st.booleans(),
)
def test_extremes_are_those_of_a_search(
    pattern: list[Any], rows: int, ends: list[int], at_once: int, sparse: bool
) -> None:
    unit = pattern + [0.5] * (97 if sparse else 0)
    values = (unit * (LONG // len(unit) + 1))[:LONG]
    column = Column()
    for first in range(0, LONG, at_once * 16):
        column.extend(values[first : first + at_once * 16])
    first, end = sorted(ends)
    assert column.extremes(first, end) == brute_force(values, first, end)
    column.truncate(rows)
    assert column.extremes(first, end) == brute_force(values[:rows], first, end)
    column.extend(values[rows:])
    assert column.extremes(first, end) == brute_force(values, first, end)


def test_no_extremes_without_a_finite_value() -> None:
    column = Column()
    assert column.extremes(0, 10) is None
    column.extend([None, NAN, math.inf] * BLOCK)
    assert column.extremes(0, 3 * BLOCK) is None
    column.extend([2.0])
    assert column.extremes(0, 3 * BLOCK + 1) == (2.0, 2.0)
    assert column.extremes(5, 5) is None


def test_numbers_that_are_not_finite_are_remembered_and_other_things_are_holes() -> None:
    column = Column()
    column.extend([1.0, None, NAN, "x", {}, 10**400, -math.inf, 2])
    assert [each for each in column.values if each == each] == [1.0, 2.0]
    assert list(column.nonfinite) == [2, 5, 6]
    column.truncate(6)
    assert list(column.nonfinite) == [2, 5]
    column.extend([NAN])
    assert list(column.nonfinite) == [2, 5, 6]


def test_null_that_stands_for_a_number_counts_as_one_that_is_not_finite() -> None:
    table = Table(["train_loss", "memory_bytes"])
    rows = [
        {"train_loss": None, "nonfinite": ["train_loss"], "memory_bytes": None},
        {"train_loss": 1.0, "nonfinite": 3},
        {"train_loss": None, "nonfinite": "train_loss"},
    ]
    table.extend(rows, [1, 2, 3], [0, 0, 0], [0, 0, 0])
    assert list(table.columns["train_loss"].nonfinite) == [0]
    assert list(table.columns["memory_bytes"].nonfinite) == []


def test_the_axes_never_go_down() -> None:
    table = Table(["loss"])
    table.extend([{}] * 4, [1, 2, 3, 4], [10, None, 5, 20], [-1.0, 2.0, NAN, True])
    table.extend([{}] * 2, [4, 5], [math.inf, 19], [1.0, 3.0])
    assert list(table.steps) == [1, 2, 3, 4, 4, 5]
    assert list(table.tokens) == [10, 10, 10, 20, 20, 20]
    assert list(table.times) == [0, 2, 2, 2, 2, 3]


def plain_average(values: list[float], weight: float) -> list[float]:
    """The textbook's: a sum of weights that is corrected by the weights so far."""
    total = weights = 0.0
    averages = []
    for value in values:
        if math.isfinite(value):
            total = weight * total + (1 - weight) * value
            weights = weight * weights + (1 - weight)
            averages.append(total / weights)
        else:
            averages.append(NAN)
    return averages


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.one_of(st.floats(-1e3, 1e3), st.just(NAN)), min_size=1, max_size=300),
    st.sampled_from([0.5, 0.9, 0.98]),
    st.integers(0, 9000),
    st.sampled_from([100, 1024, 5000]),
)
def test_the_average_is_that_of_a_plain_loop(
    pattern: list[float], weight: float, rows: int, at_once: int
) -> None:
    values = (pattern + [1.0] * 4000 + pattern * 30)[:9000]
    table = Table(["loss"])

    def add(new: list[float]) -> None:
        for first in range(0, len(new), at_once):
            block = new[first : first + at_once]
            start = len(table)
            steps = range(start, start + len(block))
            table.extend([{"loss": each} for each in block], steps, steps, steps)

    def check(values: list[float]) -> None:
        column = table.ema("loss", weight)
        expected = plain_average(values, weight)
        assert list(column.values) == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)

    add(values[:10])
    check(values[:10])
    add(values[10:])
    check(values)
    table.truncate(rows)
    check(values[:rows])
    add(values[rows:])
    check(values)


@pytest.mark.parametrize("weight", [0.1, 0.9, 0.98, 0.999])
def test_an_average_begins_at_the_first_point_and_a_constant_stays(weight: float) -> None:
    table = Table(["loss"])
    table.extend([{"loss": 0.1}] * 20_000, range(20_000), range(20_000), range(20_000))
    assert set(table.ema("loss", weight).values) == {0.1}


def test_huge_numbers_do_not_spoil_an_average() -> None:
    table = Table(["loss"])
    values = [1.5e308, -1.5e308, 1.0]
    table.extend([{"loss": each} for each in values], [1, 2, 3], [0] * 3, [0] * 3)
    assert all(map(math.isfinite, table.ema("loss", 0.1).values))


def test_only_the_last_average_is_kept() -> None:
    table = Table(["loss"])
    table.extend([{"loss": 1.0}], [1], [1], [1])
    first = table.ema("loss", 0.9)
    assert table.ema("loss", 0.9) is first
    table.ema("loss", 0.98)
    assert table.ema("loss", 0.9) is not first


def test_a_number_that_comes_late_has_holes_before_it_and_what_never_comes_no_column() -> None:
    table = Table(["loss", "margin", "never"])
    table.extend([{"loss": 1.0}, {"loss": 2.0}], [1, 2], [1, 2], [1, 2])
    assert list(table.columns) == ["loss"]
    table.extend([{"loss": 3.0, "margin": 7.0}], [3], [3], [3])
    table.extend([{"loss": 4.0}], [4], [4], [4])
    margin = table.columns["margin"]
    assert list(margin.values) == pytest.approx([NAN, NAN, 7.0, NAN], nan_ok=True)
    assert margin.extremes(0, 4) == (7.0, 7.0)
    assert list(margin.nonfinite) == []
    assert "never" not in table.columns
    assert curve(table, "never", columns=10).xs == []
