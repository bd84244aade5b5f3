"""What a chart shows: which numbers, of which runs, seen how, in which colours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tinychat.config import Settings
from tinychat.watch.history import History
from tinychat.watch.plot import Mark
from tinychat_monitor.widgets.chart_options import ChartOptions


@dataclass(frozen=True)
class Series:
    """One number of the rows, as a chart shows it."""

    key: str  # "train_loss"
    table: Literal["train", "evals"]
    label: str
    role: str  # its colour: "train", "val", "lr", ...
    style: Literal["line", "dots"] = "line"
    noisy: bool = True  # may be smoothed, and its warm-up clipped
    planned: bool = False  # go on with the schedule, beyond the newest row
    optional: bool = False  # not named where no row has it


@dataclass(frozen=True)
class Source:
    """A run on a chart. With more than one each has a colour (by its number) and a sign."""

    name: str
    history: History
    colour: int = 0
    plan: Settings | None = None  # of the first one: its learning rate ahead is drawn
    max_steps: int | None = None


@dataclass(frozen=True)
class Palette:
    """The colours of the theme in use."""

    series: Mapping[str, str]
    runs: Sequence[str]
    background: str
    axes: str
    alarm: str
    ink: str  # of words


@dataclass(frozen=True)
class ChartView:
    """A chart as a person sees it."""

    heading: str
    unit: str
    series: Sequence[Series]
    sources: Sequence[Source]
    options: ChartOptions
    marks: Sequence[Mark]
    palette: Palette

    @property
    def histories(self) -> list[History]:
        """Of the runs, in their order; one may be there twice."""
        return [source.history for source in self.sources]


LOSS = (
    Series("train_loss", "train", "train", "train"),
    Series("val_loss", "evals", "val", "val", "dots"),
    Series("replay_val_loss", "evals", "old data", "old", "dots", optional=True),
)
LEARNING_RATE = (
    Series("learning_rate", "train", "learning rate", "lr", noisy=False, planned=True),
)
THROUGHPUT = (Series("tokens_per_second", "train", "tokens/s", "tokens_per_second"),)
GRADIENT = (Series("grad_norm", "train", "gradient norm", "grad_norm"),)
# of preference tuning: of the examples of a step, and of those that are held out
MARGIN = (
    Series("reward_margin", "train", "margin", "train"),
    Series("reward_margin", "evals", "held out", "val", "dots", optional=True),
)
PREFERENCE_LOSS = (
    Series("preference_loss", "evals", "held-out loss", "val", "dots"),
    Series("preference_accuracy", "evals", "accuracy", "old", "dots", optional=True),
)
MEMORY = (Series("memory_bytes", "train", "memory", "memory", noisy=False),)
