"""Pick one of four, in a row: a prompt is answered four times, with four seeds, and a person says
which is best, or writes one of them better. Rounds that are over can be taken back, newest first.
"""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tinychat.conversations import EXCERPT, Answer
from tinychat.engine import OpenedModel, Sampling, Several, prompt_messages, with_seeds
from tinychat.errors import SettingsError, TinychatError
from tinychat.text import prompts_of_run
from tinychat.words import clip, count
from tinychat_ui.asking import Asking, question_of
from tinychat_ui.context import FLUSH_SECONDS, PageContext
from tinychat_ui.controls import sampling_of, system_of
from tinychat_ui.session import made_at
from tinychat_ui.transcript import REASONS

ANSWERS = 4

_ROUNDS = 20  # that can be taken back
_ANNOUNCED = 160  # characters of an answer that a screen reader is told at once
_AGAIN = "Every prompt of the data was judged once, so this one comes again. Which is best?"


@dataclass(eq=False)
class Round:
    """One prompt and its answers."""

    number: int = 0
    question: str = ""
    system: str = ""
    texts: list[str] = field(default_factory=list)  # as they come
    whole: list[Answer] = field(default_factory=list)  # once all four are there
    kept: str | None = None  # the judgement's id
    chosen: int | None = None  # from 0: the best one, or the one that was written better
    own: str | None = None  # what the person wrote in its place
    again: bool = False  # its prompt was suggested though it has been judged


@dataclass(eq=False)
class Picking:
    """The rounds of one browser tab, kept on the server and changed in place."""

    asking: Asking = field(default_factory=Asking)
    several: Several | None = None  # on their way
    now: Round = field(default_factory=Round)
    past: list[Round] = field(default_factory=list)  # oldest first
    asked: set[str] = field(default_factory=set)  # excerpts of prompts
    prompts: tuple[str, list[str]] = ("", [])  # of which run, and all there are
    notice: str = ""
    give_back: str = ""  # a prompt that could not be asked, for its box

    @property
    def can_pick(self) -> bool:
        """Whether all answers are there and have not been judged."""
        return bool(self.now.whole) and not self.asking.busy and self.now.kept is None

    def stop(self) -> None:
        """End what is on its way."""
        self.asking.stop()
        if self.several is not None:
            self.several.cancel()

    @property
    def can_undo(self) -> bool:
        """Whether there is a round to take back."""
        return not self.asking.busy and (self.now.kept is not None or bool(self.past))


def ask_four(
    context: PageContext, picking: Picking, name: str | None, text: Any, rail: Sequence[Any]
) -> Iterator[None]:
    """Ask the model of that name, four seeds in a row; a blank text: a prompt in the manner of its
    data. Yields whenever there is more to show; what went wrong is told in `picking.notice`."""
    if not picking.asking.begin():
        yield
        return
    try:
        picking.notice, picking.give_back = "", text if isinstance(text, str) else ""
        if name is None:
            raise SettingsError("There is no model to answer yet.")
        rules = with_seeds(sampling_of(rail, most_new_tokens=context.limits.new_tokens), ANSWERS)
        system = system_of(rail)
        again = False
        if not isinstance(text, str) or not text.strip():
            text, again = _suggested(context, picking, name)
        _begin(picking, question_of(text, context), system)
        picking.now.again = again
        picking.notice = f"Opening {context.shown(name)} …"
        yield
        model = context.shelf.open(name)
        picking.notice, picking.give_back = "", ""
        yield from _ask(context, picking, model, rules)
    except TinychatError as error:
        picking.notice = context.told(error)
    finally:
        picking.asking.over()
        picking.several = None
    yield


def _begin(picking: Picking, question: str, system: str) -> None:
    """Lay the round that was there aside, and begin the next one."""
    if picking.now.whole:
        picking.past = [*picking.past, picking.now][-_ROUNDS:]
    picking.now = Round(picking.now.number + 1, question, system)
    picking.asked.add(clip(question, EXCERPT))


def _suggested(context: PageContext, picking: Picking, name: str) -> tuple[str, bool]:
    """A prompt in the manner of what the model learnt from, and whether it has been judged: one
    that nobody has judged while there is one, then any that was not asked here yet."""
    if not context.local:  # they are out of conversations that are nobody else's affair
        raise SettingsError(
            "Only whoever is at the machine itself is suggested prompts of its data: type one."
        )
    run, _, _ = name.rpartition("@")
    if not run:
        raise SettingsError(
            "This model's data is not here, so no prompt can be suggested: type one."
        )
    if picking.prompts[0] != run:
        picking.prompts = run, prompts_of_run(context.checkpoints / run)
    prompts = picking.prompts[1]
    if not prompts:
        raise SettingsError(
            "Neither the prompts of this run nor its data are here any more, so none can be "
            "suggested: type one."
        )
    judged = {mark.asked for mark in context.feedback.marks() if mark.kind != "thumb"}
    if left := _without(prompts, judged | picking.asked):
        return left[0], False
    on_screen = {clip(picking.now.question, EXCERPT)}
    again = _without(prompts, picking.asked) or _without(prompts, on_screen) or prompts
    found = random.choice(again)
    return found, clip(found, EXCERPT) in judged


def _without(prompts: Sequence[str], known: set[str]) -> list[str]:
    return [text for text in prompts if clip(text, EXCERPT) not in known]


def _ask(
    context: PageContext, picking: Picking, model: OpenedModel, rules: Sequence[Sampling]
) -> Iterator[None]:
    now = picking.now
    several = Several(
        context.engine, model, now.question, rules, now.system, differ=True,
        deadline_seconds=context.limits.deadline_seconds,
    )  # fmt: skip
    picking.several = several
    try:
        if picking.asking.stopped:  # meanwhile
            several.cancel()
        while several.take(1.0):
            if several.texts != now.texts:
                now.texts = list(several.texts)
                yield
                time.sleep(FLUSH_SECONDS)
        now.texts = list(several.texts)
    finally:
        several.cancel()
    if picking.asking.stopped:
        return
    now.system, now.whole = several.system, several.kept()
    told = []
    if several.dropped_tokens:
        unseen = count(several.dropped_tokens, "token")
        told.append(f"The prompt is too long: the model has not seen its first {unseen}.")
    same = ANSWERS - len(set(now.texts))
    if same:
        who = "All four" if same == ANSWERS - 1 else "Some of the"
        told.append(f"{who} answers are the same: skip this prompt, or write one better.")
    picking.notice = " ".join(told)


def pick(context: PageContext, picking: Picking, number: Any) -> None:
    """Keep the answer of that number, from 1, as the best; anything else is passed over."""
    if not picking.can_pick or not _is_number(number):
        return
    now = picking.now
    try:
        now.kept = context.feedback.pick(
            prompt_messages(now.question, now.system), now.whole, number - 1, reviewed=context.local
        )
        now.chosen = number - 1
        picking.notice = f"Kept: answer {number} is the best."
    except TinychatError as error:
        picking.notice = context.told(error)


def write_better(context: PageContext, picking: Picking, number: Any, text: Any) -> None:
    """Keep what the person would have said in the place of that answer."""
    if not picking.can_pick or not _is_number(number):
        return
    now = picking.now
    if text == now.whole[number - 1].text:
        picking.notice = f"Nothing was changed. If it is good as it is, pick it: press {number}."
        return
    try:
        now.kept = context.feedback.rewrite(
            prompt_messages(now.question, now.system),
            now.whole[number - 1],
            text if isinstance(text, str) else "",
            reviewed=context.local,
        )
        now.chosen, now.own = number - 1, text
        picking.notice = "Kept: your own answer is the best."
    except TinychatError as error:
        picking.notice = context.told(error)


def undo(context: PageContext, picking: Picking) -> None:
    """Take back the judgement on screen; where there is none, go back to the round before and take
    back what was said there. It can then be judged again."""
    if not picking.can_undo:
        return
    if picking.now.kept is None:
        picking.now = picking.past.pop()
    now = picking.now
    picking.notice = "Back to the prompt before."
    if now.kept is None:  # it had been skipped
        return
    try:
        context.feedback.undo(now.kept, by_visitor=not context.local)
    except TinychatError as error:
        forget(context, picking)  # as it may have been taken back elsewhere
        picking.notice = context.told(error)
        return
    picking.notice = "Taken back: judge it again, or skip it."
    now.kept = now.chosen = now.own = None


def forget(context: PageContext, picking: Picking) -> None:
    """What was taken back elsewhere counts here no more either: it can be judged again."""
    try:
        living = {mark.id for mark in context.feedback.marks()}
    except TinychatError:
        return
    for each in (picking.now, *picking.past):
        if each.kept is not None and each.kept not in living:
            each.kept = each.chosen = each.own = None
            picking.notice = ""


def view(picking: Picking) -> dict[str, Any]:
    """What the tab shows of it."""
    now = picking.now
    answers = [_card(now, place) for place in range(len(now.texts))]
    return {
        "n": made_at(),
        "round": now.number,
        "answers": answers,
        "question": now.question,
        "busy": picking.asking.busy,
        "can_pick": picking.can_pick,
        "can_undo": picking.can_undo,
        "kept": now.kept is not None,
        "notice": picking.notice or (_AGAIN if picking.can_pick and now.again else ""),
        "give_back": picking.give_back,
        "announce": _announcement(answers) if picking.can_pick else "",
    }


def _card(now: Round, place: int) -> dict[str, Any]:
    chosen = now.chosen == place
    is_own = chosen and now.own is not None
    reason = now.whole[place].finish_reason if now.whole else "end"
    return {
        "number": place + 1,
        "text": now.own if is_own else now.texts[place],
        "mark": "your own words" if is_own else "" if reason == "end" else REASONS[reason],
        "chosen": chosen,
        "own": is_own,
    }


def _announcement(answers: Sequence[dict[str, Any]]) -> str:
    told = (f"Answer {each['number']}: {clip(each['text'], _ANNOUNCED)}" for each in answers)
    return "Which is best? " + " ".join(told)


def _is_number(number: Any) -> bool:
    return type(number) is int and number in range(1, ANSWERS + 1)
