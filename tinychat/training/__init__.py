"""Training: batches as a function of (seed, step), the optimizer, the loop that emits events, the
listeners that write a run, evaluation, live samples, the one module (`job`) that builds all of it
from settings, and the recomputation that checks a run.
"""

from tinychat.training.batches import batch_at, make_rows
from tinychat.training.evaluate import Evaluation, evaluate
from tinychat.training.events import (
    Beat,
    Began,
    CheckpointSaved,
    CommandAnswered,
    Evaluated,
    Event,
    Listener,
    Noted,
    Sampled,
    StateChanged,
    Stepped,
)
from tinychat.training.job import Outcome, Plan, train
from tinychat.training.progress import Progress
from tinychat.training.recompute import Difference, Recomputation, recompute
from tinychat.training.replay import prepare_old_data
from tinychat.training.requests import StopSignals
from tinychat.training.trainer import Trainer

__all__ = [
    "Beat",
    "Began",
    "CheckpointSaved",
    "CommandAnswered",
    "Difference",
    "Evaluated",
    "Evaluation",
    "Event",
    "Listener",
    "Noted",
    "Outcome",
    "Plan",
    "Progress",
    "Recomputation",
    "Sampled",
    "StateChanged",
    "Stepped",
    "StopSignals",
    "Trainer",
    "batch_at",
    "evaluate",
    "make_rows",
    "prepare_old_data",
    "recompute",
    "train",
]
