"""Numbers, times and foreign text as people read them."""

import json
import math
import time
import unicodedata
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinychat import words

NONE = float("nan")
DANGEROUS = "\x1b[2J\x9b31m\r\x07\u202e\u2066\ufeff\x7f\u2028\U000e0041"
ANY_TEXT = st.text(st.characters(codec=None))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (words.number(1234567), "1,234,567"),
        (words.count(1, "file"), "1 file"),
        (words.count(1200, "file"), "1,200 files"),
        (words.count(2, "this", "these"), "2 these"),
        (words.short(7), "7"),
        (words.short(0.25), "0.25"),
        (words.short(999.4), "999"),
        (words.short(999_960), "1.00M"),
        (words.short(1234), "1.23k"),
        (words.short(51_234), "51.2k"),
        (words.short(-51_234), "-51.2k"),
        (words.short(512_340), "512k"),
        (words.short(1.5e9), "1.50G"),
        (words.size(999), "999 B"),
        (words.size(23_300_000), "23.3 MB"),
        (words.size(2.5e13), "25000.0 GB"),
        (words.progress(1250, 5000), "1,250/5,000"),
        (words.progress(1250, None), "1,250"),
        (words.duration(0), "0s"),
        (words.duration(-5), "0s"),
        (words.duration(59.6), "1m00s"),
        (words.duration(310), "5m10s"),
        (words.duration(18_720), "5h12m"),
        (words.duration(274_000), "3d4h"),
        (words.long_duration(12), "12 s"),
        (words.long_duration(310), "5 min 10 s"),
        (words.long_duration(3725), "1 h 2 min"),
        (words.long_duration(274_000), "3 d 4 h"),
        (words.age(59.9), "59s"),
        (words.age(3599), "59m"),
        (words.age(-3), "0s"),
        (words.age(200_000), "2d"),
        (words.loss(1.84249), "1.842"),
        (words.loss(9.9996), "10"),
        (words.loss(10.826), "10.83"),
        (words.loss(NONE), "NaN/∞"),
        (words.clip("abcdef", 4), "abc…"),
        (words.clip("abcd", 4), "abcd"),
    ],
)
def test_how_numbers_read(told: str, expected: str) -> None:
    assert told == expected


@pytest.mark.parametrize(
    "word", ["number", "short", "size", "duration", "age", "loss", "clock", "moment"]
)
def test_nothing_is_a_dash(word: str) -> None:
    assert getattr(words, word)(None) == "–"
    assert words.progress(None, 5) == "–"
    assert words.finish_time(None, 0.0) == "–"


def test_times_are_those_of_the_wall() -> None:
    now = datetime(2026, 5, 20, 12, 0, 5).timestamp()
    assert words.clock(now) == "12:00:05"
    assert words.moment(now) == "2026-05-20 12:00:05"
    assert words.finish_time(3600, now) == "13:00"
    tomorrow = time.strftime("%a", time.localtime(now + 86400))
    assert words.finish_time(86400, now) == f"{tomorrow} 12:00"
    assert words.finish_time(30 * 86400, now) == "2026-06-19"
    assert words.clock(1e30) == words.moment(-math.inf) == words.clock(NONE) == "?"
    assert words.duration(math.inf) == words.age(NONE) == "–"


def test_a_sparkline_rises_and_falls_with_its_numbers() -> None:
    assert words.sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert words.sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8, ascii=True).isascii()
    assert words.sparkline([8.0, NONE, 0.0, math.inf], 9) == "█▁"
    assert words.sparkline([3.0, 3.0], 9) == "▁▁"
    assert words.sparkline([], 9) == words.sparkline([1.0], 0) == ""
    assert len(words.sparkline(range(1000), 7)) == 7
    assert words.sparkline([3.5, 7.0], 9, low=0.0) == "▅█"


@given(st.lists(st.floats(-1e300, 1e300), min_size=1), st.integers(1, 40))
def test_shares_are_within_the_numbers(values: list[float], most: int) -> None:
    found = words.shares(values, most)
    assert len(found) == min(most, len(values))
    slack = 1e-9 * max(map(abs, values))
    assert all(min(values) - slack <= each <= max(values) + slack for each in found)


@settings(deadline=None)
@given(ANY_TEXT)
def test_no_text_steers_a_terminal_or_hides(text: str) -> None:
    shown = words.inert(text)
    for char in shown:
        assert unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp")
        assert char not in "\u202e\u2066\ufeff"
    shown.encode("utf-8")
    assert words.inert(shown) == shown


def test_nothing_dangerous_is_left() -> None:
    shown = words.inert(f"a{DANGEROUS}b")
    assert shown.startswith("a␛[2J")
    assert shown.endswith("b")
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def test_ordinary_text_stays_as_it_is() -> None:
    for text in ("Füße, 漢字, नमस्ते, 👩‍🚀, ✓ [bold]", "plain"):
        assert words.inert(text) == text
    assert words.inert("a\nb\tc\x1b", keep="\n") == "a\nb␉c␛"


@settings(deadline=None)
@given(ANY_TEXT)
def test_ascii_takes_as_many_columns(text: str) -> None:
    shown = words.inert(text)
    plain = words.to_ascii(shown)
    assert plain.isascii()
    assert len(plain) == words.columns_of(shown)


def test_our_signs_have_likenesses() -> None:
    assert words.to_ascii("● a – b…  ⣿ › ✗ 猫") == "* a - b~  * > x ??"


def test_columns_are_aligned_also_beside_wide_letters() -> None:
    assert words.table([("a", "1"), ("long", "22")], right=(1,)) == ["a      1", "long  22"]
    assert words.table([("猫猫", "1"), ("long", "22")]) == ["猫猫  1", "long  22"]
    assert words.table([]) == []
    assert words.table([("e\u0301", "1"), ("long", "22")]) == ["e\u0301     1", "long  22"]


@settings(deadline=None)
@given(ANY_TEXT)
def test_json_is_harmless_and_loses_nothing(text: str) -> None:
    document = words.json_text({"text": text})
    assert json.loads(document) == {"text": text}
    assert words.inert(document, keep="\n") == document
    document = words.json_text({"text": text}, ascii=True)
    assert document.isascii()
    assert json.loads(document) == {"text": text}


def test_json_has_no_numbers_that_are_none() -> None:
    document = words.json_text({"a": [NONE, 1.5, (math.inf,)]})
    assert json.loads(document) == {"a": [None, 1.5, [None]]}


def test_json_nested_too_deep_is_cut_instead_of_raising() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    document = json.loads(words.json_text({"a": deep, "b": [[1]]}))
    assert document["b"] == [[1]]
    assert document["a"][0][0]
