"""The state of runs as plain text or as one JSON document, for scripts and screen readers."""

from collections.abc import Callable
from pathlib import Path

from tinychat.errors import TinychatError
from tinychat.runs import Row, RunReader
from tinychat.watch.lines import (
    COLUMNS,
    NUMBERS,
    cells,
    facts,
    no_runs,
    notes,
    row_step,
    sample_lines,
    state_line,
)
from tinychat.watch.overview import Overview, Watch, newest_samples, runs_json
from tinychat.words import inert, json_text, number, table, to_ascii

_LOG_LINES = 5


def report(checkpoints: Path, run: Path | None, *, as_json: bool, ascii: bool = False) -> str:
    """All runs of a folder, or one run; `ascii` leaves no other character in the text."""
    watch, write = Watch(checkpoints), _in_ascii if ascii else str
    if run is not None:
        overview = watch.look_at(run)
        if as_json:
            return json_text(_document(overview), ascii=ascii)
        lines = _run_lines(overview)
    else:
        overviews = watch.look()
        if as_json:
            return json_text(runs_json(checkpoints, overviews), ascii=ascii)
        lines = _list_lines(overviews, write) if overviews else [no_runs(checkpoints)]
    return "\n".join(map(write, lines))


def _in_ascii(text: str) -> str:
    return to_ascii(text.replace("∞", "inf"))


def _list_lines(overviews: list[Overview], write: Callable[[str], str]) -> list[str]:
    rows = [COLUMNS, *(tuple(map(write, cells(each))) for each in overviews)]
    told = notes(overviews)
    return [*table(rows, right=NUMBERS), *([""] if told else []), *told]


def _run_lines(overview: Overview) -> list[str]:
    lines = [inert(overview.name), state_line(overview)]
    lines += [inert(overview.reason)] if overview.reason else []
    known = facts(overview)
    reader = RunReader(overview.path)
    if steps := _checkpoints(reader):
        known.append(("checkpoints", ", ".join(map(number, steps))))
    lines += ["", *(table(known) or ["no metrics yet"])]
    samples, log = _samples(reader), _log(reader)
    if samples:
        lines += ["", f"sample of step {row_step(samples[-1])}", *sample_lines(samples[-1])]
    if log:
        lines += ["", "log", *(inert(line, keep="\t").expandtabs() for line in log)]
    return lines


def _document(overview: Overview) -> Row:
    reader = RunReader(overview.path)
    samples = _samples(reader)
    return {
        "format": 1,
        **overview.to_json(),
        "checkpoints": _checkpoints(reader),
        "train": overview.train,
        "eval": overview.eval,
        "sample": samples[-1] if samples else None,
        "samples": samples,
        "log": _log(reader),
    }


def _checkpoints(reader: RunReader) -> list[int]:
    try:
        return reader.checkpoints()
    except (TinychatError, OSError):  # the overview says why
        return []


def _samples(reader: RunReader) -> list[Row]:
    try:
        return newest_samples(reader)
    except (TinychatError, OSError):
        return []


def _log(reader: RunReader) -> list[str]:
    try:
        return reader.log_tail(_LOG_LINES)
    except (TinychatError, OSError):
        return []
