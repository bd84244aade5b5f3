"""How commands print: lines with colour if there is any, one JSON document, progress on stderr."""

import json
import math
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console

from tinychat.cli.words import is_harmless

PATIENCE_SECONDS = 2.0  # what takes longer is told
_TERMINAL_SECONDS = 0.2  # between changes of the progress line
_PLAIN_SECONDS = 10.0  # between lines where there is no terminal
_CLEAR_LINE = "\r\x1b[2K"


def screen(*, stderr: bool = False) -> Console:
    """A console that prints text as it stands: no markup, no emoji codes, no wrapping."""
    return _Screen(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)


def tell(sentence: str) -> None:
    """A remark to the person, on stderr so that it never mixes with results."""
    screen(stderr=True).print(f"tinychat: {sentence}", style="yellow")


def print_json(document: Any) -> None:
    """One JSON document on stdout; numbers that are not finite are null."""
    print(as_json(document))


def as_json(document: Any) -> str:
    """JSON that reads well and that a terminal can show: unprintable characters are escaped."""
    text = json.dumps(_finite(document), ensure_ascii=False, allow_nan=False, indent=2)
    return "".join(c if c == "\n" or is_harmless(c) else _escaped(c) for c in text)


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Rows as lines with aligned columns; columns in `right` are written towards the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


class Waiting(AbstractContextManager["Waiting"]):
    """Progress on stderr, from the third second on. Called as (stage, done, total)."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._told_at = -math.inf
        self._terminal = sys.stderr.isatty()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        pause = _TERMINAL_SECONDS if self._terminal else _PLAIN_SECONDS
        if now - self._began < PATIENCE_SECONDS or now - self._told_at < pause:
            return
        self._told_at = now
        told = f"{stage} {100 * done // total}%" if total else stage
        sys.stderr.write(f"{_CLEAR_LINE}{told}" if self._terminal else f"{told}\n")
        sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        if self._terminal and self._told_at > -math.inf:
            sys.stderr.write(_CLEAR_LINE)
            sys.stderr.flush()


class _Screen(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # the command line ends quietly; rich would end the process itself


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value


def _escaped(character: str) -> str:
    escaped = json.dumps(character)[1:-1]
    return escaped if escaped != character else f"\\u{ord(character):04x}"
