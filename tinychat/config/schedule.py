"""The learning rate as a pure function of the step, so that trainer and screens draw one curve.

"Step s" is the update from s to s + 1. A schedule is never zero at step 0 and is at its floor only
in the last step.
"""

import math

from tinychat.config.settings import OptimSettings


def learning_rate(step: int, max_steps: int, optim: OptimSettings) -> float:
    """Learning rate of the update from `step` to `step + 1`, in a run of `max_steps` updates.

    Beyond the planned end (`optim.schedule_steps` of an extended run) it stays at the floor.
    """
    planned = optim.schedule_steps or max_steps
    peak, floor = optim.learning_rate, optim.min_learning_rate
    warmup_steps = _warmup_steps(planned, optim)
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    last = planned - 1
    if step >= last:
        return floor if planned > 1 else peak
    start = decay_start(max_steps, optim)
    if start is None:
        start = warmup_steps
    elif step < start:
        return peak
    done = (step - start) / max(1, last - start)
    if optim.schedule == "cosine":
        return peak - (peak - floor) * 0.5 * (1 - math.cos(math.pi * done))
    return peak + (floor - peak) * done


def decay_start(max_steps: int, optim: OptimSettings) -> int | None:
    """The step from which warmup-stable-decay goes down; None for the other schedules."""
    if optim.schedule != "warmup-stable-decay":
        return None
    planned = optim.schedule_steps or max_steps
    return max(_warmup_steps(planned, optim), round(planned * (1 - optim.decay_share)))


def _warmup_steps(planned: int, optim: OptimSettings) -> int:
    return min(optim.warmup_steps, planned // 2)
