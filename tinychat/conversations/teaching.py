"""Which taught models a person has accepted, and which not.

A model that was taught from judgements is a run of its own; this says only whether it answers from
here on in place of the one it came from. Nothing is deleted either way, and the newest decision on
a checkpoint counts: whoever wants to go back refuses what was accepted.
"""

import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tinychat.conversations.answers import want, want_time
from tinychat.conversations.row_file import Row, RowFile, whole_text
from tinychat.conversations.store import CHATS
from tinychat.runs import checkpoint_label
from tinychat.runs.durable import Disk


@dataclass(frozen=True, kw_only=True)
class Taught:
    """One decision on a checkpoint of a taught model."""

    id: str
    time: float  # Unix seconds
    run: str  # its name
    step: int
    parent: str  # the checkpoint that it was taught from: demo@300
    accepted: bool

    @property
    def label(self) -> str:
        """demo-tuned@40"""
        return checkpoint_label(self.run, self.step)

    @property
    def parent_run(self) -> str:
        """demo"""
        return self.parent.rpartition("@")[0] or self.parent


class Teaching:
    """`<checkpoints>/.chats/teaching.jsonl`. Any number of threads may share it.

    Whatever cannot be kept or read raises ConversationError, or FormatError if it is newer.
    """

    def __init__(self, checkpoints: Path, *, disk: Disk | None = None) -> None:
        self._file = RowFile(checkpoints / CHATS / "teaching.jsonl", disk or Disk())
        self._lock = threading.Lock()
        self._decisions: dict[tuple[str, int], Taught] = {}  # the newest of each checkpoint

    def accept(self, run: str, step: int, parent: str) -> str:
        """This checkpoint answers from here on in place of `parent`; returns the decision's id."""
        return self._add(run, step, parent, accepted=True)

    def refuse(self, run: str, step: int, parent: str) -> str:
        """It does not, or no more: `parent` goes on answering; returns the decision's id."""
        return self._add(run, step, parent, accepted=False)

    def decisions(self) -> list[Taught]:
        """The decisions that count, oldest first."""
        with self._lock:
            self._refresh()
            return list(self._decisions.values())

    def newest_accepted(self, run: str) -> Taught | None:
        """What was accepted last among all that was taught from a run, however many times over;
        None if it goes on answering itself."""
        decisions = self.decisions()
        family, seen = {run}, 0
        while len(family) > seen:
            seen = len(family)
            family |= {each.run for each in decisions if each.parent_run in family}
        found = [each for each in decisions if each.accepted and each.run in family - {run}]
        return found[-1] if found else None

    @property
    def skipped(self) -> int:
        """How many lines could not be read."""
        return self._file.skipped

    def _add(self, run: str, step: int, parent: str, *, accepted: bool) -> str:
        row: Row = {
            "kind": "taught",
            "id": secrets.token_hex(8),
            "time": time.time(),
            "run": whole_text(run, "The name"),
            "step": step,
            "parent": whole_text(parent, "The parent"),
            "accepted": accepted,
        }
        self._file.append(row, create=True)
        return row["id"]

    def _refresh(self) -> None:
        rows, anew = self._file.news()
        if anew:
            self._decisions = {}
        for row in rows:
            try:
                taught = _taught(row)
            except ValueError:
                self._file.skipped += 1
                continue
            self._decisions.pop((taught.run, taught.step), None)  # the newest comes last
            self._decisions[taught.run, taught.step] = taught


def _taught(row: Row) -> Taught:
    """Raises ValueError for a row that is no decision."""
    if row.get("kind") != "taught":
        raise ValueError(f"the kind {row.get('kind')!r} is not known")
    return Taught(
        id=want(row, "id", str),
        time=want_time(row),
        run=want(row, "run", str),
        step=want(row, "step", int),
        parent=want(row, "parent", str),
        accepted=want(row, "accepted", bool),
    )
