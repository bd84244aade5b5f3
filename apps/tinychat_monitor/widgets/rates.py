"""The four smaller charts: learning rate, tokens a second, gradient norm, memory."""

from textual.app import ComposeResult
from textual.containers import Container

from tinychat.watch.details import RunLook
from tinychat_monitor.widgets.chart import Chart
from tinychat_monitor.widgets.chart_series import GRADIENT, LEARNING_RATE, MEMORY, THROUGHPUT
from tinychat_monitor.widgets.panes import Pane

# (what it draws, title, unit)
_RATES = (
    (LEARNING_RATE, "learning rate", ""),
    (THROUGHPUT, "speed", "tokens/s"),
    (GRADIENT, "gradient norm", ""),
    (MEMORY, "memory", "bytes"),
)


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
    """All four, two by two. The screen draws them, in the view of the loss chart."""

    DEFAULT_CSS = """
    RatesPane { layout: grid; grid-size: 2 2; }
    """

    def __init__(self) -> None:
        super().__init__("rates")

    def compose(self) -> ComposeResult:
        yield from _charts("pane", 4)

    def depends_on(self, look: RunLook) -> object:
        return None

    def draw(self, look: RunLook) -> None:
        """Nothing: the charts are drawn with all others."""
