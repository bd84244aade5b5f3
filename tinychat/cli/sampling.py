"""How to choose tokens, as flags of `generate` and `chat`. The engine judges the values."""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tinychat.config.sampling import PRESETS

if TYPE_CHECKING:  # it imports torch
    from tinychat.engine import Sampling

_PLAIN = {"top_p": None, "min_p": None, "repetition_penalty": 1.0}  # in every preset


@dataclass(frozen=True, kw_only=True)
class SamplingFlags:
    """Applied in this order: repetition penalty, temperature, top-k, top-p, min-p."""

    max_new_tokens: int = 256
    """Longest answer, in tokens."""
    temperature: float = 0.8
    """How freely to choose, 0 to 2; 0 always takes the likeliest token."""
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

        return Sampling(**{**asdict(self), "seed": seed})

    def preset(self, name: str) -> "SamplingFlags":
        """The same with the values of a preset."""
        return replace(self, **{**_PLAIN, **PRESETS[name]})

    @property
    def preset_name(self) -> str:
        """Of the preset that these are, or custom."""
        return next((name for name in PRESETS if self.preset(name) == self), "custom")


SAMPLING = SamplingFlags()
Rules = Annotated[SamplingFlags, Parameter(name="*")]
