"""Asks for one line of text."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from tinychat_monitor.widgets.inert import InertText


class PromptScreen(ModalScreen[str | None]):
    """One line of text, or None. Enter answers, Escape cancels."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel", show=False)]

    def __init__(self, question: str = "Sample of which prompt?", text: str = "") -> None:
        super().__init__()
        self._question = question
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical(classes="question"):
            yield InertText("question").with_text(self._question)
            yield Input(
                self._text, placeholder="what a person would write", id="prompt", compact=True
            )
            yield InertText("told").with_text("Enter sends it, Escape cancels.")

    @on(Input.Submitted)
    def _answer(self, event: Input.Submitted) -> None:
        self.dismiss(event.value if event.value.strip() else None)

    def action_cancel(self) -> None:
        """No prompt."""
        self.dismiss(None)
