"""`tinychat chaos`: the proof on one's own machine that nothing is lost."""

import math
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from tinychat.cli.output import print_json, screen, tell
from tinychat.errors import SettingsError
from tinychat.runs import default_checkpoints
from tinychat.words import duration, inert, number, table

if TYPE_CHECKING:  # it imports torch
    from tinychat.chaos.matrix import Experiment
    from tinychat.chaos.outcome import Trial

_PLAIN_SECONDS = 10.0  # between lines about the same experiment where there is no terminal
USUAL_MINUTES = 10.0
_CLEAR_LINE = "\r\x1b[2K"


def chaos_command(
    *,
    minutes: float | None = None,
    everything: Annotated[bool, Parameter(name="--all", negative="")] = False,
    checkpoints: Path | None = None,
    keep: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Prove on this machine that nothing is lost: runs are killed, their disk fails, files rot.

    Real runs of the demo's model, on this machine's device and on the disk where runs live, are
    killed, told to stop, filled up and damaged, and compared to the last bit with runs that nobody
    hurt. Then a table says what was done and what was found. Everything happens in one folder
    `.chaos-…` inside the checkpoints folder, which is removed at the end unless something failed;
    nothing else is touched. What this machine cannot run is named with the reason. Leaves with 0
    if everything that could be run passed, 1 if anything failed. Ctrl+C stops, tidies up and shows
    what was done so far.

        tinychat chaos
        tinychat chaos --all --json

    Parameters
    ----------
    minutes
        About how long it may take (else 10); more minutes, more kills (at least 20, at most 100).
    everything
        Do all there is to do, however long it takes (on two cores about half an hour): 100 kills,
        30 signals, 20 races, each file operation, system call and cut.
    checkpoints
        Folder where runs live (else $TINYCHAT_CHECKPOINTS, else ./checkpoints).
    keep
        Keep the folder with all its runs.
    as_json
        Print one JSON document instead.
    """
    from tinychat.chaos.interrupts import Interrupts
    from tinychat.chaos.matrix import EXPERIMENTS, machine, run_all

    if everything and minutes is not None:
        raise SettingsError("--all takes as long as it takes: leave out --minutes")
    minutes = USUAL_MINUTES if minutes is None else minutes
    if not 0 < minutes <= 24 * 60:
        raise SettingsError(f"--minutes {minutes:g}: give more than 0 and at most 1440 (a day)")
    root = (checkpoints or default_checkpoints()).absolute()
    new_root = not root.exists()
    folder = root / f".chaos-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    done: list[Trial] = []
    interrupted = False
    progress = _Progress(len(EXPERIMENTS))
    with Interrupts() as interrupts:

        def told(experiment: "Experiment", line: str) -> None:
            interrupts.check()
            progress(experiment, line)

        try:
            folder.mkdir(mode=0o700, parents=True)
            where = machine(folder)
            try:
                seconds = math.inf if everything else 60 * minutes
                run_all(folder, seconds, done, told, EXPERIMENTS, keep=keep)
                interrupts.check()
            except KeyboardInterrupt:
                interrupted = True
        finally:
            interrupts.tidy()
            progress.end()
            kept = keep or any(outcome.failures for outcome in done)
            if not kept:
                shutil.rmtree(folder, ignore_errors=not folder.exists())
                if new_root:
                    with suppress(OSError):  # somebody has begun a run there meanwhile
                        root.rmdir()
    ok = not interrupted and not any(outcome.failures for outcome in done)
    document = {
        "format": 1,
        "ok": ok,
        "interrupted": interrupted,
        "minutes": None if everything else minutes,
        "machine": where,
        "folder": str(folder) if kept else None,
        "experiments": [asdict(each) | {"passed": each.passed} for each in done],
        "not_reached": [each.name for each in EXPERIMENTS[len(done) :]],
    }
    if as_json:
        print_json(document)
    else:
        _print(document, done)
    return 130 if interrupted else 0 if ok else 1


class _Progress:
    """Which experiment is on and how far it is, on stderr."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._names: list[str] = []
        self._told_at = 0.0
        self._terminal = sys.stderr.isatty()

    def __call__(self, experiment: "Experiment", told: str) -> None:
        new = experiment.name not in self._names
        if new:
            self._names.append(experiment.name)
        now = time.monotonic()
        if not self._terminal and not new and now - self._told_at < _PLAIN_SECONDS:
            return
        self._told_at = now
        line = f"{len(self._names)} of {self._total}, {experiment.name}: "
        line = inert(line + (told or experiment.about))
        self._write(f"{_CLEAR_LINE}{line}" if self._terminal else f"{line}\n")

    def end(self) -> None:
        if self._terminal:
            self._write(_CLEAR_LINE)

    def _write(self, text: str) -> None:
        with suppress(OSError):  # the terminal may be closed, and there is still to tidy up
            sys.stderr.write(text)
            sys.stderr.flush()


def _print(document: dict[str, Any], done: "Sequence[Trial]") -> None:
    console = screen()
    where = document["machine"]
    console.print(
        inert(
            f"{where['device']} ({where['processor']}), {where['system']}, torch {where['torch']}, "
            f"tinychat {where['tinychat']}"
        )
    )
    rows = [("experiment", "result", "tried", "time", "found")]
    for each in done:
        result = "left out" if each.left_out else "FAILED" if each.failures else "passed"
        found = each.left_out or ", ".join(map(_figure, each.figures, each.figures.values()))
        seconds = duration(each.seconds)
        rows.append((each.experiment, result, number(each.tried), seconds, inert(found)))
    rows += [(name, "not reached", "", "", "") for name in document["not_reached"]]
    for line in table(rows, right=(2, 3)):
        console.print(line)
    for each in done:
        for failure in each.failures:
            tell(inert(f"{each.experiment}: {failure}"))
    if document["interrupted"]:
        tell("interrupted; this is what was done before")
    if document["folder"]:
        tell(inert(f"the runs are kept in {document['folder']}"))


def _figure(name: str, value: float) -> str:
    """`steps_redone_at_most`, 5 as "steps redone at most 5"."""
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
    return f"{name.replace('_', ' ')} {shown}"
