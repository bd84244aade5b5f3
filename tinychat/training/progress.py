"""Where a run stands: the few numbers that are all of it, beside weights and optimizer memory."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

# fp16 gradients are computed on a scaled loss, or the small ones would vanish
FIRST_LOSS_SCALE = 2.0**14


@dataclass
class Progress:
    """state.json is this, word for word."""

    step: int = 0
    tokens_seen: int = 0
    best_step: int | None = None
    best_val_loss: float | None = None
    evaluated_step: int | None = None  # the newest
    skipped_steps: int = 0
    bad_steps_in_a_row: int = 0
    dtype: str = "fp32"  # what loss_scale belongs to
    loss_scale: float = 1.0
    steps_at_this_scale: int = 0
    best_preference_loss: float | None = None  # of the best step, in preference tuning
    old_val_loss_at_start: float | None = None  # on what the weights had learnt before,
    old_val_loss: float | None = None  # and at the newest evaluation
    val_loss: float | None = None  # at the newest evaluation; None where it was not finite

    def to_json(self) -> dict[str, Any]:
        return {"format": 1, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Progress":
        """Raises KeyError for a document that lacks one of the numbers that were always there."""
        known = [each.name for each in fields(cls) if each.name in document]
        if lacking := _ALWAYS - {*known}:
            raise KeyError(min(lacking))
        return cls(**{name: document[name] for name in known})

    def become(self, other: "Progress") -> None:
        """Stand where `other` stands; whoever holds this one sees it."""
        for each in fields(self):
            setattr(self, each.name, getattr(other, each.name))


_ALWAYS = {each.name for each in fields(Progress)} - {
    "best_preference_loss",
    "old_val_loss_at_start",
    "old_val_loss",
    "val_loss",
}
