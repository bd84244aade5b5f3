"""One run: its headline, curves, and panes; everything that can be known and asked of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Footer

from tinychat import words
from tinychat.runs import Row
from tinychat.runs.layout import run_names
from tinychat.watch.curves import nearest
from tinychat.watch.details import RunLook, RunWatch
from tinychat.watch.history import History
from tinychat.watch.overview import finite_number
from tinychat.watch.plot import Mark
from tinychat.watch.states import LIVE, NOT_GOING_ON
from tinychat_monitor import keys
from tinychat_monitor.options import options_of
from tinychat_monitor.screens.baseline import BaselineScreen
from tinychat_monitor.screens.chart_keys import ChartKeys
from tinychat_monitor.screens.steering import Steering
from tinychat_monitor.themes import state_colours
from tinychat_monitor.widgets.chart import Chart, Source
from tinychat_monitor.widgets.chart_series import LOSS
from tinychat_monitor.widgets.checkpoints import CheckpointsPane
from tinychat_monitor.widgets.events import EventsPane
from tinychat_monitor.widgets.headline import Headline, Now, headline, remarks
from tinychat_monitor.widgets.inert import InertText
from tinychat_monitor.widgets.log import LogPane
from tinychat_monitor.widgets.looking import LookingScreen
from tinychat_monitor.widgets.pane_tabs import PaneTab, PaneTabs
from tinychat_monitor.widgets.panes import Pane
from tinychat_monitor.widgets.rail import Rail
from tinychat_monitor.widgets.rates import RatesPane, RatesRow
from tinychat_monitor.widgets.samples import SamplesPane
from tinychat_monitor.widgets.settings import SettingsPane

SECONDS_BETWEEN_CHARTS = 0.9  # so that every second look draws them
LONG_ROWS = 200_000
READING_SECONDS = 0.4  # of a long history at once, between two pictures
_MARKS = 200  # the newest, that a chart shows
_DEAD = ("crashed", "failed")  # the log tells why
_FOR_THE_LIVE = ("pause", "checkpoint", "sample", "stop")
# kind of event -> (sign, label)
_SIGNS = {
    "checkpoint_saved": ("▲", "checkpoint"),
    "resume": ("▶", "resume"),  # a process, or the command after a pause
    "pause": ("‖", "pause"),
    "alert": ("!", "alert"),
    "skipped": ("!", "skipped"),
    "error": ("!", "error"),
}


@dataclass(frozen=True)
class Baseline:
    """The run that this one is compared with."""

    name: str
    history: History


class RunScreen(Steering, ChartKeys, LookingScreen[RunLook]):
    """The screen of one run. A worker thread reads, this one draws what differs."""

    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("run")
    DEFAULT_CSS = """
    RunScreen #run-body { height: 1fr; }
    RunScreen #run-main { width: 1fr; height: 1fr; }
    RunScreen #loss { height: 6fr; }
    RunScreen #panes { height: 5fr; }
    RunScreen #rates-row { display: none; }
    RunScreen Rail { display: none; }
    RunScreen #glance { display: none; }
    RunScreen.-rates-open.-short #loss, RunScreen.-rates-open.-tall #loss { display: none; }
    RunScreen.-tall #loss { height: 3fr; }
    RunScreen.-tall #panes { height: 2fr; }
    RunScreen.-wide #sample-both, RunScreen.-xwide #sample-both { layout: horizontal; }
    RunScreen.-xwide Rail { display: block; }
    RunScreen.-xwide.-xtall #loss { height: 10fr; display: block; }
    RunScreen.-xwide.-xtall #rates-row { display: block; height: 6fr; }
    RunScreen.-xwide.-xtall #panes { height: 7fr; }
    RunScreen.-tiny #run-body, RunScreen.-flat #run-body { display: none; }
    RunScreen.-tiny #glance, RunScreen.-flat #glance { display: block; height: 1fr; }
    RunScreen.-tiny Footer { display: none; }
    """

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.run = run
        self._watch = RunWatch(run)
        self.requests = self._watch.requests
        self._baseline: Baseline | None = None
        self._charts_at = float("-inf")  # when they were last drawn, on the monotonic clock
        self._charted: tuple[int, ...] = ()  # what rows they showed then
        self._eta_seconds: float | None = None  # the last one before a pause
        self._panes: dict[str, Pane] = {
            "samples": SamplesPane(),
            "events": EventsPane(),
            "log": LogPane(),
            "rates": RatesPane(),
            "settings": SettingsPane(),
            "checkpoints": CheckpointsPane(),
        }
        self._charts: list[Chart] = []
        self._alarms: set[str] | None = None  # the kinds that hold now
        self._was_reading = True  # at the look before

    def compose(self) -> ComposeResult:
        yield Headline()
        yield InertText("glance")
        with Horizontal(id="run-body"):
            with Vertical(id="run-main"):
                yield Chart(LOSS, title="loss", unit="nats/token", id="loss")
                yield RatesRow(id="rates-row")
                with Vertical(id="panes"):
                    yield PaneTabs()
                    yield from self._panes.values()
            yield Rail()
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        if not self.query(PaneTabs):
            return  # the monitor was left before this screen was there
        self._charts = list(self.query(Chart))
        self._open_pane("samples")
        self._panes["samples"].take_focus()
        self.app.theme_changed_signal.subscribe(self, lambda _: self._draw_all())

    # --- looking

    def look(self) -> RunLook:
        """Read on, in a thread."""
        for history in self.histories():
            if self.seen is not None and history.share < 1.0:
                history.follow(READING_SECONDS)
            elif history is not self._watch.history:
                history.follow()
        return self._watch.look(quick=self.seen is None)

    def show(self, seen: RunLook) -> bool:
        """Draw what was seen; True while there is more to read."""
        first, footer, self.seen = self.seen is None, self._footer(), seen
        if footer != self._footer():
            self.refresh_bindings()
        if seen.overview.state in LIVE and seen.overview.state != "paused":
            self._eta_seconds = seen.overview.eta_seconds
        self.hear(seen)
        self._draw_headline(seen)
        self._tell_alarms(seen)
        reading = any(history.reading for history in self.histories())
        if not self.view.frozen:
            self._draw_panes(seen)
            between = SECONDS_BETWEEN_CHARTS
            if reading or len(self._watch.history.train) > LONG_ROWS:
                between *= 3  # reading comes first; one row more moves a long chart by no dot
            rows = (*(each.version for each in self.histories()), seen.plan is None)
            if first:
                self.call_after_refresh(self.draw_charts)  # the numbers need not wait for them
            elif rows != self._charted and time.monotonic() - self._charts_at >= between:
                self._charted = rows
                self.draw_charts()
        return reading or first

    def at_rest(self) -> bool:
        """A run that is over changes only when somebody resumes it."""
        return self._is_over()

    def in_footer(self, binding: Binding) -> bool:
        """What steers a trainer only while there is one, and `resume` only when there is none."""
        if binding.action in (*_FOR_THE_LIVE, "resume"):
            wanted = self._is_over() == (binding.action == "resume")
            return wanted and super().in_footer(binding)
        return super().in_footer(binding)

    def label_of(self, binding: Binding) -> str:
        """`p` goes on with a paused run."""
        if binding.action == "pause" and self._is_paused():
            return "Go on"
        return super().label_of(binding)

    def _footer(self) -> tuple[bool, bool]:
        """What the footer depends on."""
        return self._is_over(), self._is_paused()

    def _is_paused(self) -> bool:
        return self.seen is not None and self.seen.overview.state == "paused"

    def _is_over(self) -> bool:
        return self.seen is not None and self.seen.overview.state in NOT_GOING_ON

    def on_resize(self) -> None:
        if self.seen is not None:
            self.call_after_refresh(self._draw_all)

    def _draw_all(self) -> None:
        if self.seen is not None and self.is_mounted:
            self._draw_headline(self.seen)
            self._draw_panes(self.seen)
            self.draw_charts()

    def _draw_headline(self, seen: RunLook) -> None:
        line = self.query_one(Headline)
        now = Now(
            time.time(),
            asked=self.asked(),
            frozen=self.view.frozen,
            readonly=options_of(self).readonly,
            eta_seconds=self._eta_seconds,
        )
        width = line.content_size.width or self.size.width - 2
        line.show(headline(seen, now, width, state_colours(self.app.current_theme)))
        glance = self.query_one("#glance", InertText)
        if self.has_class("-tiny") or self.has_class("-flat"):
            glance.show(words.sparkline(seen.overview.recent, max(1, self.size.width - 2)))

    def _draw_panes(self, seen: RunLook) -> None:
        for pane in self._panes.values():
            pane.show(seen)
        self.query_one(Rail).show(seen)

    def _tell_alarms(self, seen: RunLook) -> None:
        """A toast and the bell for what has become wrong while a person watched."""
        notes = remarks(seen, readonly=options_of(self).readonly)
        alarms = {note.kind: note for note in notes if note.level == "alarm"}
        before, self._alarms = self._alarms, set(alarms)
        new = [note for kind, note in alarms.items() if before is None or kind not in before]
        if seen.overview.state in _DEAD and any(note.kind == "state" for note in new):
            self.action_show_pane("log")
        was_reading, self._was_reading = self._was_reading, seen.history.share < 1.0
        if was_reading:  # what has long been so is no news
            return
        for note in new:
            self.app.bell()
            self.notify(words.inert(note.sentence), severity="error", markup=False)

    # --- charts

    def charts(self) -> Sequence[Chart]:
        """The loss chart, and the smaller ones."""
        return self._charts

    def histories(self) -> list[History]:
        """Of this run, and of its baseline."""
        baseline = self._baseline  # once: the thread that reads must not see it vanish
        return [self._watch.history, *([] if baseline is None else [baseline.history])]

    def draw_charts(self) -> None:
        """All charts, in the view as it is now: one that is out of sight draws when it is shown."""
        if self.seen is None:
            return
        self._charts_at = time.monotonic()
        overview = self.seen.overview
        sources = [Source(overview.name, self.seen.history, 0, self.seen.plan, overview.max_steps)]
        if self._baseline is not None:
            sources.append(Source(self._baseline.name, self._baseline.history, 1))
        marks = self._marks()
        for chart in self._charts:
            chart.show(sources, self.view, marks if chart.id == "loss" else ())

    def _marks(self) -> list[Mark]:
        """What happened, at its place on the x axis."""
        history = self._watch.history
        with history.lock:
            events, train = history.events[-_MARKS:], history.train
            marks = []
            for row in events:
                step, sign = finite_number(row.get("step")), _SIGNS.get(_happened(row))
                if sign is None or step is None:
                    continue
                x: float | None = step
                if self.view.axis != "step":
                    place = nearest(train, "step", step)
                    x = None if place is None else train.xs(self.view.axis)[place]
                if x is not None:
                    marks.append(Mark(float(x), *sign))
        return marks

    def action_freeze(self) -> None:
        """Leave everything but the headline as it is, or follow again."""
        self.view = replace(self.view, frozen=not self.view.frozen)
        self._draw_all()

    def action_follow_newest(self) -> None:
        """Follow the newest step in the charts; in the samples, the newest round."""
        samples = self.query_one(SamplesPane)
        if samples.has_focus_within:
            samples.action_newest_round()
        else:
            super().action_follow_newest()

    def action_choose_baseline(self) -> None:
        """Ask which run to compare with."""
        folder = self.run.absolute().parent
        try:
            others = [folder / name for name in run_names(folder) if name != self.run.name]
        except OSError:
            others = []
        if others:
            self.app.push_screen(BaselineScreen(others), self._compare_with)
        else:
            self.notify("There is no other run here to compare with.", markup=False)

    def _compare_with(self, run: Path | str | None) -> None:
        if run is None:
            return
        self._baseline = Baseline(run.name, History(run)) if isinstance(run, Path) else None
        self.draw_charts()
        self.look_now()

    # --- panes

    def action_show_pane(self, pane: str) -> None:
        """Open a pane and give it the focus."""
        self._open_pane(pane)
        self._panes[pane].take_focus()

    def action_filter_log(self) -> None:
        """Filter the log."""
        self._open_pane("log")
        self.query_one(LogPane).open_filter()

    def on_pane_tab_chosen(self, message: PaneTab.Chosen) -> None:
        self.action_show_pane(message.pane)

    def _open_pane(self, name: str) -> None:
        if self.maximized is not None:
            self.minimize()
        for each, pane in self._panes.items():
            pane.display = each == name
        self.query_one(PaneTabs).choose(name)
        self.set_class(name == "rates", "-rates-open")
        self.call_after_refresh(self._draw_open)

    def _draw_open(self) -> None:
        for pane in self._panes.values():
            pane.draw_if_open()
        self.draw_charts()

    def show_sample_of(self, prompt: str) -> None:
        """Show what the model wrote after a prompt that a person typed."""
        self._open_pane("samples")
        self.query_one(SamplesPane).show_newest_of(prompt)

    def show_asked(self) -> None:
        """Show at once what was asked of the trainer."""
        if self.seen is not None:
            self._draw_headline(self.seen)


def _happened(row: Row) -> str:
    """The kind of an event; of a command that was obeyed, the command."""
    applied = row.get("kind") == "command_applied"
    return str(row.get("command" if applied else "kind"))
