"""The column at the right of a wide screen: facts, the last events, and buttons for the mouse."""

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Grid, Vertical
from textual.widgets import Button

from tinychat import words
from tinychat.watch.details import RunLook
from tinychat_monitor.options import options_of
from tinychat_monitor.themes import state_colours
from tinychat_monitor.widgets.events import event_line, newest_events
from tinychat_monitor.widgets.inert import InertText

_EVENTS = 8
_CHARACTERS = 56
_NOISE = ("checkpoint_pruned", "data")  # no news to a person
_SETTINGS = ("preset", "data.paths", "optim.optimizer", "optim.schedule", "batch_size")
_BUTTONS = (
    ("pause", "Pause"),
    ("checkpoint", "Checkpoint"),
    ("sample", "Sample"),
    ("stop", "Stop"),
)


class Rail(Vertical):
    """Facts of one run, its last events, and buttons that do what keys do."""

    DEFAULT_CSS = """
    Rail { width: 44; height: 1fr; border-left: solid $panel; padding: 0 1; }
    Rail #rail-middle { height: 1fr; margin-top: 1; }
    Rail #rail-buttons { grid-size: 2; grid-gutter: 0 1; height: auto; grid-rows: 1; }
    Rail Button { width: 1fr; }
    """

    def compose(self) -> ComposeResult:
        yield InertText("rail-facts")
        with Vertical(id="rail-middle"):
            yield InertText("rail-events")
        with Grid(id="rail-buttons") as buttons:
            buttons.display = not options_of(self).readonly
            for action, label in _BUTTONS:
                yield Button(label, id=f"button-{action}", action=f"screen.{action}", compact=True)

    def show(self, look: RunLook) -> None:
        """Draw a look, if there is room for the rail."""
        if not self.display:
            return
        facts = Text("\n").join(
            Text.assemble((f"{name:<14}", "dim"), words.clip(words.inert(told), _CHARACTERS))
            for name, told in rail_facts(look)
        )
        self.query_one("#rail-facts", InertText).show(facts)
        events = [row for row in newest_events(look) if row.get("kind") not in _NOISE]
        events = events[: -_EVENTS - 1 : -1]
        colour = state_colours(self.app.current_theme)
        lines = [event_line(row, colour, short=True) for row in events]
        heading = Text("last events\n" if lines else "no events yet", "bold")
        told = Text.assemble(heading, Text("\n").join(lines))
        self.query_one("#rail-events", InertText).show(told)
        pause = self.query_one("#button-pause", Button)
        label = "Go on" if look.overview.state == "paused" else "Pause"
        if str(pause.label) != label:
            pause.label = label


def rail_facts(look: RunLook) -> list[tuple[str, str]]:
    """What a run is, as (what, words); what is not known is left out."""
    overview = look.overview
    attempt = look.attempts[-1][1] if look.attempts else None
    chosen = {line.name: line.value for line in look.settings}
    bits = overview.number("bits_per_byte")
    facts = [
        ("parameters", "" if overview.parameters is None else words.short(overview.parameters)),
        ("device", "" if attempt is None else f"{attempt.device} {attempt.dtype}".strip()),
        *((name.rpartition(".")[2], chosen.get(name, "")) for name in _SETTINGS),
        ("tokens seen", "" if not overview.tokens_seen else words.short(overview.tokens_seen)),
        ("bits per byte", "" if bits is None else f"{bits:.3f}"),
        ("step takes", _seconds(overview.number("step_seconds"))),
        ("attempt", _attempt(look)),
        ("checkpoints", _checkpoints(look)),
        ("disk free", "" if look.free_bytes is None else words.size(look.free_bytes)),
    ]
    return [(name, told) for name, told in facts if told and told != "none"]


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.2f} s"


def _attempt(look: RunLook) -> str:
    if not look.attempts:
        return ""
    number, attempt = look.attempts[-1]
    return f"{number}, {attempt.reason} from step {attempt.from_step:,}"


def _checkpoints(look: RunLook) -> str:
    if not look.checkpoints:
        return ""
    size = sum(line.size_bytes for line in look.checkpoints)
    return f"{len(look.checkpoints)}, {words.size(size)}, latest {look.checkpoints[-1].step:,}"
