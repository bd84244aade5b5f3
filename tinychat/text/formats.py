"""What one file holds, told from its content: plain text, or JSON lines of one of three shapes.

`detect` looks at the first bytes and the first records and decides once a file; `Shape.parse` turns
one record into a conversation or a document, or says what is wrong with it. Reading whole files is
the charge of `reading`, choosing files that of `corpus`.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

from tinychat.errors import DataError
from tinychat.text.chat import Conversation, Document, Message

LARGEST_RECORD = 32 * 1024 * 1024  # bytes of one JSON line; a longer one is a bad record
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_SNIFFED_RECORDS = 100
_SNIFFED_BYTES = 64 * 1024
_MAGIC = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF-": "a PDF",
    b"PK\x03\x04": "a ZIP archive (as .docx and .xlsx are)",
    b"\x1f\x8b": "gzip",
    b"PAR1": "parquet",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_JSON_ENDINGS = frozenset({".json", ".jsonl", ".ndjson"})
_TEXT_ENDINGS = frozenset({".txt", ".md"})

# (question, further text for it, answers by preference); the more specific come first.
_COLUMNS = (
    ("instruction", ("input", "context"), ("output", "response", "answer", "completion")),
    ("prompt", (), ("completion", "response")),
    ("question", (), ("answer", "best answer")),
    ("user", (), ("assistant",)),
    ("input", (), ("output",)),
)
_ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model"), "assistant"),
    "system": "system",
}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class BadRecord:
    """Why a record cannot be used."""

    reason: str


@dataclass(frozen=True)
class Shape:
    """How the records of one file are read. Column names are in lower case."""

    kind: Literal["plain", "text", "messages", "columns"]
    question: str = ""
    contexts: tuple[str, ...] = ()  # the first that a record fills is added to its question
    answer: str = ""

    @property
    def holds_conversations(self) -> bool:
        return self.kind in ("messages", "columns")

    def __str__(self) -> str:
        if self.kind == "columns":
            context = f" (+ {' or '.join(self.contexts)})" if self.contexts else ""
            return f"JSON lines, {self.question}{context} -> {self.answer}"
        return {
            "plain": "plain text",
            "text": "JSON lines, text",
            "messages": "JSON lines, messages",
        }[self.kind]

    def parse(self, line: bytes) -> Conversation | Document | BadRecord:
        """One JSON line. Lone surrogates are left in; see `mend`."""
        record = _load(line)
        if isinstance(record, BadRecord):
            return record
        if self.kind == "text":
            text = record.get("text")
            if not isinstance(text, str):
                return BadRecord("`text` is missing or is no string")
            return Document(text) if text.strip() else BadRecord("`text` is empty")
        return self._messages(record) if self.kind == "messages" else self._columns(record)

    def _messages(self, record: dict[str, Any]) -> Conversation | BadRecord:
        turns = record.get("messages")
        if not isinstance(turns, list):
            return BadRecord("`messages` is missing or is no list")
        messages: list[Message] = []
        for turn in turns:
            if not isinstance(turn, dict) or not isinstance(turn.get("content"), str):
                return BadRecord("a message has no `content` that is a string")
            role = turn.get("role")
            known = _ROLES.get(role.lower()) if isinstance(role, str) else None
            if known is None:
                return BadRecord(f"the role {repr(role)[:40]} is not user, assistant or system")
            messages.append(Message(known, turn["content"]))
        return _conversation(messages)

    def _columns(self, record: dict[str, Any]) -> Conversation | BadRecord:
        for name in (self.question, self.answer):
            if not isinstance(record.get(name), str):
                return BadRecord(f"`{name}` is missing or is no string")
        for name in ("system", *self.contexts):
            if not isinstance(record.get(name), str | None):
                return BadRecord(f"`{name}` is no string")
        context = next((record[name] for name in self.contexts if record.get(name)), "")
        asked = "\n\n".join(part for part in (record[self.question], context) if part.strip())
        return _conversation(
            [
                Message("system", record.get("system") or ""),
                Message("user", asked),
                Message("assistant", record[self.answer]),
            ]
        )


@dataclass(frozen=True)
class Detected:
    """What `detect` found: the shape, and remarks for the person who gave the file."""

    shape: Shape
    hints: tuple[str, ...] = ()


PLAIN = Shape("plain")


def detect(path: Path) -> Detected:
    """Tell from the content how a file is to be read.

    Raises DataError, naming the file, for what is not text, and for JSON in a shape not known.
    """
    with open(path, "rb") as file:
        head = file.read(_SNIFFED_BYTES)
        _refuse_binary(path, head)
        file.seek(0)
        ending = path.suffix.lower()
        start = head.removeprefix(BYTE_ORDER_MARK).lstrip()[:1]
        if start == b"[" and ending in _JSON_ENDINGS:
            raise DataError(
                f"{path} is one JSON array; write each record on a line of its own (.jsonl)."
            )
        if start != b"{":
            odd = ending in _JSON_ENDINGS and start != b""
            hint = f"{path} is named {ending} but holds plain text, and is read as such"
            return Detected(PLAIN, (hint,) if odd else ())
        parsed = [_load(line) for _, line in islice(json_lines(file), _SNIFFED_RECORDS)]
    records = [record for record in parsed if isinstance(record, dict)]
    if not records and ending in _JSON_ENDINGS:
        raise DataError(
            f"{path}: none of the first {len(parsed)} lines is a JSON object; write each record "
            "on one line of its own."
        )
    if len(records) * 2 < len(parsed) and ending not in _JSON_ENDINGS:
        return Detected(PLAIN)  # say, a program that has `{}` on a line
    if ending in _TEXT_ENDINGS:
        hint = f"{path} looks like JSON lines but is named {ending}, so it is read as plain text"
        return Detected(PLAIN, (hint + "; name it .jsonl to have its records read",))
    return Detected(_shape_of(path, records))


def json_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(number, line) of each line that is not blank, holding no more than one in memory.

    Of a line longer than LARGEST_RECORD only its start is given, which is no valid JSON then.
    """
    number = 0
    while line := file.readline(LARGEST_RECORD):
        number += 1
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if line.strip():
            yield number, line
        while len(line) >= LARGEST_RECORD and not line.endswith(b"\n"):
            line = file.readline(LARGEST_RECORD)


def mend(item: Conversation | Document) -> tuple[Conversation | Document, int]:
    """Put U+FFFD for lone surrogates, which UTF-8 cannot express; also how many there were."""
    if isinstance(item, Document):
        text, count = _LONE_SURROGATE.subn("\ufffd", item.text)
        return (Document(text), count) if count else (item, 0)
    mended = [_LONE_SURROGATE.subn("\ufffd", message.content) for message in item.messages]
    count = sum(number for _, number in mended)
    if not count:
        return item, 0
    pairs = zip(item.messages, mended, strict=True)
    return Conversation(tuple(Message(message.role, text) for message, (text, _) in pairs)), count


def _load(line: bytes) -> dict[str, Any] | BadRecord:
    """One JSON object, its keys in lower case."""
    if len(line) >= LARGEST_RECORD:
        return BadRecord(f"the line is longer than {LARGEST_RECORD:,} bytes")
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return BadRecord(f"not UTF-8 at byte {error.start} of the line")
    except (ValueError, RecursionError) as error:
        return BadRecord(f"not JSON ({error})")
    if not isinstance(record, dict):
        return BadRecord(f"not a JSON object but a {type(record).__name__}")
    return {key.lower(): value for key, value in record.items()}


def _conversation(messages: list[Message]) -> Conversation | BadRecord:
    """Drop empty system messages and questions left open at the end, and check the rest."""
    kept = [m for m in messages if m.role != "system" or m.content.strip()]
    while kept and kept[-1].role != "assistant":
        kept.pop()
    if not kept:
        return BadRecord("no answer")
    for message in kept:
        if not message.content.strip():
            return BadRecord(f"an empty {message.role} message")
    return Conversation(tuple(kept))


def _refuse_binary(path: Path, head: bytes) -> None:
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise DataError(f"{path} is {what}, not UTF-8 text; convert or unpack it first.")
    if b"\0" in head:
        raise DataError(
            f"{path} is a binary file (a zero byte at offset {head.index(0)}), not UTF-8 text; "
            "leave it out or convert it."
        )


def _shape_of(path: Path, records: list[dict[str, Any]]) -> Shape:
    """The shape that most of the first records have."""
    shapes = [shape for record in records if (shape := _shape_of_record(record)) is not None]
    if shapes:
        return Counter(shapes).most_common(1)[0][0]
    keys = ", ".join(sorted({key for record in records for key in record})[:12])
    if "chosen" in records[0] and "rejected" in records[0]:
        raise DataError(f"{path} is preference data (chosen, rejected), which is not read yet.")
    raise DataError(
        f"{path} has the keys {keys or '(none)'}, of which none tell what to learn; known are "
        "messages, instruction + response, prompt + completion, question + answer, "
        "user + assistant, input + output, and text."
    )


def _shape_of_record(record: dict[str, Any]) -> Shape | None:
    if isinstance(record.get("messages"), list):
        return Shape("messages")
    for question, contexts, answers in _COLUMNS:
        answer = next((name for name in answers if name in record), None)
        if question in record and answer is not None:
            return Shape("columns", question, contexts, answer)
    return Shape("text") if "text" in record else None
