"""What a person chooses by: named settings of the sampling rules, the same in terminal and page."""

import secrets
from collections.abc import Mapping

SEEDS = 2**63  # there are so many
MOST_TEMPERATURE = 2.0  # beyond it the likeliest tokens hardly differ from any others

PRESETS: Mapping[str, Mapping[str, float | int | None]] = {
    "balanced": {"temperature": 0.8, "top_k": 40},
    "careful": {"temperature": 0.3, "top_k": 20},
    "wild": {"temperature": 1.2, "top_k": None},
    "exact": {"temperature": 0.0, "top_k": 40},
}
"""The rest of the rules is off in all of them."""


def draw_seed() -> int:
    """A seed nobody has thought of, short enough to be typed again."""
    return secrets.randbelow(1_000_000)
