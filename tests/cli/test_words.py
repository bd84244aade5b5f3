"""Numbers and foreign text as people read them."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinychat.cli.output import as_json, table
from tinychat.cli.words import age, count, duration, inert, loss, size

DANGEROUS = "\x1b[2J\x9b31m\r\x07\u202e\u2066\ufeff\x7f\u2028\U000e0041"


def test_nothing_dangerous_is_left() -> None:
    shown = inert(f"a{DANGEROUS}b")
    assert shown.startswith("a␛[2J")
    assert shown.endswith("b")
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def test_ordinary_text_stays_as_it_is() -> None:
    text = "Grüße, 猫 और 👩‍👩‍👧 — “ok”"
    assert inert(text) == text
    assert inert("a\nb\tc", keep="\n\t") == "a\nb\tc"


@given(st.text(st.characters(codec=None)))
def test_json_is_harmless_and_loses_nothing(text: str) -> None:
    document = as_json({"text": text})
    assert json.loads(document) == {"text": text}
    assert inert(document, keep="\n") == document


def test_json_has_no_numbers_that_are_none() -> None:
    assert json.loads(as_json({"a": [float("nan"), 1.5, (float("inf"),)]})) == {
        "a": [None, 1.5, [None]]
    }


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (size(999), "999 B"),
        (size(23_300_000), "23.3 MB"),
        (duration(3725), "1 h 2 min"),
        (age(None), "–"),
        (age(59), "59 s"),
        (age(90_000), "1 d"),
        (loss(1.23456), "1.235"),
        (loss(None), "–"),
        (count(1, "file"), "1 file"),
        (count(1200, "file"), "1,200 files"),
    ],
)
def test_numbers_carry_their_units(told: str, expected: str) -> None:
    assert told == expected


def test_columns_are_aligned() -> None:
    assert table([("a", "1"), ("long", "22")], right=(1,)) == ["a      1", "long  22"]
