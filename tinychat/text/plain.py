"""Plain text as documents and pieces: a stream of UTF-8 in large blocks, never held whole.

Documents are parted by `<|endoftext|>` alone on a line; such a line takes the newline before it and
the blank lines after it with it. A document of any size comes in pieces, cut where the tokenizer
would cut anyway: after a newline that something visible follows. So the ids of the pieces, put
together, are the ids of the document (a vocabulary from elsewhere may split blank lines at a cut
otherwise). Where the cuts are depends on the text alone, not on blocks.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

from tinychat.text.items import Piece

SEPARATOR = b"<|endoftext|>"

_BLOCK_BYTES = 1024 * 1024
_PIECE_BYTES = 64 * 1024  # a piece has about this size,
_LARGEST = 4  # or up to so many times that where no newline would do
_NEWLINE_AND_MORE = re.compile(rb"\n[!-\xff]")
_BEFORE_LAST_SPACE = re.compile(rb".*[^\x00- ](?= [^\x00- ])", re.DOTALL)


def read_plain(
    stream: BinaryIO, *, block_bytes: int = _BLOCK_BYTES, piece_bytes: int = _PIECE_BYTES
) -> Iterator[Piece]:
    """The documents of a stream, in pieces; documents of white space are left out.

    The stream is as `unpacking.PlainText` gives it: good UTF-8, each line end one newline.
    """
    text = _Text(piece_bytes)
    while block := stream.read(block_bytes):
        yield from text.push(block)
    yield from text.push(b"", final=True)


def pieces_of(text: str) -> Iterator[Piece]:
    """The pieces of one document that is in memory."""
    if len(text) * 4 <= _PIECE_BYTES:  # the usual case; a character has up to 4 bytes
        if text and not text.isspace():
            yield Piece(text, True)
        return
    data = text.encode()
    start = 0
    while start < len(data):
        stop = _cut(data, start, len(data), _PIECE_BYTES)
        yield Piece(data[start:stop].decode(), start == 0)
        start = stop


class _Text:
    """What has been read of a stream and has not been given away yet.

    To separate, a line has at most the size of a piece, white space included; blank lines likewise.
    So what is held stays small whatever the stream holds.
    """

    def __init__(self, piece_bytes: int) -> None:
        self._piece_bytes = piece_bytes
        self._held = b""
        self._at = 0  # what is held is done up to here
        self._first = True  # the next piece begins a document
        self._line_start = True  # a line begins at `_at`
        self._skipping = False  # blank lines, after a separator

    def push(self, block: bytes, *, final: bool = False) -> Iterator[Piece]:
        """Take more of the stream, or learn that there is no more; give what is certain now."""
        self._held = self._held[self._at :] + block
        self._at = 0
        while not self._skipping or self._skip_blank_lines(final):
            separator = self._find_separator(final)
            if separator is None and not final:
                # What is nearer to the end may yet turn out to be a separator.
                while len(self._held) - self._at > (_LARGEST + 1) * self._piece_bytes + 2:
                    yield self._take(_cut(self._held, self._at, None, self._piece_bytes))
                return
            end, after = separator or (len(self._held), len(self._held))
            yield from self._rest_of_document(end)
            self._at = after
            self._first = self._line_start = self._skipping = True
            if separator is None:
                return

    def _rest_of_document(self, end: int) -> Iterator[Piece]:
        while (stop := _cut(self._held, self._at, end, self._piece_bytes)) < end:
            yield self._take(stop)
        if self._at < end and not (self._first and self._held[self._at : end].isspace()):
            yield self._take(end)

    def _skip_blank_lines(self, final: bool) -> bool:
        """Pass over blank lines; False where more of the stream is needed to tell."""
        while True:
            stop = self._end_of_line(self._at, self._at)
            if stop is None and not final:
                return False
            line = self._held[self._at : stop]
            if stop == 0 or not line.isspace():
                self._skipping = False
                return True
            self._at += len(line)

    def _find_separator(self, final: bool) -> tuple[int, int] | None:
        """Where the text before the next separator ends, and where the line after it begins."""
        held, place = self._held, self._at
        while (place := held.find(SEPARATOR, place)) >= 0:
            start = held.rfind(b"\n", self._at, place) + 1
            whole_line = start > 0 or self._line_start
            start = start or self._at
            stop = self._end_of_line(start, place)
            if stop is None:
                if not final:
                    return None
                stop = len(held)
            if whole_line and held[start:stop].strip() == SEPARATOR:
                return max(start - 1, self._at), stop  # the newline before it is not text
            place += len(SEPARATOR)
        return None

    def _end_of_line(self, start: int, place: int) -> int | None:
        """Where the line that begins at `start` and holds `place` ends, with its newline.

        0 if it is longer than a piece; None if what is held ends before the line does.
        """
        limit = start + self._piece_bytes
        stop = self._held.find(b"\n", place, limit) + 1
        return None if not stop and len(self._held) <= limit else stop

    def _take(self, stop: int) -> Piece:
        piece = Piece(self._held[self._at : stop].decode(), self._first)
        self._first = False
        self._line_start = self._held[stop - 1 : stop] == b"\n"
        self._at = stop
        return piece


def _cut(data: bytes, start: int, end: int | None, piece_bytes: int) -> int:
    """Where the piece of a document that begins at `start` ends.

    The document ends at `end`; None: far beyond the largest piece.
    """
    if end is not None and end - start <= piece_bytes:
        return end
    largest = start + _LARGEST * piece_bytes
    until = largest + 1 if end is None else min(largest + 1, end)
    for match in _NEWLINE_AND_MORE.finditer(data, start + piece_bytes - 1, until):
        stop = match.end() - 1
        if data[stop] < 0x80 or _visible(data[stop : stop + 4]):
            return stop
    if end is not None and end <= largest:
        return end
    return start + _forced_cut(data[start:largest])


def _visible(character: bytes) -> bool:
    """Whether these bytes begin with something other than white space (in any script)."""
    first = character.decode("utf-8", "ignore")[:1]
    return first > " " and not first.isspace()


def _forced_cut(data: bytes) -> int:
    """Where to cut a huge line: before the last single space, else between two characters."""
    if match := _BEFORE_LAST_SPACE.match(data):
        return match.end()
    end = len(data) - 1
    while end > len(data) - 4 and data[end] & 0xC0 == 0x80:  # amid a character
        end -= 1
    return end
