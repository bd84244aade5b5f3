"""Preference tuning as a screen follows it: the command that starts it, and how a run goes."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinychat.errors import TinychatError
from tinychat.runs import Row, RunReader, TuneRecord
from tinychat.watch.overview import Overview, finite_number
from tinychat.words import count, long_duration, size, with_places

BEST_OF_TUNING = {
    True: "the lowest preference_loss on the held-out examples",
    False: "the newest whose val_loss has not risen too far",
}
"""Which checkpoint is the best, by whether examples are held out."""

_SHOWN = 3  # places of what is left out
_WAYS = {
    "sft": ("answer", "to give"),
    "dpo": ("pair", "of a better and a worse answer"),
    "orpo": ("pair", "of a better and a worse answer (orpo)"),
    "kto": ("answer", "rated good or bad"),
}


@dataclass(frozen=True)
class Evaluation:
    """The weights after so many steps; None where nothing was measured.

    `val_loss` is on what the parent had learnt, the others are of the preferences held out.
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
        return result_of(self.overview)

    def at(self, step: int) -> Evaluation | None:
        """What was measured of the weights of a step."""
        return next((each for each in self.evaluations if each.step == step), None)


def result_of(overview: Overview) -> int | None:
    """The same of any run."""
    step = overview.latest if overview.best is None else overview.best.step
    return step or None


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


def plan_rows(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The document of `tinychat tune --dry-run` in rows, each a word and what it is."""
    told = plan["examples"]
    ways = [f"{count(n, what)} {how}" for way, (what, how) in _WAYS.items() if (n := told[way])]
    examples = plan["examples_a_step"]
    step = count(examples, "example")
    if old := plan["batch_size"] - examples:
        step += f" and {count(old, 'row')} of the old data"
    left_out = [
        with_places(n, why, told["places"].get(why, ()), _SHOWN)
        for why, n in told["left_out"].items()
    ]
    held_out = told["held_out"]
    asked = f"{count(held_out, 'example')}, never trained on but asked afterwards"
    rows = [
        ("starts from", f"{plan['parent']}, which stays as it is"),
        ("learns from", f"{judgement_words(told)}, as {', '.join(ways)}"),
        ("held out", asked if held_out else ""),
        ("left out", "; ".join(left_out)),
        ("length", f"{count(plan['steps'], 'step')}, each of {step}"),
        ("best", BEST_OF_TUNING[held_out > 0]),
        ("time", f"about {long_duration(plan['seconds'])} on this machine"),
        ("writes", f"{', '.join(plan['writes'])}, at most {size(plan['disk_bytes'])}"),
    ]
    return [(name, words) for name, words in rows if words]


def judgement_words(counts: Mapping[str, Any]) -> str:
    """How many judgements of each kind: 23 picks, 4 rewrites"""
    kinds = ("pick", "thumb", "rewrite")
    return ", ".join(count(n, kind) for kind in kinds if (n := counts.get(f"{kind}s")))


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
            return why_finished(reader)
    return overview.reason


def why_finished(reader: RunReader) -> str:
    """Why a run ended by itself before its last step; empty for one that did not. Raises RunError
    or OSError where it cannot be read."""
    status, told = reader.status, reader.last("events", "forgetting")
    if status is None or told is None or status.state != "finished":
        return ""
    return str(told.get("message", "")) if told.get("step") == status.step else ""
