"""`tinychat runs`: what there is, and in which state it truly is."""

import itertools
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter
from rich.text import Text

from tinychat.cli.output import print_json, screen, table
from tinychat.cli.words import NOTHING, age, inert, loss, progress
from tinychat.errors import TinychatError
from tinychat.runs import Row, RunReader, Status, default_checkpoints, list_runs, true_state

ENDED = ("finished", "stopped", "failed")
NOT_GOING_ON = (*ENDED, "crashed", "other host", "unknown")
_ROWS_BACK = 5000  # how far back the newest evaluation is looked for
_COLUMNS = ("run", "state", "step", "train loss", "val loss", "age")
_NUMBERS = (2, 3, 4, 5)


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


def runs_command(
    *,
    checkpoints: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """List the runs, newest first, each in its true state.

    A run whose process is gone is called crashed, whatever it said last; one that has not been
    heard of for too long is stalled. Age is the time since it was last heard of. Losses are in
    nats per token.

        tinychat runs
        tinychat runs --json

    Parameters
    ----------
    checkpoints
        Folder where runs live (else $TINYCHAT_CHECKPOINTS, else ./checkpoints).
    as_json
        Print one JSON document instead.
    """
    root = checkpoints or default_checkpoints()
    found = [overview(reader) for reader in list_runs(root)]
    if as_json:
        print_json({"checkpoints": str(root.absolute()), "runs": found})
    elif found:
        _print_table(found)
    else:
        print(f"There are no runs in {inert(str(root))} yet. Begin one with: tinychat train")
    return 0


def overview(reader: RunReader) -> Row:
    """One run in a few numbers. What cannot be read is None, and `reason` says why."""
    row: Row = {
        "name": reader.name,
        "path": str(reader.paths.root.absolute()),
        "state": "unknown",
        "reason": "It has not reported yet.",
        "step": None,
        "max_steps": None,
        "tokens_seen": None,
        "eta_seconds": None,
        "age_seconds": None,
        "train_loss": None,
        "val_loss": None,
        "bits_per_byte": None,
        "nonfinite": [],  # which of these losses are no numbers
        "best": None,
        "latest": reader.latest,
        "parameters": None,
        "created_at": None,
    }
    try:
        record = reader.run
        row |= {"parameters": record.parameters.get("total"), "created_at": record.created_at}
        if (status := reader.status) is not None:
            row |= _from_status(status)
        row |= _from_metrics(reader)
    except (TinychatError, OSError) as error:
        row["reason"] = str(error)
    return row


def state_text(row: Row) -> Text:
    """The state's sign and word, in its colour."""
    look = LOOKS.get(row["state"], LOOKS["unknown"])
    return Text(f"{look.glyph} {row['state']}", style=look.colour)


def loss_text(row: Row, key: str) -> str:
    """The newest loss of that name; NaN and infinity are said, not hidden."""
    return "NaN/∞" if key in row["nonfinite"] else loss(row[key])


def number_of(row: Row | None, key: str) -> float | None:
    """A number that stands in a row of a log, or None if there is none."""
    value: Any = None if row is None else row.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _from_status(status: Status) -> Row:
    state, reason = true_state(status)
    best = status.best
    return {
        "state": state,
        "reason": reason,
        "step": status.step,
        "max_steps": status.max_steps,
        "tokens_seen": status.tokens_seen,
        "eta_seconds": None if state in NOT_GOING_ON else status.eta_seconds,
        "age_seconds": round(max(0.0, time.time() - status.time), 1),
        "best": None if best is None else {"step": best.step, "val_loss": best.val_loss},
    }


def _from_metrics(reader: RunReader) -> Row:
    """The newest losses."""
    newest: dict[str, Row] = {}
    for row in itertools.islice(reader.rows_backwards("metrics"), _ROWS_BACK):
        newest.setdefault(str(row.get("kind")), row)
        if {"train", "eval"} <= newest.keys():
            break
    evaluated = newest.get("eval")
    broken = [key for row in newest.values() for key in row.get("nonfinite") or ()]
    return {
        "nonfinite": [key for key in ("train_loss", "val_loss") if key in broken],
        "train_loss": number_of(newest.get("train"), "train_loss"),
        "val_loss": number_of(evaluated, "val_loss"),
        "bits_per_byte": number_of(evaluated, "bits_per_byte"),
    }


def _print_table(found: list[Row]) -> None:
    rows = [
        (
            inert(row["name"]),
            state_text(row).plain,
            progress(row["step"], row["max_steps"]) if row["step"] is not None else NOTHING,
            loss_text(row, "train_loss"),
            loss_text(row, "val_loss"),
            age(row["age_seconds"]),
        )
        for row in found
    ]
    console = screen()
    header, *lines = table([_COLUMNS, *rows], right=_NUMBERS)
    console.print(Text(header, style="bold"))
    for row, line in zip(found, lines, strict=True):
        text = Text(line)
        state = state_text(row)
        text.highlight_words([state.plain], state.style)
        console.print(text)
