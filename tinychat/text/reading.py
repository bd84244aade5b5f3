"""Read a file as a stream of conversations or pieces of text, never a whole file in memory.

A document of any size comes in pieces, cut where the tokenizer would cut anyway: after a newline
that no white space follows. So the ids of the pieces, put together, are the ids of the document.
A text file's documents are parted by `<|endoftext|>` alone on a line; such a line takes the newline
before it and the blank lines after it with it.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tinychat.errors import DataError
from tinychat.text.chat import Conversation, Document
from tinychat.text.formats import BYTE_ORDER_MARK, BadRecord, Shape, json_lines, mend

SEPARATOR = b"<|endoftext|>"

_PIECE_BYTES = 64 * 1024
_LARGEST_PIECE = 4 * _PIECE_BYTES  # where no newline would do, a piece ends elsewhere
_BEFORE_LAST_SPACE = re.compile(rb".*[^\x00- ](?= [^\x00- ])", re.DOTALL)


@dataclass(frozen=True)
class Piece:
    """A part of a text document; `first` marks where a document begins."""

    text: str
    first: bool


Item = Piece | Conversation


@dataclass
class Tally:
    """What was wrong in a file, kept while it is read."""

    records: int = 0
    bad: int = 0
    surrogates: int = 0
    reasons: list[str] = field(default_factory=list)  # of the first three, `file:line: reason`

    def note(self, path: Path, line: int, reason: str) -> None:
        self.bad += 1
        if len(self.reasons) < 3:
            self.reasons.append(f"{path}:{line}: {reason}")


def read_items(path: Path, shape: Shape, tally: Tally | None = None) -> Iterator[Item]:
    """Everything in a file, in order. Bad records are skipped, and counted in `tally`.

    Raises DataError where plain text is not UTF-8, naming file, line and byte offset.
    """
    with open(path, "rb") as file:
        if shape.kind == "plain":
            yield from _read_plain(path, file)
        else:
            yield from _read_records(path, file, shape, tally or Tally())


def _read_records(
    path: Path, file: io.BufferedReader, shape: Shape, tally: Tally
) -> Iterator[Item]:
    for number, line in json_lines(file):
        tally.records += 1
        parsed = shape.parse(line)
        if isinstance(parsed, BadRecord):
            tally.note(path, number, parsed.reason)
            continue
        item, surrogates = mend(parsed)
        tally.surrogates += surrogates
        if isinstance(item, Document):
            yield from pieces_of(item.text)
        else:
            yield item


def pieces_of(text: str) -> Iterator[Piece]:
    """The pieces of one document that is in memory."""
    cutter = _Cutter("this text")
    for line in _lines(io.BytesIO(text.encode())):
        yield from cutter.push(line)
    yield from cutter.end_document()


def _read_plain(path: Path, file: io.BufferedReader) -> Iterator[Piece]:
    cutter = _Cutter(str(path))
    if file.peek(3).startswith(BYTE_ORDER_MARK):
        cutter.skip(file.read(len(BYTE_ORDER_MARK)))
    whole_line = True  # whether the last thing read ended in a newline
    after_separator = False
    for line in _lines(file):
        if whole_line and line.strip() == SEPARATOR:
            yield from cutter.end_document(drop_newline=True)
            after_separator = True
            cutter.skip(line)
        elif after_separator and not line.strip():
            cutter.skip(line)
        else:
            after_separator = False
            yield from cutter.push(line)
        whole_line = line.endswith(b"\n")
    yield from cutter.end_document()


def _lines(file: io.BufferedIOBase) -> Iterator[bytes]:
    """Lines; one longer than a piece comes in parts."""
    return iter(lambda: file.readline(_PIECE_BYTES), b"")


class _Cutter:
    """Joins lines to pieces, and knows where in the file each piece begins."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._held: list[bytes] = []
        self._size = 0
        self._first = True
        self._offset = 0  # of what is held
        self._line = 1

    def skip(self, line: bytes) -> None:
        """Leave out bytes that belong to no document. Nothing may be held."""
        self._offset += len(line)
        self._line += line.count(b"\n")

    def push(self, line: bytes) -> Iterator[Piece]:
        if self._size >= _PIECE_BYTES and self._held[-1].endswith(b"\n") and _visible(line):
            yield self._take()
        self._held.append(line)
        self._size += len(line)
        if self._size >= _LARGEST_PIECE:
            yield self._take(_forced_cut(b"".join(self._held)))

    def end_document(self, *, drop_newline: bool = False) -> Iterator[Piece]:
        """The rest of the document; a document of nothing but white space is left out."""
        blank = self._first and not any(part.strip() for part in self._held)
        piece = self._take(drop_newline=drop_newline)
        self._first = True
        if piece.text and not blank:
            yield piece

    def _take(self, size: int | None = None, *, drop_newline: bool = False) -> Piece:
        """The piece made of the first `size` bytes held, or of all."""
        held = b"".join(self._held)
        size = len(held) if size is None else size
        taken = held[:size]
        self._held = [held[size:]] if size < len(held) else []
        self._size = len(held) - size
        text = taken
        if drop_newline:
            text = taken.removesuffix(b"\n").removesuffix(b"\r")
        piece = Piece(self._decode(text), self._first)
        self._first = False
        self.skip(taken)
        return piece

    def _decode(self, data: bytes) -> str:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = self._line + data.count(b"\n", 0, error.start)
            raise DataError(
                f"{self._name}, line {line}: byte {self._offset + error.start} is not UTF-8 "
                f"({error.reason}); save the file as UTF-8."
            ) from error


def _visible(line: bytes) -> bool:
    """Whether a line begins with something other than white space (in any script)."""
    first = line[:4].decode("utf-8", "ignore")[:1]
    return first > " " and not first.isspace()


def _forced_cut(data: bytes) -> int:
    """Where to cut a huge line: before the last single space, else between two characters."""
    if match := _BEFORE_LAST_SPACE.match(data):
        return match.end()
    end = len(data) - 1
    while end > len(data) - 4 and data[end] & 0xC0 == 0x80:  # amid a character
        end -= 1
    return end
