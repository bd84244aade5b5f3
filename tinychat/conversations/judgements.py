"""Judgements as they are learnt from, and what each of them teaches by a method.

They come from our own feedback or from preference data of TRL's forms (`reading`); here they are
alike. Whatever is not learnt from is counted under a reason, with the first places of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tinychat.conversations.examples import Example, Objective, Prompt, Reply
from tinychat.conversations.feedback import Counts, Kind, Thumb
from tinychat.words import inert, with_places

Method = Literal["auto", "sft", "dpo", "kto", "orpo"]

NOT_REVIEWED = "not reviewed"
UNDONE = "undone"
REPLACED = "replaced by a later thumb"
DUPLICATE = "duplicate"
TORN = "torn"
HOSTILE = "hostile"
TOO_LARGE = "too large"
NOT_UNDERSTOOD = "not understood"
"""Why a line of a file is not learnt from. Hostile: its bytes are no text, or nested too deep."""

EQUAL = "equal answers"
EMPTY = "empty answer"
NO_PAIR = "no second answer to compare with"
NOT_GOOD = "thumb down, where only good answers are learnt"
"""Why a judgement teaches nothing by a method."""

_PLACES = 1_000  # that are told of each reason: all, but for what no person goes through


@dataclass(frozen=True)
class LeftOut:
    """How often something was left out for one reason, and where first."""

    count: int
    places: tuple[str, ...] = ()  # "feedback.jsonl:12", with a word why where there is one


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a person said of one or several answers to a prompt."""

    source: str  # its id, or file and line
    kind: Kind
    prompt: Prompt
    replies: tuple[Reply, ...]  # the answers that were judged; a rewrite may be of none
    verdict: Thumb | None = None  # of a thumb
    chosen: int | None = None  # of a pick: the place in `replies`, from 0
    rewrite: Reply | None = None  # what the person would have answered
    is_plain: bool = False  # plain texts of TRL's forms, the prompt apart from the answers


@dataclass(frozen=True, kw_only=True)
class Judgements:
    """What was read: the judgements that count in their order, and what was left out and why."""

    judged: tuple[Judgement, ...] = ()
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)  # by reason
    waiting: tuple[Judgement, ...] = ()  # those that are not reviewed, as `left_out` counts them

    @property
    def counts(self) -> Counts:
        """How many count, by kind."""
        return Counts.of([each.kind for each in self.judged])


class LeaveOut:
    """Counts what is left out."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._places: dict[str, list[str]] = {}

    def __call__(self, reason: str, place: str) -> None:
        self._counts[reason] = self._counts.get(reason, 0) + 1
        places = self._places.setdefault(reason, [])
        if len(places) < _PLACES:
            places.append(place)

    def add(self, left_out: Mapping[str, LeftOut]) -> None:
        """What was counted elsewhere."""
        for reason, each in left_out.items():
            self._counts[reason] = self._counts.get(reason, 0) + each.count
            places = self._places.setdefault(reason, [])
            places += each.places[: _PLACES - len(places)]

    def told(self) -> dict[str, LeftOut]:
        """By reason."""
        return {
            reason: LeftOut(count, tuple(self._places[reason]))
            for reason, count in self._counts.items()
        }


def for_chat(judgements: Judgements) -> Judgements:
    """The same, to be learnt by a model that chats: of plain texts the prompt is what a person says
    and each answer what the model does, without the white space that joined them."""
    judged = tuple(_as_talk(each) if each.is_plain else each for each in judgements.judged)
    return replace(judgements, judged=judged)


def _as_talk(said: Judgement) -> Judgement:
    assert isinstance(said.prompt, str)
    return replace(
        said,
        prompt=({"role": "user", "content": said.prompt.strip()},),
        replies=tuple(replace(each, text=each.text.strip()) for each in said.replies),
        rewrite=said.rewrite and replace(said.rewrite, text=said.rewrite.text.strip()),
    )


def examples_of(judgements: Judgements, method: Method) -> list[Example]:
    """What there is to learn by a method, in the order of the judgements; `unused_of` counts the
    rest.

    auto: rewrites by sft, picks by dpo (the chosen answer against each other one), thumbs by kto.
    sft: rewrites, what was picked, thumbs up. dpo and orpo: picks, and rewrites against the answer
    they were written for. kto: good are what was picked, rewrites and thumbs up; bad the others,
    the answers that were rewritten, and thumbs down. Answers that are equal make no pair.
    """
    return [each for said in judgements.judged for each in _taught(said, method)[0]]


def unused_of(judgements: Judgements, method: Method) -> dict[str, LeftOut]:
    """The judgements that teach nothing by a method, by the reason why."""
    leave_out = LeaveOut()
    for said in judgements.judged:
        examples, reason = _taught(said, method)
        if not examples:
            leave_out(reason, said.source)
    return leave_out.told()


def left_out_words(left_out: Mapping[str, LeftOut]) -> str:
    """What is left out, how often and where: 3 torn (a.jsonl:12, …), 1 undone (a.jsonl:7)"""
    told = (with_places(each.count, reason, each.places) for reason, each in left_out.items())
    return inert(", ".join(told))


def why_nothing(files: Sequence[str], method: Method, left_out: Mapping[str, LeftOut]) -> str:
    """Why there is nothing to learn in these files, and what to do."""
    why = left_out_words(left_out)
    return (
        f"{', '.join(files)}: nothing in it can be learnt by tune.method = {method}"
        f"{f' ({why})' if why else ''}; pick, rewrite or rate some answers first"
    )


def _taught(said: Judgement, method: Method) -> tuple[list[Example], str]:
    """Its examples, and the reason why if there are none."""
    good, bad = _sides(said)
    objective: Objective = _OWN[said.kind] if method == "auto" else method
    alone = [(good, None)] if good else []
    if objective == "sft":
        return _examples(said, "sft", alone), NOT_GOOD if said.verdict == "down" else EMPTY
    if objective == "kto":
        if said.kind == "pick" and not bad:  # nothing was preferred to anything
            return [], _why_no_pair(said)
        return _examples(said, "kto", [*alone, *((None, each) for each in bad)]), EMPTY
    pairs = [(good, each) for each in bad if good]
    return _examples(said, objective, pairs), _why_no_pair(said)


def _sides(said: Judgement) -> tuple[Reply | None, list[Reply]]:
    """The good reply, and the bad ones: each once, none that reads like the good one."""
    if said.kind == "thumb":
        (reply,) = said.replies
        good, others = (reply, ()) if said.verdict == "up" else (None, (reply,))
    else:
        good = said.rewrite or said.replies[said.chosen or 0]
        others = said.replies
    bad: list[Reply] = []
    seen = set() if good is None else {good.text}
    for each in others:
        if _says(each, said.prompt) and each.text not in seen:
            seen.add(each.text)
            bad.append(each)
    return (good if good is not None and _says(good, said.prompt) else None), bad


def _why_no_pair(said: Judgement) -> str:
    if said.kind == "thumb" or not said.replies:
        return NO_PAIR
    texts = {each.text for each in (said.rewrite, *said.replies) if each is not None}
    return EQUAL if len(texts) == 1 else EMPTY


def _says(reply: Reply, prompt: Prompt) -> bool:
    """Whether it holds anything to learn: a character, or that the answer to a question ends
    here."""
    return bool(reply.text) or (reply.ended and _asks(prompt))


def _asks(prompt: Prompt) -> bool:
    """Whether anything was said to the model."""
    if isinstance(prompt, str):
        return bool(prompt.strip())
    return any(turn["content"].strip() for turn in prompt)


def _examples(
    said: Judgement, objective: Objective, sides: Sequence[tuple[Reply | None, Reply | None]]
) -> list[Example]:
    return [
        Example(
            objective=objective,
            prompt=said.prompt,
            chosen=chosen,
            rejected=rejected,
            source=said.source,
        )
        for chosen, rejected in sides
    ]


_OWN: dict[Kind, Objective] = {"rewrite": "sft", "pick": "dpo", "thumb": "kto"}
