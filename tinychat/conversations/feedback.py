"""What people think of answers, kept so completely that a model can be taught from it.

A thumb judges one answer, a rewrite is what the person would have said, a pick names the best of
several answers to one prompt. Undoing and accepting append a line: nothing that was said is ever
rewritten. What came from another machine waits for review, and is learnt from by nobody before.
"""

import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from tinychat.conversations.answers import (
    Answer,
    Messages,
    messages_from_row,
    messages_to_rows,
    shown,
    want,
    want_time,
)
from tinychat.conversations.row_file import Row, RowFile, checked_length, whole_text
from tinychat.conversations.store import FEEDBACK
from tinychat.errors import ConversationError
from tinychat.runs.durable import Disk
from tinychat.words import clip, count

Thumb = Literal["up", "down"]
DownReason = Literal["repeats", "off topic", "garbled", "wrong", "other"]
DOWN_REASONS: tuple[str, ...] = get_args(DownReason)
Kind = Literal["thumb", "rewrite", "pick"]
EXCERPT = 160  # characters of a text in a Mark


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One judgement. Which of the last four fields count is told by `kind`."""

    id: str
    kind: Kind
    time: float  # Unix seconds
    prompt: tuple[dict[str, str], ...]  # the turns before the answer
    answers: tuple[Answer, ...]  # one, or the ones to pick from
    conversation: str = ""  # where it was said, if in one
    node: str = ""
    reviewed: bool = True  # False: from elsewhere, and not accepted by whoever is here
    verdict: Thumb | None = None
    reason: DownReason | None = None
    text: str | None = None  # the person's own answer
    chosen: int | None = None  # the place in `answers`, from 0

    @property
    def model(self) -> str:
        """Which model said it: demo@300"""
        return self.answers[self.chosen or 0].label

    @property
    def asked(self) -> str:
        """How the message before it begins."""
        return clip(self.prompt[-1]["content"], EXCERPT) if self.prompt else ""

    @property
    def said(self) -> str:
        """How the better answer begins, or the one that was judged."""
        answer = self.answers[self.chosen or 0]
        return clip(answer.text if self.text is None else self.text, EXCERPT)

    @property
    def counts_from(self) -> float:
        """Since when it may be learnt from, as long as nobody has accepted it later."""
        return self.time

    @property
    def of(self) -> int:
        """Of how many answers it was said."""
        return len(self.answers)


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What one living judgement says, without whole texts and ids: all of them stay in memory."""

    id: str
    kind: Kind
    time: float
    conversation: str
    node: str
    reviewed: bool
    verdict: Thumb | None
    reason: DownReason | None
    chosen: int | None
    of: int
    model: str
    asked: str
    said: str
    counts_from: float  # when it was said, or if it came from elsewhere and was accepted, then


@dataclass(frozen=True)
class Counts:
    """How much there is to teach from. As a text: 23 picks, 11 thumbs, 4 rewrites"""

    picks: int = 0
    thumbs: int = 0
    rewrites: int = 0

    @classmethod
    def of(cls, kinds: Sequence[Kind]) -> "Counts":
        """How many there are of each."""
        return cls(kinds.count("pick"), kinds.count("thumb"), kinds.count("rewrite"))

    @property
    def total(self) -> int:
        return self.picks + self.thumbs + self.rewrites

    def __str__(self) -> str:
        kinds = (count(self.picks, "pick"), count(self.thumbs, "thumb"))
        return ", ".join((*kinds, count(self.rewrites, "rewrite")))


class Feedback:
    """`<checkpoints>/.chats/feedback.jsonl`. Any number of threads may share it.

    Whatever cannot be kept or read raises ConversationError, or FormatError if it is newer.
    """

    def __init__(self, checkpoints: Path, *, disk: Disk | None = None) -> None:
        self.path = checkpoints / FEEDBACK
        self._disk = disk or Disk()
        self._file = RowFile(self.path, self._disk)
        self._lock = threading.Lock()
        self._marks: dict[str, Mark] = {}  # of every judgement, also of the undone ones
        self._undone: set[str] = set()
        self._accepted: dict[str, float] = {}  # when those from elsewhere were
        self._living: dict[str, Mark] = {}  # those that count, oldest first

    def thumb(
        self,
        verdict: Thumb,
        prompt: Messages,
        answer: Answer,
        *,
        reason: DownReason | None = None,
        conversation: str = "",
        node: str = "",
        reviewed: bool = True,
    ) -> str:
        """Returns its id. Of several thumbs for one message, the last counts."""
        if verdict not in get_args(Thumb):
            raise ConversationError(f"A thumb is up or down, not {verdict!r}.")
        if reason is not None and (verdict == "up" or reason not in DOWN_REASONS):
            raise ConversationError(
                f"The reason {reason!r} is none of a thumb down's: {', '.join(DOWN_REASONS)}."
            )
        row = _row("thumb", prompt, [answer], conversation, node, reviewed)
        return self._add(row | {"verdict": verdict, "reason": reason})

    def rewrite(
        self,
        prompt: Messages,
        answer: Answer,
        text: str,
        *,
        conversation: str = "",
        node: str = "",
        reviewed: bool = True,
    ) -> str:
        """Keep what the person would have answered; returns its id."""
        if not whole_text(text, "The answer").strip():
            raise ConversationError("The better answer is empty; please write one.")
        row = _row("rewrite", prompt, [answer], conversation, node, reviewed)
        return self._add(row | {"text": text})

    def pick(
        self,
        prompt: Messages,
        answers: Sequence[Answer],
        chosen: int,
        *,
        conversation: str = "",
        node: str = "",
        reviewed: bool = True,
    ) -> str:
        """Keep which of at least two answers is the best, counted from 0; returns its id."""
        if len(answers) < 2 or chosen not in range(len(answers)):
            raise ConversationError(
                f"Answer {chosen + 1} of {len(answers)} cannot be picked; "
                "it takes two answers and one of them."
            )
        row = _row("pick", prompt, answers, conversation, node, reviewed)
        return self._add(row | {"chosen": chosen})

    def undo(self, id: str, *, by_visitor: bool = False) -> None:
        """Raises ConversationError if there is no such judgement, or no more, or if a visitor is to
        undo one that no visitor gave or that was accepted."""
        with self._lock:
            self._refresh()
            if id not in self._marks or id in self._undone:
                raise ConversationError("This feedback is not there, or was undone already.")
            if by_visitor and (self._marks[id].reviewed or id in self._accepted):
                raise ConversationError(
                    "This is not yours: whoever sits at the machine can take it back."
                )
            self._file.append({"undo": id, "time": time.time()})

    def review(self, id: str) -> None:
        """Accept a judgement that came from elsewhere: from now on it may be learnt from.

        Raises ConversationError if there is no such judgement, or it needs no review.
        """
        with self._lock:
            self._refresh()
            mark = self._living.get(id)
            if mark is None:
                raise ConversationError("This feedback is not there, or counts no more.")
            if mark.reviewed:
                raise ConversationError("This feedback was reviewed already.")
            self._file.append({"review": id, "time": time.time()})

    def entries(self) -> list[Entry]:
        """The judgements that count, oldest first, complete: reads the whole file."""
        living = {mark.id: mark for mark in self.marks()}
        entries = []
        for row in RowFile(self.path, self._disk).news()[0]:
            try:
                entry = entry_from_row(row)
            except ValueError:
                continue
            mark = living.pop(entry.id, None)
            if mark is not None:
                entries.append(replace(entry, reviewed=mark.reviewed))
        return entries

    def counts(self, *, reviewed: bool | None = None) -> Counts:
        """How many judgements there are by kind: all, the reviewed ones, or those that wait for
        review."""
        marks = self.marks()
        return Counts.of([each.kind for each in marks if reviewed in (None, each.reviewed)])

    def marks(self, conversation: str | None = None) -> list[Mark]:
        """What the judgements that count say, of one conversation if it is named; oldest first."""
        with self._lock:
            self._refresh()
            marks = list(self._living.values())
        return [mark for mark in marks if conversation in (None, mark.conversation)]

    @property
    def skipped(self) -> int:
        """How many lines could not be read."""
        return self._file.skipped

    def _add(self, row: Row) -> str:
        entry_from_row(row)  # what is acknowledged must be readable
        self._file.append(row, create=True)
        return row["id"]

    def _refresh(self) -> None:
        rows, anew = self._file.news()
        if anew:
            self._marks, self._undone, self._accepted = {}, set(), {}
        for row in rows:
            if isinstance(row.get("undo"), str):
                self._undone.add(row["undo"])
                continue
            if isinstance(row.get("review"), str):
                when = row.get("time")
                self._accepted[row["review"]] = when if isinstance(when, float | int) else 0.0
                continue
            try:
                entry = entry_from_row(row)
            except ValueError:
                self._file.skipped += 1
                continue
            told = {each.name: getattr(entry, each.name) for each in fields(Mark)}
            self._marks.setdefault(entry.id, Mark(**told))
        if rows or anew:
            self._living = self._choose()

    def _choose(self) -> dict[str, Mark]:
        """What counts: not undone, and no thumb with a later one for its message."""
        living = [mark for mark in self._marks.values() if mark.id not in self._undone]
        if self._accepted:
            living = [
                replace(mark, reviewed=True, counts_from=self._accepted[mark.id])
                if mark.id in self._accepted
                else mark
                for mark in living
            ]
        gone = replaced(living)
        return {mark.id: mark for mark in living if mark.id not in gone}


def replaced(said: Sequence[Mark] | Sequence[Entry]) -> set[str]:
    """The ids of thumbs that have a later one for their message, by order.

    One that is not reviewed takes the place of none that is.
    """
    gone: set[str] = set()
    judged: set[tuple[str, str, bool]] = set()
    for each in reversed(said):
        where = (each.conversation, each.node, each.reviewed)
        if each.kind != "thumb" or not (each.conversation and each.node):
            continue
        if where in judged or (each.conversation, each.node, True) in judged:
            gone.add(each.id)
        judged.add(where)
    return gone


def verdict_words(
    kind: Kind, verdict: Thumb | None, chosen: int | None, of: int, reason: str | None = None
) -> str:
    """thumb down, wrong; written better; picked 2 of 4"""
    if kind == "thumb":
        return f"thumb {verdict}" + (f", {reason}" if reason else "")
    return "written better" if kind == "rewrite" else f"picked {(chosen or 0) + 1} of {of}"


def _row(
    kind: Kind,
    prompt: Messages,
    answers: Sequence[Answer],
    conversation: str,
    node: str,
    reviewed: bool,
) -> Row:
    return {
        "kind": kind,
        "id": secrets.token_hex(8),
        "time": time.time(),
        "conversation": conversation,
        "node": node,
        "reviewed": reviewed,
        "prompt": messages_to_rows(prompt),
        "answers": [answer.to_row() for answer in answers],
    }


def entry_from_row(row: Row) -> Entry:
    """Raises ValueError for a row that is no judgement, TooLargeError for a text that is longer
    than any message may be."""
    kind, given = row.get("kind"), {}
    answers = tuple(Answer.from_row(each) for each in want(row, "answers", list))
    if kind == "thumb":
        given = {"verdict": want(row, "verdict", str), "reason": row.get("reason")}
        if given["verdict"] not in get_args(Thumb) or len(answers) != 1:
            raise ValueError("it is no thumb")
        if given["reason"] not in (None, *DOWN_REASONS):
            raise ValueError("it has no such reason")
    elif kind == "rewrite":
        given = {"text": want(row, "text", str)}
    elif kind == "pick":
        given: dict[str, Any] = {"chosen": want(row, "chosen", int)}
    else:
        raise ValueError(f"the kind {shown(kind)} is not known")
    if not answers or given.get("chosen", 0) not in range(len(answers)):
        raise ValueError("there is no such answer")
    prompt = messages_from_row(row, "prompt")
    said = (*(turn["content"] for turn in prompt), *(each.text for each in answers))
    for text in (*said, given.get("text", "")):
        checked_length(text)
    return Entry(
        id=want(row, "id", str),
        kind=kind,
        time=want_time(row),
        prompt=prompt,
        answers=answers,
        conversation=want(row, "conversation", str),
        node=want(row, "node", str),
        reviewed=want(row, "reviewed", bool),
        **given,
    )
