"""The sampling rules as a person sets them: presets, sliders, and what is folded away.

One component of our own, so that a preset moves its sliders without asking the server. What comes
back from the browser is judged here and by `Sampling`, value by value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from tinychat.config.sampling import PRESETS, draw_seed
from tinychat.engine import Sampling
from tinychat.errors import SettingsError
from tinychat_ui.theme import component

Values = Mapping[str, Any]

PLAIN: Values = {
    "temperature": 0.8, "top_k": 40, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0,
    "max_new_tokens": 256, "seed": None, "system": "",
}  # fmt: skip
"""What the page starts with. 0 for top-k and min-p, and 1 for top-p, is off."""

ORDER = "repetition penalty, temperature, top-k, top-p, min-p"

_MOST_SYSTEM = 4_000


@dataclass(frozen=True)
class SamplingControls:
    """The component; its value is what `sampling_of` and `system_of` read."""

    component: gr.HTML

    @property
    def inputs(self) -> list[gr.HTML]:
        """What an event passes on as its inputs."""
        return [self.component]


def build_sampling(*, compact: bool = False, name: str = "Sampling") -> SamplingControls:
    """The controls, drawn where this is called. `compact` leaves out seed and system text."""
    made = component(
        "controls",
        value={**PLAIN, "preset": "Balanced"},
        elem_classes=["tc-controls"],
        presets={
            name.capitalize(): {**PLAIN, **{key: value or 0 for key, value in values.items()}}
            for name, values in PRESETS.items()
        },
        order=ORDER,
        compact=compact,
        name=name,
    )
    return SamplingControls(made)


def sampling_of(
    values: Sequence[Any], *, seed: int | None = None, most_new_tokens: int = 4_096
) -> Sampling:
    """The rules in the values of `SamplingControls.inputs`. Raises SettingsError.

    `seed` goes before the one that is kept in the controls; where neither is given one is drawn.
    """
    given = _given(values)
    top_k, top_p, min_p = (_number(given, key) for key in ("top_k", "top_p", "min_p"))
    length = _whole(given, "max_new_tokens")
    if not 1 <= length <= most_new_tokens:
        raise SettingsError(f"An answer has 1 to {most_new_tokens:,} tokens, not {length:,}.")
    kept = given.get("seed") if seed is None else seed
    return Sampling(
        temperature=_number(given, "temperature"),
        top_k=_whole(given, "top_k") if top_k else None,
        top_p=top_p if top_p != 1 else None,
        min_p=min_p or None,
        repetition_penalty=_number(given, "repetition_penalty"),
        max_new_tokens=length,
        seed=draw_seed() if kept is None else _whole({"seed": kept}, "seed"),
    )


def system_of(values: Sequence[Any]) -> str:
    """What the model is to be told before the conversation; empty for nothing."""
    text = _given(values).get("system") or ""
    if not isinstance(text, str) or len(text) > _MOST_SYSTEM:
        raise SettingsError(f"The system text has at most {_MOST_SYSTEM:,} characters.")
    return text.strip()


def seed_is_kept(values: Sequence[Any]) -> bool:
    """Whether the person wants the same seed again and again."""
    return _given(values).get("seed") is not None


def _given(values: Sequence[Any]) -> dict[str, Any]:
    found = values[0] if values else None
    return {**PLAIN, **(found if isinstance(found, Mapping) else {})}


def _number(given: Values, key: str) -> float:
    value = given[key]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not -1e18 < value < 1e19:  # nor NaN, nor what no float can be
        raise SettingsError(f"{key} must be a number, not {value!r}.")
    return value


def _whole(given: Values, key: str) -> int:
    value = _number(given, key)
    if value != int(value):
        raise SettingsError(f"{key} must be a whole number, not {value!r}.")
    return int(value)
