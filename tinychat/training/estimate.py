"""What an attempt takes, said once, as soon as enough of its own steps were timed."""

import time

from tinychat.config import Settings
from tinychat.training.events import Stepped
from tinychat.training.pace import Pace, due_rounds
from tinychat.words import count, finish_time, long_duration, size

STEPS_TIMED = 10  # the first of which warms things up


class Estimate:
    """The time that is left, when that is, and what it was reckoned from."""

    def __init__(self) -> None:
        self._is_told = False

    def look(self, stepped: Stepped, pace: Pace, max_steps: int, settings: Settings) -> str:
        """The sentence, after the step from which it is known; else nothing."""
        left, seconds = max_steps - stepped.step, stepped.eta_seconds
        if self._is_told or len(pace.steps) < STEPS_TIMED or not left or seconds is None:
            return ""
        self._is_told = True
        timed = list(pace.steps)[1:]
        told = (
            f"about {long_duration(seconds)} for the {count(left, 'step')} left, done at "
            f"{finish_time(seconds, time.time())}: {sum(timed) / len(timed):.3g} s a step, "
            f"{size(stepped.memory_bytes)} of memory"
        )
        untimed = _untimed(stepped.step, pace, max_steps, settings)
        return told + (f"; {' and '.join(untimed)} come on top" if untimed else "")


def _untimed(step: int, pace: Pace, max_steps: int, settings: Settings) -> list[str]:
    """What is still to come and was never timed, so that it is in no estimate yet."""
    kinds = (
        ("evaluate", "evaluations", settings.eval.every_steps),
        ("sample", "samples", settings.sample.every_steps),
    )
    return [
        name
        for kind, name, every in kinds
        if not pace.others.get(kind)
        and due_rounds(step, max_steps, every, always_last=kind == "evaluate")
    ]
