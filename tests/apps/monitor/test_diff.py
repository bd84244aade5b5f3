"""The word diff: both texts can be read from it, and long texts are compared up to a bound."""

from hypothesis import given
from hypothesis import strategies as st

from tinychat_monitor.diff import MOST_WORDS, Piece, likeness, word_diff

texts = st.text(alphabet="ab c.\n\t日", max_size=40)


@given(texts, texts)
def test_both_texts_stand_in_it(old: str, new: str) -> None:
    pieces = word_diff(old, new)
    assert "".join(piece.text for piece in pieces if piece.kind != "added") == old
    assert "".join(piece.text for piece in pieces if piece.kind != "removed") == new
    assert all(piece.text for piece in pieces)


def test_words_are_whole_and_what_goes_stands_before_what_comes() -> None:
    assert word_diff("a little boat. He want it", "a red boat. He wants it") == [
        Piece("same", "a "),
        Piece("removed", "little"),
        Piece("added", "red"),
        Piece("same", " boat. He "),
        Piece("removed", "want"),
        Piece("added", "wants"),
        Piece("same", " it"),
    ]


def test_changed_words_in_a_row_are_one_change() -> None:
    assert word_diff("one two three end", "four five six end") == [
        Piece("removed", "one two three"),
        Piece("added", "four five six"),
        Piece("same", " end"),
    ]


def test_likeness_is_the_share_that_both_have() -> None:
    assert likeness(word_diff("same words", "same words")) == 1.0
    assert likeness(word_diff("", "")) == 1.0
    assert likeness(word_diff("abc", "xyz")) == 0.0
    assert likeness(word_diff("aaa bbb", "aaa ccc")) == 0.5


def test_long_texts_are_compared_up_to_a_bound() -> None:
    old = " ".join(f"w{index * 7 % 11}" for index in range(50_000))
    new = " ".join(f"w{index * 5 % 11}" for index in range(50_000))
    pieces = word_diff(old, new)
    assert len(pieces) <= 2 * MOST_WORDS + 1
    assert "".join(piece.text for piece in pieces if piece.kind != "removed") == new
