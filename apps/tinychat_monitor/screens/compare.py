"""Several runs on one chart, and their numbers beside the first one's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Footer

from tinychat import words
from tinychat.watch.curves import Axis, nearest
from tinychat.watch.history import History
from tinychat.watch.overview import Overview, Watch
from tinychat.watch.states import state_word
from tinychat_monitor import keys
from tinychat_monitor.screens.chart_keys import ChartKeys
from tinychat_monitor.themes import run_colours
from tinychat_monitor.widgets.chart import Chart, Source
from tinychat_monitor.widgets.chart_series import LOSS
from tinychat_monitor.widgets.inert import InertText
from tinychat_monitor.widgets.looking import LookingScreen

_SLICE = 0.05  # seconds of reading for each run and look
_WEIGHT = 0.9  # of the moving average that is compared
_NAME = 18


@dataclass(frozen=True)
class Common:
    """The farthest x that all runs have reached, and each one's smoothed training loss there."""

    x: float
    losses: tuple[float | None, ...]


class CompareScreen(ChartKeys, LookingScreen[list[Overview]]):
    """These runs, each in its colour and with its sign; the first is what others are held to."""

    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("compare")

    def __init__(self, runs: Sequence[Path]) -> None:
        super().__init__()
        self._runs = list(runs)
        self._watches = {run: Watch(run.parent) for run in runs}
        self._histories = [History(run) for run in runs]
        self._seen: list[Overview] = []

    def compose(self) -> ComposeResult:
        yield InertText("title", classes="title")
        yield Chart(LOSS, title="loss", unit="nats/token", id="chart")
        yield InertText("numbers")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(Chart).focus()
        self.app.theme_changed_signal.subscribe(self, lambda _: self._show_numbers())

    def look(self) -> list[Overview]:
        """Read on in each run."""
        for history in self._histories:
            history.follow(_SLICE)
        return [self._watches[run].look_at(run) for run in self._runs]

    def show(self, seen: list[Overview]) -> bool:
        """Draw the chart and the table."""
        self._seen = seen
        share = min(history.share for history in self._histories)
        reading = f"   reading {100 * share:.0f}%" if share < 1.0 else ""
        names = words.count(len(self._runs), "run")
        self.query_one("#title", InertText).show(f"tinychat  {names} compared{reading}")
        self.draw_charts()
        return any(history.reading for history in self._histories)

    def charts(self) -> Sequence[Chart]:
        """The one chart."""
        return [self.query_one(Chart)]

    def histories(self) -> list[History]:
        """In the order of the table."""
        return self._histories

    def draw_charts(self) -> None:
        """The chart in the view as it is now, and the numbers that go with its axis."""
        sources = [
            Source(run.name, history, place)
            for place, (run, history) in enumerate(zip(self._runs, self._histories, strict=True))
        ]
        self.query_one(Chart).show(sources, self.view, ())
        self._show_numbers()

    def _show_numbers(self) -> None:
        if self._seen:
            common = common_losses(self._histories, self.view.axis)
            text = self._table(numbers(self._seen, common, self.view.axis))
            self.query_one("#numbers", InertText).show(text)

    def _table(self, rows: list[tuple[str, ...]]) -> Text:
        colours = run_colours(self.app.current_theme)
        header, *lines = words.table(rows, right=range(2, len(rows[0])))
        text = Text(f"{header}\n", "bold", no_wrap=True)
        for place, line in enumerate(lines):
            text.append(f"{line}\n", f"not bold {colours[place % len(colours)]}")
        text.rstrip()
        return text


def common_losses(histories: Sequence[History], axis: Axis) -> Common | None:
    """The runs at the farthest x that all have reached; None while one has no rows."""
    ends: list[float] = []
    for history in histories:
        with history.lock:
            ends += map(float, history.train.xs(axis)[-1:])
    if len(ends) < len(histories):
        return None
    x = min(ends)
    losses: list[float | None] = []
    for history in histories:
        with history.lock:
            row = nearest(history.train, axis, x)
            if row is None or "train_loss" not in history.train.columns:
                losses.append(None)
            else:
                losses.append(history.train.ema("train_loss", _WEIGHT).values[row])
    return Common(x, tuple(losses))


def numbers(runs: Sequence[Overview], common: Common | None, axis: Axis) -> list[tuple[str, ...]]:
    """The table: a header, then each run, with the difference to the first at the same x."""
    at = "train at " + ("–" if common is None else _place(common.x, axis))
    rows = [("run", "state", "step", "train", "val", "best", at, "to first")]
    for place, run in enumerate(runs):
        here = None if common is None else common.losses[place]
        first = None if common is None else common.losses[0]
        rows.append(
            (
                words.clip(words.inert(run.name), _NAME),
                state_word(run.state),
                words.short(run.step),
                run.loss_word("train_loss"),
                run.loss_word("val_loss"),
                words.loss(run.best.val_loss if run.best else None),
                words.loss(here),
                words.NOTHING
                if here is None or first is None or place == 0
                else words.signed(words.loss(abs(here - first)), here - first),
            )
        )
    return rows


def _place(x: float, axis: Axis) -> str:
    if axis == "time":
        return words.duration(x)
    return f"{words.short(x)} tokens" if axis == "tokens" else f"step {words.number(int(x))}"
