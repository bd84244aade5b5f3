"""One row with the names of the panes, for eyes and the mouse; the keys are the screen's."""

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.events import Click
from textual.message import Message
from textual.widgets import Static

PANES = ("samples", "events", "log", "rates", "settings", "checkpoints")


class PaneTab(Static):
    """The name of one pane."""

    class Chosen(Message):
        """A person clicked on a name."""

        def __init__(self, pane: str) -> None:
            super().__init__()
            self.pane = pane

    def __init__(self, number: int, pane: str) -> None:
        super().__init__(f"{number} {pane.capitalize()}", id=f"tab-{pane}", markup=False)
        self._pane = pane

    def on_click(self, event: Click) -> None:
        event.stop()
        self.post_message(self.Chosen(self._pane))


class PaneTabs(Horizontal):
    """The row."""

    DEFAULT_CSS = """
    PaneTabs { height: 1; background: $panel; }
    PaneTabs PaneTab { width: auto; padding: 0 1 0 0; color: $text-muted; }
    PaneTabs PaneTab:hover { color: $text; text-style: underline; }
    PaneTabs PaneTab.-chosen { color: $primary; text-style: bold reverse; }
    """

    def compose(self) -> ComposeResult:
        for number, pane in enumerate(PANES, start=1):
            yield PaneTab(number, pane)

    def choose(self, pane: str) -> None:
        """Mark the open pane."""
        for tab in self.query(PaneTab):
            tab.set_class(tab.id == f"tab-{pane}", "-chosen")
