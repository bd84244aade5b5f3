"""`tinychat verify`: whether a run is still what it was, byte by byte, and bit by bit if asked."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from tinychat.cli.output import Waiting, print_json, screen, tell
from tinychat.errors import SettingsError
from tinychat.runs import (
    CheckpointReport,
    Inspection,
    RunReader,
    breaks,
    default_checkpoints,
    find_run,
    inspect_checkpoint,
    inspect_run,
)
from tinychat.words import clip, count, inert, number, size, table

if TYPE_CHECKING:  # it imports torch
    from tinychat.training import Difference, Recomputation

NOTHING_KEPT = "nothing is kept of these steps to compare with, so nothing is proved"
_DIFFERENCES = 5  # that are shown; JSON has all


def verify_command(
    run: str,
    /,
    *,
    steps: str | None = None,
    checkpoints: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Check that every file of a run is whole, and with --steps that its steps come out again.

    Every checkpoint is compared with its manifest (size and sha256 of each file), and every record
    and log is read. With --steps the trainer computes those steps again, from a checkpoint and in
    memory, and compares losses, weights and optimizer to the last bit. Reads only; works beside a
    live trainer. Leaves with 1 if anything is damaged or differs.

        tinychat verify demo
        tinychat verify demo --steps 200:400

    Parameters
    ----------
    run
        A run's name, its folder, or one checkpoint folder.
    steps
        Compute the steps from A to B again, as A:B; without B up to the newest checkpoint. It
        begins at the newest whole checkpoint at or before A.
    checkpoints
        Folder where runs live (else $TINYCHAT_CHECKPOINTS, else ./checkpoints).
    as_json
        Print one JSON document instead.
    """
    stretch = None if steps is None else _stretch(steps)
    folder, step = find_run(run, checkpoints or default_checkpoints())
    folder = folder.resolve()
    again = None
    with Waiting() as waiting:
        if step is not None:
            if stretch:
                raise SettingsError("--steps needs the run; this is one of its checkpoints")
            report = inspect_checkpoint(folder, step)
            found = Inspection(checkpoints=[report] if report else [])
        else:
            found = inspect_run(folder, waiting)
        if stretch:
            from tinychat.training import recompute

            again = recompute(folder, *stretch, waiting)
    document = _document(folder, found, again)
    if as_json:
        print_json(document)
    else:
        _print(document, found, again)
    return 0 if document["ok"] else 1


def _stretch(words: str) -> tuple[int, int | None]:
    match = re.fullmatch(r"([0-9]{1,18}):([0-9]{0,18})", words)
    if match is None:
        raise SettingsError(f"--steps {words}: write two steps as A:B, or A: up to the newest")
    return int(match[1]), int(match[2]) if match[2] else None


def _document(run: Path, found: Inspection, again: "Recomputation | None") -> dict[str, Any]:
    reader = RunReader(run)
    attempts = reader.attempts()
    damage = found.damage
    confirmed = again is None or (
        _compared(again) and not (again.differences or again.rows_missing or again.stopped)
    )
    return {
        "format": 1,
        "run": reader.name,
        "path": str(run),
        "ok": not damage and confirmed,
        "lineage": reader.lineage,
        "breaks": [asdict(each) for each in breaks(attempts)],
        "damage": damage,
        "checkpoints": [asdict(each) for each in found.checkpoints],
        "quarantined": found.quarantined,
        "leftovers": found.leftovers,
        "logs": [asdict(each) for each in found.logs],
        "recomputed": None if again is None else _recomputed(again),
    }


def _recomputed(again: "Recomputation") -> dict[str, Any]:
    first = min(again.differences, key=lambda each: each.step, default=None)
    return {
        **asdict(again),
        "steps": again.steps,
        "first_difference": None if first is None else asdict(first),
    }


def _print(document: dict[str, Any], found: Inspection, again: "Recomputation | None") -> None:
    console = screen()
    rows = [
        ("run", inert(document["run"])),
        ("lineage", inert(document["lineage"]) or "nothing has begun yet"),
        ("checkpoints", _checkpoints(found.checkpoints)),
    ]
    if found.logs:
        rows.append(("logs", _logs(found)))
    if found.quarantined:
        rows.append(("set aside before", inert(", ".join(found.quarantined))))
    if found.leftovers:
        told = f"{inert(', '.join(found.leftovers))}; the next start clears that"
        rows.append(("of an interrupted save", told))
    if again is not None:
        rows += _again(again)
    for line in table(rows):
        console.print(line)
    for sentence in document["damage"]:
        tell(inert(sentence))
    if again is not None and again.stopped:
        tell(inert(f"it stopped at step {again.to_step}: {again.stopped}"))


def _checkpoints(reports: list[CheckpointReport]) -> str:
    if not reports:
        return "none yet"
    good = [each for each in reports if not each.problem]
    told = f"{len(good)} of {len(reports)} whole"
    if good:
        n_files, n_bytes = sum(each.files for each in good), sum(each.size_bytes for each in good)
        told += f", {count(n_files, 'file')}, {size(n_bytes)}, every sha256 as it was written"
    if unknown := sorted({name for each in good for name in each.unknown}):
        told += f"; in no manifest and never read: {inert(clip(', '.join(unknown), 200))}"
    return told


def _logs(found: Inspection) -> str:
    torn, damaged = sum(each.torn for each in found.logs), sum(each.damaged for each in found.logs)
    told = f"{count(sum(each.rows for each in found.logs), 'row')} read"
    if torn:
        told += f", {count(torn, 'line')} cut off by a crash and passed over"
    return told + (f", {count(damaged, 'line')} damaged" if damaged else "")


def _compared(again: "Recomputation") -> bool:
    """Whether there was anything of these steps to compare with."""
    return bool(again.rows_compared or again.checkpoints_compared)


def _again(again: "Recomputation") -> list[tuple[str, str]]:
    compared = ", ".join(map(number, again.checkpoints_compared)) or "none"
    rows = [
        (
            "computed again",
            f"{count(again.steps, 'step')}, from {number(again.from_step)} to "
            f"{number(again.to_step)}",
        ),
        (
            "compared",
            f"{count(again.rows_compared, 'row')} of {count(again.steps, 'step')}, checkpoints "
            f"{compared}",
        ),
    ]
    found = sorted(again.differences, key=lambda each: each.step)
    if not found:
        same = f"every bit{' that is left' if again.rows_missing else ''} as the run says"
        rows.append(("result", same if _compared(again) else NOTHING_KEPT))
    else:
        steps = len({each.step for each in found})
        told = f"not as the run says at {count(steps, 'step')}, first at step {found[0].step:,}"
        rows.append(("result", told))
        rows += [("", _difference(each)) for each in found[:_DIFFERENCES]]
        if len(found) > _DIFFERENCES:
            rows.append(("", f"and {count(len(found) - _DIFFERENCES, 'more')}"))
    if again.rows_missing:
        first = f"first that of step {again.rows_missing[0]:,}"
        told = count(len(again.rows_missing), "row that was", "rows that were")
        rows.append(("gone", f"{told} written, {first}"))
    if again.other_facts:
        told = f"bits may differ here although nothing is wrong: {', '.join(again.other_facts)}"
        rows.append(("this machine", inert(told)))
    return rows


def _difference(each: "Difference") -> str:
    if isinstance(each.computed, str):
        return (
            f"step {each.step:,}: the checkpoint's {each.what} has sha256 "
            f"{str(each.recorded)[:12]}, computed {each.computed[:12]}"
        )
    return f"step {each.step:,}: {each.what} is {each.recorded!r}, computed {each.computed!r}"
