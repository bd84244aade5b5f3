"""How long things take, and when the run will be done.

Only measured time counts, and everything that takes time counts: steps, evaluations, samples and
saves. Pauses are left out, because nobody knows how long the next one will be.
"""

from collections import deque
from dataclasses import dataclass, field

from tinychat.config import Settings

# Enough to smooth single steps, few enough to follow a machine that slows down.
RECENT_STEPS = 100
RECENT_OTHERS = 5


@dataclass
class Pace:
    """Durations in seconds of the latest steps, evaluations, rounds of samples and saves."""

    steps: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_STEPS))
    others: dict[str, deque[float]] = field(default_factory=dict)

    def note(self, kind: str, seconds: float) -> None:
        if kind == "step":
            self.steps.append(seconds)
        else:
            self.others.setdefault(kind, deque(maxlen=RECENT_OTHERS)).append(seconds)

    def eta_seconds(self, step: int, max_steps: int, settings: Settings) -> float | None:
        """Seconds until the run is done; None until two steps of this attempt were timed.

        What has not been measured yet (the first evaluation, say) is left out until it has.
        """
        if len(self.steps) < 2:
            return None
        # the first step of an attempt warms things up; it leaves as soon as there are others
        timed = list(self.steps)[1:] if len(self.steps) < RECENT_STEPS else list(self.steps)
        seconds = (max_steps - step) * sum(timed) / len(timed)
        checkpoint = settings.checkpoint
        for kind, every in (
            ("evaluate", settings.eval.every_steps),
            ("sample", settings.sample.every_steps),
            ("save", checkpoint.every_steps),
        ):
            times = self.others.get(kind)
            if not times:
                continue
            rounds = due_rounds(step, max_steps, every, always_last=kind != "sample")
            if kind == "save" and checkpoint.every_minutes:
                rounds = max(rounds, seconds / 60 / checkpoint.every_minutes)
            seconds += rounds * sum(times) / len(times)
        return seconds


def due_rounds(step: int, max_steps: int, every: int | None, *, always_last: bool) -> int:
    """How often something that is due every so many steps comes after `step`."""
    if step >= max_steps:
        return 0
    rounds = max_steps // every - step // every if every else 0
    missed_end = every is None or max_steps % every != 0
    return rounds + (1 if always_last and missed_end else 0)
