"""Which checkpoint is the best so far, and when a run ends because too much was forgotten.

What is forgotten is seen on the old data, which the weights had learnt before: in a run that mixes
it in (replay) its own validation split, in preference tuning that of the run. The start of such a
run is evaluated too, for it is what later evaluations are compared with.
"""

import math

from tinychat.config import Settings
from tinychat.training.evaluate import Evaluation
from tinychat.training.progress import Progress
from tinychat.words import number


def keep(found: Evaluation, progress: Progress, settings: Settings) -> None:
    """Remember the newest evaluation, which is of the weights of this step."""
    progress.evaluated_step = progress.step
    progress.val_loss = found.val_loss if math.isfinite(found.val_loss) else None
    if settings.watches_old_data and math.isfinite(found.old_val_loss):
        progress.old_val_loss = found.old_val_loss
        if progress.old_val_loss_at_start is None:
            progress.old_val_loss_at_start = found.old_val_loss


def is_best(found: Evaluation, progress: Progress, settings: Settings) -> bool:
    """Whether the newest evaluation is the best so far."""
    if progress.val_loss is None or forgotten(progress, settings):
        return False
    if progress.best_step is None or progress.best_val_loss is None:
        return True
    if settings.watches_old_data and progress.best_step == 0:
        return progress.step > 0  # whoever trains wants no copy of the parent
    if not settings.tune.feedback:
        return progress.val_loss < progress.best_val_loss
    best = progress.best_preference_loss
    return best is None or found.preference_loss is None or found.preference_loss < best


def keep_as_best(found: Evaluation, progress: Progress) -> None:
    """Remember that the weights of this step are the best so far."""
    progress.best_step, progress.best_val_loss = progress.step, found.val_loss
    progress.best_preference_loss = found.preference_loss


def forgotten(progress: Progress, settings: Settings) -> str:
    """Why the run ends here, in a sentence; empty where it goes on."""
    most = settings.replay.max_val_loss_rise
    start, now = progress.old_val_loss_at_start, progress.old_val_loss
    if most is None or start is None or now is None or now - start <= most:
        return ""
    best = progress.best_step
    told = "no checkpoint lies" if best is None else f"step {number(best)} is the best that lies"
    return (
        f"val_loss on the old data has risen by {now - start:.3f} nats per token (from {start:.3f} "
        f"to {now:.3f}), which is more than replay.max_val_loss_rise ({most:g}), so the run ends: "
        f"{told} within it"
    )
