"""Which shape the records of a file have, told from the first ones and the settings.

The most specific shape that a record could have counts, and the most frequent of those is the
file's. What a shape means is the charge of `shapes`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tinychat.config import DataSettings
from tinychat.errors import DataError
from tinychat.text.shapes import Layout, Shape, shown

_LISTS = ("messages", "conversations")
_ASKED = ("instruction", "prompt", "question", "user", "input", "query")
_ANSWERS = ("output", "response", "answer", "completion", "best answer", "best_answer", "assistant")
_CONTEXTS = {"instruction": ("input", "context"), "question": ("context",)}
_USUAL_ANSWER = {"prompt": "completion", "question": "answer", "user": "assistant"}
_PROMPTS = ("prompt", "question", "instruction", "input", *_LISTS)  # of preference data
_TEXTS = ("content", "story", "body", "article", "document")
_LONG = 80  # characters a field holds on average that is taken for the text
_KNOWN = (
    "messages or conversations, instruction + output, prompt + completion, question + answer, "
    "user + assistant, input + output, query + response, and text"
)


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
    if not keys:
        raise DataError(
            f"{name} holds no records: no JSON objects with fields such as "
            '{"text": "..."}, no conversations.'
        )
    listed = ", ".join(map(shown, keys[:12]))
    if asked:
        lacking = " or ".join(f"`{key}`" for key in asked if key not in keys) or "the other field"
        raise DataError(f"{name} has the fields {listed}, among which {lacking} is not.")
    if len(long) > 1:
        raise DataError(
            f"{name} has several fields that could be the text "
            f"({', '.join(map(shown, long[:12]))}); choose one with --text-field {shown(long[0])}, "
            "or a question and an answer with --user-field and --assistant-field."
        )
    advice = "Name yours with --user-field and --assistant-field, or with --text-field."
    if layout == "table":
        advice += " Or is the line with the columns' names missing?"
    within = [key for key in keys if len(records) == 1 and isinstance(records[0][key], list)]
    if within:
        advice = f"The records seem to lie in `{shown(within[0])}`: give that list as a file."
    raise DataError(
        f"{name} has the fields {listed}, of which none tell what to learn; known are {_KNOWN}. "
        f"{advice}"
    )


def _is_text(key: str, records: list[dict[str, Any]]) -> bool:
    """Whether a field is text: by its name, or because it holds long strings in most records."""
    return has_words(key, records, 0 if key in _TEXTS else _LONG)


def has_words(key: str, records: list[dict[str, Any]], length: int) -> bool:
    """Whether most records have a string there, of so many characters on average."""
    sizes = [len(value) for record in records if isinstance(value := record.get(key), str)]
    return len(sizes) * 2 > len(records) and sum(sizes) >= length * len(sizes)
