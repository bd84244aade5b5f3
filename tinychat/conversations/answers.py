"""An answer with all that it takes to repeat it or to teach from it, as a row and back."""

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from tinychat.conversations.row_file import Row, whole_text
from tinychat.errors import ConversationError
from tinychat.runs import checkpoint_label
from tinychat.words import clip, inert

Role = Literal["user", "assistant", "system"]
Mode = Literal["chat", "text"]
Messages = Sequence[Mapping[str, str]]
"""Turns in order, each with its "role" and "content"."""

ROLES = get_args(Role)

CUT_OFF, FAILED = "cut off", "failed"
"""Why an answer ended where the model did not end it: whoever made it went away; it failed. The
other reasons are the engine's."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model said, and everything that decided it."""

    text: str  # as it was shown: with what it was made to begin with
    prompt_ids: Sequence[int]  # exactly what the model was shown
    answer_ids: Sequence[int]  # exactly what came, so without those of `begin`
    run: str
    step: int | None
    settings: Mapping[str, Any]  # of sampling
    seed: int
    finish_reason: str
    stats: Mapping[str, Any] = field(default_factory=dict)  # counts and timings
    mode: Mode = "chat"  # text: the prompt is a text that was continued
    chat_format: str = ""  # the name of the format that the prompt was written in
    system: str = ""  # the system message in force
    begin: str = ""  # what the answer was made to begin with

    @property
    def label(self) -> str:
        """Whose it is: `<run>@<step>`, or the folder of a model from elsewhere"""
        return checkpoint_label(self.run, self.step)

    def to_row(self) -> Row:
        """As JSON values. Raises ConversationError for what no file of ours can carry."""
        if not -(2**63) <= self.seed < 2**63:
            raise ConversationError(f"The seed {self.seed} cannot be kept: it is beyond 64 bits.")
        return {
            "text": whole_text(self.text, "The answer"),
            "run": self.run,
            "step": self.step,
            "mode": self.mode,
            "chat_format": self.chat_format,
            "system": whole_text(self.system, "The system message"),
            "begin": whole_text(self.begin, "The beginning of the answer"),
            "settings": dict(self.settings),
            "seed": self.seed,
            "finish_reason": self.finish_reason,
            "stats": dict(self.stats),
            "prompt_ids": array("I", self.prompt_ids).tolist(),
            "answer_ids": array("I", self.answer_ids).tolist(),
        }

    @staticmethod
    def from_row(row: Any) -> "Answer":
        """Raises ValueError for values that no answer was written as."""
        if not isinstance(row, dict):
            raise ValueError("an answer is not an object")
        if row.get("mode") not in get_args(Mode):
            raise ValueError(f"the mode is {shown(row.get('mode'))}")
        return Answer(
            text=want(row, "text", str),
            prompt_ids=_ids(row, "prompt_ids"),
            answer_ids=_ids(row, "answer_ids"),
            run=want(row, "run", str),
            step=want(row, "step", int, type(None)),
            settings=want(row, "settings", dict),
            seed=want(row, "seed", int),
            finish_reason=want(row, "finish_reason", str),
            stats={k: v for k, v in want(row, "stats", dict).items() if _is_figure(v)},
            mode=row["mode"],
            chat_format=want(row, "chat_format", str),
            system=want(row, "system", str),
            begin=want(row, "begin", str),
        )


def _is_figure(value: Any) -> bool:
    """What a count or a timing may be."""
    return value is None or (type(value) in (int, float) and math.isfinite(value))


def want(row: Mapping[str, Any], key: str, *types: type) -> Any:
    """The value of a key, of one of these very types. Raises ValueError for anything else."""
    value = row.get(key)
    if type(value) not in types:
        raise ValueError(f"its {key} is {shown(value)}")
    return value


def shown(value: Any) -> str:
    """A value for a sentence, in a few characters; of a list or an object only that it is one."""
    kinds = {list: "a list", dict: "an object", type(None): "missing"}
    value = value[:40] if isinstance(value, str) else value
    return kinds.get(type(value)) or clip(inert(repr(value)), 40)


def want_time(row: Mapping[str, Any]) -> float:
    """Unix seconds."""
    time = float(want(row, "time", int, float))
    if not math.isfinite(time):
        raise ValueError("its time is not finite")
    return time


def messages_to_rows(messages: Messages) -> list[dict[str, str]]:
    """Checked turns. Raises ConversationError for a role or a text that cannot be."""
    rows = []
    for message in messages:
        if message.get("role") not in ROLES:
            raise ConversationError(
                f"A message has the role {message.get('role')!r}; "
                "the roles are system, user and assistant."
            )
        content = whole_text(message.get("content", ""), "A message")
        rows.append({"role": message["role"], "content": content})
    return rows


def messages_from_row(row: Mapping[str, Any], key: str) -> tuple[dict[str, str], ...]:
    """The turns under a key. Raises ValueError for anything else."""
    turns = want(row, key, list)
    for turn in turns:
        if not isinstance(turn, dict) or turn.get("role") not in ROLES:
            raise ValueError(f"its {key} holds what is no message of a role we know")
        want(turn, "content", str)
    return tuple({"role": turn["role"], "content": turn["content"]} for turn in turns)


def _ids(row: Mapping[str, Any], key: str) -> Sequence[int]:
    """Token ids, four bytes each: a long conversation holds millions of them."""
    try:
        return array("I", want(row, key, list))
    except (TypeError, OverflowError):
        raise ValueError(f"its {key} are not token ids") from None
