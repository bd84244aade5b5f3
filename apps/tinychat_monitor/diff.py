"""What changed between two texts, word by word, in time that a person does not notice."""

import re
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

MOST_WORDS = 400  # difflib is quadratic at worst; a sample is seldom longer
_WORD = re.compile(r"\s+|\w+|[^\w\s]")

Kind = Literal["same", "removed", "added"]


class Piece(NamedTuple):
    """A stretch of text that stands in both, only in the old one, or only in the new one."""

    kind: Kind
    text: str


def word_diff(old: str, new: str) -> list[Piece]:
    """How `old` becomes `new`, in order; a removed piece stands before what replaced it.

    The pieces that are not removed join to `new`, those not added to `old`. Words beyond the first
    MOST_WORDS of each text are compared as one piece.
    """
    before, after = _words(old), _words(new)
    pieces: list[Piece] = []
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            pieces.append(Piece("same", "".join(after[j1:j2])))
            continue
        if i1 < i2:
            pieces.append(Piece("removed", "".join(before[i1:i2])))
        if j1 < j2:
            pieces.append(Piece("added", "".join(after[j1:j2])))
    return _without_crumbs(pieces)


def likeness(pieces: list[Piece]) -> float:
    """The share of the two texts' characters that stands in both: 0.0 to 1.0."""
    same = sum(len(piece.text.strip()) for piece in pieces if piece.kind == "same")
    other = sum(len(piece.text.strip()) for piece in pieces if piece.kind != "same")
    return 2 * same / (2 * same + other) if same or other else 1.0


def _words(text: str) -> list[str]:
    words = _WORD.findall(text)
    if len(words) > MOST_WORDS:
        words[MOST_WORDS:] = ["".join(words[MOST_WORDS:])]
    return words


def _without_crumbs(pieces: list[Piece]) -> list[Piece]:
    """Changes that only a space stands between are one change: easier to read."""
    joined: list[Piece] = []
    gap = ""  # white space that stands in both, between two changes
    removed = added = ""
    for piece in pieces:
        if piece.kind == "removed":
            removed, gap, added = removed + gap + piece.text, "", added + gap
        elif piece.kind == "added":
            removed, gap, added = removed + gap, "", added + gap + piece.text
        elif (removed or added) and not gap and piece.text.isspace():
            gap = piece.text
        else:
            joined += _change(removed, added, gap)
            removed = added = gap = ""
            joined.append(piece)
    return [*joined, *_change(removed, added, gap)]


def _change(removed: str, added: str, gap: str) -> list[Piece]:
    change = (Piece("removed", removed), Piece("added", added), Piece("same", gap))
    return [piece for piece in change if piece.text]
