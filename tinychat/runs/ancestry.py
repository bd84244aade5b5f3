"""The family tree of a model: from which checkpoint each generation grew, what it learnt, at what
cost. Every checkpoint and every run carries it whole, so it outlives the folders it tells of.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinychat.errors import TinychatError
from tinychat.runs.layout import checkpoint_label, checkpoint_step
from tinychat.runs.reader import RunReader
from tinychat.runs.records import Generation, build, parse
from tinychat.words import count, inert

PRETRAINING = "pretraining"
FINE_TUNING = "supervised fine-tuning"
PREFERENCE_TUNING = "preference tuning"
ELSEWHERE = "trained elsewhere"
UNKNOWN = "unknown"
_NO_PATHS = "the built-in small talk"  # what a run without paths learns
_MOST = 100  # generations that are followed back through folders


@dataclass(frozen=True)
class Forebear:
    """One generation in words."""

    who: str  # "demo@1,400"
    told: str  # what it learnt, and at what cost


def read_ancestry(value: Any) -> tuple[Generation, ...]:
    """The generations in a JSON document, eldest first; what is none of them is passed over."""
    found = []
    for each in value if isinstance(value, list) else ():
        try:
            found.append(build(Generation, each))
        except (ValueError, AttributeError):
            continue
    return tuple(found)


def ancestry_of(checkpoint: Path) -> tuple[Generation, ...]:
    """The family tree of a checkpoint, itself last: as it tells it, else, of an older tinychat, as
    far as the records around it do. Whatever lies there, nothing is raised."""
    found: list[Generation] = []
    place: Path | None = checkpoint
    while place is not None and len(found) < _MOST:
        told = _own_word(place)
        if told or checkpoint_step(place.name) is None:
            return (*(told or [Generation(run=place.name, kind=ELSEWHERE)]), *found)
        generation, parent = _from_records(place)
        found.insert(0, generation)
        place = Path(parent) if parent else None
    return tuple(found)


def _own_word(checkpoint: Path) -> tuple[Generation, ...]:
    try:
        document = parse((checkpoint / "tinychat.json").read_bytes())
    except (OSError, ValueError):
        return ()
    return read_ancestry(document.get("ancestry"))


def _from_records(checkpoint: Path) -> tuple[Generation, str | None]:
    """What a run's own files tell of the way to this checkpoint, and from which it grew."""
    reader, step = RunReader(checkpoint.parent), checkpoint_step(checkpoint.name)
    try:
        settings, record = reader.settings["settings"], reader.run
        losses = [
            row.get("val_loss")
            for row in reader.rows("metrics")
            if row.get("kind") == "eval" and row.get("step") == step
        ]
        told = {
            "run": reader.name,
            "kind": FINE_TUNING if record.parent else PRETRAINING,
            "step": step,
            "steps": settings.get("max_steps"),
            "data": [Path(str(path)).name for path in settings["data"]["paths"]] or [_NO_PATHS],
            "val_loss": losses[-1] if losses else None,
        }
        if (tune := record.tune) is not None:
            judged = {"picks": tune.picks, "thumbs": tune.thumbs, "rewrites": tune.rewrites}
            told |= {"kind": PREFERENCE_TUNING, "method": tune.method, **judged}
        return build(Generation, told), record.parent
    except (TinychatError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return Generation(run=reader.name, step=step, kind=UNKNOWN), None


def family_words(
    ancestry: Sequence[Generation], name: Callable[[str], str] = inert
) -> list[Forebear]:
    """The tree, eldest first. `name` makes a word that comes from a file harmless."""
    return [Forebear(_who(each, name), _told(each, name)) for each in ancestry]


def _who(each: Generation, name: Callable[[str], str]) -> str:
    return name(checkpoint_label(each.run, each.step))


def _told(each: Generation, name: Callable[[str], str]) -> str:
    if each.kind in (ELSEWHERE, UNKNOWN):
        return "trained elsewhere" if each.kind == ELSEWHERE else "nothing is told of it"
    learnt = " and ".join(map(name, each.data)) or "data that is not told"
    if each.kind == PREFERENCE_TUNING:
        told = f"tuned on {_judgements(each)}{f' by {name(each.method)}' if each.method else ''}"
    else:
        verb = {FINE_TUNING: "fine-tuned", PRETRAINING: "pretrained"}
        told = f"{verb.get(each.kind, name(each.kind))} on {learnt}"
    if each.old_data_share:
        old = " and ".join(map(name, each.old_data))
        told += f", {each.old_data_share:.0%} of each step from {old}"
    return f"{told}; {_steps(each)}{_cost(each)}"


def _judgements(each: Generation) -> str:
    kinds = {"pick": each.picks, "thumb": each.thumbs, "rewrite": each.rewrites}
    told = [count(n, one) for one, n in kinds.items() if n]
    return ", ".join(told) or "what people think of its answers"


def _steps(each: Generation) -> str:
    done = "steps that are not told" if each.step is None else count(each.step, "step")
    return f"{done} of {each.steps:,}" if each.steps and each.step != each.steps else done


def _cost(each: Generation) -> str:
    before, after = each.old_val_loss_before, each.old_val_loss_after
    if before is not None and after is not None:
        return f"; val_loss on the old data {before:.4f} -> {after:.4f} ({after - before:+.4f})"
    return "" if each.val_loss is None else f"; val_loss {each.val_loss:.4f}"
