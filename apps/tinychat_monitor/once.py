"""The state of runs as plain text or as one JSON document, for scripts and screen readers."""

import json
from pathlib import Path
from typing import Any

from tinychat_monitor.format import visible
from tinychat_monitor.watch import Details, Glance, Watch
from tinychat_monitor.words import (
    COLUMNS,
    NUMBERS,
    cells,
    log_lines,
    metric_lines,
    sample_lines,
    state_line,
)


def report(checkpoints: Path, run: Path | None, *, as_json: bool) -> str:
    """All runs of a folder, or one run."""
    watch = Watch(checkpoints)
    if run is not None:
        details = watch.look_at(run)
        return _dump(_details_json(details)) if as_json else _run_text(details)
    glances = watch.look()
    if as_json:
        return _dump({"format": 1, "runs": [_glance_json(glance) for glance in glances]})
    return _list_text(glances) if glances else no_runs(checkpoints)


def no_runs(checkpoints: Path) -> str:
    """What to say of a folder without runs."""
    return f"No runs in {visible(str(checkpoints))} yet. `tinychat train` starts one."


def _list_text(glances: list[Glance]) -> str:
    table = [COLUMNS, *(cells(glance) for glance in glances)]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        places = zip(row, COLUMNS, widths, strict=True)
        lines.append(
            "  ".join(
                cell.rjust(width) if name in NUMBERS else cell.ljust(width)
                for cell, name, width in places
            ).rstrip()
        )
    notes = [f"{visible(each.name)}: {visible(each.reason)}" for each in glances if each.reason]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _run_text(details: Details) -> str:
    glance = details.glance
    which, sample = sample_lines(details.sample)
    lines = [visible(glance.name), state_line(glance)]
    lines += [visible(glance.reason)] if glance.reason else []
    lines += ["", *metric_lines(details), "", f"latest sample {which}".rstrip(), sample]
    if details.log:
        lines += ["", "log", *log_lines(details)]
    return "\n".join(lines)


def _glance_json(glance: Glance) -> dict[str, Any]:
    train, evaluated = glance.train or {}, glance.eval or {}
    return {
        "name": glance.name,
        "path": str(glance.path),
        "state": glance.state,
        "reason": glance.reason,
        "step": glance.step,
        "max_steps": glance.max_steps,
        "tokens_seen": glance.tokens_seen,
        "train_loss": train.get("train_loss"),
        "val_loss": evaluated.get("val_loss"),
        "tokens_per_second": train.get("tokens_per_second"),
        "eta_seconds": glance.eta_seconds,
        "age_seconds": None if glance.age_seconds is None else round(glance.age_seconds, 1),
    }


def _details_json(details: Details) -> dict[str, Any]:
    status = details.status
    best = None if status is None or status.best is None else status.best
    return {
        "format": 1,
        **_glance_json(details.glance),
        "best": None if best is None else {"step": best.step, "val_loss": best.val_loss},
        "checkpoints": list(details.checkpoints),
        "train": details.glance.train,
        "eval": details.glance.eval,
        "sample": details.sample,
        "log": list(details.log),
    }


def _dump(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2)
