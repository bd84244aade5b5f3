"""Questions before something that cannot be taken back. Cancel has the focus; Escape is Cancel."""

from typing import ClassVar, Generic, Literal, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button

from tinychat import words
from tinychat_monitor.widgets.inert import InertText

Answer = TypeVar("Answer")


class QuestionScreen(ModalScreen[Answer | None], Generic[Answer]):
    """A question with buttons: (id, label, variant) each; the last one is Cancel."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", show=False),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]
    question: str
    told: str
    buttons: tuple[tuple[str, str, Literal["default", "warning", "error"]], ...]

    def compose(self) -> ComposeResult:
        with Vertical(classes="question"):
            yield InertText("question").with_text(self.question)
            yield InertText("told").with_text(self.told)
            with Horizontal(classes="buttons"):
                for name, label, variant in self.buttons:
                    yield Button(label, variant, id=name, compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        self.query_one("#cancel", Button).focus()

    def action_cancel(self) -> None:
        """Leave everything as it is."""
        self.dismiss(None)

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)


class StopScreen(QuestionScreen[Literal["save", "discard"]]):
    """Whether to stop a run, and whether to save first. None is Cancel."""

    buttons = (
        ("save", "Save and stop", "warning"),
        ("discard", "Stop without saving", "error"),
    )

    def __init__(self, name: str, step: int | None = None, saved: int | None = None) -> None:
        """`step` is where the run is, `saved` its newest checkpoint."""
        super().__init__()
        self.question = f"Stop {words.inert(name)}?"
        lost = None if step is None or saved is None else max(0, step - saved)
        self.told = "It can be resumed later." + (
            f" Without saving, {words.count(lost, 'step')} since step {saved:,} must be done again."
            if lost and saved is not None
            else ""
        )

    @on(Button.Pressed, "#save")
    def _save(self) -> None:
        self.dismiss("save")

    @on(Button.Pressed, "#discard")
    def _discard(self) -> None:
        self.dismiss("discard")


class EndScreen(QuestionScreen[bool]):
    """Whether to end a process that does not obey. True is yes; None is Cancel."""

    def __init__(self, name: str, pid: int, *, kill: bool = False) -> None:
        """`kill` asks about SIGKILL, after SIGTERM did not help."""
        super().__init__()
        name = words.inert(name)
        if kill:
            self.question = f"Kill process {pid} of {name} (SIGKILL)?"
            self.told = "Nothing more is saved; the run goes on from its newest checkpoint."
        else:
            self.question = f"{name} has not stopped. End process {pid} (SIGTERM)?"
            self.told = "It saves if it still can, and ends."
        self.buttons = (("end", "Kill it" if kill else "End it", "error"),)

    @on(Button.Pressed, "#end")
    def _end(self) -> None:
        self.dismiss(True)
