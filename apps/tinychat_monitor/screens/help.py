"""All keys, from the one table, and what the signs mean."""

from collections.abc import Iterable, Iterator
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import ItemGrid, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from tinychat.watch.states import LOOKS, state_word
from tinychat_monitor import keys
from tinychat_monitor.options import options_of
from tinychat_monitor.themes import state_colours
from tinychat_monitor.widgets.inert import InertText

_MEANINGS = {
    "starting": "it reads its data and builds the model",
    "compiling": "the first step is being compiled",
    "training": "steps are being made",
    "evaluating": "the validation loss is being computed",
    "sampling": "it writes samples",
    "saving": "a checkpoint is being written",
    "paused": "it waits; p goes on",
    "finished": "all steps are done",
    "stopped": "somebody stopped it; r goes on",
    "failed": "it ended with an error; the log tells it",
    "crashed": "its process is gone without a word; r goes on from the newest checkpoint",
    "stalled": "its process lives but has not reported for too long",
    "other host": "it was written on another machine, so its process cannot be judged here",
    "unknown": "there is nothing to judge it by",
}
_SIGNS = (
    ("faint line", "the loss of each step; the strong line is its moving average"),
    ("o", "the validation loss"),
    ("▲", "on the x axis: a checkpoint, resume, pause or alert"),
    ("◆", "a marked run in the list"),
    ("…", "asked for, and not yet answered by the trainer"),
)


class HelpScreen(ModalScreen[None]):
    """Keys by group and signs; any of Escape, ? and q closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,f1,q", "app.pop_screen", "Close", show=False)
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="question tall"):
            yield InertText("question").with_text("Keys and signs")
            with VerticalScroll(), ItemGrid(min_column_width=52, stretch_height=False):
                for title, table in self._parts():
                    part = Static(table, classes="part")
                    part.border_title = title
                    yield part
            yield InertText("told").with_text(
                "Everything is in the palette too (ctrl+p). Training never depends on this screen."
            )

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def _parts(self) -> Iterator[tuple[str, Table]]:
        readonly = options_of(self).readonly
        for title, group in keys.grouped():
            lines = [(key.shown, key.tooltip) for key in group if not (key.steers and readonly)]
            if lines:
                yield title, _table(lines, 9)
        colour = state_colours(self.app.current_theme)
        states = [
            (Text(state_word(state), colour(look.colour)), _MEANINGS.get(state, ""))
            for state, look in LOOKS.items()
        ]
        yield "States", _table(states, 12)
        yield "Signs", _table(_SIGNS, 10)


def _table(lines: Iterable[tuple[str | Text, str]], width: int) -> Table:
    """Two columns, the first at least that wide; what does not fit wraps within its own."""
    table = Table.grid(padding=(0, 1))
    table.add_column(style="bold", min_width=width, no_wrap=True)
    table.add_column()
    for left, right in lines:
        table.add_row(left, Text(right))
    return table
