"""What happened in a run, and what a person should know of it."""

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll

from tinychat import words
from tinychat.runs import Row
from tinychat.watch.details import RunLook
from tinychat.watch.health import Note
from tinychat.watch.overview import finite_number
from tinychat_monitor.options import options_of
from tinychat_monitor.themes import Colour, state_colours
from tinychat_monitor.widgets.headline import note_text, remarks
from tinychat_monitor.widgets.inert import InertText
from tinychat_monitor.widgets.panes import Lines, Pane

EVENTS = 500  # the newest, that are drawn
_MESSAGE_CHARACTERS = 1000
_COLOURS = {
    "error": "red",
    "alert": "red",
    "skipped": "red",
    "roll_back": "red",
    "out_of_memory": "yellow",
    "disk": "yellow",
    "gap": "yellow",
    "warning": "yellow",
    "command_refused": "yellow",
    "command_applied": "cyan",
    "checkpoint_saved": "green",
}


class EventsPane(Pane):
    """The notes on the run's health, then its events, the newest last."""

    DEFAULT_CSS = """
    EventsPane #notes { height: auto; max-height: 50%; }
    EventsPane #notes InertText { height: auto; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__("events")

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="notes", can_focus=False):
            yield InertText("notes-text")
        yield Lines()

    def depends_on(self, look: RunLook) -> object:
        return look.history.version, self._remarks(look)

    def draw(self, look: RunLook) -> None:
        colour = state_colours(self.app.current_theme)
        notes = self._remarks(look)
        told = Text("\n").join(note_text(note, colour) for note in notes)
        self.query_one("#notes-text", InertText).show(told)
        self.query_one("#notes").display = bool(notes)
        self.query_one(Lines).show([event_line(row, colour) for row in newest_events(look)])

    def _remarks(self, look: RunLook) -> list[Note]:
        return remarks(look, readonly=options_of(self).readonly)


def newest_events(look: RunLook, most: int = EVENTS) -> list[Row]:
    """The last events, oldest first."""
    with look.history.lock:
        return list(look.history.events[-most:])


def event_line(row: Row, colour: Colour, *, short: bool = False) -> Text:
    """One event: when, at which step, what, and who asked for it. `short` is for the rail."""
    kind = words.clip(words.inert(str(row.get("kind", "event"))), 24)
    when = words.clock(finite_number(row.get("time")))
    step = row.get("step")
    at = f"step {step:,}" if type(step) is int else ""
    message = words.clip(words.inert(str(row.get("message", ""))), _MESSAGE_CHARACTERS)
    style = colour(_COLOURS[kind]) if kind in _COLOURS else ""
    if short:
        return Text.assemble((f"{when[:5]} ", "dim"), (message or kind, style))
    line = Text.assemble((f"{when}  ", "dim"), (f"{at:<13}  ", "dim"))
    line.append(f"{kind.replace('_', ' ')}  ", style)
    line.append(message)
    if row.get("by"):
        line.append(f"  by {words.clip(words.inert(str(row['by'])), 60)}", "dim")
    return line
