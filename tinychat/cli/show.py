"""`tinychat show`: one run on one screen."""

import dataclasses
import math
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from tinychat.cli.chart import Point, loss_chart, thinned
from tinychat.cli.output import print_json, screen, table
from tinychat.cli.runs import NOT_GOING_ON, loss_text, number_of, overview, state_text
from tinychat.cli.words import age, clip, count, duration, inert, number, progress
from tinychat.config import Settings
from tinychat.errors import TinychatError
from tinychat.runs import Row, RunPaths, RunReader, default_checkpoints, find_run
from tinychat.runs.layout import OPTIMIZER

_EVENTS = 8
_ATTEMPTS = 5
_SAMPLES = 4
_SAMPLE_CHARACTERS = 400
_MOST_COLUMNS = 120  # a chart wider than this is not read better
_JSON_POINTS = 500


def show_command(
    run: str,
    /,
    *,
    checkpoints: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Show one run: its state, loss curve, checkpoints, settings, last samples and events.

    Works on live runs, finished ones and what a crash has left; it only reads.

        tinychat show demo
        tinychat show demo --json

    Parameters
    ----------
    run
        A run's name or folder.
    checkpoints
        Folder where runs live (else $TINYCHAT_CHECKPOINTS, else ./checkpoints).
    as_json
        Print one JSON document instead.
    """
    folder, _ = find_run(run, checkpoints or default_checkpoints())
    reader = RunReader(folder)
    if as_json:
        print_json(_document(reader))
    else:
        _print(reader)
    return 0


def _document(reader: RunReader) -> Row:
    train, evaluated = _curves(reader)
    attempts = [{"number": n, **dataclasses.asdict(record)} for n, record in reader.attempts()]
    return {
        **overview(reader),
        "best": _best(reader),
        "checkpoints": [_checkpoint(reader, step) for step in reader.checkpoints()],
        "run": dataclasses.asdict(reader.run),
        "settings": _settings(reader).get("settings", {}),
        "changed_settings": [
            {"name": name, "value": value, "source": source}
            for name, value, source in _changed_settings(reader)
        ],
        "attempts": attempts,
        "train_curve": [{"step": s, "train_loss": v} for s, v in thinned(train, _JSON_POINTS // 2)],
        "val_curve": [{"step": s, "val_loss": v} for s, v in evaluated],
        "samples": _last_samples(reader),
        "events": _last_events(reader),
    }


def _print(reader: RunReader) -> None:
    console = screen()
    row = overview(reader)
    _print_state(console, row)
    train, evaluated = _curves(reader)
    width = min(console.width, _MOST_COLUMNS)
    drawn = loss_chart(train, evaluated, width, colour=console.color_system is not None)
    console.print()
    console.print(Text.from_ansi(drawn))
    console.print()
    for line in table([*_facts(reader, row), *_lineage(reader)]):
        console.print(line)
    _print_settings(console, reader)
    _print_samples(console, reader)
    _print_events(console, reader)
    _print_what_next(console, row)


def _print_state(console: Console, row: Row) -> None:
    line = Text.assemble((inert(row["name"]), "bold"), "   ", state_text(row))
    if row["step"] is not None:
        line.append(f"   step {progress(row['step'], row['max_steps'])}")
    if row["eta_seconds"] is not None:
        line.append(f"   {duration(row['eta_seconds'])} left")
    if row["age_seconds"] is not None:
        line.append(f"   last heard of {age(row['age_seconds'])} ago")
    console.print(line)
    if row["reason"]:
        console.print(inert(row["reason"]))


def _facts(reader: RunReader, row: Row) -> list[tuple[str, str]]:
    """What a run is and how well it does, as (name, words)."""
    facts = []
    attempts = reader.attempts()
    if row["parameters"] is not None:
        told = f"{number(row['parameters'])} parameters"
        if attempts:
            told += f", {attempts[-1][1].device} {attempts[-1][1].dtype}"
        facts.append(("model", told))
    if row["tokens_seen"] is not None:
        facts.append(("tokens seen", number(row["tokens_seen"])))
    facts.append(("train loss", _loss(row, "train_loss")))
    told = _loss(row, "val_loss")
    if row["bits_per_byte"] is not None:
        told += f", {row['bits_per_byte']:.3f} bits per byte"
    facts.append(("val loss", told))
    if (best := _best(reader)) is not None:
        facts.append(("best", f"val_loss {best['val_loss']:.4f} at step {number(best['step'])}"))
    facts.append(("checkpoints", _checkpoints_in_words(reader)))
    return [(name, inert(words)) for name, words in facts]


def _loss(row: Row, key: str) -> str:
    known = row[key] is not None or key in row["nonfinite"]
    return f"{loss_text(row, key)} nats per token" if known else "not measured yet"


def _lineage(reader: RunReader) -> list[tuple[str, str]]:
    """Where the weights come from: another run, and the attempts of this one."""
    lines = []
    parent = reader.run.parent
    if parent:
        lines.append(("grew from", parent))
    attempts = reader.attempts()
    for number_, attempt in attempts[-_ATTEMPTS:]:
        told = f"{number_}: from step {number(attempt.from_step)}, {attempt.reason}"
        if attempt.resume_class == "A":
            told += ", bit-exact"
        lines.append(("attempt", told))
    return [(name, inert(words)) for name, words in lines]


def _print_settings(console: Console, reader: RunReader) -> None:
    changed = _changed_settings(reader)
    console.print("\nsettings that differ from the defaults", style="bold")
    rows = [(f"  {name}", inert(_value(value)), source) for name, value, source in changed]
    for line in table(rows) if rows else ["  none"]:
        console.print(line)


def _print_samples(console: Console, reader: RunReader) -> None:
    samples = _last_samples(reader)
    if not samples:
        return
    console.print(f"\nsamples of step {samples[0].get('step')}", style="bold")
    for sample in samples[:_SAMPLES]:
        prompt = inert(clip(str(sample.get("prompt", "")), _SAMPLE_CHARACTERS))
        text = inert(clip(str(sample.get("text", "")), _SAMPLE_CHARACTERS), keep="\n")
        console.print(Text(f"  › {prompt}", style="cyan"))
        console.print("    " + text.replace("\n", "\n    "))


def _print_events(console: Console, reader: RunReader) -> None:
    events = _last_events(reader)
    if not events:
        return
    console.print("\nlast events", style="bold")
    rows = [
        (
            f"  {_clock(event)}",
            f"step {event.get('step')}",
            inert(f"{event.get('kind')}: {event.get('message')}"),
        )
        for event in events
    ]
    for line in table(rows):
        console.print(line)


def _print_what_next(console: Console, row: Row) -> None:
    name = inert(row["name"])
    if row["state"] in NOT_GOING_ON and row["state"] != "finished":
        console.print(f"\ngo on:  tinychat resume {name}")
    elif row["state"] == "finished":
        console.print(f"\ntalk:   tinychat chat {name}")


def _curves(reader: RunReader) -> tuple[list[Point], list[Point]]:
    """Training and validation losses by step; what is not finite is left out."""
    curves: dict[str, list[Point]] = {"train_loss": [], "val_loss": []}
    for row in reader.rows("metrics"):
        key = {"train": "train_loss", "eval": "val_loss"}.get(str(row.get("kind")), "")
        step, value = row.get("step"), number_of(row, key)
        if isinstance(step, int) and value is not None and math.isfinite(value):
            curves[key].append((step, float(value)))
    return curves["train_loss"], curves["val_loss"]


def _best(reader: RunReader) -> Row | None:
    best = reader.best
    return None if best is None else {"step": best.step, "val_loss": best.val_loss}


def _checkpoint(reader: RunReader, step: int) -> Row:
    path = reader.paths.checkpoint(step)
    return {"step": step, "path": str(path.absolute()), "weights_only": _is_thinned(path)}


def _is_thinned(path: Path) -> bool:
    return not (path / OPTIMIZER).exists()


def _checkpoints_in_words(reader: RunReader) -> str:
    steps = reader.checkpoints()
    if not steps:
        return "none yet"
    paths = RunPaths(reader.paths.root)
    thinned_steps = [step for step in steps if _is_thinned(paths.checkpoint(step))]
    told = ", ".join(map(number, steps)) + " (the latest)"
    if thinned_steps:
        told += f"; weights only: {', '.join(map(number, thinned_steps))}"
    return f"{count(len(steps), 'step')}: {told}"


def _settings(reader: RunReader) -> Row:
    try:
        return reader.settings
    except TinychatError:
        return {}


def _changed_settings(reader: RunReader) -> list[tuple[str, Any, str]]:
    """(name, value, source) of each setting that is not its default. Tolerant of other versions."""
    document = _settings(reader)
    values, sources = document.get("settings"), document.get("sources")
    if not isinstance(values, dict):
        return []
    defaults = _flat(dataclasses.asdict(Settings()))
    known = sources if isinstance(sources, dict) else {}
    return [
        (name, value, str(known.get(name, "?")))
        for name, value in _flat(values).items()
        if name not in defaults or _plain(defaults[name]) != value
    ]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _last_samples(reader: RunReader) -> list[Row]:
    """The samples of the newest round, in their order."""
    newest: list[Row] = []
    for row in reader.rows_backwards("samples"):
        if newest and row.get("step") != newest[0].get("step"):
            break
        newest.append(row)
    return newest[::-1]


def _last_events(reader: RunReader) -> list[Row]:
    return list(islice(reader.rows_backwards("events"), _EVENTS))[::-1]


def _clock(row: Row) -> str:
    seconds = number_of(row, "time")
    try:
        return datetime.fromtimestamp(seconds or 0.0).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "?"
