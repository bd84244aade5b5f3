"""Settings: the tree in which each is declared once, its strict loading from presets, TOML files
and flags with the source of every value, and the learning-rate schedule as a pure function.

Imports neither torch nor numpy, so that `--help` and the monitor start at once. `load` (which needs
pydantic) is imported by those who load; the face here is the tree and the schedule.
"""

from tinychat.config.schedule import learning_rate
from tinychat.config.settings import (
    CheckpointSettings,
    DataSettings,
    EvalSettings,
    LogSettings,
    ModelSettings,
    OptimSettings,
    ReplaySettings,
    RuntimeSettings,
    SampleSettings,
    Settings,
    TokenizerSettings,
    TuneSettings,
)

__all__ = [
    "CheckpointSettings",
    "DataSettings",
    "EvalSettings",
    "LogSettings",
    "ModelSettings",
    "OptimSettings",
    "ReplaySettings",
    "RuntimeSettings",
    "SampleSettings",
    "Settings",
    "TokenizerSettings",
    "TuneSettings",
    "learning_rate",
]
