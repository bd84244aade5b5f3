"""The list of runs: where the monitor begins."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widgets import DataTable, Footer, Input

from tinychat import words
from tinychat.watch.details import RunLook, RunWatch
from tinychat.watch.lines import no_runs, summary
from tinychat.watch.overview import Overview, Watch
from tinychat.watch.states import LIVE, look_of, state_word
from tinychat_monitor import keys
from tinychat_monitor.options import options_of
from tinychat_monitor.themes import state_colours
from tinychat_monitor.widgets.chart import Chart, ChartOptions, Source
from tinychat_monitor.widgets.chart_series import LOSS
from tinychat_monitor.widgets.filter_box import FilterBox
from tinychat_monitor.widgets.headline import note_text
from tinychat_monitor.widgets.inert import InertText
from tinychat_monitor.widgets.looking import LookingScreen
from tinychat_monitor.widgets.runs_table import RunsTable

_MOST_COMPARED = 7  # as many colours as there are


@dataclass(frozen=True)
class Seen:
    """One look at the folder, and a closer one at the run under the cursor."""

    runs: list[Overview]
    closer: RunLook | None
    problem: str = ""  # why the folder cannot be read


class RunsScreen(LookingScreen[Seen]):
    """Every run of a folder, newest first, with a closer look at the chosen one."""

    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("runs")

    def __init__(self, checkpoints: Path) -> None:
        super().__init__()
        self._watch = Watch(checkpoints)
        self._closer: tuple[Path, RunWatch] | None = None  # of the chosen run
        self._chosen: Path | None = None
        self._runs: list[Overview] = []
        self._problem = ""

    def compose(self) -> ComposeResult:
        yield InertText("title", classes="title")
        yield FilterBox("text in a name or state: Enter keeps it, Escape ends it", id="filter")
        yield InertText("empty")
        yield RunsTable(id="runs")
        with Vertical(id="closer"):
            yield InertText("reason")
            yield InertText("notes")
            yield Chart(LOSS, title="loss", unit="nats/token", id="chart")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one("#closer Chart").can_focus = False
        self.app.theme_changed_signal.subscribe(self, lambda _: self._table.redraw())

    def on_screen_suspend(self) -> None:
        self._closer = None  # a long run's history is not kept for nothing

    def look(self) -> Seen:
        """Read every run a little, and the chosen one more."""
        try:
            runs = self._watch.look()
        except OSError as error:
            return Seen([], None, f"{self._watch.checkpoints} cannot be read: {error.strerror}.")
        chosen = self._chosen
        if chosen is None or not self._on_top:
            return Seen(runs, None)
        closer = self._closer  # the screen drops it when it is covered
        if closer is None or closer[0] != chosen:
            closer = self._closer = (chosen, RunWatch(chosen))
        return Seen(runs, closer[1].look())

    def at_rest(self) -> bool:
        """No run goes on."""
        return not any(run.state in LIVE for run in self._runs)

    def show(self, seen: Seen) -> bool:
        """Draw the table, and what is known of the chosen run."""
        self._runs, self._problem = seen.runs, seen.problem
        self._show_table()
        self._show_closer(seen.closer)
        return seen.closer is not None and seen.closer.history.reading

    @property
    def _table(self) -> RunsTable:
        return self.query_one(RunsTable)

    def _show_table(self) -> None:
        wanted = self.query_one(FilterBox).value.strip().lower()
        shown = [run for run in self._runs if wanted in f"{run.name} {run.state}".lower()]
        empty = not self._table.runs
        self._table.show(shown)
        self._table.display = bool(shown)
        self.query_one("#empty", InertText).show("" if shown else self._nothing(wanted))
        self.query_one("#title", InertText).show(self._title())
        if empty and shown and self.focused is None:
            self._table.focus()
        self._choose()

    def _title(self) -> Text:
        title = Text(f"tinychat  {summary(self._watch.checkpoints, self._runs)}")
        if options_of(self).readonly:
            title.append("  [read only]", "bold")
        return title

    def _nothing(self, wanted: str) -> str:
        if self._problem:
            return words.inert(self._problem)
        if self._runs:
            return f"No run has “{words.inert(wanted)}” in its name or state."
        new = "" if options_of(self).readonly else "\nOr press n here."
        return no_runs(self._watch.checkpoints) + new

    @on(DataTable.RowHighlighted)
    def _choose(self) -> None:
        run = self._table.chosen
        path = None if run is None else run.path
        if path != self._chosen:
            self._chosen = path
            self.query_one(Chart).show((), ChartOptions())
            self.query_one("#notes", InertText).show("")
        self.query_one("#reason", InertText).show(Text() if run is None else self._reason(run))

    def _reason(self, run: Overview) -> Text:
        look = look_of(run.state)
        said = state_word(run.state)
        text = Text(f"{words.inert(run.name)}  ", "bold")
        text.append(said, state_colours(self.app.current_theme)(look.colour))
        if run.step is not None:
            text.append(f"  step {words.progress(run.step, run.max_steps)}", "not bold")
        if run.best is not None:
            best = f"  best {words.loss(run.best.val_loss)} at step {words.number(run.best.step)}"
            text.append(best, "not bold")
        if run.reason:
            text.append(f"\n{words.inert(run.reason)}", "not bold")
        return text

    def _show_closer(self, closer: RunLook | None) -> None:
        chart = self.query_one(Chart)
        chosen = closer is not None and closer.overview.path == self._chosen
        self.query_one("#closer").set_class(chosen, "-known")
        if closer is None or not chosen:
            return
        chart.show((Source(closer.overview.name, closer.history),), ChartOptions())
        colour = state_colours(self.app.current_theme)
        notes = Text("\n").join(note_text(note, colour) for note in closer.notes[:3])
        self.query_one("#notes", InertText).show(notes)

    # --- what keys do

    @on(DataTable.RowSelected)
    def _open(self) -> None:
        """Open the chosen run."""
        if (run := self._table.chosen) is not None:
            cast(Any, self.app).open_run(run.path)

    def action_mark(self) -> None:
        """Mark the chosen run for comparing."""
        self._table.toggle_mark()

    def action_compare(self) -> None:
        """Show the marked runs together."""
        from tinychat_monitor.screens.compare import CompareScreen

        marked = [run.path for run in self._runs if str(run.path) in self._table.marked]
        if len(marked) < 2:
            self.notify("Mark at least two runs with space first.", title="Compare")
        elif len(marked) > _MOST_COMPARED:
            self.notify(f"At most {_MOST_COMPARED} runs fit one chart.", title="Compare")
        else:
            self.app.push_screen(CompareScreen(marked))

    def action_new_run(self) -> None:
        """Ask for what a new run needs."""
        from tinychat_monitor.screens.new_run import NewRunScreen

        self.app.push_screen(NewRunScreen(self._watch.checkpoints), self._opened)

    def action_resume(self) -> None:
        """Go on with the chosen run."""
        if (run := self._table.chosen) is not None:
            cast(Any, self.app).resume_run(run)

    def action_filter(self) -> None:
        """Ask which runs to show."""
        self.query_one(FilterBox).open()

    def _opened(self, run: Path | None) -> None:
        if run is not None:
            cast(Any, self.app).open_run(run)

    @on(Input.Changed, "#filter")
    def _filter(self) -> None:
        self._show_table()
