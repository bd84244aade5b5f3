import random
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinychat.errors import DataError
from tinychat.text import Tokenizer, train_bpe
from tinychat.text.items import Piece
from tinychat.text.plain import pieces_of
from tinychat.text.reading import read_items
from tinychat.text.shapes import PLAIN


def documents(path: Path) -> list[str]:
    found: list[str] = []
    for piece in read_items(path, PLAIN):
        assert isinstance(piece, Piece)
        if piece.first:
            found.append("")
        found[-1] += piece.text
    return found


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("one text\n", ["one text\n"]),
        ("\n\none text", ["\n\none text"]),
        ("a\n<|endoftext|>\nb\n<|endoftext|>\n", ["a", "b"]),
        ("a\nb\n\n<|endoftext|>\n\n\nc", ["a\nb\n", "c"]),
        ("a\r\n<|endoftext|>\r\nb\r\n", ["a", "b\n"]),
        ("a <|endoftext|> b\n", ["a <|endoftext|> b\n"]),
        ("<|endoftext|>\n<|endoftext|>\na\n<|endoftext|>", ["a"]),
        ("", []),
        (" \n\t\n", []),
        ("\ufeffa\ufeff", ["a\ufeff"]),
    ],
)
def test_documents_of_a_text_file(tmp_path: Path, content: str, expected: list[str]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content.encode())
    assert documents(path) == expected


@pytest.mark.parametrize("lead", ["", "\ufeff", "a\n" * 50_000, "first\n<|endoftext|>\n\n"])
def test_an_error_names_line_and_byte(tmp_path: Path, lead: str) -> None:
    path = tmp_path / "a.txt"
    data = (lead + "good line\nü").encode()
    path.write_bytes(data + b"\xff bad\nmore\n")
    with pytest.raises(DataError) as caught:
        documents(path)
    line = data.count(b"\n") + 1
    assert f"{path}, line {line}: byte {len(data)} is not UTF-8" in str(caught.value)


def test_a_file_that_ends_amid_a_character_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("abc é".encode()[:-1])
    with pytest.raises(DataError, match="byte 4"):
        documents(path)


def _mixed_text(chance: random.Random, size: int) -> str:
    words = ["the", "cat", "it's", "42", "日本語", "naïve", "—", "...", "\u00a0", "“no”", "😀"]
    gaps = [" ", " ", " ", "  ", "\n", "\n\n", "\n  ", "\t", "\r\n", "\n\u3000", " \n"]
    parts: list[str] = []
    length = 0
    while length < size:
        parts += [chance.choice(words), chance.choice(gaps)]
        length += len(parts[-1]) + len(parts[-2])
    return "".join(parts)


def joined_ids(tokenizer: Tokenizer, pieces: list[Piece]) -> list[int]:
    return list(chain.from_iterable(tokenizer.encode_batch([piece.text for piece in pieces])))


@pytest.mark.parametrize("seed", range(3))
def test_pieces_encode_as_the_whole_does(seed: int, char: Tokenizer) -> None:
    chance = random.Random(seed)
    text = _mixed_text(chance, 400_000)
    bpe = train_bpe([text[:50_000]], 600)
    pieces = list(pieces_of(text))
    assert len(pieces) > 3
    assert [piece.first for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert "".join(piece.text for piece in pieces) == text
    for tokenizer in (bpe, char):
        assert joined_ids(tokenizer, pieces) == tokenizer.encode(text)


def test_a_huge_line_of_words_encodes_as_the_whole_does() -> None:
    text = "the cat, it's naïve 42 日本 (no) " * 40_000
    bpe = train_bpe([text[:5000]], 500)
    pieces = list(pieces_of(text))
    assert len(pieces) > 3
    assert joined_ids(bpe, pieces) == bpe.encode(text)


@settings(max_examples=40, deadline=None)
@given(
    unit=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
    size=st.integers(1, 700_000),
)
def test_no_text_is_lost_or_held_whole(unit: str, size: int) -> None:
    text = (unit * (size // len(unit.encode()) + 1)) + "."
    pieces = list(pieces_of(text))
    assert "".join(piece.text for piece in pieces) == text
    assert max(len(piece.text.encode()) for piece in pieces) <= 5 * 64 * 1024


def test_a_separator_inside_a_huge_line_parts_nothing(tmp_path: Path) -> None:
    """Lines are read in parts of 64 KB; a part is not a line."""
    path = tmp_path / "a.txt"
    text = "x" * 65536 + "<|endoftext|>\nend"
    path.write_bytes(text.encode())
    assert documents(path) == [text]
