"""How to choose tokens, as flags of `generate` and `chat`. The engine judges the values."""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:  # it imports torch
    from tinychat.engine import Sampling

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class SamplingFlags:
    """Applied in this order: repetition penalty, temperature, top-k, top-p, min-p."""

    max_new_tokens: int = 256
    """Longest answer, in tokens."""
    temperature: float = 0.8
    """How freely to choose; 0 always takes the likeliest token."""
    top_k: int | None = 40
    """Choose among this many likeliest tokens (none: among all)."""
    top_p: float | None = None
    """Choose among the likeliest tokens that together reach this share (none: off)."""
    min_p: float | None = None
    """Choose among tokens at least this share as likely as the likeliest (none: off)."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that were already there less likely."""
    stop: tuple[str, ...] = ()
    """End the answer before the first of these texts."""
    seed: int | None = None
    """The same seed gives the same answer (none: draw one, and tell it)."""

    def rules(self, seed: int) -> "Sampling":
        """For the engine. Raises SettingsError with all problems."""
        from tinychat.engine import Sampling

        return Sampling(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            stop=self.stop,
            seed=seed,
        )


SAMPLING = SamplingFlags()
Rules = Annotated[SamplingFlags, Parameter(name="*")]


def draw_seed() -> int:
    """A seed nobody has thought of, short enough to be typed again."""
    return secrets.randbelow(1_000_000)
