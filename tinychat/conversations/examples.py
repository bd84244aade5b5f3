"""What there is to learn from a judgement: the form that preference tuning reads.

A rewrite is learnt as it stands (sft). A pick is a pair: this answer rather than that one (dpo, or
orpo, which needs no reference model). A thumb says of one answer alone whether it was good (kto).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Objective = Literal["sft", "dpo", "kto", "orpo"]


@dataclass(frozen=True)
class Reply:
    """An answer to learn from. `ended`: the model ended it, so that its end is part of it."""

    text: str
    ended: bool = True


@dataclass(frozen=True, kw_only=True)
class Example:
    """One thing to learn. sft: `chosen`; dpo and orpo: both replies; kto: exactly one of them."""

    objective: Objective
    prompt: tuple[Mapping[str, str], ...] | str  # turns; a text where a text is continued
    chosen: Reply | None  # to become likelier
    rejected: Reply | None  # to become less likely
    source: str  # id of the judgement, or file and line
