"""One conversation: a tree of messages in a file that only grows.

Asking again adds a sibling of the answer, editing a sibling of the message, so nothing that was
said is ever overwritten. Which way the person went last is remembered at every fork. An answer that
still grows is kept as one that was cut off; a later row of the same id completes it.
"""

import re
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinychat.conversations.answers import CUT_OFF, ROLES, Answer, Role, shown, want, want_time
from tinychat.conversations.row_file import Row, RowFile, whole_text
from tinychat.errors import ConversationError
from tinychat.runs.durable import Disk
from tinychat.words import inert

TITLE_CHARACTERS = 60  # of one made from a message
_LONGEST_TITLE = 200
_NODE = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True)
class Node:
    """One message."""

    id: str
    parent: str | None  # None: a first message
    role: Role
    text: str
    time: float  # Unix seconds
    answer: Answer | None = None  # None: a person wrote it


class Conversation:
    """A live view of one conversation's file; what others add is seen at the next `refresh`."""

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        self.id = path.stem
        self._file = RowFile(path, disk or Disk())
        self._lock = threading.RLock()
        self._forget()

    def create(self) -> None:
        """Make its file, which must not be there."""
        self._file.create({"kind": "conversation", "id": self.id, "time": time.time()})
        self.refresh()

    @property
    def title(self) -> str:
        """What the person called it, or the first words of the first message."""
        return self._renamed or self._first_words or "New conversation"

    @property
    def time(self) -> float:
        """When it was last changed, in Unix seconds."""
        return self._time

    @property
    def leaf(self) -> str | None:
        """The last message of the chosen branch; None in an empty conversation."""
        return self._leaf

    @property
    def skipped(self) -> int:
        """How many lines could not be read."""
        return self._file.skipped + self._strange

    def __len__(self) -> int:
        """How many messages there are, on all branches."""
        return len(self._nodes)

    def nodes(self) -> list[Node]:
        """All messages, in the order in which they came."""
        with self._lock:
            return list(self._nodes.values())

    def node(self, id: str) -> Node:
        """Raises ConversationError if there is no such message."""
        node = self._nodes.get(id)
        if node is None:
            raise ConversationError("This message is not in the conversation; please open it anew.")
        return node

    def branch(self, leaf: str | None = None) -> list[Node]:
        """From the first message to `leaf`, or to the last one of the chosen branch."""
        with self._lock:
            leaf = leaf or self._leaf
            if leaf is None:
                return []
            if self._path[-1:] != [self._nodes.get(leaf)]:  # what is above a message never changes
                self._path = [self.node(leaf)]
                while (parent := self._path[-1].parent) is not None:
                    self._path.append(self._nodes[parent])
                self._path.reverse()
            return list(self._path)

    def messages(self, leaf: str | None = None) -> list[dict[str, str]]:
        """The branch as turns, each with its "role" and "content"."""
        return [{"role": node.role, "content": node.text} for node in self.branch(leaf)]

    def versions(self, node: str) -> list[Node]:
        """The message and its siblings, oldest first."""
        with self._lock:
            return [self._nodes[each] for each in self._children[self.node(node).parent]]

    def add(
        self,
        role: Role,
        text: str,
        *,
        parent: str | None,
        answer: Answer | None = None,
        of: str | None = None,
    ) -> Node:
        """Keep a message below `parent`; it becomes the leaf. It is durable when this returns.

        `of` is the id of an answer that was kept as cut off and that this one completes: it takes
        its place. Raises ConversationError if it cannot be kept.
        """
        if role not in ROLES:
            raise ConversationError(f"There is no role {role!r}; please use user or assistant.")
        if parent is not None:
            self.node(parent)
        if of is not None and not _is_cut_off(self.node(of)):
            raise ConversationError("This message is whole: nothing can take its place.")
        whole_text(text, "The message")
        row = {"kind": "node", "id": of or secrets.token_hex(6), "parent": parent, "role": role}
        row |= {"time": time.time(), "text": text}
        if answer is not None:
            row["answer"] = {k: v for k, v in answer.to_row().items() if k != "text"}
        self._append(row)
        return self.node(row["id"])

    def choose(self, node: str) -> None:
        """Go to this version of a message, and below it where the person last was."""
        with self._lock:
            if self.node(node).id not in {each.id for each in self.branch()}:
                self._append({"kind": "choice", "node": node, "time": time.time()})

    def rename(self, title: str) -> None:
        """Raises ConversationError for a title without a word."""
        title = inert(" ".join(whole_text(title, "The title").split()))
        if not title:
            raise ConversationError("A title needs at least one word.")
        if len(title) > _LONGEST_TITLE:
            raise ConversationError(f"A title has at most {_LONGEST_TITLE} characters.")
        self._append({"kind": "title", "title": title, "time": time.time()})

    def refresh(self) -> None:
        """Read what was added since, by whomever."""
        with self._lock:
            rows, anew = self._file.news()
            if anew:
                self._forget()
            for row in rows:
                try:
                    self._apply(row)
                except ValueError:
                    self._strange += 1

    def _append(self, row: Row) -> None:
        with self._lock:
            self._file.append(row)
            self.refresh()

    def _forget(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._children: dict[str | None, list[str]] = {}
        self._chosen: dict[str | None, str] = {}  # at every fork, the way that was last taken
        self._leaf: str | None = None
        self._path: list[Node] = []  # the branch that was last asked for
        self._renamed = ""
        self._first_words = ""
        self._time = 0.0
        self._strange = 0  # rows that make no sense

    def _apply(self, row: Row) -> None:
        """Take in one row. Raises ValueError, before any change, for one that makes no sense."""
        kind, now = row.get("kind"), want_time(row)
        if kind == "node":
            self._apply_node(row, now)
        elif kind == "choice":
            self._go_to(want(row, "node", str))
        elif kind == "title":
            self._renamed = want(row, "title", str)
        elif kind != "conversation":
            raise ValueError(f"the kind {shown(kind)} is not known")
        self._time = now

    def _apply_node(self, row: Row, now: float) -> None:
        id, parent = want(row, "id", str), row.get("parent")
        role: Any = row.get("role")
        known = self._nodes.get(id)
        if known is not None and (known.role != role or not _is_cut_off(known)):
            raise ValueError("it is there already")
        if not _NODE.fullmatch(id) or role not in ROLES:
            raise ValueError("it is no message")
        if known is not None:
            parent = known.parent
        elif parent is not None and want(row, "parent", str) not in self._nodes:
            parent = next(reversed(self._nodes), None)  # its own was lost with a torn line
        text, answer = want(row, "text", str), None
        if row.get("answer") is not None:
            answer = Answer.from_row(want(row, "answer", dict) | {"text": text})
        self._nodes[id] = Node(id=id, parent=parent, role=role, text=text, time=now, answer=answer)
        if known is not None:
            self._path = []  # it holds the old one
            return
        self._children.setdefault(parent, []).append(id)
        if role == "user" and not self._first_words:
            self._first_words = _first_words(text)
        if parent == self._leaf:  # the usual case needs no walk to the root
            self._chosen[parent] = self._leaf = id
        else:
            self._go_to(id)

    def _go_to(self, id: str) -> None:
        if id not in self._nodes:
            raise ValueError("no such message")
        at: str | None = id
        while at is not None:
            parent = self._nodes[at].parent
            self._chosen[parent] = at
            at = parent
        while id in self._chosen:
            id = self._chosen[id]
        self._leaf = id


def _is_cut_off(node: Node) -> bool:
    return node.answer is not None and node.answer.finish_reason == CUT_OFF


def _first_words(text: str) -> str:
    """The beginning of a text as a title, cut between words where that is possible."""
    title = inert(" ".join(text[: 10 * TITLE_CHARACTERS].split()))
    if len(title) <= TITLE_CHARACTERS:
        return title
    cut = title[: TITLE_CHARACTERS - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut else cut) + "…"
