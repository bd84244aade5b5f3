"""The checkpoints of a run: what is kept, how good each is, and which a person keeps for good."""

import time
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import DataTable

from tinychat import words
from tinychat.errors import TinychatError
from tinychat.runs import checkpoint_label, pin, unpin
from tinychat.watch.details import CheckpointLine, RunLook
from tinychat_monitor.keys import bindings, steers
from tinychat_monitor.options import options_of
from tinychat_monitor.widgets.inert import InertText
from tinychat_monitor.widgets.panes import Pane

_COLUMNS = ("step", "val loss", "size", "saved", "what")


class CheckpointsPane(Pane):
    """A table, the newest first; `k` pins the chosen one or lets it go."""

    DEFAULT_CSS = """
    CheckpointsPane DataTable { height: 1fr; background: transparent; scrollbar-size-vertical: 1; }
    CheckpointsPane InertText { height: 1; padding: 0 1; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings("checkpoints")

    def __init__(self) -> None:
        super().__init__("checkpoints")
        self._cells: list[tuple[str, ...]] = []  # what the table shows

    def compose(self) -> ComposeResult:
        yield DataTable(cursor_type="row")
        yield InertText("checkpoint-hint")

    def on_mount(self) -> None:
        for name in _COLUMNS:
            header = Text(name, justify="left" if name == "what" else "right")
            self.query_one(DataTable).add_column(header)

    def depends_on(self, look: RunLook) -> object:
        return look.overview.name, _table(look)

    def draw(self, look: RunLook) -> None:
        self._fill(_table(look))
        self._hint()

    def action_pin(self) -> None:
        """Keep the chosen checkpoint for good, or let it go as the others go."""
        line = self._chosen()
        if line is None or self.seen is None:
            self.notify("There is no checkpoint to pin yet.", severity="warning", markup=False)
            return
        run = self.seen.overview.path
        try:
            (unpin if line.is_pinned else pin)(run, line.step)
        except (TinychatError, OSError) as error:
            self.notify(words.inert(str(error)), severity="error", markup=False)
            return
        told = "is no longer pinned" if line.is_pinned else "is pinned: it stays as it is"
        sentence = f"The checkpoint of step {line.step:,} {told}"
        if line.weights_only and not line.is_pinned:
            sentence += ", which is weights only: it can be talked with, but not gone on from"
            self.notify(f"{sentence}.", severity="warning", markup=False)
        else:
            self.notify(f"{sentence}.", markup=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """With --readonly nothing is pinned."""
        return not (steers(action) and options_of(self).readonly)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        event.stop()
        self._hint()

    def _chosen(self) -> CheckpointLine | None:
        lines = [] if self.seen is None else self.seen.checkpoints[::-1]
        row = self.query_one(DataTable).cursor_row
        return lines[row] if 0 <= row < len(lines) else None

    def _fill(self, cells: list[tuple[str, ...]]) -> None:
        """Draw the table anew; the cursor stays on its step."""
        table = self.query_one(DataTable)
        chosen = self._cells[table.cursor_row : table.cursor_row + 1]
        step = chosen[0][0] if chosen else None
        self._cells = cells
        table.clear()
        for row in cells:
            texts = [Text(cell, justify="right") for cell in row[:-1]]
            table.add_row(*texts, Text(row[-1], "bold" if row[-1] else ""))
        place = next((place for place, row in enumerate(cells) if row[0] == step), 0)
        table.move_cursor(row=place, animate=False)

    def _hint(self) -> None:
        line = self._chosen()
        told = "no checkpoints yet"
        if line is not None and self.seen is not None:
            name = words.inert(self.seen.overview.name)
            told = f"talk with it: tinychat chat {checkpoint_label(name, line.step)}"
        self.query_one("#checkpoint-hint", InertText).show(told)


def _table(look: RunLook) -> list[tuple[str, ...]]:
    """The rows of the table, the newest first; ages are told in their largest unit only."""
    now = time.time()
    return [_cells(line, now) for line in reversed(look.checkpoints)]


def _cells(line: CheckpointLine, now: float) -> tuple[str, ...]:
    marks = {
        "best": line.is_best,
        "latest": line.is_latest,
        "pinned": line.is_pinned,
        "weights only": line.weights_only,
    }
    saved = words.NOTHING if line.saved_at is None else f"{words.age(now - line.saved_at)} ago"
    return (
        f"{line.step:,}",
        words.loss(line.val_loss),
        words.size(line.size_bytes),
        saved,
        " · ".join(mark for mark, holds in marks.items() if holds),
    )
