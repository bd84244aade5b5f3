"""What belongs to one browser tab, and to nobody else."""

import time
from dataclasses import dataclass, field
from typing import Any

from tinychat.engine import Answer

NEWEST, BEST = "newest", "best"


@dataclass(eq=False)
class Session:
    """One browser tab: what it looks at, which model answers it, and the answer on its way.

    Gradio copies the empty one for each tab and keeps it on the server. Handlers change it in
    place, so that "stop" reaches the answer that another handler is streaming.
    """

    conversation: str | None = None
    run: str | None = None
    step: str = NEWEST  # "newest", "best" or a number
    model: str | None = None  # what answers now, as the shelf opens it: "demo@300"
    about: "About | None" = None
    loading: str | None = None
    note: str = ""  # about the last choice, until the next one
    refused: dict[str, str] = field(default_factory=dict)  # checkpoint -> why it cannot answer
    answer: Answer | None = None  # on its way
    asking: bool = False  # from the click to the last word
    asked_at: int = 0  # nanoseconds of the last click
    stopped: bool = False  # by the person, perhaps before there was an answer to cancel
    told: dict[str, Any] = field(default_factory=dict)  # what each component was last sent


@dataclass(frozen=True)
class About:
    """What the page says of the model that answers."""

    label: str  # as answers of it are stamped
    is_chat: bool
    passport: tuple[tuple[str, str], ...]  # what is shown, and what it means
    prompts: tuple[str, ...]  # to begin with
    remarks: tuple[str, ...]


def made_at() -> int:
    """When a view is made; to be asked before anything is read for it.

    Handlers of one tab run side by side, and what they send may arrive in another order. The
    browser shows no view that was made before the one that it has.
    """
    return time.time_ns() // 1000  # a whole number that JavaScript can hold
