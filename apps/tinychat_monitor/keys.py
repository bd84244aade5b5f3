"""Every key in one table: bindings, footer, help screen, command palette and docs come from it.

A key belongs to places: "app" (everywhere), a screen ("runs", "run", "compare"), or a pane which
must have the focus ("runs_table", "samples", "checkpoints"). What it does is an action there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding, BindingType

Place = Literal["app", "runs", "run", "compare", "runs_table", "samples", "checkpoints"]
Group = Literal["general", "runs", "training", "chart", "view", "samples"]

GROUPS: dict[Group, str] = {
    "general": "Everywhere",
    "runs": "List of runs",
    "training": "Training",
    "view": "Panes of a run",
    "chart": "Charts",
    "samples": "In the samples",
}


@dataclass(frozen=True)
class Key:
    """One key, or several for one thing."""

    id: str  # for a keymap, and for the palette
    keys: str  # as Textual names them, separated by commas
    shown: str  # as a person reads them
    label: str
    tooltip: str
    group: Group
    where: tuple[Place, ...]
    action: str
    steers: bool = False  # asks something of a trainer, so --readonly takes it away
    footer: int | None = None  # in the footer from so many columns on


def _general(
    id: str, keys: str, shown: str, label: str, tooltip: str, action: str, footer: int | None = None
) -> Key:
    return Key(id, keys, shown, label, tooltip, "general", ("app",), action, footer=footer)


def _chart(
    id: str, keys: str, shown: str, label: str, tooltip: str, *, footer: int | None = None
) -> Key:
    places: tuple[Place, ...] = ("run", "compare")
    return Key(id, keys, shown, label, tooltip, "chart", places, id, footer=footer)


def _crosshair(key: str, shown: str, way: str, tooltip: str, columns: int) -> Key:
    id, action = f"crosshair_{way.replace(' ', '_')}", f"move_crosshair({columns})"
    return Key(id, key, shown, f"Crosshair {way}", tooltip, "chart", ("run", "compare"), action)


def _training(id: str, key: str, label: str, tooltip: str, *, footer: int | None = None) -> Key:
    return Key(id, key, key, label, tooltip, "training", ("run",), id, steers=True, footer=footer)


def _pane(number: int, name: str, tooltip: str) -> Key:
    pane = name.lower()
    action, shown = f"show_pane('{pane}')", str(number)
    return Key(f"pane_{pane}", shown, shown, name, tooltip, "view", ("run",), action)


def _sample(id: str, keys: str, shown: str, label: str, tooltip: str) -> Key:
    return Key(id, keys, shown, label, tooltip, "samples", ("samples",), id)


KEYS: tuple[Key, ...] = (
    # --- the list of runs
    Key("open", "enter", "enter", "Open", "Open the chosen run", "runs", ("runs_table",),
        "select_cursor", footer=1),
    Key("mark", "space", "space", "Mark", "Mark the run for comparing, or take the mark away",
        "runs", ("runs",), "mark", footer=80),
    Key("compare", "o", "o", "Compare", "Compare the marked runs on one chart", "runs", ("runs",),
        "compare", footer=80),
    Key("new_run", "n", "n", "New", "Start a new run; it outlives this terminal", "runs",
        ("runs",), "new_run", steers=True, footer=1),
    Key("resume_chosen", "r", "r", "Resume", "Go on with a stopped, crashed or failed run", "runs",
        ("runs",), "resume", steers=True, footer=1),
    Key("filter_runs", "slash", "/", "Filter", "Show only runs whose name or state has this text",
        "runs", ("runs",), "filter", footer=1),
    # --- training
    _training("pause", "p", "Pause", "Pause, or go on with a paused run", footer=1),
    _training("checkpoint", "c", "Checkpoint", "Save a checkpoint now", footer=1),
    _training("sample", "g", "Sample", "Write samples now", footer=1),
    _training("sample_prompt", "G", "Sample a prompt", "Write a sample of a prompt that you type"),
    _training("evaluate", "E", "Evaluate", "Evaluate now"),
    _training("stop", "S", "Stop", "Stop training; asks first, and whether to save", footer=1),
    _training("resume", "r", "Resume", "Go on with a stopped, crashed or failed run", footer=1),
    # --- charts
    _chart("toggle_log_x", "x", "x", "Log x", "Logarithmic x axis, or back", footer=70),
    _chart("toggle_log_y", "y", "y", "Log y", "Logarithmic y axis, or back"),
    _chart("next_axis", "t", "t", "x axis", "x is steps, tokens, or time"),
    _chart("next_smoothing", "e", "e", "Smoothing", "Exponential moving average: none, 0.9, 0.98"),
    _chart("zoom_in", "plus,equals_sign", "+", "Zoom in", "Zoom in, at the crosshair if it is on"),
    _chart("zoom_out", "minus", "-", "Zoom out", "Zoom out"),
    _chart("zoom_all", "0", "0", "Whole run", "Show the whole run"),
    _chart("next_zoom", "z", "z", "Zoom", "Show all, the last half, the last 10%, the last 1%"),
    _chart("pan_left", "left_square_bracket", "[", "Pan left", "Move the view to earlier steps"),
    _chart("pan_right", "right_square_bracket", "]", "Pan right", "Move the view to later steps"),
    _chart("toggle_crosshair", "i", "i", "Crosshair",
           "Read the values at one step; then left and right move it"),
    _crosshair("left", "←", "left", "Move the crosshair to earlier steps", -1),
    _crosshair("right", "→", "right", "Move the crosshair to later steps", 1),
    _crosshair("shift+left", "shift+←", "far left", "Ten columns to earlier steps", -10),
    _crosshair("shift+right", "shift+→", "far right", "Ten columns to later steps", 10),
    Key("choose_baseline", "b", "b", "Baseline", "Choose a run to compare this one with", "chart",
        ("run",), "choose_baseline"),
    _chart("toggle_clip", "v", "v", "Clip warm-up",
           "Leave the first 2% of the steps out of the y range, or not"),
    _chart("follow_newest", "f", "f", "Follow", "Keep the newest step in a zoomed view"),
    Key("freeze", "space", "space", "Freeze", "Freeze the view, not training", "chart", ("run",),
        "freeze"),
    _chart("export", "w", "w", "Export", "Write the chart as CSV, SVG or PNG"),
    # --- panes of a run
    _pane(1, "Samples", "What the model writes, beside an earlier round"),
    _pane(2, "Events", "Checkpoints, pauses, warnings, commands"),
    _pane(3, "Log", "The end of the trainer's log"),
    _pane(4, "Rates", "Learning rate, tokens/s, gradient norm, memory"),
    _pane(5, "Settings", "Every setting and where it comes from"),
    _pane(6, "Checkpoints", "What is kept, which is best, which is pinned"),
    Key("filter_log", "slash", "/", "Filter", "Show only lines of the log with this text", "view",
        ("run",), "filter_log"),
    Key("pin", "k", "k", "Keep", "In the checkpoints: pin the chosen one, or let it go", "view",
        ("checkpoints",), "pin", steers=True, footer=80),
    # --- in the samples
    _sample("previous_prompt", "left", "←", "Prompt", "The prompt before"),
    _sample("next_prompt", "right", "→", "Prompt", "The next prompt"),
    _sample("earlier_round", "up", "↑", "Earlier", "The round of samples before"),
    _sample("later_round", "down", "↓", "Later", "The round of samples after"),
    _sample("first_round", "home", "home", "First", "The first round of samples"),
    _sample("newest_round", "end", "end", "Newest", "The newest round; new ones are shown"),
    # --- everywhere
    _general("help", "question_mark,f1", "? F1", "Help", "All keys and signs", "help", footer=1),
    _general("quit", "q,ctrl+q", "q", "Leave", "Leave the monitor; training goes on", "quit",
             footer=1),
    _general("palette", "ctrl+p", "ctrl+p", "Palette", "Find any command by its name",
             "command_palette"),
    _general("back", "escape", "esc", "Back", "Back to the screen before", "back"),
    _general("maximise", "m", "m", "Maximise", "The focused pane alone, or all again",
             "toggle_maximise"),
    _general("theme", "T", "T", "Theme", "The next theme; it is remembered", "next_theme"),
    _general("focus_next", "tab", "tab", "Focus", "To the next pane", "focus_next"),
    _general("focus_previous", "shift+tab", "shift+tab", "Focus", "To the pane before",
             "focus_previous"),
)  # fmt: skip

_STEERING = frozenset(key.action for key in KEYS if key.steers)
_PRIORITY = ("ctrl+q",)  # also while a person types


def bindings(where: Place) -> list[BindingType]:
    """The bindings of a screen or pane, for its BINDINGS."""
    made: list[BindingType] = []
    for key in KEYS:
        if where in key.where:
            for one in key.keys.split(","):
                first = one == key.keys.split(",")[0]
                made.append(_binding(key, one, shown=first))
    return made


def _binding(key: Key, one: str, *, shown: bool) -> Binding:
    display = key.shown.split()[0] if shown else None
    return Binding(
        one, key.action, key.label, show=key.footer is not None and shown, key_display=display,
        tooltip=key.tooltip, id=key.id if shown else f"{key.id}.{one}", priority=one in _PRIORITY,
    )  # fmt: skip


def steers(action: str) -> bool:
    """Whether an action asks something of a trainer: such are taken away by --readonly."""
    return action in _STEERING


def grouped() -> list[tuple[str, Sequence[Key]]]:
    """(a group's title, its keys), for the help screen and the docs."""
    return [(title, [key for key in KEYS if key.group == group]) for group, title in GROUPS.items()]


def key_of(id: str | None) -> Key | None:
    """The key of that id."""
    return next((key for key in KEYS if key.id == id), None)


def markdown() -> str:
    """The table for the docs."""
    parts: list[str] = []
    for title, keys in grouped():
        parts += [f"### {title}\n", "| key | | |", "|---|---|---|"]
        for key in keys:
            note = " (not with `--readonly`)" if key.steers else ""
            parts.append(f"| `{key.shown}` | {key.label} | {key.tooltip}{note} |")
        parts.append("")
    return "\n".join(parts)
