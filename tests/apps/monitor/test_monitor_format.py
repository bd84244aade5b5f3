"""Numbers with their units, and foreign text made harmless."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinychat_monitor import format as words


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (words.count(1234567), "1,234,567"),
        (words.short(7), "7"),
        (words.short(0.25), "0.25"),
        (words.short(999.4), "999"),
        (words.short(999_960), "1.00M"),
        (words.short(1234), "1.23k"),
        (words.short(51_234), "51.2k"),
        (words.short(512_340), "512k"),
        (words.short(1.5e9), "1.50G"),
        (words.progress(1250, 5000), "1,250/5,000"),
        (words.progress(1250, None), "1,250"),
        (words.duration(0), "0s"),
        (words.duration(-5), "0s"),
        (words.duration(59.6), "1m00s"),
        (words.duration(310), "5m10s"),
        (words.duration(18_720), "5h12m"),
        (words.duration(274_000), "3d4h"),
        (words.age(59.9), "59s"),
        (words.age(3599), "59m"),
        (words.age(-3), "0s"),
        (words.age(200_000), "2d"),
        (words.loss(1.84249), "1.842"),
        (words.loss(9.9996), "10"),
        (words.loss(10.826), "10.83"),
        (words.clip("abcdef", 4), "abc…"),
        (words.clip("abcd", 4), "abcd"),
    ],
)
def test_how_numbers_read(told: str, expected: str) -> None:
    assert told == expected


@pytest.mark.parametrize("word", ["count", "short", "duration", "age", "loss"])
def test_nothing_is_a_dash(word: str) -> None:
    assert getattr(words, word)(None) == "–"


@settings(deadline=None)
@given(st.text(st.characters(codec=None)))
def test_no_text_steers_a_terminal_or_hides(text: str) -> None:
    shown = words.visible(text)
    for char in shown:
        assert unicodedata.category(char) not in ("Cc", "Cs")
        assert char not in "\u2028\u2029\u202e"
    shown.encode("utf-8")
    assert words.visible(shown) == shown


def test_ordinary_text_stays_as_it_is() -> None:
    text = "Füße, 漢字, नमस्ते, 👩‍🚀, ✓ [bold]"
    assert words.visible(text) == text
    assert words.visible("a\nb\tc\x1b", keep="\n") == "a\nb␉c␛"
