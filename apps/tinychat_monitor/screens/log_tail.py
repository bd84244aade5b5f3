"""The end of a log in a box."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen

from tinychat import words
from tinychat_monitor.widgets.inert import InertText


class LogTailScreen(ModalScreen[None]):
    """Shows a text from elsewhere, its end first in view; Escape, Enter or q closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q", "app.pop_screen", "Close", show=False)
    ]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._heading = title
        self._text = words.inert(text, keep="\n\t").expandtabs()

    def compose(self) -> ComposeResult:
        with Vertical(classes="question tall"):
            yield InertText("question").with_text(words.inert(self._heading))
            with VerticalScroll():
                yield InertText("text").with_text(self._text or "(nothing)")
            yield InertText("told").with_text("Escape closes this.")

    def on_mount(self) -> None:
        scroll = self.query_one(VerticalScroll)
        scroll.focus()
        scroll.scroll_end(animate=False)
