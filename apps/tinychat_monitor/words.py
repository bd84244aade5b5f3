"""What was read of a run, in words: the same ones on the screen and in plain text."""

from pathlib import Path
from typing import Any, NamedTuple

from tinychat.runs import Row
from tinychat_monitor.format import (
    NOTHING,
    age,
    clip,
    count,
    duration,
    loss,
    progress,
    short,
    visible,
)
from tinychat_monitor.watch import ENDED, Details, Glance

NOT_FINITE = "NaN/∞"
_SAMPLE_CHARACTERS = 2000


class Look(NamedTuple):
    """How a state is shown: never by colour alone."""

    glyph: str
    colour: str


LOOKS = {
    "starting": Look("○", "cyan"),
    "compiling": Look("○", "cyan"),
    "training": Look("●", "green"),
    "evaluating": Look("●", "green"),
    "sampling": Look("●", "green"),
    "saving": Look("●", "green"),
    "paused": Look("‖", "yellow"),
    "finished": Look("✓", "blue"),
    "stopped": Look("■", "blue"),
    "failed": Look("✗", "red"),
    "crashed": Look("✗", "red"),
    "stalled": Look("!", "yellow"),
    "other host": Look("?", "magenta"),
    "unknown": Look("?", "magenta"),
}

LIVE = {state for state, look in LOOKS.items() if look.glyph in "○●‖"}
COLUMNS = ("run", "state", "step", "train", "val", "tok/s", "ETA", "age")
NUMBERS = COLUMNS[2:]  # written towards the right


def cells(glance: Glance) -> tuple[str, ...]:
    """One line of the list, in the order of COLUMNS."""
    return (
        clip(visible(glance.name), 24),
        state_word(glance),
        NOTHING if glance.step is None else progress(glance.step, glance.max_steps),
        _loss(glance.train, "train_loss"),
        _loss(glance.eval, "val_loss"),
        short(_number(glance.train, "tokens_per_second")),
        duration(glance.eta_seconds),
        age(glance.age_seconds),
    )


def state_word(glance: Glance) -> str:
    return f"{LOOKS[glance.state].glyph} {glance.state}"


def state_line(glance: Glance) -> str:
    """What the run does, how far it is, and how long it will take."""
    parts = [state_word(glance)]
    if glance.step is not None:
        parts.append(f"step {progress(glance.step, glance.max_steps)}{_share(glance)}")
    if glance.eta_seconds is not None:
        parts.append(f"ETA {duration(glance.eta_seconds)}")
    if glance.age_seconds is not None:
        when = "ended" if glance.state in ENDED else "last beat"
        parts.append(f"{when} {age(glance.age_seconds)} ago")
    return "   ".join(parts)


def bar(glance: Glance, width: int) -> str:
    """How far the run is, as a line of that width; empty if it has no end."""
    if glance.step is None or not glance.max_steps:
        return ""
    done = min(width, width * glance.step // glance.max_steps)
    return "━" * done + "─" * (width - done)


def summary(checkpoints: Path, glances: list[Glance]) -> str:
    """The folder, how many runs it holds, and how many of them are going on."""
    live = sum(glance.state in LIVE for glance in glances)
    runs = f"{len(glances)} run{'' if len(glances) == 1 else 's'}, {live} live"
    return f"tinychat  {visible(str(checkpoints))}  {runs}"


def metric_lines(details: Details) -> list[str]:
    """The last metrics, each with its unit and step."""
    glance, status = details.glance, details.status
    train, evaluated = glance.train, glance.eval
    lines = []
    if train is not None:
        rate = _number(train, "learning_rate")
        lines.append(
            f"train loss {_loss(train, 'train_loss')} at step {_step(train)}   "
            f"learning rate {NOTHING if rate is None else format(rate, '.3g')}   "
            f"gradient norm {_loss(train, 'grad_norm')}"
        )
    if evaluated is not None:
        bits = _number(evaluated, "bits_per_byte")
        line = f"val loss {_loss(evaluated, 'val_loss')} at step {_step(evaluated)}"
        line += "" if bits is None else f"   {bits:.3f} bits per byte"
        if status is not None and status.best is not None:
            line += f"   best {loss(status.best.val_loss)} at step {count(status.best.step)}"
        lines.append(line)
    parts = []
    if (speed := _number(train, "tokens_per_second")) is not None:
        parts.append(f"{short(speed)} tokens/s")
    if (memory := _number(train, "memory_bytes")) is not None:
        parts.append(f"{short(memory)}B memory")
    if glance.tokens_seen is not None:
        parts.append(f"{short(glance.tokens_seen)} tokens seen")
    if details.checkpoints:
        parts.append(f"checkpoint {count(details.checkpoints[-1])}")
    if parts:
        lines.append("   ".join(parts))
    return lines or ["no metrics yet"]


def sample_lines(sample: Row | None) -> tuple[str, str]:
    """(which sample, its prompt and text); the prompt is set off by `›`."""
    if sample is None:
        return "", "no samples yet"
    prompt = visible(str(sample.get("prompt", "")), keep="\n")
    text = clip(visible(str(sample.get("text", "")), keep="\n"), _SAMPLE_CHARACTERS)
    return f"step {_step(sample)}", f"› {prompt}\n{text}"


def log_lines(details: Details) -> list[str]:
    return [visible(line, keep="\t").expandtabs() for line in details.log]


def _share(glance: Glance) -> str:
    if not glance.max_steps or glance.step is None:
        return ""
    return f" ({100 * glance.step // glance.max_steps}%)"


def _number(row: Row | None, key: str) -> float | None:
    value: Any = None if row is None else row.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _loss(row: Row | None, key: str) -> str:
    bad = row.get("nonfinite") if row is not None else None
    if isinstance(bad, list) and key in bad:
        return NOT_FINITE
    return loss(_number(row, key))


def _step(row: Row) -> str:
    step = _number(row, "step")
    return NOTHING if step is None else count(int(step))
