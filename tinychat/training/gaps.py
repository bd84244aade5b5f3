"""Time that took no training: a closed lid, a stopped process, a clock that was set.

Durations come from a clock that nobody sets. What is found here is told as an event and left out
of rates and of the time that is still needed.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

LEAST_SECONDS = 1.0  # shorter gaps are no news
TIMES_AS_LONG = 10.0  # as usual: then a step was held up, and did not compute
LEAST_STEPS = 5  # until it is known what is usual
CLOCK_SECONDS = 30.0  # clocks are put right by less than that all the time


def held_up_seconds(seconds: float, before: Sequence[float]) -> float:
    """How much longer a step took than the ones before it, if that cannot have been work."""
    if len(before) < LEAST_STEPS:
        return 0.0
    usual = median(before)
    longer = seconds - usual
    return longer if seconds > TIMES_AS_LONG * usual and longer >= LEAST_SECONDS else 0.0


@dataclass
class Clocks:
    """Three clocks side by side: one that stands still in sleep, one that does not, the wall's."""

    awake: float = field(default_factory=time.monotonic)
    always: float = field(default_factory=lambda: steady_seconds())
    wall: float = field(default_factory=time.time)

    def look(self) -> list[str]:
        """What has happened since the last look, as sentences."""
        now = Clocks()
        passed = now.always - self.always
        slept = passed - (now.awake - self.awake)
        moved = now.wall - self.wall - passed
        self.awake, self.always, self.wall = now.awake, now.always, now.wall
        told = []
        if slept >= LEAST_SECONDS:
            told.append(f"the machine slept for {slept:,.0f} s; that time is not counted")
        if abs(moved) >= CLOCK_SECONDS:
            way = "forward" if moved > 0 else "back"
            told.append(
                f"the clock was set {way} by {abs(moved):,.0f} s; durations are measured on another"
            )
        return told


def steady_seconds() -> float:
    """Seconds on a clock that nobody sets and that goes on while the machine sleeps.

    Linux has CLOCK_BOOTTIME; macOS counts sleep in CLOCK_MONOTONIC, which `time.monotonic` is not
    there. Elsewhere sleep cannot be told apart from a clock that was set.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()
