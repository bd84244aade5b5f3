"""The loss curve in characters."""

import math

import pytest

from tinychat.cli.chart import HEIGHT, Point, loss_chart, thinned


def falling(n: int) -> list[Point]:
    return [(step, 5 * math.exp(-step / n) + math.sin(step) / 9) for step in range(1, n + 1)]


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("n", [1, 2, 20, 5000])
def test_it_fits(width: int, n: int) -> None:
    drawn = loss_chart(falling(n), falling(n)[::100], width, colour=False)
    lines = drawn.splitlines()
    assert len(lines) <= HEIGHT
    assert max(map(len, lines)) <= width
    assert "\x1b" not in drawn
    assert "●" in drawn


def test_flat_and_single_values_are_drawn() -> None:
    assert loss_chart([(1, 3.0)], [], 80, colour=False)
    assert loss_chart([(1, 3.0), (2, 3.0)], [(2, 3.0)], 80, colour=False)
    assert "no loss" in loss_chart([], [], 80, colour=False)


def test_colour_only_when_asked() -> None:
    assert "\x1b" in loss_chart(falling(20), [], 80, colour=True)


def test_steps_are_whole_numbers() -> None:
    axis = loss_chart(falling(5000), [], 80, colour=False).splitlines()[-2]
    assert axis.split() == ["1", "1,251", "2,501", "3,750", "5,000"]


def test_thinning_keeps_every_spike() -> None:
    points = falling(100_000)
    points[54_321] = (54_322, 99.0)
    kept = thinned(points, 100)
    assert len(kept) <= 2 * 101
    assert (54_322, 99.0) in kept
    assert min(points, key=lambda p: p[1]) in kept
    assert kept == sorted(kept)
