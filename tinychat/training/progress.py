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

    def to_json(self) -> dict[str, Any]:
        return {"format": 1, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Progress":
        """Raises KeyError for a document that lacks one of the numbers."""
        return cls(**{each.name: document[each.name] for each in fields(cls)})

    def become(self, other: "Progress") -> None:
        """Stand where `other` stands; whoever holds this one sees it."""
        for each in fields(self):
            setattr(self, each.name, getattr(other, each.name))
