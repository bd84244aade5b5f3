"""Pick one of four: a prompt is answered four times, with four seeds, and a person says which is
best, or writes a better one."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tinychat.conversations import Answer
from tinychat.engine import OpenedModel, Sampling, kept_answer
from tinychat.errors import SettingsError, TinychatError
from tinychat_ui.asking import Asking, Growing, ask, follow, question_of
from tinychat_ui.context import PageContext
from tinychat_ui.controls import sampling_of, system_of

ANSWERS = 4


@dataclass(eq=False)
class Picking:
    """The four answers of one browser tab, kept on the server and changed in place."""

    asking: Asking = field(default_factory=Asking)
    question: str = ""
    system: str = ""
    model: str = ""
    seeds: list[int] = field(default_factory=list)
    answers: list[Growing] = field(default_factory=list)  # as they come
    whole: list[Answer] = field(default_factory=list)  # once all four are there
    kept: str | None = None  # the judgement's id
    chosen: int | None = None  # from 0; None with `kept`: the person wrote a better one
    notice: str = ""

    @property
    def can_pick(self) -> bool:
        """Whether all answers are there and have not been judged."""
        return bool(self.whole) and not self.asking.busy and self.kept is None


def ask_four(
    context: PageContext, picking: Picking, name: str | None, text: Any, rail: Sequence[Any]
) -> Iterator[None]:
    """Ask the model of that name, four seeds in a row. Yields whenever there is more to show;
    what went wrong is told in `picking.notice`."""
    if not picking.asking.begin():
        return
    try:
        picking.answers, picking.whole, picking.model = [], [], ""
        picking.kept, picking.chosen, picking.notice = None, None, ""
        if name is None:
            raise SettingsError("There is no model to answer yet.")
        picking.question, picking.system = question_of(text, context), system_of(rail)
        rules = _four(sampling_of(rail, most_new_tokens=context.limits.new_tokens))
        picking.seeds = [sampling.seed for sampling in rules]
        picking.notice = f"Opening {context.shown(name)} …"
        yield
        model = context.shelf.open(name)
        if not model.is_chat:  # it goes on with the text alone
            picking.system = ""
        picking.model, picking.notice = model.label, ""
        yield from _ask(context, picking, model, rules)
    except TinychatError as error:
        picking.notice = context.told(error)
    finally:
        picking.asking.over()
    yield


def _ask(
    context: PageContext, picking: Picking, model: OpenedModel, rules: Sequence[Sampling]
) -> Iterator[None]:
    news, asked = threading.Event(), []
    for sampling in rules:
        if picking.asking.stopped:
            return
        answer = ask(context, model, picking.question, sampling, picking.system, news=news)
        asked.append(answer)
        picking.answers.append(picking.asking.add(answer))
    yield from follow(picking.answers, news)
    if picking.asking.stopped or any(growing.trouble for growing in picking.answers):
        return
    for answer, sampling in zip(asked, rules, strict=True):
        assert answer.completion is not None  # none failed
        stats = asdict(answer.stats())
        picking.whole.append(
            kept_answer(model, answer.completion, sampling, stats, system=picking.system)
        )


def _four(rules: Sampling) -> list[Sampling]:
    if rules.temperature == 0:
        raise SettingsError("With temperature 0 all four answers would be the same: raise it.")
    return [replace(rules, seed=(rules.seed + place) % 2**63) for place in range(ANSWERS)]


def pick(context: PageContext, picking: Picking, number: Any) -> None:
    """Keep the answer of that number, from 1, as the best; anything else is passed over."""
    if not picking.can_pick or type(number) is not int or number not in range(1, ANSWERS + 1):
        return
    try:
        picking.kept = context.feedback.pick(
            prompt_of(picking), picking.whole, number - 1, reviewed=context.local
        )
        picking.chosen = number - 1
        picking.notice = f"Kept: answer {number} is the best."
    except TinychatError as error:
        picking.notice = context.told(error)


def write_better(context: PageContext, picking: Picking, text: Any) -> None:
    """Keep what the person would have answered."""
    if not picking.can_pick:
        return
    try:
        picking.kept = context.feedback.rewrite(
            prompt_of(picking),
            picking.whole[0],
            text if isinstance(text, str) else "",
            reviewed=context.local,
        )
        picking.notice = "Kept: your own answer is the best."
    except TinychatError as error:
        picking.notice = context.told(error)


def prompt_of(picking: Picking) -> list[dict[str, str]]:
    """The messages that all four answers were made to."""
    told = [{"role": "system", "content": picking.system}] if picking.system else []
    return [*told, {"role": "user", "content": picking.question}]


def view(picking: Picking) -> dict[str, Any]:
    """What the tab shows of it."""
    answers = [
        {
            "number": place + 1,
            "text": growing.text,
            "facts": f"seed {picking.seeds[place]} · {growing.facts}",
            "trouble": growing.trouble,
            "chosen": picking.chosen == place,
        }
        for place, growing in enumerate(picking.answers)
    ]
    return {
        "answers": answers,
        "question": picking.question if answers else "",
        "model": picking.model,
        "busy": picking.asking.busy,
        "can_pick": picking.can_pick,
        "kept": picking.kept is not None,
        "notice": picking.notice,
    }
