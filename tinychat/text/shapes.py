"""What the fields of a record mean: one record to a conversation or a document.

`Shape` says how the records of one file are read; `shape_of` finds it from the first ones.
`Shape.parse` never raises: a record that cannot be used is a `BadRecord`, one that is good but
not for us (another role, no answer) is `LeftOut`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tinychat.config import DataSettings
from tinychat.errors import DataError
from tinychat.text.chat import Conversation, Document, Message

Layout = Literal["lines", "array", "values", "table", "parquet"]
Kind = Literal["plain", "eou", "turns", "text", "messages", "chosen", "columns"]

_LISTS = ("messages", "conversations")
_ASKED = ("instruction", "prompt", "question", "user", "input", "query")
_ANSWERS = ("output", "response", "answer", "completion", "best answer", "assistant")
_CONTEXTS = {"instruction": ("input", "context"), "question": ("context",)}
_USUAL_ANSWER = {"prompt": "completion", "question": "answer", "user": "assistant"}
_PROMPTS = ("prompt", "question", "instruction", "input", *_LISTS)  # of preference data
_TEXTS = ("content", "story", "body", "article", "document")
_LONG = 80  # characters a field holds on average that is taken for the text
_ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model"), "assistant"),
    "system": "system",
}
_HH_MARK = re.compile(r"(?:^|\n\n)(Human|Assistant):[ ]?")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_KNOWN = (
    "messages or conversations, instruction + output, prompt + completion, question + answer, "
    "user + assistant, input + output, query + response, and text"
)


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

    item: Conversation | Document
    turns: int = 0
    unanswered: bool = False  # the last turn was a question and was dropped


Outcome = Parsed | LeftOut | BadRecord


@dataclass(frozen=True)
class Shape:
    """How the records of one file are read. Names of fields are in lower case."""

    kind: Kind
    layout: Layout | None = None  # none: text, not records
    asked: str = ""  # the field of the question, of the text, or of the messages
    contexts: tuple[str, ...] = ()  # the first that a record fills is added to its question
    answer: str = ""

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

    def parse(self, record: Any) -> Outcome:
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
            return Parsed(Document(text)) if text.strip() else BadRecord(f"`{self.asked}` is empty")
        if self.kind == "messages":
            return _conversation(_messages(record.get(self.asked), f"`{self.asked}`"))
        return self._chosen(record) if self.kind == "chosen" else self._columns(record)

    def _columns(self, record: dict[str, Any]) -> Outcome:
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

    def _chosen(self, record: dict[str, Any]) -> Outcome:
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
        if role.lower() not in _ROLES:
            return LeftOut(f"the role {repr(role)[:40]}")
    messages: list[Message] = []
    for role, turn in zip(roles, turns, strict=True):
        content = _content(turn.get("content", turn.get("value")))
        if not isinstance(content, str):
            return content
        messages.append(Message(_ROLES[role.lower()], content))
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


def _conversation(turns: _Turns) -> Outcome:
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


def conversation_of(turns: Iterable[tuple[str, str]]) -> Outcome:
    """A conversation of (role, content), roles being ours."""
    return _conversation([Message(role, content) for role, content in turns])


def mend(item: Conversation | Document) -> tuple[Conversation | Document, int]:
    """Put U+FFFD for lone surrogates, which UTF-8 cannot express; also how many there were."""
    if isinstance(item, Document):
        if item.text.isascii():
            return item, 0
        text, count = _LONE_SURROGATE.subn("\ufffd", item.text)
        return (Document(text), count) if count else (item, 0)
    if all(message.content.isascii() for message in item.messages):
        return item, 0
    mended = [_LONE_SURROGATE.subn("\ufffd", message.content) for message in item.messages]
    count = sum(number for _, number in mended)
    if not count:
        return item, 0
    pairs = zip(item.messages, mended, strict=True)
    return Conversation(tuple(Message(message.role, text) for message, (text, _) in pairs)), count


# --- which shape ------------------------------------------------------------------------------


def shape_of(name: str, layout: Layout, records: Sequence[Any], data: DataSettings) -> Shape:
    """The shape that most of a file's first records have.

    Raises DataError, naming the file and what could be done, if none is known or wanted.
    """
    given = _given(data)
    found = [s for record in records if (s := _shape_of_record(record, layout, given, data))]
    if not found:
        objects = [record for record in records if isinstance(record, dict)]
        return _shape_of_text(name, layout, objects, given)
    shape = Counter(found).most_common(1)[0][0]
    if shape.kind == "chosen" and data.take is None:
        raise DataError(
            f"{name} is preference data (chosen and rejected answers); add --take chosen to learn "
            "the chosen ones."
        )
    return shape


@dataclass(frozen=True)
class _Given:
    """Names of fields that were asked for, in lower case."""

    user: str | None
    assistant: str | None
    text: str | None


def _given(data: DataSettings) -> _Given:
    names = (data.user_field, data.assistant_field, data.text_field)
    return _Given(*(name.strip().lower() if name else None for name in names))


def _shape_of_record(
    record: Any, layout: Layout, given: _Given, data: DataSettings
) -> Shape | None:
    if given.text or given.user or given.assistant:
        return _shape_asked_for(record, layout, given)
    if is_conversation(record):
        return Shape("messages", layout)
    if not isinstance(record, dict):
        return None
    prefers = "chosen" in record and "rejected" in record
    if not (prefers and data.take):
        for name in _LISTS:
            if is_conversation(record.get(name)):
                return Shape("messages", layout, name)
    if prefers:
        prompt = next((name for name in _PROMPTS if name in record), "")
        return Shape("chosen", layout, prompt, answer="chosen")
    return _columns(record, layout) or (Shape("text", layout, "text") if "text" in record else None)


def _shape_asked_for(record: Any, layout: Layout, given: _Given) -> Shape | None:
    if not isinstance(record, dict):
        return None
    if given.text:
        return Shape("text", layout, given.text) if given.text in record else None
    return _columns(record, layout, given.user, given.assistant)


def _columns(
    record: dict[str, Any], layout: Layout, user: str | None = None, assistant: str | None = None
) -> Shape | None:
    for asked in (user,) if user else _ASKED:
        usual = _USUAL_ANSWER.get(asked)
        answers = (assistant,) if assistant else (*([usual] if usual else []), *_ANSWERS)
        answer = next((name for name in answers if name in record and name != asked), None)
        if asked in record and answer is not None:
            contexts = tuple(name for name in _CONTEXTS.get(asked, ()) if name != answer)
            return Shape("columns", layout, asked, contexts, answer)
    return None


def is_conversation(value: Any) -> bool:
    """Whether a value is a list of messages."""
    return isinstance(value, list) and bool(value) and is_message(value[0])


def is_message(value: Any) -> bool:
    """Whether a value looks like one message."""
    return (
        isinstance(value, dict)
        and ("role" in value or "from" in value)
        and ("content" in value or "value" in value)
    )


def _shape_of_text(
    name: str, layout: Layout, records: list[dict[str, Any]], given: _Given
) -> Shape:
    """The one field that holds long strings, where no other shape fits."""
    keys = list(dict.fromkeys(key for record in records for key in record))
    known = {*_ASKED, *_ANSWERS, *_LISTS, "chosen", "rejected"}
    asked = [key for key in (given.text, given.user, given.assistant) if key]
    long = [key for key in keys if key not in known and _is_text(key, records)]
    if len(long) == 1 and not asked:
        return Shape("text", layout, long[0])
    listed = ", ".join(map(shown, keys[:12])) or "(none)"
    if asked:
        lacking = " or ".join(f"`{key}`" for key in asked if key not in keys) or "the other field"
        raise DataError(f"{name} has the fields {listed}, among which {lacking} is not.")
    if len(long) > 1:
        raise DataError(
            f"{name} has several fields that could be the text ({', '.join(map(shown, long[:12]))}); choose "
            f"one with --text-field {shown(long[0])}, or a question and an answer with --user-field and "
            "--assistant-field."
        )
    raise DataError(
        f"{name} has the fields {listed}, of which none tell what to learn; known are {_KNOWN}. "
        "Name yours with --user-field and --assistant-field, or with --text-field."
    )


def shown(key: str) -> str:
    """The name of a field as it may stand in a sentence, whatever characters it has."""
    return repr(key)[1:-1][:40]


def _is_text(key: str, records: list[dict[str, Any]]) -> bool:
    """Whether a field is text: by its name, or because it holds long strings in most records."""
    sizes = [len(value) for record in records if isinstance(value := record.get(key), str)]
    if len(sizes) * 2 <= len(records):
        return False
    return key in _TEXTS or sum(sizes) >= _LONG * len(sizes)
