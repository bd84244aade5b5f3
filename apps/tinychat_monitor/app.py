"""The live screen: the list of runs, and one run's details, each looked at twice a second.

A picture of `watch` in the words of `words`; it keeps no state that the run directory lacks.
Whatever comes from a file is drawn as inert text, never as markup, and only when it differs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import DataTable, Footer, Static

from tinychat_monitor.format import visible
from tinychat_monitor.once import no_runs
from tinychat_monitor.watch import Details, Glance, Watch
from tinychat_monitor.words import (
    COLUMNS,
    LOOKS,
    NUMBERS,
    bar,
    cells,
    log_lines,
    metric_lines,
    sample_lines,
    state_line,
    summary,
)

SECONDS_BETWEEN_LOOKS = 0.5


class InertText(Static):
    """Text that is drawn as it stands, and again only when it differs."""

    def __init__(self, name: str) -> None:
        super().__init__("", id=name, markup=False)
        self.shown = Text()

    def show(self, text: Text | str) -> None:
        text = Text(text) if isinstance(text, str) else text
        self.display = bool(text.plain)
        if (text.plain, text.style) != (self.shown.plain, self.shown.style):
            self.shown = text
            self.update(text)


class WatchingScreen(Screen[None]):
    """A screen that looks, in a thread, twice a second while it is the one on top."""

    class Looked(Message):
        """A look is done: `show` draws what was seen."""

        def __init__(self, show: Callable[[], None]) -> None:
            super().__init__()
            self.show = show

    def __init__(self) -> None:
        super().__init__()
        self._looking = False
        self._timer: Timer | None = None

    def look(self) -> Callable[[], None]:
        """Read, in a thread; returns what draws it, for the screen's own thread."""
        raise NotImplementedError

    def on_mount(self) -> None:
        self._timer = self.set_interval(SECONDS_BETWEEN_LOOKS, self._begin_look)
        self._begin_look()

    def on_screen_suspend(self) -> None:
        if self._timer is not None:
            self._timer.pause()

    def on_screen_resume(self) -> None:
        if self._timer is not None:
            self._timer.resume()

    def _begin_look(self) -> None:
        if not self._looking:  # on a slow disk looks must not pile up
            self._looking = True
            self._look_in_thread()

    @work(thread=True)
    def _look_in_thread(self) -> None:
        self.post_message(self.Looked(self.look()))

    def on_watching_screen_looked(self, message: Looked) -> None:
        self._looking = False
        if self.is_mounted:
            message.show()


class RunsTable(DataTable[Text]):
    """The table of runs; Enter opens one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Details", show=True),
    ]


class RunsScreen(WatchingScreen):
    """The list of runs."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "app.quit", "Leave")]

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch
        self._glances: dict[str, Glance] = {}  # what the table shows, in its order

    def compose(self) -> ComposeResult:
        yield InertText("title")
        yield InertText("empty")
        yield RunsTable(id="runs", cursor_type="row")
        yield InertText("reason")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        for name in COLUMNS:
            header = Text(name, justify="right" if name in NUMBERS else "left")
            self.query_one(RunsTable).add_column(header, key=name)

    def look(self) -> Callable[[], None]:
        try:
            glances = self._watch.look()
        except OSError as error:
            problem = visible(str(error))
            return lambda: self.query_one("#reason", InertText).show(problem)
        return lambda: self._show({str(glance.path): glance for glance in glances})

    def _show(self, glances: dict[str, Glance]) -> None:
        before, self._glances = self._glances, glances
        table = self.query_one(RunsTable)
        if list(before) == list(glances):
            self._update(table, before)
        else:
            self._fill(table, before)
        folder = self._watch.checkpoints
        self.query_one("#title", InertText).show(summary(folder, list(glances.values())))
        self.query_one("#empty", InertText).show("" if glances else no_runs(folder))
        table.display = bool(glances)
        self._show_reason()

    def _fill(self, table: RunsTable, before: dict[str, Glance]) -> None:
        chosen = list(before)[table.cursor_row] if before else None
        table.clear()
        for key, glance in self._glances.items():
            table.add_row(*(_cell(glance, name) for name in COLUMNS), key=key)
        if chosen in self._glances:
            table.move_cursor(row=list(self._glances).index(chosen), animate=False)
        if not before:
            table.focus()

    def _update(self, table: RunsTable, before: dict[str, Glance]) -> None:
        for key, glance in self._glances.items():
            for name, new, old in zip(COLUMNS, cells(glance), cells(before[key]), strict=True):
                if new != old:
                    table.update_cell(key, name, _cell(glance, name), update_width=True)

    @on(DataTable.RowHighlighted)
    def _show_reason(self) -> None:
        row = self.query_one(RunsTable).cursor_row
        chosen = list(self._glances.values())[row : row + 1]
        self.query_one("#reason", InertText).show(visible(chosen[0].reason) if chosen else "")

    @on(DataTable.RowSelected)
    def _open(self, event: DataTable.RowSelected) -> None:
        if event.row_key.value is not None:
            self.app.push_screen(RunScreen(self._watch, Path(event.row_key.value)))


class RunScreen(WatchingScreen):
    """One run's details."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "All runs"),
        Binding("q", "app.quit", "Leave"),
    ]

    def __init__(self, watch: Watch, run: Path) -> None:
        super().__init__()
        self._watch = watch
        self._run = run

    def compose(self) -> ComposeResult:
        yield InertText("title")
        with VerticalScroll():
            for name in ("state", "bar", "reason", "metrics", "sample", "log"):
                yield InertText(name)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one("#log", InertText).border_title = "log"
        self.query_one(VerticalScroll).focus()

    def look(self) -> Callable[[], None]:
        details = self._watch.look_at(self._run)
        return lambda: self._show(details)

    def _show(self, details: Details) -> None:
        glance = details.glance
        which, sample = sample_lines(details.sample)
        width = self.query_one(VerticalScroll).scrollable_content_region.width - 2
        for name, text in {
            "title": f"tinychat  {visible(glance.name)}",
            "state": Text(state_line(glance), LOOKS[glance.state].colour),
            "bar": bar(glance, width),
            "reason": visible(glance.reason),
            "metrics": "\n".join(metric_lines(details)),
            "sample": sample,
            "log": "\n".join(log_lines(details)),
        }.items():
            self.query_one(f"#{name}", InertText).show(text)
        # our own words and a number: markup in a title would be obeyed
        self.query_one("#sample", InertText).border_title = f"latest sample {which}".rstrip()


class MonitorApp(App[None]):
    """The monitor of one folder of runs, opened on one of them if `run` is given."""

    CSS = """
    InertText { height: auto; padding: 0 1; }
    #title { background: $panel; text-style: bold; }
    #empty { padding: 1 2; }
    #runs { height: 1fr; }
    #reason { color: $text-muted; }
    #bar { color: $success; }
    #metrics { margin-top: 1; }
    #sample, #log { border: round $panel-lighten-2; margin-top: 1; }
    #log { color: $text-muted; }
    """

    def __init__(self, checkpoints: Path, run: Path | None = None) -> None:
        super().__init__()
        self._watch = Watch(checkpoints)
        self._run = run

    def on_mount(self) -> None:
        self.push_screen(RunsScreen(self._watch))
        if self._run is not None:
            self.push_screen(RunScreen(self._watch, self._run))


def _cell(glance: Glance, column: str) -> Text:
    text = cells(glance)[COLUMNS.index(column)]
    style = LOOKS[glance.state].colour if column == "state" else ""
    return Text(text, style, justify="right" if column in NUMBERS else "left")
