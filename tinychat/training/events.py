"""What happens in a run, as small typed records. The trainer emits them; listeners do the rest."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tinychat.runs import State


@dataclass(frozen=True)
class Began:
    """An attempt is about to take its first step."""

    step: int
    max_steps: int
    parameters: int
    rows_per_epoch: int
    device: str
    dtype: str
    lineage: str


@dataclass(frozen=True)
class StateChanged:
    """The trainer turns to something else."""

    state: State
    step: int
    message: str = ""


@dataclass(frozen=True)
class Beat:
    """A sign of life in the middle of something long."""


@dataclass(frozen=True)
class Stepped:
    """One update is done. Rates are per second of this step; loss is nats per target token."""

    step: int
    train_loss: float
    learning_rate: float
    grad_norm: float
    tokens_seen: int
    tokens_per_second: float
    step_seconds: float
    memory_bytes: int
    eta_seconds: float | None
    skipped: bool = False
    held_up_seconds: float = 0.0  # the process stood still meanwhile; not in step_seconds
    reward_margin: float | None = None  # these two of the step's examples, in preference tuning
    preference_accuracy: float | None = None

    @property
    def more(self) -> dict[str, float]:
        """What only some runs measure, by the name of its column."""
        return _measured(self, "reward_margin", "preference_accuracy")


@dataclass(frozen=True)
class Evaluated:
    """The whole validation split was evaluated."""

    step: int
    val_loss: float
    bits_per_byte: float | None
    seconds: float
    is_best: bool
    replay_val_loss: float | None = None  # on the old data, of a run that mixes it in
    preference_loss: float | None = None  # these three on preferences that were held out
    preference_accuracy: float | None = None
    reward_margin: float | None = None

    @property
    def more(self) -> dict[str, float]:
        """What only some runs measure, by the name of its column."""
        names = ("replay_val_loss", "preference_loss", "preference_accuracy", "reward_margin")
        return _measured(self, *names)


@dataclass(frozen=True)
class Sampled:
    """One live sample."""

    step: int
    prompt: str
    text: str
    seed: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class CheckpointSaved:
    """A checkpoint is published, durable, and older ones have been thinned."""

    step: int
    seconds: float
    size_bytes: int
    best_step: int | None
    best_val_loss: float | None
    pruned: tuple[int, ...] = ()


@dataclass(frozen=True)
class WentBack:
    """The weights are those of an earlier checkpoint again; what came after counts no more."""

    step: int
    tokens_seen: int
    best_step: int | None
    best_val_loss: float | None


@dataclass(frozen=True)
class CommandAnswered:
    """A command from outside was applied or refused."""

    step: int
    id: str
    command: str
    applied: bool
    result: str
    by: str = ""  # who asked


@dataclass(frozen=True)
class Noted:
    """Something a person should know. kind: warning, alert, skipped, error, resume ..."""

    kind: str
    step: int
    message: str
    details: dict[str, Any] = field(default_factory=dict)


Event = (
    Began
    | StateChanged
    | Beat
    | Stepped
    | Evaluated
    | Sampled
    | CheckpointSaved
    | WentBack
    | CommandAnswered
    | Noted
)
Listener = Callable[[Event], None]


def _measured(event: object, *names: str) -> dict[str, float]:
    values = {name: getattr(event, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}
