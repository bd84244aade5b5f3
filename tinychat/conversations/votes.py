"""Which of two answers side by side people liked better, and the tally of it."""

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from tinychat.conversations.answers import want, want_time
from tinychat.conversations.row_file import Row, RowFile, whole_text
from tinychat.conversations.store import CHATS
from tinychat.errors import ConversationError
from tinychat.runs.durable import Disk
from tinychat.words import count

Verdict = Literal["a", "b", "tie", "both bad"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of two panes."""

    label: str  # what is compared, "demo@300", with the settings in it where they differ
    settings: Mapping[str, Any]  # of sampling
    text: str = ""  # the answer


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How the votes between two labels went, whichever side each stood on."""

    a_wins: int = 0
    b_wins: int = 0
    ties: int = 0
    both_bad: int = 0
    blind: int = 0  # how many of all these were given without seeing the labels

    @property
    def total(self) -> int:
        return self.a_wins + self.b_wins + self.ties + self.both_bad


@dataclass
class _Vote:
    """What a tally needs of one vote."""

    a: str
    b: str
    verdict: Verdict
    blind: bool
    undone: bool = field(default=False)


class Votes:
    """`<checkpoints>/.chats/votes.jsonl`. Any number of threads may share it.

    Whatever cannot be kept or read raises ConversationError, or FormatError if it is newer.
    """

    def __init__(self, checkpoints: Path, *, disk: Disk | None = None) -> None:
        self._file = RowFile(checkpoints / CHATS / "votes.jsonl", disk or Disk())
        self._lock = threading.Lock()
        self._votes: dict[str, _Vote] = {}

    def add(
        self, verdict: Verdict, *, prompt: str, seed: int, a: Side, b: Side, blind: bool
    ) -> str:
        """Keep a vote; returns its id. `a` is the side that the person saw first."""
        if verdict not in get_args(Verdict):
            raise ConversationError(f"A vote is a, b, tie or both bad, not {verdict!r}.")
        row = {
            "kind": "vote",
            "id": secrets.token_hex(8),
            "time": time.time(),
            "verdict": verdict,
            "blind": blind,
            "prompt": whole_text(prompt, "The prompt"),
            "seed": seed,
            "a": _side(a),
            "b": _side(b),
        }
        self._file.append(row, create=True)
        return row["id"]

    def undo(self, id: str) -> None:
        """Raises ConversationError if there is no such vote, or no more."""
        with self._lock:
            self._refresh()
            if id not in self._votes or self._votes[id].undone:
                raise ConversationError("This vote is not there, or was undone already.")
            self._file.append({"undo": id, "time": time.time()})

    def tally(self, a: str, b: str) -> Tally:
        """The votes between two labels."""
        with self._lock:
            self._refresh()
            votes = [vote for vote in self._votes.values() if {vote.a, vote.b} == {a, b}]
        votes = [vote for vote in votes if not vote.undone]
        wins = [vote.a if vote.verdict == "a" else vote.b for vote in votes if _is_won(vote)]
        verdicts = [vote.verdict for vote in votes]
        if a == b:  # two answers of one and the same: only the side tells them apart
            wins = [vote.verdict for vote in votes if _is_won(vote)]
            a, b = "a", "b"
        return Tally(
            a_wins=wins.count(a),
            b_wins=wins.count(b),
            ties=verdicts.count("tie"),
            both_bad=verdicts.count("both bad"),
            blind=sum(vote.blind for vote in votes),
        )

    def tallies(self) -> dict[tuple[str, str], Tally]:
        """The tally of every pair of labels that has votes, the labels of a pair in order."""
        with self._lock:
            self._refresh()
            living = [vote for vote in self._votes.values() if not vote.undone]
        pairs = sorted({(min(vote.a, vote.b), max(vote.a, vote.b)) for vote in living})
        return {pair: self.tally(*pair) for pair in pairs}

    @property
    def skipped(self) -> int:
        """How many lines could not be read."""
        return self._file.skipped

    def _refresh(self) -> None:
        rows, anew = self._file.news()
        if anew:
            self._votes = {}
        for row in rows:
            try:
                self._apply(row)
            except ValueError:
                self._file.skipped += 1

    def _apply(self, row: Row) -> None:
        if "undo" in row:
            vote = self._votes.get(want(row, "undo", str))
            if vote is not None:
                vote.undone = True
            return
        want_time(row)
        if row.get("kind") != "vote" or row.get("verdict") not in get_args(Verdict):
            raise ValueError("it is no vote")
        a, b = (want(want(row, side, dict), "label", str) for side in ("a", "b"))
        vote = _Vote(a, b, row["verdict"], want(row, "blind", bool))
        self._votes.setdefault(want(row, "id", str), vote)


def tally_words(a: str, b: str, tally: Tally) -> str:
    """demo@300 wins 14 of 20 against demo@100 (4 ties, 1 both bad)"""
    if tally.a_wins == tally.b_wins:
        words = f"{a} and {b} won {tally.a_wins} each of {tally.total}"
    else:
        if tally.b_wins > tally.a_wins:
            a, b = b, a
        words = f"{a} wins {max(tally.a_wins, tally.b_wins)} of {tally.total} against {b}"
    rest = [
        *([count(tally.ties, "tie")] if tally.ties else []),
        *([f"{tally.both_bad} both bad"] if tally.both_bad else []),
        *([f"{tally.blind} voted blind"] if tally.blind else []),
    ]
    return f"{words} ({', '.join(rest)})" if rest else words


def blind_swap() -> bool:
    """Whether the second of two answers is seen first where their names are hidden: by chance."""
    return bool(secrets.randbelow(2))


def _is_won(vote: _Vote) -> bool:
    return vote.verdict in ("a", "b")


def _side(side: Side) -> Row:
    whole_text(side.label, "The label")
    whole_text(side.text, "The answer")
    return asdict(side)
