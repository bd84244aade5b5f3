"""What the fields of a record mean: one record to a conversation or a document.

`Shape` says how the records of one file are read; `recognition` finds it. `Shape.parse` never
raises: a record that cannot be used is a `BadRecord`, one that is good but not for us (another
role, no answer) is `LeftOut`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tinychat.text.chat import Conversation, Message
from tinychat.text.items import Item, Piece, texts_of

Layout = Literal["lines", "array", "values", "table", "parquet"]
Kind = Literal["plain", "eou", "turns", "text", "messages", "chosen", "columns"]

ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model"), "assistant"),
    "system": "system",
}
"""Ours by the names they go by, in lower case."""

_HH_MARK = re.compile(r"(?:^|\n\n)(Human|Assistant):[ ]?")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class BadRecord:
    """Why a record cannot be used."""

    reason: str


@dataclass(frozen=True)
class LeftOut:
    """Why a good record is of no use here, in the same words for all of its kind."""

    reason: str


@dataclass(frozen=True)
class Parsed:
    """What a record holds: the item, and the turns as they stand in the file."""

    item: Item  # a text is whole here, one first piece
    turns: int = 0
    unanswered: bool = False  # the last turn was a question and was dropped


ParseResult = Parsed | LeftOut | BadRecord


@dataclass(frozen=True)
class Shape:
    """How the records of one file are read. Names of fields are in lower case."""

    kind: Kind
    layout: Layout | None = None  # none: text, not records
    asked: str = ""  # the field of the question, of the text, or of the messages
    contexts: tuple[str, ...] = ()  # the first that a record fills is added to its question
    answer: str = ""
    separated: bool = False  # marked turns: conversations end at `<|endoftext|>` only

    @property
    def holds_conversations(self) -> bool:
        return self.kind not in ("plain", "text")

    def __str__(self) -> str:
        if self.kind == "plain":
            return "plain text"
        if self.kind in ("eou", "turns"):
            return "dialogues, __eou__ after each turn" if self.kind == "eou" else "marked turns"
        return f"{_LAYOUTS[self.layout or 'lines']}, {self._fields()}"

    def _fields(self) -> str:
        if self.kind in ("messages", "text"):
            return self.asked or "lists of messages"
        context = f" (+ {' or '.join(self.contexts)})" if self.contexts else ""
        return f"{self.asked}{context} -> {self.answer}" if self.asked else self.answer

    def parse(self, record: Any) -> ParseResult:
        """One record, as `records` gives it. Lone surrogates are left in; see `mend`."""
        if isinstance(record, BadRecord):
            return record
        if self.kind == "messages" and not self.asked:
            return _conversation(_messages(record, "the record"))
        if not isinstance(record, dict):
            kinds = {list: "a list", str: "a string", float: "a number", type(None): "null"}
            return BadRecord(f"not a JSON object but {kinds.get(type(record), 'true or false')}")
        if self.kind == "text":
            text = record.get(self.asked)
            if not isinstance(text, str):
                return BadRecord(f"`{self.asked}` is missing or is no string")
            if not text.strip():
                return BadRecord(f"`{self.asked}` is empty")
            return Parsed(Piece(text, True))
        if self.kind == "messages":
            return _conversation(_messages(record.get(self.asked), f"`{self.asked}`"))
        return self._chosen(record) if self.kind == "chosen" else self._columns(record)

    def _columns(self, record: dict[str, Any]) -> ParseResult:
        for name in ("system", *self.contexts):
            if not isinstance(record.get(name), str | None):
                return BadRecord(f"`{name}` is no string")
        asked = record.get(self.asked)
        context = next((record[name] for name in self.contexts if record.get(name)), "")
        if isinstance(asked, str):
            asked = "\n\n".join(part for part in (asked, context) if part.strip())
        parts = [
            [Message("system", record.get("system") or "")],
            _history(record.get("history")),
            _words(asked, "user", self.asked),
            _words(record.get(self.answer), "assistant", self.answer),
        ]
        return _conversation(_joined(parts))

    def _chosen(self, record: dict[str, Any]) -> ParseResult:
        chosen = _preferred(record.get("chosen"), "assistant", "chosen")
        if isinstance(chosen, list) and chosen[0].role != "assistant":
            return _conversation(chosen)  # the prompt stands in it
        if not self.asked:
            return BadRecord("there is no prompt for the chosen answer")
        return _conversation(
            _joined([_preferred(record.get(self.asked), "user", self.asked), chosen])
        )


PLAIN = Shape("plain")

_LAYOUTS = {
    "lines": "JSON lines",
    "array": "JSON array",
    "values": "JSON objects",
    "table": "table",
    "parquet": "parquet",
}


# --- from fields to messages ------------------------------------------------------------------

_Turns = list[Message] | LeftOut | BadRecord


def _messages(turns: Any, what: str) -> _Turns:
    """Messages as the list of one record has them."""
    if not isinstance(turns, list):
        return BadRecord(f"{what} is missing or is no list of messages")
    if not all(isinstance(turn, dict) for turn in turns):
        return BadRecord("a message is no JSON object")
    roles = [turn.get("role", turn.get("from")) for turn in turns]
    for role in roles:  # before any content, as messages of other roles may have none
        if not isinstance(role, str):
            return BadRecord("a message has no `role` that is a string")
        if role.lower() not in ROLES:
            return LeftOut(f"the role {repr(role)[:40]}")
    messages: list[Message] = []
    for role, turn in zip(roles, turns, strict=True):
        content = _content(turn.get("content", turn.get("value")))
        if not isinstance(content, str):
            return content
        messages.append(Message(ROLES[role.lower()], content))
    return messages


def _content(content: Any) -> str | LeftOut | BadRecord:
    """A message's text: a string, or a list of parts that are text."""
    if isinstance(content, str):
        return content
    bad = BadRecord("a message has no `content` that is a string")
    if not isinstance(content, list) or not content:
        return bad
    texts: list[str] = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(kind, str) and kind != "text":
            return LeftOut(f"a message with {repr(kind)[:40]}")
        if not isinstance(text, str):
            return bad
        texts.append(text)
    return "".join(texts)


def _words(value: Any, role: str, name: str) -> _Turns:
    """A field as messages: a string of this role, or a list."""
    if isinstance(value, list) and value:
        return _messages(value, f"`{name}`")
    if not isinstance(value, str):
        return BadRecord(f"`{name}` is missing or is no string")
    return [Message(role, value)]


def _preferred(value: Any, role: str, name: str) -> _Turns:
    """A field of preference data, which may hold a talk as one string, as Anthropic HH does."""
    parts = _HH_MARK.split(value) if isinstance(value, str) else []
    if len(parts) < 3 or parts[0].strip():
        return _words(value, role, name)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    talk = [Message(_HH_ROLES[mark], text.strip()) for mark, text in pairs]
    # A prompt may end with an empty `Assistant:`, to be filled by the answer.
    return talk[:-1] if role == "user" and not talk[-1].content else talk


_HH_ROLES = {"Human": "user", "Assistant": "assistant"}


def _history(pairs: Any) -> _Turns:
    """Earlier turns as pairs of question and answer."""
    if pairs is None:
        return []
    turns: list[Message] = []
    for pair in pairs if isinstance(pairs, list) else [None]:
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or not all(isinstance(words, str) for words in pair)
        ):
            return BadRecord("`history` is no list of pairs of strings")
        turns += [Message("user", pair[0]), Message("assistant", pair[1])]
    return turns


def _joined(parts: Sequence[_Turns]) -> _Turns:
    joined: list[Message] = []
    for part in parts:
        if not isinstance(part, list):
            return part
        joined += part
    return joined


def _conversation(turns: _Turns) -> ParseResult:
    """A conversation that ends with an answer, or why there is none."""
    if not isinstance(turns, list):
        return turns
    messages = [m for m in turns if m.role != "system" or m.content.strip()]
    said = len(messages)
    while messages and messages[-1].role != "assistant":
        messages.pop()
    if not messages:
        return LeftOut("no answer")
    for message in messages:
        if not message.content.strip():
            return BadRecord(f"an empty {message.role} message")
    return Parsed(Conversation(tuple(messages)), said, unanswered=len(messages) < said)


def conversation_of(turns: Iterable[tuple[str, str]]) -> ParseResult:
    """A conversation of (role, content), roles being ours."""
    return _conversation([Message(role, content) for role, content in turns])


def mend(item: Item) -> tuple[Item, int]:
    """Put U+FFFD for lone surrogates, which UTF-8 cannot express; also how many there were."""
    if all(map(str.isascii, texts_of(item))):
        return item, 0
    mended = [_LONE_SURROGATE.subn("\ufffd", text) for text in texts_of(item)]
    count = sum(number for _, number in mended)
    if not count:
        return item, 0
    texts = [text for text, _ in mended]
    if isinstance(item, Piece):
        return Piece(texts[0], item.first), count
    pairs = zip(item.messages, texts, strict=True)
    return Conversation(tuple(Message(message.role, text) for message, text in pairs)), count


def shown(key: str) -> str:
    """The name of a field as it may stand in a sentence, whatever characters it has."""
    return repr(key)[1:-1][:40]
