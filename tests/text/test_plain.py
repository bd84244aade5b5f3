"""The block reader against a simple one that has everything in memory."""

import io
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinychat.text.items import Piece
from tinychat.text.plain import read_plain

PIECE = 16  # bytes, so that every rule is met in a short text
PARTS = [
    "a", "bc ", " ", "  ", "\n", "\n\n", "\r\n", "\t\n", "é", "日", "😀", "\u3000", "word ",
    "<|endoftext|>", "\n<|endoftext|>\n", " <|endoftext|> \n", "<|endoftext|", "x" * 20, " " * 20,
    "\n" * 20, "y z" * 9, "é" * 30, "one\ntwo\n three\n",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PARTS), max_size=30).map("".join)


def documents_of(data: bytes, longest_line: int) -> list[str]:
    """Line by line, as the rules read."""
    documents: list[bytes] = []
    held, skipping = b"", False
    lines = data.split(b"\n")
    for line in [*(line + b"\n" for line in lines[:-1]), lines[-1]]:
        if len(line) <= longest_line and line.strip() == b"<|endoftext|>":
            documents.append(held.removesuffix(b"\n"))
            held, skipping = b"", True
        elif skipping and not line.strip() and len(line) <= longest_line:
            pass
        else:
            held, skipping = held + line, False
    return [text.decode() for text in (*documents, held)]


def read(data: bytes, block: int, piece: int = PIECE) -> list[Piece]:
    return list(read_plain(io.BytesIO(data), block_bytes=block, piece_bytes=piece))


def joined(pieces: list[Piece]) -> list[str]:
    documents: list[str] = []
    for piece in pieces:
        if piece.first:
            documents.append("")
        documents[-1] += piece.text
    return documents


@settings(max_examples=1500, deadline=None)
@given(text=TEXTS, block=st.integers(1, 200))
@example("a\r\n<|endoftext|>\r\n\r\nb\r\n", 1)
@example("a" * 63 + "\n<|endoftext|>\nb", 80)
def test_documents_are_those_of_a_simple_reader(text: str, block: int) -> None:
    data = text.encode()
    pieces = read(data, block)
    expected = documents_of(data, PIECE)
    # What is larger than a piece may come in parts even if it is blank.
    blank = [t for t in expected if not t.strip(" \t\r\n")]
    found = joined(pieces)
    assert [t for t in found if t.strip(" \t\r\n")] == [t for t in expected if t not in blank]
    assert all(len(t) > 4 * PIECE for t in found if not t.strip(" \t\r\n"))


@settings(max_examples=1000, deadline=None)
@given(text=TEXTS, block=st.integers(1, 200))
def test_where_the_cuts_are_does_not_depend_on_blocks(text: str, block: int) -> None:
    data = text.encode()
    assert read(data, block) == read(data, len(data) + 1)


@settings(max_examples=1000, deadline=None)
@given(text=TEXTS)
def test_cuts_are_before_something_visible_or_the_last_resort(text: str) -> None:
    for one, other in pairwise(read(text.encode(), 1000)):
        assert len(one.text.encode()) <= 4 * PIECE
        if other.first:
            continue
        tidy = one.text.endswith("\n") and not other.text[0].isspace()
        if not tidy:
            beyond = (one.text + other.text).encode()[PIECE - 1 : 4 * PIECE + 1]
            cuts = beyond.decode("utf-8", "ignore").split("\n")[1:]
            assert not any(line and not line[0].isspace() for line in cuts)


class Dripping(io.BytesIO):
    """Gives fewer bytes than it is asked for, as an unpacking stream may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 5))


def test_short_reads_are_not_the_end() -> None:
    data = ("one two\n" * 50 + "<|endoftext|>\n" + "three" * 50).encode()
    found = list(read_plain(Dripping(data), piece_bytes=PIECE))
    assert found == read(data, 1000)
    assert len(joined(found)) == 2
