"""How commands print: lines with colour if there is any, one JSON document, progress on stderr."""

import math
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from tinychat.cli.pipes import PipeConsole
from tinychat.runs import default_checkpoints
from tinychat.words import inert, json_text, table

PATIENCE_SECONDS = 2.0  # what takes longer is told
_TERMINAL_SECONDS = 0.2  # between changes of the progress line
_PLAIN_SECONDS = 10.0  # between lines where there is no terminal
_CLEAR_LINE = "\r\x1b[2K"


def screen(*, stderr: bool = False) -> Console:
    """A console that prints text as it stands: no markup, no emoji codes, no wrapping."""
    return PipeConsole(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)


def tell(sentence: str) -> None:
    """A remark to the person, on stderr so that it never mixes with results. Its words may be of a
    file or a server: no terminal obeys them."""
    screen(stderr=True).print(inert(f"tinychat: {sentence}", keep="\n"), style="yellow")


def named(run: Path) -> str:
    """A run as other commands of ours find it: its name, and its folder where that is another."""
    name, root = shlex.quote(inert(run.name)), run.parent.absolute()
    if root == default_checkpoints().absolute():
        return name
    return f"{name} --checkpoints {shlex.quote(inert(str(root)))}"


def print_rows(console: Console, rows: Sequence[Sequence[str]]) -> None:
    """Rows with aligned columns. On a terminal their last column is broken between words; elsewhere
    each row is one line."""
    if not console.is_terminal:
        for line in table(rows):
            console.print(line)
        return
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    *first, _ = rows[0] if rows else ("", "")
    for _ in first:
        grid.add_column(no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))
    console.print(grid, soft_wrap=False)


def print_wrapped(console: Console, text: str, style: str = "") -> None:
    """A text, on a terminal broken between words; elsewhere programs may look for its words."""
    console.print(Text(text), style=style, soft_wrap=not console.is_terminal)


def print_json(document: Any) -> None:
    """One JSON document on stdout; numbers that are not finite are null."""
    print(json_text(document))


class Waiting(AbstractContextManager["Waiting"]):
    """Progress on stderr, from the third second on. Called as (stage, done, total).

    A stage is told when it begins, and then now and then.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._told_at = -math.inf
        self._stage = ""  # told last
        self._terminal = sys.stderr.isatty()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        pause = _TERMINAL_SECONDS if self._terminal else _PLAIN_SECONDS
        soon = stage == self._stage and now - self._told_at < pause
        if soon or now - self._began < PATIENCE_SECONDS:
            return
        self._told_at, self._stage = now, stage
        stage = inert(stage)
        told = f"{stage} {100 * done // total}%" if total else stage
        sys.stderr.write(f"{_CLEAR_LINE}{told}" if self._terminal else f"{told}\n")
        sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        if self._terminal and self._told_at > -math.inf:
            sys.stderr.write(_CLEAR_LINE)
            sys.stderr.flush()
