"""What there is to learn from a judgement: the form that preference tuning reads.

A rewrite is learnt as it stands (sft). A pick is a pair: this answer rather than that one (dpo, or
orpo, which needs no reference model). A thumb says of one answer alone whether it was good (kto).
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import orjson

from tinychat.conversations.answers import messages_from_row, want
from tinychat.errors import ConversationError

Objective = Literal["sft", "dpo", "kto", "orpo"]
Prompt = tuple[Mapping[str, str], ...] | str
"""Turns, each with its "role" and "content"; a text where a text is continued."""


@dataclass(frozen=True)
class Reply:
    """An answer to learn from. `ended`: the model ended it, so that its end is part of it."""

    text: str
    ended: bool = True


@dataclass(frozen=True, kw_only=True)
class Example:
    """One thing to learn. sft: `chosen`; dpo and orpo: both replies; kto: exactly one of them."""

    objective: Objective
    prompt: Prompt
    chosen: Reply | None  # to become likelier
    rejected: Reply | None  # to become less likely
    source: str  # id of the judgement, or file and line


def examples_to_bytes(examples: Iterable[Example]) -> bytes:
    """One JSON object a line: equal examples give equal bytes. Raises ConversationError for a text
    that no file can carry."""
    try:
        return b"".join(_line(each) for each in examples)
    except TypeError as error:
        raise ConversationError(f"An example cannot be kept: {error}.") from None


def examples_from_bytes(data: bytes, where: str = "examples.jsonl") -> list[Example]:
    """The examples that `examples_to_bytes` has written; `where` names the file in an error.

    Raises ConversationError for anything that it would not have written.
    """
    examples = []
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        try:
            example = _example(orjson.loads(line))
            if _line(example) != line:
                raise ValueError("it is written in another way")
        except ValueError as error:
            raise ConversationError(f"{where} is damaged in line {number}: {error}.") from None
        examples.append(example)
    return examples


def _line(example: Example) -> bytes:
    row = asdict(example)
    if not isinstance(example.prompt, str):
        row["prompt"] = [{key: turn[key] for key in ("role", "content")} for turn in example.prompt]
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def _example(row: Any) -> Example:
    """Raises ValueError for values that no example has."""
    if not isinstance(row, dict) or row.get("objective") not in get_args(Objective):
        raise ValueError("it is no example")
    prompt = row.get("prompt")
    example = Example(
        objective=row["objective"],
        prompt=prompt if isinstance(prompt, str) else messages_from_row(row, "prompt"),
        chosen=_reply(row, "chosen"),
        rejected=_reply(row, "rejected"),
        source=want(row, "source", str),
    )
    needed = {"sft": (True, False), "dpo": (True, True), "orpo": (True, True)}
    sides = (example.chosen is not None, example.rejected is not None)
    if sides != needed.get(example.objective, sides) or not any(sides):
        raise ValueError(f"it has not the answers of {example.objective}")
    if example.objective == "kto" and all(sides):
        raise ValueError("it has not the answers of kto")
    return example


def _reply(row: Mapping[str, Any], key: str) -> Reply | None:
    said = want(row, key, dict, type(None))
    return said and Reply(text=want(said, "text", str), ended=want(said, "ended", bool))
