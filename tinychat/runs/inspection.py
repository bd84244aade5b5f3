"""What of a run's files is damaged: every file is read, each checkpoint against its manifest.

Reads only, takes no lock, and may run beside a trainer: what is replaced or removed meanwhile is
looked at again or left out. A line that was cut off is what a killed process or a full disk leaves;
it is counted and is no damage, because that row is written again.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tinychat.errors import CheckpointError, TinychatError
from tinychat.runs.chain import read_chain
from tinychat.runs.checkpoints import read_checkpoint, read_manifest
from tinychat.runs.layout import (
    DELETED,
    QUARANTINED,
    REPLACED,
    RESUME_FILES,
    TEMPORARY,
    RunPaths,
    list_checkpoints,
)
from tinychat.runs.reader import RunReader, parse_line
from tinychat.runs.records import AttemptRecord, RunRecord, Status, parse

Progress = Callable[[str, int, int], None]  # (stage, done, total)


@dataclass(frozen=True)
class CheckpointReport:
    """One checkpoint against its manifest."""

    step: int
    size_bytes: int = 0  # of the files that the manifest names
    files: int = 0
    weights_only: bool = False
    unknown: tuple[str, ...] = ()  # files that the manifest does not name
    problem: str = ""  # a sentence; empty: every byte is as it was written


@dataclass(frozen=True)
class LogReport:
    """One log of one attempt."""

    path: str  # within the run
    rows: int
    torn: int  # lines that were cut off while they were written
    damaged: int  # other lines that are no rows


@dataclass
class Inspection:
    """Everything that was looked at. `problems` are sentences about records and logs."""

    checkpoints: list[CheckpointReport] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)  # set aside before: never used
    leftovers: list[str] = field(default_factory=list)  # of interrupted saves: never used
    logs: list[LogReport] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def damage(self) -> list[str]:
        """A sentence for each thing that is damaged."""
        found = [each.problem for each in self.checkpoints if each.problem]
        found += self.problems
        for log in self.logs:
            if log.damaged:
                lines = "1 line is" if log.damaged == 1 else f"{log.damaged:,} lines are"
                found.append(f"{log.path}: {lines} damaged and passed over.")
        return found


def inspect_run(run: Path, progress: Progress) -> Inspection:
    """Look at every file of a run. Raises OSError only if the folder itself cannot be listed."""
    found = Inspection()
    for name in sorted(os.listdir(run)):
        if name.startswith(QUARANTINED):
            found.quarantined.append(name)
        elif name.startswith((TEMPORARY, REPLACED, DELETED)):
            found.leftovers.append(name)
    steps = list_checkpoints(run)
    for done, step in enumerate(steps):
        progress("verifying checkpoints", done, len(steps))
        if (report := inspect_checkpoint(run, step)) is not None:
            found.checkpoints.append(report)
    found.problems += _record_problems(run)
    numbers = RunPaths(run).attempt_numbers()
    for done, number in enumerate(numbers):
        progress("reading logs", done, len(numbers))
        found.logs += _logs(run, number)
    found.problems += _order_problems(RunReader(run))
    return found


def inspect_checkpoint(run: Path, step: int) -> CheckpointReport | None:
    """One checkpoint against its manifest; None if it was removed meanwhile."""
    path = RunPaths(run).checkpoint(step)
    problem = ""
    for _ in range(2):  # a trainer may have thinned it just now
        try:
            _, listed = read_manifest(path)
            unknown: list[str] = []
            for name in listed:  # one at a time: together they may be larger than memory
                unknown = read_checkpoint(path, only=(name,)).unknown
        except CheckpointError as error:
            problem = str(error)
            continue
        except TinychatError as error:  # of a newer tinychat
            return CheckpointReport(step, problem=str(error))
        return CheckpointReport(
            step,
            size_bytes=sum(size for size, _ in listed.values()),
            files=len(listed),
            weights_only=not listed.keys() >= RESUME_FILES,
            unknown=tuple(unknown),
        )
    return CheckpointReport(step, problem=problem) if path.exists() else None


def _record_problems(run: Path) -> Iterator[str]:
    """What is wrong with the files that hold one JSON object each."""
    paths = RunPaths(run)
    record: RunRecord | None = None
    try:
        record = RunReader(run).run
    except TinychatError as error:
        yield str(error)
    if paths.status_json.exists():  # replaced at every beat, but always whole
        yield from _unread(lambda: Status.from_json(*_read(paths.status_json)))
    yield from _unread(lambda: RunReader(run).settings)
    try:
        tokenizer = paths.tokenizer_json.read_bytes()
        parse(tokenizer)
        digest = hashlib.sha256(tokenizer).hexdigest()
        if record is not None and record.tokenizer_sha256 not in (None, digest):
            yield (
                f"{paths.tokenizer_json} is damaged: its sha256 is not the one in run.json; copy "
                "the one of a checkpoint over it."
            )
    except (OSError, ValueError) as error:
        yield f"{paths.tokenizer_json} cannot be read: {error}."
    if record is not None and record.follows:
        yield from _broken_chain(paths.examples_jsonl)
    elif record is not None and record.tune is not None:
        yield from _other_bytes(paths.examples_jsonl, record.tune.examples_sha256)
        yield from _other_bytes(paths.reference_json, record.tune.reference_sha256)
    for number in paths.attempt_numbers():
        path = paths.attempt(number).attempt_json
        if path.exists():  # else it was killed before it began, unless it wrote rows
            yield from _unread(lambda path=path: AttemptRecord.from_json(*_read(path)))
        elif number in RunReader(run).lost_attempts():
            yield f"{path} is missing, so nobody can use the logs beside it."


def _other_bytes(path: Path, sha256: str) -> Iterator[str]:
    """A sentence if what a tuned run learns from is not what it began with."""
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            yield f"{path} is damaged: its sha256 is not the one in run.json."
    except OSError as error:
        yield f"{path} cannot be read: {error.strerror or error}."


def _broken_chain(path: Path) -> Iterator[str]:
    """A sentence if a file that grows is not what was written."""
    try:
        list(read_chain(path.read_bytes(), str(path)))
    except ValueError as error:
        yield f"{path} is damaged: {error}."
    except TinychatError as error:
        yield str(error)
    except OSError as error:
        yield f"{path} cannot be read: {error.strerror or error}."


def _unread(read: Callable[[], object]) -> Iterator[str]:
    try:
        read()
    except (TinychatError, OSError) as error:
        yield str(error)


def _read(path: Path) -> tuple[bytes, str]:
    return path.read_bytes(), str(path)


def _logs(run: Path, number: int) -> Iterator[LogReport]:
    attempt = RunPaths(run).attempt(number)
    for path in (attempt.metrics, attempt.samples, attempt.events):
        if not path.exists():
            continue
        rows = torn = damaged = 0
        cut = b""  # a line that was not written to its end: the next one begins with it, or none
        with open(path, "rb") as file:
            for line in file:
                text = line.strip(b"\0 \r\n")  # a power cut may leave a block of NULs
                if cut and text:
                    again = text.startswith(cut)
                    torn, damaged, cut = torn + again, damaged + (not again), b""
                if parse_line(line) is not None:
                    rows += 1
                elif text.startswith(b"{") and not text.endswith(b"}"):
                    cut = text
                elif text:
                    damaged += 1
        yield LogReport(str(path.relative_to(run)), rows, torn + bool(cut), damaged)


def _order_problems(reader: RunReader) -> Iterator[str]:
    """Each step stands once in the logical log, one after the other."""
    last = 0
    for row in reader.rows("metrics"):
        if row.get("kind") != "train":
            continue
        step = row.get("step")
        if not isinstance(step, int) or step <= last:
            found = json.dumps(step)
            yield f"metrics.jsonl: a row of step {found} stands after one of step {last}."
        else:
            last = step
