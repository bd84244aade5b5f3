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
from tinychat_monitor.themes import series_colours, state_colours

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
        self._drawn: dict[str, list[str]] = {}
        self._widths: dict[str, int] = {}  # of the columns that are shown, in their order

    @property
    def chosen(self) -> Overview | None:
        """The run under the cursor."""
        at = self.cursor_row
        return list(self.runs.values())[at] if 0 <= at < len(self.runs) else None

    def show(self, runs: Sequence[Overview]) -> None:
        """Show these, drawing only what differs."""
        before, self.runs = list(self.runs), {str(run.path): run for run in runs}
        if before != list(self.runs):
            self._fill(self._layout(), before)
            return
        for path, run in self.runs.items():
            texts = self._texts(run)
            for name, new, old in zip(self._widths, texts, self._drawn[path], strict=True):
                if new != old:
                    self.update_cell(path, name, self._cell(run, name, new))
            self._drawn[path] = texts

    def toggle_mark(self) -> None:
        """Mark the chosen run, or take its mark away; on to the next."""
        if (run := self.chosen) is not None:
            self.marked ^= {str(run.path)}
            self.show(list(self.runs.values()))
            self.action_cursor_down()

    def redraw(self) -> None:
        """Draw everything again, because colours or the width changed."""
        self._fill(self._layout(), list(self.runs))

    def on_resize(self, event: Resize) -> None:
        if self._layout() != self._widths:
            self.redraw()

    def _layout(self) -> dict[str, int]:
        least, most = _NAME_COLUMNS
        names = (words.columns_of(words.inert(run.name)) for run in self.runs.values())
        longest = max(names, default=0)
        name_width = 2 + max(least, min(most, longest, self.size.width // 3))
        columns = fitting(self.size.width, name_width)
        return {name: COLUMNS[name].width or name_width for name in columns}

    def _fill(self, layout: dict[str, int], before: list[str]) -> None:
        at = self.cursor_row
        chosen = before[at] if 0 <= at < len(before) else None
        self.clear(columns=True)
        self._widths = layout
        for name, width in layout.items():
            column = COLUMNS[name]
            title = ("  " if name == "run" else "") + column.title
            title = Text(title.rjust(width) if column.right else title)
            self.add_column(title, key=name, width=width + GAP)
        self._drawn = {path: self._texts(run) for path, run in self.runs.items()}
        for path, texts in self._drawn.items():
            cells = zip(layout, texts, strict=True)
            self.add_row(*(self._cell(self.runs[path], *cell) for cell in cells), key=path)
        rows = list(self.runs)
        row = rows.index(chosen) if chosen in self.runs else min(at, len(rows) - 1)
        self.move_cursor(row=max(0, row), animate=False)

    def _texts(self, run: Overview) -> list[str]:
        plain = options_of(self).ascii
        texts: list[str] = []
        for name, width in self._widths.items():
            text = COLUMNS[name].cell(run)
            if name == "run":
                sign = "◆ " if str(run.path) in self.marked else "  "
                text = sign + words.clip(text, width - 2)
            elif name == "state":
                text = state_word(run.state)
            elif name == "trend":
                text = words.sparkline(run.recent, width, ascii=plain)
            texts.append(text)
        return texts

    def _cell(self, run: Overview, name: str, text: str) -> Text:
        style = ""
        if name == "state":
            style = state_colours(self.app.current_theme)(look_of(run.state).colour)
        elif name == "trend":
            style = series_colours(self.app.current_theme)["train"]
        text = text.rjust(self._widths[name]) if COLUMNS[name].right else text
        return Text(text + " " * GAP, style, no_wrap=True)
