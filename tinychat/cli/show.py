"""`tinychat show`: one run on one screen."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from tinychat.cli.output import named, print_json, print_rows, screen
from tinychat.cli.runs import state_text
from tinychat.cli.ways import in_words, lines_of_ways
from tinychat.config import Settings
from tinychat.config.names import flatten
from tinychat.errors import TinychatError
from tinychat.runs import (
    Generation,
    Row,
    RunPaths,
    RunReader,
    ancestry_of,
    default_checkpoints,
    family_words,
    find_run,
    pinned,
)
from tinychat.runs.layout import OPTIMIZER
from tinychat.watch.curves import curve, nice_ticks, tick_labels
from tinychat.watch.history import History
from tinychat.watch.lines import facts, row_step, sample_lines, state_line
from tinychat.watch.overview import Overview, Watch, best_json, finite_number
from tinychat.watch.plot import Line, Picture, draw
from tinychat.watch.states import NOT_GOING_ON
from tinychat.watch.table import Table
from tinychat.words import count, inert, moment, number

_EVENTS = 8
_ATTEMPTS = 5
_SAMPLES = 4
_SAMPLE_CHARACTERS = 400
_CHART_ROWS = 14
_MOST_COLUMNS = 120  # a chart wider than this is not read better
_TRAIN_COLOUR, _VAL_COLOUR = "#56B4E9", "#E69F00"  # those of the monitor
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
    folder, step = find_run(run, checkpoints or default_checkpoints())
    reader, history = RunReader(folder), History(folder)
    _ = reader.run  # a folder without a whole run.json is no run to show
    while history.share < 1.0 and history.follow(1.0):
        pass
    overview = Watch(folder.parent).look_at(folder)
    ancestry = _ancestry(reader, step)
    if as_json:
        print_json(_document(reader, overview, history, ancestry))
    else:
        _print(reader, overview, history, ancestry)
    return 0


def _ancestry(reader: RunReader, step: int | None) -> tuple[Generation, ...]:
    """The family tree of a checkpoint: the one that is asked for, else the best, else the newest;
    of a run that has none yet, that of its parent."""
    if step is None:
        best = reader.best
        step = best.step if best else reader.latest
    if step is None:
        return reader.run.ancestry
    return ancestry_of(reader.paths.checkpoint(step))


def _document(
    reader: RunReader, overview: Overview, history: History, ancestry: Sequence[Generation]
) -> Row:
    return {
        **overview.to_json(),
        "best": best_json(reader.best),
        "mirror": _mirror(reader),
        "checkpoints": [_checkpoint(reader, step) for step in reader.checkpoints()],
        "run": dataclasses.asdict(reader.run),
        "ancestry": [
            {**dataclasses.asdict(each), "told": words.told}
            for each, words in zip(ancestry, family_words(ancestry), strict=True)
        ],
        "settings": _settings(reader).get("settings", {}),
        "changed_settings": [
            {"name": name, "value": value, "source": source}
            for name, value, source in _changed_settings(reader)
        ],
        "attempts": [{"number": n, **dataclasses.asdict(each)} for n, each in history.attempts],
        "train_curve": _thinned(history.train, "train_loss", _JSON_POINTS),
        "val_curve": _thinned(history.evals, "val_loss", _JSON_POINTS),
        "samples": history.samples[-1].samples if history.samples else [],
        "events": history.events[-_EVENTS:],
    }


def _print(
    reader: RunReader, overview: Overview, history: History, ancestry: Sequence[Generation]
) -> None:
    console = screen()
    _print_state(console, overview)
    console.print()
    _print_chart(console, history)
    console.print()
    told = [
        *_facts(reader, overview, history),
        *_family(ancestry),
        *_lineage(overview, history),
    ]
    print_rows(console, told)
    _print_ways(console, history)
    _print_settings(console, reader)
    _print_samples(console, history)
    _print_events(console, history)
    _print_what_next(console, overview)


def _print_state(console: Console, overview: Overview) -> None:
    line = Text.assemble((inert(overview.name), "bold"), f"   {state_line(overview)}")
    state = state_text(overview)
    line.highlight_words([state.plain], state.style)
    console.print(line)
    if overview.reason:
        console.print(inert(overview.reason))


def _print_chart(console: Console, history: History) -> None:
    """Training loss as a line and validation losses as dots, over the step."""
    width = min(console.width, _MOST_COLUMNS)
    train = curve(history.train, "train_loss", columns=2 * width)  # braille: two dots a column
    evals = curve(history.evals, "val_loss", columns=width)
    xs, ys = [*train.xs, *evals.xs], [*train.ys, *evals.ys]
    if not xs:
        console.print("no loss has been written yet")
        return
    legend = Text.assemble(("── train loss", _TRAIN_COLOUR), "   ", ("● val loss", _VAL_COLOUR))
    console.print(legend.append("   nats per token, by step"))
    x_ticks, y_ticks = nice_ticks(min(xs), max(xs), 6, axis="step"), nice_ticks(min(ys), max(ys), 6)
    picture = Picture(
        (
            Line(train.xs, train.ys, _TRAIN_COLOUR),
            Line(evals.xs, evals.ys, _VAL_COLOUR, style="dots", marker="●"),
        ),
        *(min(xs), max(xs), min(ys), max(ys)),
        tuple(zip(x_ticks, tick_labels(x_ticks, "step"), strict=True)),
        tuple(zip(y_ticks, tick_labels(y_ticks), strict=True)),
        x_name="step",
    )
    console.print(Text.from_ansi(draw(picture, width, _CHART_ROWS, colour=True, frame=True)))
    if train.rows_per_column > 1:
        console.print(f"lowest and highest of up to {train.rows_per_column} rows per column")


def _facts(reader: RunReader, overview: Overview, history: History) -> list[tuple[str, str]]:
    """What a run is and how well it does, as (what, words)."""
    told = facts(overview) or [("train loss", "not measured yet")]
    if overview.parameters is not None:
        model = f"{number(overview.parameters)} parameters"
        if history.attempts:
            newest = history.attempts[-1][1]
            model += f", {inert(newest.device)}, {inert(in_words(vars(newest)))}"
        told.insert(0, ("model", model))
    told.append(("checkpoints", _checkpoints_in_words(reader)))
    if mirror := _mirror(reader):
        told.append(("second copy", inert(mirror_words(mirror))))
    return told


def _family(ancestry: Sequence[Generation]) -> list[tuple[str, str]]:
    """What the weights have learnt, one run after the other; nothing of a run with no parent."""
    if len(ancestry) < 2:
        return []
    lines = [f"{each.who}: {each.told}" for each in family_words(ancestry)]
    return list(zip(["family tree", *[""] * (len(lines) - 1)], lines, strict=True))


def _lineage(overview: Overview, history: History) -> list[tuple[str, str]]:
    """The attempts that led to the weights of now."""
    lines = []
    if overview.lineage:
        lines.append(("lineage", overview.lineage))
    for number_, attempt in history.attempts[-_ATTEMPTS:]:
        told = f"{number_}: from step {number(attempt.from_step)}, {attempt.reason}"
        if attempt.resume_class == "A":
            told += ", bit-exact"
        lines.append(("attempt", told))
    return [(name, inert(words)) for name, words in lines]


def _print_ways(console: Console, history: History) -> None:
    """What autotune tried before the first step."""
    tunings = [attempt.autotune for _, attempt in history.attempts if attempt.autotune]
    if not tunings:
        return
    try:
        lines = lines_of_ways(tunings[0]["trials"], tunings[0]["chosen"])
    except (KeyError, TypeError):  # of another tinychat
        return
    console.print("\nways to compute that were tried before the first step", style="bold")
    for line in lines:
        console.print(f"  {inert(line)}")


def _print_settings(console: Console, reader: RunReader) -> None:
    changed = _changed_settings(reader)
    console.print("\nsettings that differ from the defaults", style="bold")
    rows = [(f"  {name}", inert(_value(value)), source) for name, value, source in changed]
    if console.is_terminal:  # a path would leave no room for the column behind it
        rows = [(name, f"{value}  ({source})") for name, value, source in rows]
    print_rows(console, rows or [("  none", "")])


def _print_samples(console: Console, history: History) -> None:
    if not history.samples:
        return
    newest = history.samples[-1]
    console.print(f"\nsamples of step {number(newest.step)}", style="bold")
    for sample in newest.samples[:_SAMPLES]:
        prompt, *text = sample_lines(sample, _SAMPLE_CHARACTERS)
        console.print(Text(f"  {prompt}", style="cyan"))
        console.print("\n".join(f"    {line}" for line in text))


def _print_events(console: Console, history: History) -> None:
    events = history.events[-_EVENTS:]
    if not events:
        return
    console.print("\nlast events", style="bold")
    rows = [
        (
            f"  {moment(finite_number(event.get('time')))}",
            f"step {row_step(event)}",
            inert(f"{event.get('kind')}: {event.get('message')}"),
        )
        for event in events
    ]
    print_rows(console, rows)


def _print_what_next(console: Console, overview: Overview) -> None:
    if overview.state == "finished":
        console.print(f"\ntalk:   tinychat chat {named(overview.path)}")
    elif overview.state in NOT_GOING_ON:
        console.print(f"\ngo on:  tinychat resume {named(overview.path)}")


def _checkpoint(reader: RunReader, step: int) -> Row:
    path = reader.paths.checkpoint(step)
    return {
        "step": step,
        "path": str(path.absolute()),
        "weights_only": _is_thinned(path),
        "pinned": step in pinned(reader.paths.root),
    }


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
    if kept := sorted(pinned(reader.paths.root) & set(steps)):
        told += f"; pinned: {', '.join(map(number, kept))}"
    return f"{count(len(steps), 'step')}: {told}"


def _mirror(reader: RunReader) -> Row | None:
    status = reader.status
    return dataclasses.asdict(status.mirror) if status and status.mirror else None


def mirror_words(mirror: Row) -> str:
    """Up to which step the second copy is whole, where it lies, and what is wrong with it."""
    step = mirror["step"]
    told = "no checkpoint yet" if step is None else f"step {number(step)}"
    told += f" in {mirror['folder']}"
    return f"{told}; {mirror['problem']}" if mirror["problem"] else told


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
    defaults = flatten(dataclasses.asdict(Settings()))
    known = sources if isinstance(sources, dict) else {}
    return [
        (name, value, str(known.get(name, "?")))
        for name, value in flatten(values).items()
        if name not in defaults or _plain(defaults[name]) != value
    ]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _thinned(table: Table, name: str, most: int) -> list[Row]:
    """At most so many rows of a column that are numbers: of each stretch the lowest and highest."""
    if name not in table.columns:
        return []
    values = table.columns[name].values
    rows = [row for row, value in enumerate(values) if value == value]
    if len(rows) > most:
        stretch = -(-len(rows) // (most // 2))
        parts = [rows[start : start + stretch] for start in range(0, len(rows), stretch)]
        ends = [{key(part, key=values.__getitem__) for key in (min, max)} for part in parts]
        rows = [row for pair in ends for row in sorted(pair)]
    return [{"step": table.steps[row], name: values[row]} for row in rows]
