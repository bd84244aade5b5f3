"""The smaller charts: learning rate, tokens a second, gradient norm, memory; and of preference
tuning the reward margin and the loss on preferences that are held out.
"""

from textual.app import ComposeResult
from textual.containers import Container

from tinychat.watch.details import RunLook
from tinychat_monitor.widgets.chart import Chart
from tinychat_monitor.widgets.chart_picture import has_any
from tinychat_monitor.widgets.chart_series import (
    GRADIENT,
    LEARNING_RATE,
    MARGIN,
    MEMORY,
    PREFERENCE_LOSS,
    THROUGHPUT,
)
from tinychat_monitor.widgets.panes import Pane

# (what it draws, title, unit)
_RATES = (
    (LEARNING_RATE, "learning rate", ""),
    (THROUGHPUT, "speed", "tokens/s"),
    (GRADIENT, "gradient norm", ""),
    (MEMORY, "memory", "bytes"),
    (MARGIN, "reward margin", "nats"),
    (PREFERENCE_LOSS, "preferences", ""),
)
_OF_ANY_RUN = 4  # the first ones


def _charts(place: str, count: int) -> list[Chart]:
    """The first so many of them; `place` tells their ids from those elsewhere."""
    return [
        Chart(series, title=title, unit=unit, id=f"{place}-{title.replace(' ', '-')}")
        for series, title, unit in _RATES[:count]
    ]


class RatesRow(Container):
    """Three of the charts in a row, below the loss on a wide screen."""

    DEFAULT_CSS = """
    RatesRow { layout: grid; grid-size: 3 1; height: 1fr; }
    """

    def compose(self) -> ComposeResult:
        yield from _charts("row", 3)


class RatesPane(Pane):
    """Two by two, and a third row for a run of preference tuning. The screen draws them, in the
    view of the loss chart."""

    DEFAULT_CSS = """
    RatesPane { layout: grid; grid-size: 2; grid-rows: 1fr; }
    RatesPane .preferences { display: none; }
    RatesPane.-tuned .preferences { display: block; }
    """

    def __init__(self) -> None:
        super().__init__("rates")

    def compose(self) -> ComposeResult:
        for number, chart in enumerate(_charts("pane", len(_RATES))):
            chart.set_class(number >= _OF_ANY_RUN, "preferences")
            yield chart

    def depends_on(self, look: RunLook) -> object:
        return has_any(look.history.train, "reward_margin")

    def draw(self, look: RunLook) -> None:
        """Only which charts there are: they are drawn with all others."""
        self.set_class(has_any(look.history.train, "reward_margin"), "-tuned")
