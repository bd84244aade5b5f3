"""Runs in lines of plain text: the same ones on the screen, in `tinychat runs` and `--once`."""

from collections.abc import Sequence
from pathlib import Path

from tinychat.runs import BestCheckpoint, Row, TuneRecord
from tinychat.watch.overview import Overview, finite_number, loss_of
from tinychat.watch.states import ENDED, LIVE, state_word
from tinychat.watch.tuning import BEST_OF_TUNING
from tinychat.words import (
    NOTHING,
    age,
    clip,
    count,
    duration,
    inert,
    long_duration,
    loss,
    number,
    progress,
    short,
    size,
)

COLUMNS = ("run", "state", "step", "train", "val", "tok/s", "ETA", "age")
NUMBERS = range(2, len(COLUMNS))  # the columns that are written towards the right
_NAME_CHARACTERS = 24


def cells(overview: Overview) -> tuple[str, ...]:
    """One run as a row of the table of runs, in the order of COLUMNS."""
    return (
        clip(inert(overview.name), _NAME_CHARACTERS),
        state_word(overview.state),
        progress(overview.step, overview.max_steps),
        overview.loss_word("train_loss"),
        overview.loss_word("val_loss"),
        short(overview.number("tokens_per_second")),
        duration(overview.eta_seconds),
        age(overview.age_seconds),
    )


def notes(overviews: Sequence[Overview]) -> list[str]:
    """What a person should know of each run: why it is in its state."""
    return [f"{inert(each.name)}: {inert(each.reason)}" for each in overviews if each.reason]


def no_runs(checkpoints: Path) -> str:
    """What to say of a folder without runs."""
    return f"There are no runs in {inert(str(checkpoints))} yet. Begin one with: tinychat train"


def summary(checkpoints: Path, overviews: Sequence[Overview]) -> str:
    """The folder, how many runs it holds, and how many of them are going on."""
    live = sum(each.state in LIVE for each in overviews)
    return f"{inert(str(checkpoints))}  {count(len(overviews), 'run')}, {live} live"


def state_line(overview: Overview) -> str:
    """What a run does, how far it is, and how long it will take."""
    parts = [state_word(overview.state)]
    if overview.step is not None:
        parts.append(f"step {progress(overview.step, overview.max_steps)}{_share(overview)}")
    if overview.eta_seconds is not None:
        parts.append(f"ETA {duration(overview.eta_seconds)}")
    if overview.age_seconds is not None:
        when = "ended" if overview.state in ENDED else "last beat"
        parts.append(f"{when} {age(overview.age_seconds)} ago")
    return "   ".join(parts)


def facts(overview: Overview) -> list[tuple[str, str]]:
    """How well a run does, as (what, words), each with its unit and step."""
    told = []
    if overview.train is not None:
        told.append(("train loss", _measured(overview.train, "train_loss")))
        rate = overview.number("learning_rate")
        told.append(("learning rate", NOTHING if rate is None else format(rate, ".3g")))
        told.append(("gradient norm", overview.loss_word("grad_norm")))
    if overview.eval is not None:
        told.append(("val loss", _evaluated(overview.eval) + _risen(overview, "val_loss")))
        told += _only_some(overview, overview.eval)
    if (best := overview.best) is not None:
        told.append(("best", _best(overview.tune, best)))
    if (speed := overview.number("tokens_per_second")) is not None:
        told.append(("speed", f"{short(speed)} tokens/s"))
    if (memory := overview.number("memory_bytes")) is not None:
        told.append(("memory", size(memory)))
    if overview.tokens_seen is not None:
        told.append(("tokens seen", number(overview.tokens_seen)))
    return told


def _best(tune: TuneRecord | None, best: BestCheckpoint) -> str:
    """The best checkpoint, and what decides that it is."""
    measured = f"val loss {loss(best.val_loss)}"
    if tune is None:
        return f"{measured} at step {number(best.step)}"
    return f"step {number(best.step)}, {BEST_OF_TUNING[tune.held_out > 0]}; {measured}"


def _only_some(overview: Overview, row: Row) -> list[tuple[str, str]]:
    """What only some runs measure."""
    told = []
    if "replay_val_loss" in row:
        words = f"val loss {_measured(row, 'replay_val_loss')}"
        told.append(("old data", words + _risen(overview, "replay_val_loss")))
    if (value := overview.evaluated("preference_loss")) is not None:
        told.append(("preferences", f"{preference_words(overview, value)}, on those held out"))
    return told


def preference_words(overview: Overview, value: float) -> str:
    """How well a model likes what people like; `value` is the loss."""
    words = f"loss {loss(value)}"
    if (share := overview.evaluated("preference_accuracy")) is not None:
        words += f", accuracy {share:.0%}"
    if (margin := overview.evaluated("reward_margin")) is not None:
        words += f", reward margin {margin:+.2f}"
    return words


def _risen(overview: Overview, key: str) -> str:
    """How far the loss on old data is from where it was, behind that loss."""
    rise = overview.old_val_loss_rise
    is_it = key == "replay_val_loss" or "replay_val_loss" not in (overview.eval or {})
    return f", {rise:+.3f} since the start" if rise is not None and is_it else ""


def run_sentence(overview: Overview) -> str:
    """What a run does in one line without signs, for ears and logs."""
    parts = [overview.state]
    if overview.step is not None:
        parts[0] += f" at step {number(overview.step)}"
        if overview.max_steps:
            parts[0] += f" of {number(overview.max_steps)}{_share(overview)}"
    names = {
        "train_loss": "train loss",
        "val_loss": "val loss",
        "replay_val_loss": "val loss on the old data",
    }
    for key, name in names.items():
        if (word := overview.loss_word(key)) != NOTHING:
            parts.append(f"{name} {word}")
    if (value := overview.evaluated("preference_loss")) is not None:
        parts.append(f"held-out preferences: {preference_words(overview, value)}")
    if overview.state in LIVE:
        if (speed := overview.number("tokens_per_second")) is not None:
            parts.append(f"{short(speed)} tokens/s")
        if overview.eta_seconds is not None:
            parts.append(f"{long_duration(overview.eta_seconds)} left")
    return ", ".join(parts) + (f". {inert(overview.reason)}" if overview.reason else "")


def evaluation_sentence(row: Row) -> str:
    """One evaluation in words."""
    return f"evaluated: val loss {_evaluated(row)}"


def sample_lines(sample: Row, most: int = 2000) -> list[str]:
    """The prompt of a sample, set off by ›, and the text, each of at most so many characters."""
    prompt = clip(inert(str(sample.get("prompt", ""))), most)
    text = clip(inert(str(sample.get("text", "")), keep="\n"), most)
    return [f"› {prompt}", *text.split("\n")]


def row_step(row: Row) -> str:
    """The step that stands in a row of a log."""
    step = finite_number(row.get("step"))
    return number(int(step)) if step is not None else NOTHING


def _share(overview: Overview) -> str:
    if not overview.max_steps or overview.step is None:
        return ""
    return f" ({100 * overview.step // overview.max_steps}%)"


def _measured(row: Row, key: str) -> str:
    return f"{loss_of(row, key)} nats per token at step {row_step(row)}"


def _evaluated(row: Row) -> str:
    bits = finite_number(row.get("bits_per_byte"))
    return _measured(row, "val_loss") + ("" if bits is None else f", {bits:.3f} bits per byte")
