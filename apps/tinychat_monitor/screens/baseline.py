"""Which run to compare with."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tinychat import words
from tinychat_monitor.widgets.inert import InertText

_NONE = 0  # the place of "no baseline" in the list


class BaselineScreen(ModalScreen[Path | Literal["none"] | None]):
    """One of the runs, "none" for no baseline, or None to leave things as they are."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel", show=False)]
    DEFAULT_CSS = """
    BaselineScreen OptionList { height: auto; max-height: 16; border: none; padding: 0; }
    """

    def __init__(self, runs: Sequence[Path]) -> None:
        super().__init__()
        self._runs = list(runs)

    def compose(self) -> ComposeResult:
        names = (words.clip(words.inert(run.name), 56) for run in self._runs)
        with Vertical(classes="question"):
            yield InertText("question").with_text("Compare with which run?")
            yield OptionList(
                Option(Text("no baseline", "italic")), *(Option(Text(name)) for name in names)
            )
            yield InertText("told").with_text("Enter chooses, Escape leaves all as it is.")

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        place = event.option_index
        self.dismiss("none" if place == _NONE else self._runs[place - 1])

    def action_cancel(self) -> None:
        """Leave things as they are."""
        self.dismiss(None)
