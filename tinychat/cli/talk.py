"""A talk as it grows, with every version of its newest answer, and as a file.

It is a conversation like those that the page keeps, but lies in a temporary folder until it is
saved. Knows no model and no terminal.
"""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinychat.conversations import Answer, Conversation, Node, to_json, to_markdown
from tinychat.errors import DataError, SettingsError
from tinychat.runs.durable import Disk, replace_file
from tinychat.runs.records import encode_row
from tinychat.text import Message, Tokenizer
from tinychat.words import count

if TYPE_CHECKING:  # it imports torch
    from tinychat.engine import TokenDetail


@dataclass(frozen=True)
class Behind:
    """What stood behind an answer, as far as no file keeps it."""

    tokenizer: Tokenizer
    begin_ids: tuple[int, ...]  # what it was made to begin with
    details: "tuple[TokenDetail, ...]"


class Talk:
    """A conversation in a folder of its own, and what the model is told before it."""

    def __init__(self, folder: Path, system: str = "") -> None:
        self.system = system
        self._folder = folder
        self._disk = _Passing()
        self.reset()

    def reset(self) -> None:
        """Begin anew. What the model is told first stays."""
        self._behind: dict[str, Behind] = {}
        self._conversation = Conversation(self._new_path(), self._disk)
        self._conversation.create()

    @property
    def last(self) -> Node:
        """The newest answer. Raises SettingsError if there is none."""
        branch = self._conversation.branch()
        if len(branch) < 2 or branch[-1].role != "assistant":
            raise SettingsError("there is no answer yet")
        return branch[-1]

    @property
    def last_said(self) -> str:
        """What the newest answer was given to. Raises SettingsError if there is none."""
        return self._said().text

    def behind(self, answer: Node) -> Behind | None:
        """What is known beyond the answer itself, if it was given in this talk."""
        return self._behind.get(answer.id)

    def prompt(self, said: str, *, again: bool = False) -> list[Message]:
        """What the model is shown to answer `said`; `again` in place of the newest turn."""
        leaf = self._said().parent if again else self._conversation.leaf
        before = [] if leaf is None else self._conversation.branch(leaf)
        told = [Message("system", self.system)] if self.system else []
        return [*told, *(Message(n.role, n.text) for n in before), Message("user", said)]

    def add(self, said: str, answer: Answer, behind: Behind, *, again: bool = False) -> None:
        """A new turn, or `again` another version of the newest one. The talk goes on from it."""
        parent = self._said().parent if again else self._conversation.leaf
        if again and said == self.last_said:
            asked = self._said()
        else:
            asked = self._conversation.add("user", said, parent=parent)
        node = self._conversation.add("assistant", answer.text, parent=asked.id, answer=answer)
        self._behind[node.id] = behind

    def versions(self) -> list[Node]:
        """All answers in the newest turn, however it was asked, oldest first."""
        asked = {node.id for node in self._conversation.versions(self._said().id)}
        return [node for node in self._conversation.nodes() if node.parent in asked]

    def choose(self, number: int) -> None:
        """Go back to a version of the newest turn, counted from 1."""
        versions = self.versions()
        if not 1 <= number <= len(versions):
            there = count(len(versions), "version")
            raise SettingsError(f"there is no version {number}; the newest answer has {there}")
        self._conversation.choose(versions[number - 1].id)

    def save(self, path: Path, *, over: bool) -> None:
        """Write the talk as Markdown or JSON. Raises SettingsError if it cannot be, or if the file
        is there and must not be written `over`."""
        if path.suffix.lower() not in (".md", ".json"):
            raise SettingsError(f"{path.name!r} must end in .md (to read) or .json (to go on with)")
        if path.exists() and not over:
            raise SettingsError(f"{path} is there already; /save! {path} writes over it")
        form = to_json if path.suffix.lower() == ".json" else to_markdown
        try:
            replace_file(Disk(), path, form(self._conversation).encode())
        except (OSError, ValueError) as error:  # a NUL in a name is a ValueError
            why = getattr(error, "strerror", None) or error
            raise SettingsError(f"{path} cannot be written: {why}") from None

    def load(self, path: Path) -> None:
        """Go on with a talk that was saved as JSON, here or by the page. Raises SettingsError or
        DataError, and then this talk is as it was."""
        try:
            rows = _rows(json.loads(path.read_bytes()))
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, RecursionError):
            raise DataError(f"{path} is no talk that was saved as JSON") from None
        file = self._new_path()
        file.write_bytes(b"".join(encode_row(row) + b"\n" for row in rows))
        loaded = Conversation(file, self._disk)
        loaded.refresh()
        if loaded.skipped or not len(loaded):
            raise DataError(f"{path} holds messages that make no sense; nothing was loaded")
        self._conversation, self._behind = loaded, {}
        answers = [node.answer for node in loaded.branch() if node.answer is not None]
        self.system = answers[-1].system if answers else ""

    def __len__(self) -> int:
        return len(self._conversation.branch())

    def _said(self) -> Node:
        parent = self.last.parent
        assert parent is not None  # an answer is never the first of two messages
        return self._conversation.node(parent)

    def _new_path(self) -> Path:
        return self._folder / f"{secrets.token_hex(8)}.jsonl"


class _Passing(Disk):
    """For files that a power cut may take: a talk lives no longer than its program."""

    def fsync(self, path: Path) -> None:
        pass

    def fsync_folder(self, path: Path) -> None:
        pass


def _rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of a conversation's file, from the document that `to_json` makes of it."""
    if document["format"] != 1:
        raise DataError("it was saved by a newer tinychat; please update this one")
    nodes = [{**node, "format": 1, "kind": "node"} for node in document["nodes"]]
    if not nodes:
        raise ValueError("there is nothing in it")
    leaf = {"format": 1, "kind": "choice", "node": document["leaf"], "time": nodes[-1]["time"]}
    return [*nodes, leaf]
