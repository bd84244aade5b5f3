"""Read a file as a stream of conversations or pieces of text, never a whole file in memory."""

import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from tinychat.errors import DataError
from tinychat.text.items import Item, Piece, texts_of
from tinychat.text.mojibake import Garbled
from tinychat.text.plain import pieces_of, read_plain
from tinychat.text.records import read_records
from tinychat.text.shapes import BadRecord, LeftOut, Parsed, ParseResult, Shape, mend
from tinychat.text.turns import dialogues, marked_turns
from tinychat.text.unpacking import unpack

Advance = Callable[[int], None]
"""Called with the bytes of a file that were read since the last call."""

_SHOWN_REASONS = 3


@dataclass
class Tally:
    """What a file turned out to hold, and what was wrong, counted while it is read."""

    records: int = 0
    bad: int = 0
    turns: int = 0  # of the conversations that were read, as they stand in the file
    surrogates: int = 0
    reasons: list[str] = field(default_factory=list)  # of the first three, `file:line: reason`
    left_out: Counter[str] = field(default_factory=Counter)
    left_reasons: list[str] = field(default_factory=list)  # of the first three, like `reasons`
    unanswered: int = 0  # conversations that lost their last turn, a question
    garbled: Garbled = field(default_factory=Garbled)
    strict: bool = False

    def note_bad(self, path: Path, line: int, reason: str) -> None:
        """Count a bad record. Raises DataError with `strict`."""
        if self.strict:
            raise DataError(f"{path}:{line}: {reason}; --strict stops at the first bad record.")
        self.bad += 1
        if len(self.reasons) < _SHOWN_REASONS:
            self.reasons.append(f"{path}:{line}: {reason}")

    def note_left_out(self, path: Path, line: int, reason: str) -> None:
        """Count a good record that is of no use."""
        self.left_out[reason] += 1
        if len(self.left_reasons) < _SHOWN_REASONS:
            self.left_reasons.append(f"{path}:{line}: {reason}")


def read_items(
    path: Path,
    shape: Shape,
    tally: Tally | None = None,
    advance: Advance | None = None,
    *,
    strict: bool = False,
) -> Iterator[Item]:
    """Everything in a file, in order. What cannot be used is skipped, and counted in `tally`.

    Raises DataError, naming file and line, where the file cannot be read on, and with `strict` at
    the first bad record.
    """
    garbled = tally.garbled if tally else None  # later passes would look in vain
    tally = tally or Tally()
    tally.strict = strict
    done = 0

    def at(position: int) -> None:
        nonlocal done
        if advance and position > done:
            advance(position - done)
            done = position

    if shape.layout:
        records = read_records(path, shape.layout, at)
        outcomes = ((line, shape.parse(record)) for line, record in records)
        yield from _usable(path, outcomes, tally, garbled)
    else:
        yield from _read_text(path, shape, tally, garbled, at)
    at(path.stat().st_size)


def _read_text(
    path: Path, shape: Shape, tally: Tally, garbled: Garbled | None, at: Callable[[int], None]
) -> Iterator[Item]:
    with unpack(path) as file:
        plain = shape.kind == "plain"
        stream = cast(BinaryIO, io.BufferedReader(file.text(garbled if plain else None)))
        if plain:
            items: Iterator[Item] = read_plain(stream)
        elif shape.kind == "eou":
            items = _usable(path, dialogues(stream), tally, garbled)
        else:
            marked = marked_turns(stream, separated=shape.separated)
            items = _usable(path, marked, tally, garbled)
        for item in items:
            at(file.raw_position)
            yield item


def _usable(
    path: Path, outcomes: Iterator[tuple[int, ParseResult]], tally: Tally, garbled: Garbled | None
) -> Iterator[Item]:
    """The items among outcomes; all else goes into the tally."""
    for line, outcome in outcomes:
        tally.records += 1
        if isinstance(outcome, BadRecord):
            tally.note_bad(path, line, outcome.reason)
        elif isinstance(outcome, LeftOut):
            tally.note_left_out(path, line, outcome.reason)
        else:
            yield from _counted(line, outcome, tally, garbled)


def _counted(line: int, parsed: Parsed, tally: Tally, garbled: Garbled | None) -> Iterator[Item]:
    if garbled:
        for text in texts_of(parsed.item):
            garbled.look(text, line, over_lines=False)
    item, surrogates = mend(parsed.item)
    tally.surrogates += surrogates
    tally.turns += parsed.turns
    tally.unanswered += parsed.unanswered
    if isinstance(item, Piece):
        yield from pieces_of(item.text)
    else:
        yield item
