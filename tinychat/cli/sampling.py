"""How to choose tokens, as flags of `generate` and `chat`. The engine judges the values."""

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:  # it imports torch
    from tinychat.engine import Sampling

PRESETS: dict[str, dict[str, Any]] = {
    "balanced": {"temperature": 0.8, "top_k": 40},
    "careful": {"temperature": 0.3, "top_k": 20},
    "wild": {"temperature": 1.2, "top_k": None},
    "exact": {"temperature": 0.0, "top_k": 40},
}
_PLAIN = {"top_p": None, "min_p": None, "repetition_penalty": 1.0}  # in every preset


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
    repetition_guard: bool = True
    """End an answer that says the same thing over and over."""
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
            repetition_guard=self.repetition_guard,
            stop=self.stop,
            seed=seed,
        )

    def preset(self, name: str) -> "SamplingFlags":
        """The same with the values of a preset."""
        return replace(self, **{**_PLAIN, **PRESETS[name]})

    @property
    def preset_name(self) -> str:
        """Of the preset that these are, or custom."""
        return next((name for name in PRESETS if self.preset(name) == self), "custom")


SAMPLING = SamplingFlags()
Rules = Annotated[SamplingFlags, Parameter(name="*")]


def draw_seed() -> int:
    """A seed nobody has thought of, short enough to be typed again."""
    return secrets.randbelow(1_000_000)
