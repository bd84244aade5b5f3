"""Every setting of a run, where it comes from, and what it means."""

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import DataTable

from tinychat import words
from tinychat.watch.details import RunLook, SettingLine
from tinychat_monitor.widgets.inert import InertText
from tinychat_monitor.widgets.panes import Pane

_VALUE_CHARACTERS = 48


class SettingsPane(Pane):
    """A table of settings, those that differ from the default first; the chosen one's meaning."""

    DEFAULT_CSS = """
    SettingsPane DataTable { height: 1fr; background: transparent; scrollbar-size-vertical: 1; }
    SettingsPane InertText { height: auto; max-height: 3; padding: 0 1; color: $text-muted; }
    """

    def __init__(self) -> None:
        super().__init__("settings")
        self._lines: list[SettingLine] = []

    def compose(self) -> ComposeResult:
        yield DataTable(cursor_type="row", zebra_stripes=False)
        yield InertText("setting-help")

    def on_mount(self) -> None:
        self.query_one(DataTable).add_columns(Text(" setting"), Text("value"), Text("from"))

    def depends_on(self, look: RunLook) -> object:
        return look.settings

    def draw(self, look: RunLook) -> None:
        lines = self._lines = sorted(look.settings, key=_is_default)
        table = self.query_one(DataTable)
        table.clear()
        for line in lines:
            changed = not _is_default(line)
            style = "bold" if changed else ""
            cells = (f"{'*' if changed else ' '}{line.name}", line.value, line.source)
            table.add_row(
                *(Text(words.clip(words.inert(cell), _VALUE_CHARACTERS), style) for cell in cells)
            )
        self._explain(0)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        event.stop()
        self._explain(event.cursor_row)

    def _explain(self, row: int) -> None:
        told = "its settings cannot be read"
        if 0 <= row < len(self._lines):  # -1 of an empty table
            line = self._lines[row]
            whole = f"{line.value}: " if len(line.value) > _VALUE_CHARACTERS else ""
            told = words.clip(words.inert(f"{line.name}: {whole}{line.help}"), 600)
        self.query_one("#setting-help", InertText).show(told)


def _is_default(line: SettingLine) -> bool:
    return line.source == "default"
