"""How each true state of a run is shown: a sign, a word and a colour, never colour alone."""

from collections.abc import Mapping
from typing import NamedTuple


class Look(NamedTuple):
    """The sign of a state, and the name of its colour."""

    glyph: str
    colour: str


_GETTING_READY = Look("○", "cyan")
_AT_WORK = Look("●", "green")

LOOKS: Mapping[str, Look] = {
    "starting": _GETTING_READY,
    "compiling": _GETTING_READY,
    "training": _AT_WORK,
    "evaluating": _AT_WORK,
    "sampling": _AT_WORK,
    "saving": _AT_WORK,
    "paused": Look("‖", "yellow"),
    "finished": Look("✓", "blue"),
    "stopped": Look("■", "blue"),
    "failed": Look("✗", "red"),
    "crashed": Look("✗", "red"),
    "stalled": Look("!", "yellow"),
    "other host": Look("?", "magenta"),
    "unknown": Look("?", "magenta"),
}

ENDED = frozenset({"finished", "stopped", "failed"})  # by its own word
OVER = ENDED | {"crashed"}  # nobody trains it any more
NOT_GOING_ON = OVER | {"other host", "unknown"}  # no process here will obey
LIVE = frozenset(LOOKS) - NOT_GOING_ON - {"stalled"}


def look_of(state: str) -> Look:
    """How a state is shown; one that this version does not know looks unknown."""
    return LOOKS.get(state, LOOKS["unknown"])


def state_word(state: str) -> str:
    """The sign and the word: "● training"."""
    return f"{look_of(state).glyph} {state}"
