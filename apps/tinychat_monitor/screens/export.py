"""Writes a chart as CSV, SVG or PNG into the current folder, and shows where it is."""

from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Button

from tinychat import words
from tinychat_monitor.export import Format, export
from tinychat_monitor.widgets.chart import Chart
from tinychat_monitor.widgets.inert import InertText

_FORMATS: dict[Format, str] = {
    "csv": "CSV (rows)",
    "svg": "SVG",
    "png": "PNG",
}


class ExportScreen(ModalScreen[None]):
    """Asks for the format; stays to show the path, so that it can be copied."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", show=False),
        Binding("left", "app.focus_previous", show=False),
        Binding("right", "app.focus_next", show=False),
    ]

    class Written(Message):
        """The file is there, or the reason why not."""

        def __init__(self, said: str) -> None:
            super().__init__()
            self.said = said

    def __init__(self, chart: Chart, folder: Path | None = None) -> None:
        """`folder` is the current one unless given."""
        super().__init__()
        self._view = chart.view
        self._folder = folder or Path.cwd()

    def compose(self) -> ComposeResult:
        with Vertical(classes="question"):
            yield InertText("question")
            yield InertText("told")
            with Horizontal(classes="buttons"):
                for kind, label in _FORMATS.items():
                    yield Button(label, "primary", id=kind, compact=True)
                yield Button("Close", id="close", compact=True)

    def on_mount(self) -> None:
        self.query_one("#question", InertText).show(f"Export the chart: {self._view.heading}")
        folder = words.inert(str(self._folder))
        self.query_one("#told", InertText).show(
            f"As it is now: the same part, axes and colours. CSV has every row of that part. "
            f"Written into {folder}; no file is replaced."
        )
        self.query_one("#csv", Button).focus()

    def action_close(self) -> None:
        """Back to the chart."""
        self.dismiss(None)

    @on(Button.Pressed)
    def _chosen(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "close":
            self.dismiss(None)
            return
        self.query_one("#told", InertText).show("Writing…")
        for kind in _FORMATS:
            if kind == event.button.id:
                self._write(kind)

    @work(thread=True, exclusive=True, group="export")
    def _write(self, kind: Format) -> None:
        try:
            said = f"Written: {export(self._view, kind, self._folder)}"
        except OSError as error:
            said = f"Not written into {self._folder}: {error.strerror or error}."
        self.post_message(self.Written(words.inert(said)))

    def on_export_screen_written(self, message: Written) -> None:
        self.query_one("#told", InertText).show(message.said)
        self.query_one("#close", Button).focus()
