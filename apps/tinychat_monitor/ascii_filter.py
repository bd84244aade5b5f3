"""ASCII mode: whatever a widget drew, no character above 127 reaches the terminal."""

from functools import lru_cache, partial

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from tinychat.words import to_ascii

_to_ascii = lru_cache(maxsize=4096)(partial(to_ascii, columns_of=cell_len))


class AsciiFilter(LineFilter):
    """Applied to every line that is painted."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same segments with ASCII text."""
        return [Segment(_to_ascii(text), style, control) for text, style, control in segments]
