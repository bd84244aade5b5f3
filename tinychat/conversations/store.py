"""All conversations of one folder of runs: listing, searching, making, deleting.

An id names a file only if it stands in a listing of the folder.
"""

import os
import re
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from tinychat.conversations.row_file import failures, make_folder
from tinychat.conversations.tree import Conversation
from tinychat.errors import ConversationError, TinychatError
from tinychat.runs.durable import Disk
from tinychat.words import inert

CHATS = ".chats"
FEEDBACK = f"{CHATS}/feedback.jsonl"  # in a folder of runs
_KEPT_OPEN = 8  # conversations whose messages stay in memory
_EXCERPT = 120  # characters
_ID = re.compile(r"[0-9a-f]{16}")
_ENDING = ".jsonl"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One line of the list of conversations."""

    id: str
    title: str
    time: float  # of the last change, in Unix seconds
    messages: int
    problem: str = ""  # one sentence, if it cannot be read


@dataclass(frozen=True, kw_only=True)
class Found:
    """A conversation that holds the words that were looked for."""

    summary: Summary
    node: str | None  # the first message with one of them; None: only the title has them
    excerpt: str


class Conversations:
    """The conversations under `<checkpoints>/.chats/`. Any number of threads may share it."""

    def __init__(self, checkpoints: Path, *, disk: Disk | None = None) -> None:
        self._folder = checkpoints / CHATS / "conversations"
        self._deleted = checkpoints / CHATS / "deleted"
        self._disk = disk or Disk()
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Conversation] = OrderedDict()
        self._summaries: dict[str, tuple[tuple[int, int, int], Summary]] = {}

    def create(self) -> Conversation:
        """A new, empty conversation. It is listed from its first message on."""
        id = secrets.token_hex(8)
        conversation = Conversation(self._folder / f"{id}{_ENDING}", self._disk)
        conversation.create()
        return self._keep(conversation)

    def open(self, id: str) -> Conversation:
        """The conversation as it is on disk now. Raises ConversationError if there is none."""
        path = self._path(id)
        with self._lock:
            conversation = self._open.get(id)
        conversation = self._keep(conversation or Conversation(path, self._disk))
        conversation.refresh()
        return conversation

    def summaries(self) -> list[Summary]:
        """All conversations that hold a message, the last changed first."""
        found = [self._summary(id) for id in self._ids(self._folder)]
        shown = [each for each in found if each is not None and (each.messages or each.problem)]
        return sorted(shown, key=lambda each: each.time, reverse=True)

    def title_of(self, id: str) -> str:
        """Also of one that cannot be read. Raises ConversationError if there is none."""
        self._path(id)
        summary = self._summary(id)
        return summary.title if summary is not None else ""

    def search(self, words: str, most: int = 50) -> list[Found]:
        """The conversations that hold every one of these words, the last changed first.

        Upper and lower case are the same; a word may be a part of one.
        """
        wanted = words.casefold().split()
        found: list[Found] = []
        for summary in self.summaries() if wanted else []:
            if len(found) == most:
                break
            hit = None if summary.problem else self._hit(summary, wanted)
            if hit is not None:
                found.append(hit)
        return found

    def delete(self, id: str) -> None:
        """Move a conversation out of the list, into the folder `deleted`."""
        path = self._path(id)
        target = self._deleted / path.name
        with failures(path, "deleted"):
            make_folder(self._disk, self._deleted)
            if target.exists():  # somebody has copied it back by hand
                aside = target.with_name(f"{id}-{secrets.token_hex(4)}{_ENDING}")
                self._disk.rename(target, aside)
            self._move(path, target)
        with self._lock:
            self._open.pop(id, None)
            self._summaries.pop(id, None)

    def restore(self, id: str) -> None:
        """Bring a deleted conversation back. Raises ConversationError if there is none."""
        if id not in self._ids(self._deleted):
            raise ConversationError("There is no deleted conversation of that name.")
        if id in self._ids(self._folder):
            raise ConversationError("This conversation is there already.")
        source = self._deleted / f"{id}{_ENDING}"
        with failures(source, "restored"):
            self._move(source, self._folder / source.name)

    def _move(self, source: Path, target: Path) -> None:
        self._disk.rename(source, target)
        self._disk.fsync_folder(target.parent)
        self._disk.fsync_folder(source.parent)

    def _keep(self, conversation: Conversation) -> Conversation:
        """Hold it in memory instead of the one that was longest not asked for."""
        with self._lock:
            conversation = self._open.setdefault(conversation.id, conversation)
            self._open.move_to_end(conversation.id)
            while len(self._open) > _KEPT_OPEN:
                self._open.popitem(last=False)
        return conversation

    def _ids(self, folder: Path) -> set[str]:
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise ConversationError(f"{folder} cannot be read ({error.strerror}).") from None
        stems = (name.removesuffix(_ENDING) for name in names if name.endswith(_ENDING))
        return {stem for stem in stems if _ID.fullmatch(stem)}

    def _path(self, id: str) -> Path:
        if id not in self._ids(self._folder):
            raise ConversationError("There is no such conversation; it may have been deleted.")
        return self._folder / f"{id}{_ENDING}"

    def _summary(self, id: str) -> Summary | None:
        """From memory if the file has not changed; None if it is gone."""
        path = self._folder / f"{id}{_ENDING}"
        try:
            about = os.lstat(path)
        except OSError:
            return None
        signature = (about.st_ino, about.st_size, about.st_mtime_ns)
        with self._lock:
            known = self._summaries.get(id)
        if known is not None and known[0] == signature:
            return known[1]
        conversation = Conversation(path, self._disk)
        try:
            conversation.refresh()
            summary = Summary(
                id=id,
                title=conversation.title,
                time=conversation.time,
                messages=len(conversation),
            )
        except TinychatError as error:  # one bad file must not hide the others
            summary = Summary(
                id=id,
                title="Cannot be read",
                time=min(about.st_mtime, time.time()),
                messages=0,
                problem=str(error),
            )
        with self._lock:
            self._summaries[id] = (signature, summary)
        return summary

    def _hit(self, summary: Summary, wanted: list[str]) -> Found | None:
        conversation = Conversation(self._folder / f"{summary.id}{_ENDING}", self._disk)
        try:
            conversation.refresh()
        except TinychatError:
            return None
        missing = {word for word in wanted if word not in summary.title.casefold()}
        first: tuple[str, str] | None = None
        for node in conversation.nodes():
            text = node.text.casefold()
            here = [word for word in wanted if word in text]
            missing.difference_update(here)
            if here and first is None:
                first = (node.id, _excerpt(node.text, here[0]))
            if first and not missing:
                break
        if missing:
            return None
        node_id, excerpt = first or (None, "")
        return Found(summary=summary, node=node_id, excerpt=excerpt)


def _excerpt(text: str, word: str) -> str:
    """A line of the text around a word."""
    place = text.lower().find(word)  # casefolding may lengthen a text, so it is only a guide
    start = max(0, place - _EXCERPT // 3)
    part = " ".join(text[start : start + _EXCERPT].split())
    return inert(f"{'…' if start else ''}{part}{'…' if start + _EXCERPT < len(text) else ''}")
