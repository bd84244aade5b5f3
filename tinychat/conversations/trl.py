"""Preference data in the forms of TRL, so that it can come from elsewhere and go there.

preference: prompt, chosen, rejected, or the prompt as what chosen and rejected have in common.
unpaired: prompt, completion, label. prompt-completion: prompt, completion. Each with texts
("standard" there) or with lists of messages ("conversational"). A pair is a pick of two, a labelled
completion a thumb, a completion alone a rewrite. Texts are texts that go on to TRL; a model that
chats learns those with a prompt of their own as a question and its answer (`for_chat`).

An answer that the model did not end itself carries a false `chosen_ended`, `rejected_ended` or
`completion_ended`: columns of ours, which TRL passes over. Forms:
https://huggingface.co/docs/trl/dataset_formats
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import orjson

from tinychat.conversations.answers import ROLES, shown
from tinychat.conversations.examples import Prompt, Reply
from tinychat.conversations.judgements import Judgement, Judgements, Method, examples_of
from tinychat.conversations.row_file import checked_length

Form = Literal["preference", "unpaired", "prompt-completion"]
FORMS: tuple[str, ...] = get_args(Form)
_METHODS: Mapping[Form, Method] = {
    "preference": "dpo",
    "unpaired": "kto",
    "prompt-completion": "sft",
}

_Talk = list[dict[str, str]]


def method_of(form: Form) -> Method:
    """By which method a form is learnt, and so which judgements it can hold."""
    return _METHODS[form]


def judgement_of(row: Mapping[str, Any], source: str) -> Judgement:
    """A row of any form. Raises ValueError, with the reason, for one that is of none."""
    row = {key: value for key, value in row.items() if value is not None}  # tables fill with null
    if "chosen" in row and "rejected" in row:
        prompt, (chosen, rejected) = _split(row.get("prompt"), row["chosen"], row["rejected"])
        replies = (
            Reply(chosen, _ended(row, "chosen")),
            Reply(rejected, _ended(row, "rejected")),
        )
        return Judgement(
            source=source,
            kind="pick",
            prompt=prompt,
            replies=replies,
            chosen=0,
            is_plain="prompt" in row and isinstance(prompt, str),
        )
    if "completion" in row:
        if "prompt" not in row:
            raise ValueError("it has a completion without a prompt")
        prompt, (text,) = _split(row["prompt"], row["completion"])
        reply = Reply(text, _ended(row, "completion"))
        is_rated = "label" in row
        return Judgement(
            source=source,
            kind="thumb" if is_rated else "rewrite",
            prompt=prompt,
            replies=(reply,) if is_rated else (),
            verdict=("up" if _label(row["label"]) else "down") if is_rated else None,
            rewrite=None if is_rated else reply,
            is_plain=isinstance(prompt, str),
        )
    raise ValueError("it has neither chosen and rejected, nor prompt and completion")


def to_trl(judgements: Judgements, form: Form, *, texts: bool = False) -> list[dict[str, Any]]:
    """The rows of a form, by its method: conversations, or with `texts` the texts that were
    continued. A file should hold one of the two, as its columns have one type each."""
    rows = []
    for example in examples_of(judgements, method_of(form)):
        if isinstance(example.prompt, str) != texts:
            continue
        if form == "preference":
            said = {"chosen": example.chosen, "rejected": example.rejected}
        else:
            said = {"completion": example.chosen or example.rejected}
        row: dict[str, Any] = {"prompt": example.prompt if texts else list(example.prompt)}
        for name, reply in said.items():
            assert reply is not None  # by the form's method
            row[name] = reply.text if texts else [{"role": "assistant", "content": reply.text}]
        if form == "unpaired":
            row["label"] = example.chosen is not None
        rows.append(row | {f"{name}_ended": reply.ended for name, reply in said.items() if reply})
    return rows


def trl_to_bytes(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """One JSON object a line."""
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _split(prompt: Any, *answers: Any) -> tuple[Prompt, tuple[str, ...]]:
    """The prompt, with whatever all answers begin with, and what is left of each answer."""
    if isinstance(prompt, str | None) and all(isinstance(each, str) for each in answers):
        texts = tuple(checked_length(each) for each in answers)
        if prompt is not None:
            return checked_length(prompt), texts
        common = _common_text(*texts)
        if not common:
            raise ValueError("it has no prompt, and its answers have no beginning in common")
        return texts[0][:common], tuple(text[common:] for text in texts)
    before = _talk(prompt, "user") if prompt else []
    talks = [before + _talk(each, "assistant") for each in answers]
    common = _common_turns(talks) if len(talks) > 1 else len(talks[0]) - 1
    if prompt is None and not common:
        raise ValueError("it has no prompt, and its answers have no message in common")
    for talk in talks:
        if len(talk) - common != 1 or talk[-1]["role"] != "assistant":
            raise ValueError("an answer is not one message of the assistant")
    return tuple(talks[0][:common]), tuple(talk[-1]["content"] for talk in talks)


def _common_text(first: str, second: str) -> int:
    """As TRL does it: the common characters, without a space between prompt and answer."""
    shorter = min(len(first), len(second))
    same = next((i for i in range(shorter) if first[i] != second[i]), shorter)
    return same - 1 if same and first[same - 1] == " " else same


def _common_turns(talks: list[_Talk]) -> int:
    """How many messages all have in common; the last one of each is always an answer."""
    most = min(map(len, talks)) - 1
    return next((i for i in range(most) if any(t[i] != talks[0][i] for t in talks)), most)


def _talk(value: Any, role: str) -> _Talk:
    """A list of messages, or a text as one message of that role."""
    if isinstance(value, str):
        return [{"role": role, "content": checked_length(value)}]
    if not isinstance(value, list) or not value:
        raise ValueError("a prompt or an answer is neither a text nor a list of messages")
    talk = []
    for turn in value:
        if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
            raise ValueError("a message has no role")
        if turn["role"] not in ROLES:
            raise ValueError(f"a message has the role {shown(turn['role'])}")
        talk.append({"role": turn["role"], "content": _content(turn.get("content"))})
    return talk


def _content(content: Any) -> str:
    """A message's text: a string, or a list of parts that are text."""
    if isinstance(content, list) and content:
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) == len(parts):
            return checked_length("".join(texts))
    if not isinstance(content, str):
        raise ValueError("a message has no content that is a text")
    return checked_length(content)


def _ended(row: Mapping[str, Any], name: str) -> bool:
    ended = row.get(f"{name}_ended", True)
    if type(ended) is not bool:
        raise ValueError(f"its {name}_ended is {shown(ended)}")
    return ended


def _label(label: Any) -> bool:
    if type(label) not in (bool, int) or label not in (0, 1):
        raise ValueError(f"its label is {shown(label)}, not true or false")
    return bool(label)
