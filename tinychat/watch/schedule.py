"""The learning rate ahead, as the trainer will set it."""

from tinychat.config import Settings, learning_rate


def planned_rate(
    settings: Settings, max_steps: int, low: int, high: int, columns: int
) -> tuple[list[float], list[float]]:
    """(steps, learning rates) of the updates from `low` to `high` in at most `columns` points.

    The update from s to s + 1 writes row s + 1 and stands there, so the curve goes on where the
    rows of a run at step `low` end. Empty if nothing lies ahead.
    """
    low, high = max(low, 0), min(high, max_steps)
    count = min(high - low, columns)
    if count < 1:
        return [], []
    last = high - 1
    updates = [low + (last - low) * i // max(count - 1, 1) for i in range(count)]
    if count == 1:
        updates = [last]
    rates = [learning_rate(step, max_steps, settings.optim) for step in updates]
    return [float(step + 1) for step in updates], rates
