"""Asks for the prompt of a sample."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from tinychat_monitor.widgets.inert import InertText

_MOST_CHARACTERS = 10_000  # a trainer takes no command of more than 64 KiB


class PromptScreen(ModalScreen[str | None]):
    """One line of text, or None. Enter answers, Escape cancels."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel", show=False)]

    def compose(self) -> ComposeResult:
        with Vertical(classes="question"):
            yield Input(
                placeholder="what a person would write", id="prompt", compact=True,
                max_length=_MOST_CHARACTERS,
            )  # fmt: skip
            yield InertText("told").with_text("Enter sends it, Escape cancels.")

    @on(Input.Submitted)
    def _answer(self, event: Input.Submitted) -> None:
        self.dismiss(event.value if event.value.strip() else None)

    def action_cancel(self) -> None:
        """No prompt."""
        self.dismiss(None)
