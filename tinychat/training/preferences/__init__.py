"""Preference tuning: from judgements to losses, beside the run's own data.

`lessons` has the examples and which of them are held out, `sequences` makes ids of them,
`reference` asks the model that training began with, `losses` are the formulas, `objective` puts
them together, `updates` is a step, `evaluation` looks at what was held out.
"""

from tinychat.training.preferences.evaluation import with_preferences
from tinychat.training.preferences.lessons import (
    Lessons,
    digest,
    lessons_from_feedback,
    lessons_of,
)
from tinychat.training.preferences.reference import reference_of, reference_to_bytes
from tinychat.training.preferences.updates import PreferenceUpdates, examples_a_step

__all__ = [
    "Lessons",
    "PreferenceUpdates",
    "digest",
    "examples_a_step",
    "lessons_from_feedback",
    "lessons_of",
    "reference_of",
    "reference_to_bytes",
    "with_preferences",
]
