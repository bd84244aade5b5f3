"""Curves as characters: the size asked for, nothing lost, nothing raised."""

import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinychat
from tinychat.watch.plot import Canvas, Line, Mark, Picture, draw, faded, position, value_at

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
BLUE, ORANGE = "#56B4E9", "#E69F00"


def picture(*lines: Line, **changes: Any) -> Picture:
    told: dict[str, Any] = {
        "x_low": 0.0,
        "x_high": 100.0,
        "y_low": 0.0,
        "y_high": 1.0,
        "x_ticks": ((0.0, "0"), (50.0, "50"), (100.0, "100")),
        "y_ticks": ((0.0, "0.0"), (1.0, "1.0")),
    }
    return Picture(lines, **{**told, **changes})


def flat(y: float = 0.5, **changes: Any) -> Line:
    return Line([0.0, 100.0], [y, y], **{"colour": BLUE, **changes})


def rows(shown: Picture, width: int = 41, height: int = 10, *, frame: bool = False) -> list[str]:
    return draw(shown, width, height, colour=False, frame=frame).split("\n")


def inked(line: str) -> list[int]:
    return [column for column, cell in enumerate(line) if not cell.isspace()]


@pytest.mark.parametrize("marker", ["braille", "block", "ascii"])
@pytest.mark.parametrize("frame", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (10, 3), (78, 10), (158, 22)])
def test_it_fills_exactly_the_size_asked_for(
    size: tuple[int, int], frame: bool, marker: Any
) -> None:
    shown = picture(flat(), marks=(Mark(50, "▲", "saved"),), crosshair=20.0, marker=marker)
    width, height = size
    plain = rows(shown, width, height, frame=frame)
    coloured = draw(shown, width, height, colour=True, frame=frame).split("\n")
    assert [len(row) for row in plain] == [width] * height
    assert [ESCAPES.sub("", row) for row in coloured] == plain


def test_a_size_of_nothing_is_no_text() -> None:
    assert draw(picture(flat()), 0, 5, colour=True, frame=True) == ""
    assert draw(picture(flat()), 5, 0, colour=True, frame=True) == ""


ODD = st.one_of(
    st.floats(), st.sampled_from([0.0, -0.0, 1e300, -1e300, 1.7e308, 5e-324, math.nan, math.inf])
)


@settings(deadline=None, max_examples=80)
@given(
    points=st.lists(st.tuples(ODD, ODD), max_size=20),
    edges=st.tuples(ODD, ODD, ODD, ODD),
    ticks=st.lists(st.tuples(ODD, st.text("0123456789.e-", max_size=9)), max_size=4),
    logs=st.tuples(st.booleans(), st.booleans()),
    style=st.sampled_from(["line", "dots", "faint"]),
    marker=st.sampled_from(["braille", "block", "ascii"]),
    crosshair=st.none() | ODD,
    size=st.tuples(st.integers(1, 50), st.integers(1, 12)),
)
def test_no_number_makes_it_raise(
    points: list[tuple[float, float]],
    edges: tuple[float, float, float, float],
    ticks: list[tuple[float, str]],
    logs: tuple[bool, bool],
    style: Any,
    marker: Any,
    crosshair: float | None,
    size: tuple[int, int],
) -> None:
    line = Line([x for x, _ in points], [y for _, y in points], BLUE, style)
    shown = Picture(
        (line,), *edges, tuple(ticks), tuple(ticks), "step", *logs,
        marks=tuple(Mark(x, "▲", "") for x, _ in points),
        crosshair=crosshair, marker=marker,
    )  # fmt: skip
    drawn = rows(shown, *size, frame=True)
    assert [len(row) for row in drawn] == [size[0]] * size[1]


def test_one_high_point_among_many_is_seen_in_its_column() -> None:
    ys = [0.1] * 10_001
    ys[7_500] = 1.0
    top = rows(picture(Line([i / 100 for i in range(10_001)], ys, BLUE)))[0]
    assert inked(top) == [30]  # 75 of 100 on columns 0 to 40


def test_a_line_leaves_the_picture_where_it_crosses_the_edge() -> None:
    drawn = rows(picture(Line([0.0, 100.0], [0.0, 10.0], BLUE)))
    assert max(column for row in drawn for column in inked(row)) <= 5  # y = 1 at x = 10
    assert inked(drawn[0])


def test_a_huge_value_costs_nothing_and_reaches_the_edge() -> None:
    line = Line([0.0, 49.0, 50.0, 51.0, 100.0], [0.2, 0.2, 1e300, 0.2, 0.2], BLUE)
    drawn = rows(picture(line))
    assert inked(drawn[0]) in ([20], [19, 20], [20, 21])


def test_a_stretch_outside_is_not_drawn() -> None:
    line = Line([0.0, 30.0, 70.0, 100.0], [0.0, 5.0, 5.0, 0.0], BLUE)
    columns = {column for row in rows(picture(line)) for column in inked(row)}
    assert columns
    assert not columns & set(range(4, 37))


def test_what_is_not_finite_or_not_above_0_has_no_place() -> None:
    assert position(math.nan, 0, 1, False) is None
    assert position(math.inf, 0, 1, False) is None
    assert position(0.0, 1, 100, True) is None
    assert position(10.0, 1, 100, True) == pytest.approx(0.5)
    assert position(5.0, 5.0, 5.0, False) == 0.5
    assert position(0.0, 0.0, 5e-324, False) == 0.5  # too little apart to be told apart
    dots = Line([0.0, 10.0, 100.0], [math.nan, 0.5, math.inf], BLUE, "dots", "o")
    assert "".join(rows(picture(dots))).replace(" ", "") == "o"


@given(share=st.floats(0, 1), log=st.booleans())
def test_value_at_is_the_way_back_from_position(share: float, log: bool) -> None:
    value = value_at(share, 2.0, 50.0, log)
    assert position(value, 2.0, 50.0, log) == pytest.approx(share, abs=1e-9)


def test_dots_have_their_own_sign_and_stand_before_lines() -> None:
    dots = Line([0.0, 50.0, 100.0], [0.5] * 3, ORANGE, "dots", "o")
    drawn = rows(picture(dots, flat()))
    (row,) = [row for row in drawn if inked(row)]
    assert [column for column, cell in enumerate(row) if cell == "o"] == [0, 20, 40]
    assert len(inked(row)) == 41


def test_a_faint_line_is_drawn_behind_the_others() -> None:
    coloured = draw(
        picture(flat(), flat(colour=faded(BLUE, "#000000"), style="faint")),
        20, 5, colour=True, frame=False,
    )  # fmt: skip
    assert "38;2;86;180;233" in coloured
    assert "38;2;39;81;105" not in coloured


def test_faded_goes_from_the_colour_to_the_ground() -> None:
    assert faded("#ff0000", "#000000", 1.0) == "#ff0000"
    assert faded("#ff0000", "#0000ff", 0.0) == "#0000ff"


def test_the_frame_says_values_and_places() -> None:
    shown = picture(flat(), y_ticks=((0.0, "0"), (0.5, "half"), (1.0, "1")))
    drawn = rows(shown, 46, 11, frame=True)
    assert drawn[0].startswith("   1┤")
    assert drawn[4].startswith("half┤")
    assert drawn[8].startswith("   0┤")
    assert drawn[1].startswith("    │")
    assert drawn[9] == "    └┬" + "─" * 19 + "┬" + "─" * 19 + "┬"
    assert drawn[10].split() == ["0", "50", "100"]


def test_numbers_that_would_touch_are_left_out() -> None:
    ticks = tuple((float(x), str(x + 1000)) for x in range(0, 101, 5))
    numbers = rows(picture(flat(), x_ticks=ticks), 46, 11, frame=True)[-1].split()
    assert numbers
    assert all(re.fullmatch(r"1\d{3}", number) for number in numbers)


def test_marks_stand_on_the_axis_and_the_crosshair_in_its_column() -> None:
    shown = picture(Line([0.0], [0.0], BLUE), crosshair=25.0, marks=(Mark(75.0, "▲", "saved"),))
    drawn = rows(shown, 45, 12, frame=True)
    left = Canvas.of(shown, 45, 12, frame=True).left
    assert drawn[-2].index("▲") == left + 30
    assert {row.index("│", left) for row in drawn[:9]} == {left + 10}
    assert Canvas.of(shown, 45, 12, frame=True).share(left + 30) == pytest.approx(0.75, abs=0.02)
    assert "│" not in "".join(rows(replace(shown, crosshair=500.0)))


def test_ascii_is_ascii_with_other_signs_for_each_kind() -> None:
    lines = (
        flat(0.2, style="faint"),
        flat(0.5),
        Line([0.0, 100.0], [0.8, 0.8], ORANGE, "dots"),
    )
    shown = picture(*lines, marker="ascii", crosshair=50.0, marks=(Mark(20.0, "▲", "saved"),))
    text = "\n".join(rows(shown, 50, 12, frame=True))
    assert text.isascii()
    assert all(sign in text for sign in (".", "*", "o", "^", "|", "+", "-"))


def test_nothing_else_knows_plotext() -> None:
    home = Path(tinychat.__file__).parent
    files = [*home.rglob("*.py"), *(home.parent / "apps").rglob("*.py")]
    using = [
        path.name for path in files if re.search(r"import plotext|from plotext", path.read_text())
    ]
    assert using == ["plot.py"]


def test_it_is_loaded_only_to_draw() -> None:
    code = "import sys, tinychat.watch.plot; print('plotext' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
