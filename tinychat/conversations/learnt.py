"""Which judgements no training has had yet."""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from tinychat.conversations.feedback import Feedback
from tinychat.conversations.reading import feedback_file
from tinychat.conversations.store import FEEDBACK
from tinychat.errors import TinychatError
from tinychat.runs import RunReader, folder_label, list_runs


def not_learnt_yet(feedback: Feedback, checkpoints: Path, run: str) -> int:
    """How many judgements came, or were accepted, after the newest training of a run's family that
    learns from this feedback: the run, what it comes from, and all that comes of those. What waits
    for review is not counted. Reads each run's record, so not to be called many times a second.
    """
    trained, learnt = 0.0, set[str]()
    for reader in _trained_on(checkpoints, run):
        trained = max(trained, _read_at(reader))
        learnt |= _sources(reader)
    return sum(
        mark.reviewed and mark.counts_from > trained and mark.id not in learnt
        for mark in feedback.marks()
    )


def _trained_on(checkpoints: Path, run: str) -> Iterator[RunReader]:
    """The runs of a family that learn from the feedback of this folder."""
    readers = {reader.name: reader for reader in list_runs(checkpoints)}
    parents = {name: _parent(reader) for name, reader in readers.items()}
    ours = checkpoints / FEEDBACK
    for name, reader in readers.items():
        if _root(name, parents) != _root(run, parents):
            continue
        with suppress(TinychatError, KeyError, TypeError, OSError):
            paths = reader.settings["settings"]["tune"]["feedback"]
            if any(_is_same(path, ours) for path in paths):
                yield reader


def _parent(reader: RunReader) -> str:
    """The run that one grew from; "" for none."""
    with suppress(TinychatError):
        parent = reader.run.parent
        if parent:
            return folder_label(Path(parent)).rpartition("@")[0] or Path(parent).name
    return ""


def _root(run: str, parents: dict[str, str]) -> str:
    seen = {run}
    while (parent := parents.get(run)) and parent not in seen:
        seen.add(parent)
        run = parent
    return run


def _is_same(path: str, ours: Path) -> bool:
    with suppress(TinychatError, OSError):
        return feedback_file(Path(path)).resolve() == ours.resolve()
    return False


def _read_at(reader: RunReader) -> float:
    """When a run has read all that was said; 0 for one that learns from what comes."""
    with suppress(TinychatError, ValueError):
        run = reader.run
        if not run.follows:
            read_at = run.tune.read_at if run.tune else ""
            return datetime.fromisoformat(read_at or run.created_at).timestamp()
    return 0.0


def _sources(reader: RunReader) -> set[str]:
    """The judgements that a run has a copy of."""
    found: set[str] = set()
    with suppress(OSError), open(reader.paths.examples_jsonl, "rb") as file:
        for line in file:
            with suppress(ValueError, KeyError, TypeError):
                found.add(str(json.loads(line)["source"]))
    return found
