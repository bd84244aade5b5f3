"""Tokens as a person sees them: coloured pieces on a terminal, bars and marks elsewhere."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from tinychat.words import inert

LEARNT = ("black on green", "black on bright_green")  # neighbours differ, so that ends are seen
READ_ONLY = ("white on grey23", "white on grey35")
PLAIN = ("black on cyan", "black on yellow", "black on magenta", "black on green")
_MARK = "^"


@dataclass(frozen=True)
class Token:
    """One token to be shown: its piece of text, what stands beneath it, and its colour."""

    piece: str
    note: str
    style: str

    @property
    def shown(self) -> str:
        return inert(self.piece)

    @property
    def width(self) -> int:
        return max(cell_len(self.shown), cell_len(self.note))


def with_mask(pieces: Sequence[str], learnt: Sequence[bool]) -> list[Token]:
    """Tokens of which those that are learnt stand out."""
    return [
        Token(piece, _MARK * cell_len(inert(piece)) if wanted else "", _style(i, wanted))
        for i, (piece, wanted) in enumerate(zip(pieces, learnt, strict=True))
    ]


def with_ids(pieces: Sequence[str], ids: Sequence[int]) -> list[Token]:
    """Tokens with their ids beneath."""
    return [
        Token(piece, str(token), PLAIN[i % len(PLAIN)])
        for i, (piece, token) in enumerate(zip(pieces, ids, strict=True))
    ]


def has_colour(console: Console) -> bool:
    """Whether colours are seen on it: not in a pipe, and not where NO_COLOR is set."""
    return console.color_system is not None and not console.no_color


def print_tokens(
    console: Console, tokens: Sequence[Token], *, notes: bool, lines: int | None = None
) -> int:
    """The pieces in lines that fit; beneath them the notes, on a terminal only if `notes`.

    Without colour a bar parts the tokens. At most about `lines` lines are printed; returns how many
    tokens were not.
    """
    colour = has_colour(console)
    notes = notes or not colour
    gap = 1 if notes else 0
    shown = printed = 0
    for line in _lines(tokens, console.width, gap, notes=notes):
        if lines is not None and printed >= lines:
            break
        pieces, beneath = Text(), ""
        for i, token in enumerate(line):
            padding = " " * (token.width - cell_len(token.shown) if notes else 0)
            if gap and i:
                pieces.append(" " if colour else "|")
                beneath += " "
            pieces.append(token.shown, style=token.style if colour else "")
            pieces.append(padding)
            beneath += token.note + " " * (token.width - cell_len(token.note))
        console.print(pieces)
        shown += len(line)
        printed += 1
        if notes and beneath.strip():
            console.print(beneath.rstrip())
            printed += 1
    return len(tokens) - shown


def _lines(tokens: Sequence[Token], width: int, gap: int, *, notes: bool) -> Iterator[list[Token]]:
    """Tokens in lines; a line also ends where the text's own does."""
    line: list[Token] = []
    used = 0
    for token in tokens:
        needs = (token.width if notes else cell_len(token.shown)) + gap
        if line and used + needs > width:
            yield line
            line, used = [], 0
        line.append(token)
        used += needs
        if token.piece.endswith("\n"):
            yield line
            line, used = [], 0
    if line:
        yield line


def _style(place: int, learnt: bool) -> str:
    return (LEARNT if learnt else READ_ONLY)[place % 2]
