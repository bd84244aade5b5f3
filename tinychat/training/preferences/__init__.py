"""Preference tuning: from judgements to losses, beside the run's own data.

`dataset` has the examples and which of them are held out, `sequences` makes ids of them,
`reference` asks the model that training began with, `losses` are the formulas, `forward` applies
them to a model, `updates` is a step, `evaluation` looks at what was held out. `followed` stands for
`dataset` in a run that learns from judgements as they come.
"""

from tinychat.training.preferences.dataset import (
    PreferenceDataset,
    dataset_from_feedback,
    dataset_of,
    digest,
)
from tinychat.training.preferences.evaluation import with_preferences
from tinychat.training.preferences.followed import Followed, step_to_go_on_from
from tinychat.training.preferences.reference import (
    ROWS_AT_ONCE,
    LogProbs,
    reference_of,
    reference_to_bytes,
)
from tinychat.training.preferences.sequences import EncodedExample
from tinychat.training.preferences.updates import (
    FollowUpdates,
    PreferenceUpdates,
)

__all__ = [
    "ROWS_AT_ONCE",
    "EncodedExample",
    "FollowUpdates",
    "Followed",
    "LogProbs",
    "PreferenceDataset",
    "PreferenceUpdates",
    "dataset_from_feedback",
    "dataset_of",
    "digest",
    "reference_of",
    "reference_to_bytes",
    "step_to_go_on_from",
    "with_preferences",
]
