"""The table of runs: as many columns as fit, a cursor that stays on its run."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

from rich.text import Text
from textual.binding import BindingType
from textual.events import Resize
from textual.widgets import DataTable

from tinychat import words
from tinychat.watch.overview import Overview
from tinychat.watch.states import look_of, state_word
from tinychat_monitor import keys
from tinychat_monitor.options import options_of
from tinychat_monitor.themes import state_colour

_NAME_COLUMNS = (8, 28)  # a name's width, least and most


class Column(NamedTuple):
    """One column: how wide, how soon it is left out, and what it shows."""

    title: str
    width: int
    importance: int  # 1 is always there
    cell: Callable[[Overview], str]
    right: bool = True


def _step(overview: Overview) -> str:
    return words.NOTHING if overview.step is None else words.short(overview.step)


def _done(overview: Overview) -> str:
    if overview.step is None or not overview.max_steps:
        return ""
    return f"{100 * overview.step // overview.max_steps}%"


COLUMNS: Mapping[str, Column] = {
    "run": Column("run", 0, 1, lambda run: words.inert(run.name), right=False),
    "state": Column("state", 12, 1, lambda run: run.state, right=False),
    "step": Column("step", 5, 3, _step),
    "done": Column("", 4, 4, _done),
    "train": Column("train", 6, 2, lambda run: run.loss_word("train_loss")),
    "val": Column("val", 6, 5, lambda run: run.loss_word("val_loss")),
    "trend": Column("trend", 8, 1, lambda run: "", right=False),
    "speed": Column("tok/s", 6, 9, lambda run: words.short(run.number("tokens_per_second"))),
    "eta": Column("ETA", 6, 6, lambda run: words.duration(run.eta_seconds)),
    "age": Column("age", 4, 7, lambda run: words.age(run.age_seconds)),
    "best": Column("best", 6, 10, lambda run: words.loss(run.best.val_loss if run.best else None)),
    "parameters": Column("size", 6, 11, lambda run: words.short(run.parameters)),
}
GAP = 2  # columns between two


def fitting(width: int, name_width: int) -> list[str]:
    """Which columns go into so many character columns, in their order."""
    chosen: list[str] = []
    left = width
    for name in sorted(COLUMNS, key=lambda name: COLUMNS[name].importance):
        left -= (COLUMNS[name].width or name_width) + GAP
        if left < 0 and COLUMNS[name].importance > 1:
            break
        chosen.append(name)
    return [name for name in COLUMNS if name in chosen]


class RunsTable(DataTable[Text]):
    """Runs, newest first. A run is named by the path of its folder."""

    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("runs_table")

    def __init__(self, id: str) -> None:
        super().__init__(id=id, cursor_type="row", cell_padding=0, zebra_stripes=False)
        self.runs: dict[str, Overview] = {}  # what is shown, in its order
        self.marked: set[str] = set()
        self._drawn: dict[str, list[Text]] = {}
        self._names: list[str] = []

    @property
    def chosen(self) -> Overview | None:
        """The run under the cursor."""
        at = self.cursor_row
        return list(self.runs.values())[at] if 0 <= at < len(self.runs) else None

    def show(self, runs: Sequence[Overview]) -> None:
        """Show these, drawing only what differs."""
        before, self.runs = list(self.runs), {str(run.path): run for run in runs}
        columns = self._columns()
        if columns != self._names or before != list(self.runs):
            self._fill(columns, before)
            return
        for path, run in self.runs.items():
            cells = self._cells(run)
            for name, new, old in zip(columns, cells, self._drawn[path], strict=True):
                if new != old or new.style != old.style:
                    self.update_cell(path, name, new)
            self._drawn[path] = cells

    def toggle_mark(self) -> None:
        """Mark the chosen run, or take its mark away; on to the next."""
        if (run := self.chosen) is not None:
            self.marked ^= {str(run.path)}
            self.show(list(self.runs.values()))
            self.action_cursor_down()

    def redraw(self) -> None:
        """Draw everything again, because colours or the width changed."""
        self._names = []
        if self.runs:
            self.show(list(self.runs.values()))

    def on_resize(self, event: Resize) -> None:
        if self._columns() != self._names:
            self.redraw()

    def _columns(self) -> list[str]:
        return fitting(self.size.width, self._name_width())

    def _name_width(self) -> int:
        least, most = _NAME_COLUMNS
        names = (words.columns_of(words.inert(run.name)) for run in self.runs.values())
        longest = max(names, default=0)
        return 2 + max(least, min(most, longest, self.size.width // 3))

    def _fill(self, columns: list[str], before: list[str]) -> None:
        at = self.cursor_row
        chosen = before[at] if 0 <= at < len(before) else None
        self.clear(columns=True)
        self._names = columns
        for name in columns:
            column = COLUMNS[name]
            width = column.width or self._name_width()
            title = ("  " if name == "run" else "") + column.title
            title = Text(title.rjust(width) if column.right else title)
            self.add_column(title, key=name, width=width + GAP)
        self._drawn = {path: self._cells(run) for path, run in self.runs.items()}
        for path, cells in self._drawn.items():
            self.add_row(*cells, key=path)
        rows = list(self.runs)
        row = rows.index(chosen) if chosen in self.runs else min(at, len(rows) - 1)
        self.move_cursor(row=max(0, row), animate=False)

    def _cells(self, run: Overview) -> list[Text]:
        return [self._cell(run, name) for name in self._names]

    def _cell(self, run: Overview, name: str) -> Text:
        plain = options_of(self).ascii
        column, style = COLUMNS[name], ""
        width = column.width or self._name_width()
        text = column.cell(run)
        if name == "run":
            sign = ("* " if plain else "◆ ") if str(run.path) in self.marked else "  "
            text = sign + words.clip(text, width - 2)
        elif name == "state":
            text = state_word(run.state, ascii=plain)
            style = state_colour(self.app.current_theme, look_of(run.state).colour)
        elif name == "trend":
            text = words.sparkline(run.recent, width, ascii=plain)
            style = getattr(self.app, "palette_colours", lambda role: "")("train")
        text = words.to_ascii(text) if plain else text
        gap = " " * GAP
        cell = Text((text.rjust(width) if column.right else text) + gap, style, no_wrap=True)
        return cell
