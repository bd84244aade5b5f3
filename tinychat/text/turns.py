"""Text lines as conversations: `__eou__` after each turn, or a mark such as `User:` before it.

With `__eou__` every line is a dialogue of two people, the first of whom is the user. With marks a
conversation ends at a line of nothing but `<|endoftext|>`; where a file has no such lines, at a
blank line before a user's turn.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO, Literal

from tinychat.text.plain import SEPARATOR
from tinychat.text.records import LARGEST_RECORD, text_lines
from tinychat.text.shapes import ROLES, BadRecord, ParseResult, conversation_of

_END_OF_TURN = "__eou__"
_ROLES = {**ROLES, "ai": "assistant"}
_NAMES = "|".join(_ROLES)
_MARK = re.compile(
    rf"(?:^[ \t#*]*({_NAMES})[ \t*]*:\**|<\|({_NAMES})\|>)[ \t]?", re.IGNORECASE | re.MULTILINE
)
_NO_WORDS = re.compile(r"<\|(?:end|endoftext|eot|im_end|bos)\|>")
_SNIFFED_LINES = 100


def sniff_turns(head: bytes) -> Literal["eou", "turns"] | None:
    """How the turns of a text are marked, if they seem to be, from its beginning."""
    lines = head.decode("utf-8", "ignore").splitlines()
    lines = [line for line in lines if line.strip()][:_SNIFFED_LINES]
    if sum(_END_OF_TURN in line for line in lines) * 2 > len(lines):
        return "eou"
    roles = [_role(match) for line in lines for match in _MARK.finditer(line)]
    return "turns" if {"user", "assistant"} <= set(roles) else None


def dialogues(stream: BinaryIO) -> Iterator[tuple[int, ParseResult]]:
    """(line, dialogue) of a text with `__eou__` after each turn."""
    for number, line in text_lines(stream):
        if len(line) >= LARGEST_RECORD:
            yield number, BadRecord(f"the line is longer than {LARGEST_RECORD:,} bytes")
            continue
        turns = [turn.strip() for turn in line.decode("utf-8").split(_END_OF_TURN)]
        if len(turns) == 1:
            yield number, BadRecord(f"no {_END_OF_TURN} in the line")
            continue
        said = turns if turns[-1] else turns[:-1]
        roles = ("user", "assistant")
        yield number, conversation_of((roles[i % 2], turn) for i, turn in enumerate(said))


def marked_turns(stream: BinaryIO, *, separated: bool) -> Iterator[tuple[int, ParseResult]]:
    """(line, conversation) of a text with a mark before each turn.

    With `separated` conversations end at `<|endoftext|>` only, wherever it stands alone or ends a
    line.
    """
    begun, held, size = 1, [], 0
    number, blank = 0, False
    while line := stream.readline(LARGEST_RECORD):
        number += 1
        text = line.decode("utf-8", "replace")
        mark = _MARK.match(text)
        starts = not separated and blank and mark is not None and _role(mark) != "assistant"
        if held and (starts or size >= LARGEST_RECORD):
            yield begun, _marked(held)
            held, size = [], 0
        blank = not line.strip()
        if not held and blank:
            continue
        if not held:
            begun = number
        held.append(text)
        size += len(line)
        if separated and line.rstrip().endswith(SEPARATOR):
            yield begun, _marked(held)
            held, size = [], 0
    if held:
        yield begun, _marked(held)


def _marked(lines: list[str]) -> ParseResult:
    text = _NO_WORDS.sub("", "".join(lines))
    marks = list(_MARK.finditer(text))
    if not text.strip() or not marks:
        return BadRecord("no turn is marked")
    if text[: marks[0].start()].strip():
        return BadRecord("text stands before the first mark")
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    turns = [
        (_role(mark), text[mark.end() : end].strip()) for mark, end in zip(marks, ends, strict=True)
    ]
    if not turns[-1][1]:
        turns.pop()  # a mark that asks for an answer
    return conversation_of(turns)


def _role(mark: re.Match[str]) -> str:
    return _ROLES[(mark[1] or mark[2]).lower()]
