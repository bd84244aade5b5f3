"""The end of the trainer's log, or those of its lines that have a text."""

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Input

from tinychat.watch.details import RunLook
from tinychat_monitor.widgets.filter_box import FilterBox
from tinychat_monitor.widgets.inert import InertText
from tinychat_monitor.widgets.panes import Lines, Pane


class LogPane(Pane):
    """The last lines; a filter leaves only those that have its text."""

    DEFAULT_CSS = """
    LogPane InertText { height: 1; padding: 0 1; color: $text-muted; }
    """

    def __init__(self) -> None:
        super().__init__("log")

    def compose(self) -> ComposeResult:
        yield FilterBox("only lines with this text: Enter keeps it, Escape ends it", "log-filter")
        yield InertText("log-found")
        yield Lines()

    def depends_on(self, look: RunLook) -> object:
        return look.log, self.query_one(FilterBox).value

    def draw(self, look: RunLook) -> None:
        wanted = self.query_one(FilterBox).value.strip()
        lines = [line for line in look.log if wanted.casefold() in line.casefold()]
        found = f"{len(lines):,} of the last {len(look.log):,} lines" if wanted else ""
        self.query_one("#log-found", InertText).show(found if look.log else "no log yet")
        self.query_one(Lines).show([_marked(line, wanted) for line in lines])

    def take_focus(self) -> None:
        self.screen.set_focus(self.query_one(Lines), scroll_visible=False)

    def open_filter(self) -> None:
        """Let a person type what to look for."""
        self.take_focus()
        self.query_one(FilterBox).open()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.draw_if_open()


def _marked(line: str, wanted: str) -> Text:
    text = Text(line)
    if wanted:
        text.highlight_words([wanted], "bold reverse", case_sensitive=False)
    return text
