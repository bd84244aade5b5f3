"""Preference tuning as a screen follows it: the command that starts it, and how a run goes."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinychat.errors import TinychatError
from tinychat.runs import Row, RunReader, TuneRecord
from tinychat.watch.overview import Overview, finite_number


@dataclass(frozen=True)
class Evaluation:
    """The weights after so many steps; None where nothing was measured.

    `val_loss` is on what the parent had learnt, the others are of the preferences kept aside.
    """

    step: int
    val_loss: float | None
    preference_accuracy: float | None
    reward_margin: float | None


@dataclass(frozen=True)
class Tuning:
    """A run of preference tuning."""

    overview: Overview
    tune: TuneRecord
    evaluations: tuple[Evaluation, ...]  # in the order of their steps
    most_rise: float | None  # of val_loss, before the run ends itself
    why: str  # what there is to say of its end, or of how it is; a sentence, or empty

    @property
    def before(self) -> Evaluation | None:
        """The parent, as this run has measured it."""
        return next((each for each in self.evaluations if each.step == 0), None)

    @property
    def now(self) -> Evaluation | None:
        """The newest one after the start."""
        return next((each for each in reversed(self.evaluations) if each.step > 0), None)

    @property
    def result(self) -> int | None:
        """The step whose checkpoint is what the run has made; None where it has made nothing."""
        best = self.overview.best
        step = self.overview.latest if best is None else best.step
        return step or None

    def at(self, step: int) -> Evaluation | None:
        """What was measured of the weights of a step."""
        return next((each for each in self.evaluations if each.step == step), None)


def tune_arguments(
    parent: str, feedback: Path, checkpoints: Path, name: str | None, more: Sequence[str] = ()
) -> list[str]:
    """What starts a run that learns from feedback. Without a name it gets one from its parent."""
    named = [] if name is None else [f"--name={name}"]
    where = [f"--feedback={feedback.absolute()}", f"--checkpoints={checkpoints.absolute()}"]
    return ["tune", parent, *where, *named, *more]


def tune_plan_arguments(arguments: Sequence[str]) -> list[str]:
    """What asks for the plan of the run that `tune_arguments` would start."""
    return [*arguments, "--dry-run", "--json"]


def newest_tuning(overviews: Sequence[Overview]) -> Overview | None:
    """The newest run that learns from feedback; `overviews` are as `Watch` gives them."""
    return next((each for each in overviews if each.tune is not None), None)


def look_at_tuning(overview: Overview) -> Tuning:
    """Read how it goes. What cannot be read is left out. Raises ValueError for another run."""
    if overview.tune is None:
        raise ValueError(f"{overview.name} learns from no feedback")
    reader = RunReader(overview.path)
    rows: list[Row] = []
    most_rise: Any = None
    with suppress(TinychatError, OSError):
        rows = [row for row in reader.rows("metrics") if row.get("kind") == "eval"]
    with suppress(TinychatError, KeyError, TypeError):
        most_rise = reader.settings["settings"]["replay"]["max_val_loss_rise"]
    found = {each.step: each for each in map(_evaluation, rows) if each is not None}
    return Tuning(
        overview,
        overview.tune,
        tuple(found[step] for step in sorted(found)),
        finite_number(most_rise),
        _why(reader, overview),
    )


def _evaluation(row: Row) -> Evaluation | None:
    step = row.get("step")
    if type(step) is not int:
        return None
    names = ("val_loss", "preference_accuracy", "reward_margin")
    return Evaluation(step, *(finite_number(row.get(name)) for name in names))


def _why(reader: RunReader, overview: Overview) -> str:
    if overview.state == "finished":
        with suppress(TinychatError, OSError):
            told = reader.last("events", "forgetting")
            return "" if told is None else str(told.get("message", ""))
    return overview.reason
