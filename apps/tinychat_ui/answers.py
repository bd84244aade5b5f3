"""From a click to an answer on disk: what is asked, how it streams, what is kept.

However an answer ends - by itself, by "stop", because the browser left, because it failed - the
engine is freed, and what came is kept in the conversation. Also while it grows, it is kept now and
then, as one that was cut off: so a server that is killed loses the last seconds only.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from tinychat.conversations import CUT_OFF, FAILED, Conversation, Node
from tinychat.conversations import Answer as KeptAnswer
from tinychat.engine import Answer, Completion, OpenedModel, Prompt, Sampling, kept_answer
from tinychat.errors import SettingsError, TinychatError
from tinychat.text import Message
from tinychat.words import number
from tinychat_ui.context import PageContext, stream
from tinychat_ui.controls import sampling_of, seed_is_kept, system_of
from tinychat_ui.session import Session
from tinychat_ui.transcript import Live, View, opened, view

CANDIDATES = 8  # kept for each token, for "look inside"
_LAST_WORDS = 2.0  # seconds that a cancelled answer is waited for
_KEPT_SECONDS, _KEPT_SHARE = 1.0, 1.5
"""A growing answer is kept after a second, and then whenever it took half as long again: as each
time all of it is written, a long one is written three times over at most."""


@dataclass(frozen=True)
class Beginning:
    """What an answer is made to begin with: its text, and its ids if they must be these."""

    text: str = ""
    ids: tuple[int, ...] = ()
    of: KeptAnswer | None = None  # an answer that is to be gone on with


@dataclass(frozen=True)
class Question:
    """What is asked: the message to be answered, and how the answer begins."""

    node: Node
    begin: Beginning
    penalty: float | None = None  # instead of the one in the controls


def ask(
    context: PageContext, session: Session, asked: Mapping[str, Any], values: Sequence[Any]
) -> Iterator[View]:  # fmt: skip
    """Answer, and give the view to show meanwhile and at the end. Nothing is raised."""
    if session.asking:
        return
    session.asking, session.stopped, session.answer = True, False, None
    session.asked_at = time.time_ns()
    session.conversation = session.conversation or _text(asked, "conversation") or None
    notice = give_back = ""
    try:
        yield from _ask(context, session, asked, values)
    except TinychatError as error:
        notice = context.told(error)
        give_back = "" if _is_kept(context, session, asked) else _text(asked, "text")
    finally:
        session.asking, session.answer = False, None
    yield view(context, session, notice=notice, give_back=give_back)


def stop(session: Session) -> None:
    """End the answer on its way, also if it has not begun."""
    session.stopped = True
    if (answer := session.answer) is not None:
        answer.cancel()


def _ask(
    context: PageContext, session: Session, asked: Mapping[str, Any], values: Sequence[Any]
) -> Iterator[View]:  # fmt: skip
    if session.model is None:
        raise SettingsError("There is no model to answer yet.")
    name = session.model
    sampling = sampling_of(values, most_new_tokens=context.limits.new_tokens)
    system = system_of(values)
    conversation = opened(context, session)
    question = _question(context, conversation, asked)
    if conversation is None or question is None:
        text = _message(context, asked)
        conversation = conversation or context.conversations.create()
        session.conversation = conversation.id
        node = conversation.add("user", text, parent=_parent(conversation, asked))
        question = Question(node, Beginning(_text(asked, "begin")))
    if question.penalty is not None:
        sampling = replace(sampling, repetition_penalty=question.penalty)
    called = context.shown(name)
    live = Live(question.node, question.begin.text, called, waiting=f"opening {called} …")
    yield view(context, session, live=live)
    model = context.shelf.open(name)
    begin = _begin_ids(model, question.begin)
    prompt = _fit(model, conversation, question, sampling, system, begin)
    if session.stopped:
        return
    answer = context.engine.ask(
        model.text, prompt, sampling, details=CANDIDATES,
        # whoever keeps a seed wants to see the same again, to the last bit
        serial=context.local and seed_is_kept(values),
        deadline_seconds=context.limits.deadline_seconds,
    )  # fmt: skip
    session.answer = answer
    if session.stopped:  # between the two
        answer.cancel()
    # the last bytes of a character may be still to come
    text = question.begin.text or model.text.tokenizer.decode(prompt.begin)
    text = text.rstrip("\ufffd") if prompt.begin else text
    dropped = _dropped(conversation, question, model, prompt)
    live = replace(live, text=text, model=model.label, is_begun=bool(text))
    keeping = Keeping(conversation, question, model, answer, sampling, system, dropped)
    try:
        with closing(stream(answer)) as pieces:
            for piece in pieces:
                text += piece
                keeping.now_and_then()
                stats, waiting = asdict(answer.stats()) | dropped, _waits_for(context, answer)
                yield view(context, session, live=replace(live, text=text, stats=stats,
                                                          waiting=waiting))  # fmt: skip
    except GeneratorExit:  # the browser is gone, so nobody can be told
        with suppress(TinychatError):
            keeping.end(CUT_OFF)
        raise
    except Exception:  # of the engine, or of a conversation that was replaced under us
        with suppress(TinychatError):
            keeping.end(FAILED)
        raise
    # a server that ends cancels too
    node = keeping.end("cancelled" if session.stopped else CUT_OFF)
    if node is not None and answer.completion is not None:
        context.details.keep(node.id, answer.completion.details)


def _waits_for(context: PageContext, answer: Answer) -> str:
    """What is told before the first word."""
    before = context.engine.before(answer)
    if before is not None:
        return f"waiting, {number(before)} before you …"
    return f"reading {number(len(answer.prompt.ids))} tokens …"


@dataclass(eq=False)
class Keeping:
    """The place of one answer in its conversation, while it grows and at its end."""

    conversation: Conversation
    question: Question
    model: OpenedModel
    answer: Answer
    sampling: Sampling
    system: str
    dropped: Mapping[str, int]
    node: Node | None = None
    seconds: float = 0.0  # of its making, when it was last kept

    def now_and_then(self) -> None:
        """Keep what has come, if it is time."""
        seconds = self.answer.stats().seconds
        if seconds < max(_KEPT_SECONDS, _KEPT_SHARE * self.seconds):
            return
        done = self._so_far()
        if not done.ids:  # it waits, or reads the prompt
            return
        self.seconds = seconds
        with suppress(TinychatError):  # told at the end, if it goes on
            self._write(replace(done, finish_reason=CUT_OFF))

    def end(self, cancelled: str) -> Node | None:
        """Keep all that came; nothing if it ended before its first word. `cancelled` is the reason
        that is told if it did not end by itself. Raises ConversationError."""
        self.answer.cancel()
        done = _completion(self.answer) or self._so_far()
        if done.finish_reason != "cancelled":
            return self._write(done)
        return self._write(replace(done, finish_reason=cancelled)) if done.ids else None

    def _write(self, done: Completion) -> Node:
        begin, stats = self.question.begin.text, {**asdict(self.answer.stats()), **self.dropped}
        kept = kept_answer(self.model, done, self.sampling, stats, system=self.system, begin=begin)
        of = self.node.id if self.node else None
        self.node = self.conversation.add(
            "assistant", kept.text, parent=self.question.node.id, answer=kept, of=of
        )
        return self.node

    def _so_far(self) -> Completion:
        details = tuple(self.answer.details())
        ids = tuple(detail.id for detail in details)
        text = self.model.text.tokenizer.decode(ids).rstrip("\ufffd")  # a part of a character
        return Completion(text, ids, "cancelled", self.answer.prompt, details)


def _question(
    context: PageContext, conversation: Conversation | None, asked: Mapping[str, Any]
) -> Question | None:
    """What is asked about a message that is there already; None for a message that is new."""
    do = asked.get("do")
    if do in ("send", "edit"):
        return None
    if conversation is None:
        raise SettingsError("That conversation is not here any more.")
    node = conversation.node(_text(asked, "node") or _text(asked, "id"))
    if node.role == "user" and do == "again":
        return Question(node, Beginning())
    if node.parent is None or node.role != "assistant":
        raise SettingsError("Only an answer can be asked for again.")
    question = conversation.node(node.parent)
    if do == "again":
        return Question(question, Beginning(), _penalty(asked))
    if do == "continue":
        return Question(question, Beginning(node.text, of=node.answer))
    if do == "fork":
        ids = asked.get("begin")
        if not isinstance(ids, list) or not all(type(each) is int for each in ids):
            raise SettingsError("An answer can only begin with token ids.")
        return Question(question, Beginning(ids=tuple(ids)))
    raise SettingsError(f"The page cannot do {str(do)[:40]!r}.")


def _is_kept(context: PageContext, session: Session, asked: Mapping[str, Any]) -> bool:
    """Whether the text that was sent stands in the conversation already."""
    if asked.get("do") not in ("send", "edit"):
        return True
    conversation = opened(context, session)
    last = conversation.branch()[-1:] if conversation else []
    return [(node.role, node.text) for node in last] == [("user", _text(asked, "text"))]


def _parent(conversation: Conversation, asked: Mapping[str, Any]) -> str | None:
    """Where a new message hangs: at the end, or beside the one that it replaces."""
    if asked.get("do") == "edit":
        return conversation.node(_text(asked, "id")).parent
    return conversation.leaf


def _begin_ids(model: OpenedModel, begin: Beginning) -> Sequence[int] | str:
    """What `fit` is given. An answer of the same run goes on from its very tokens."""
    if begin.ids:
        return begin.ids
    kept, tokenizer = begin.of, model.text.tokenizer
    if kept is not None and kept.run == model.name:
        ids = [*tokenizer.encode(kept.begin), *kept.answer_ids]
        if max(ids, default=0) < tokenizer.vocab_size and tokenizer.decode(ids) == begin.text:
            return ids
    return begin.text


def _fit(
    model: OpenedModel, conversation: Conversation, question: Question, sampling: Sampling,
    system: str, begin: Sequence[int] | str,
) -> Prompt:  # fmt: skip
    """The prompt: the whole conversation up to the question, or the question's text alone."""
    if not model.is_chat:
        return model.text.fit(question.node.text, sampling.max_new_tokens, begin=begin)
    told = [Message("system", system)] if system else []
    said = [
        Message(node.role, node.text)
        for node in conversation.branch(question.node.id)
        if node.role != "system"
    ]
    return model.text.fit([*told, *said], sampling.max_new_tokens, begin=begin)


def _dropped(
    conversation: Conversation, question: Question, model: OpenedModel, prompt: Prompt
) -> dict[str, int]:
    """How many turns and tokens the model does not see."""
    turns = prompt.dropped_turns
    if not model.is_chat:  # a text model is shown the last message only
        before = conversation.branch(question.node.id)[:-1]
        turns = sum(node.role == "user" for node in before)
    return {"dropped_turns": turns, "dropped_tokens": prompt.dropped_tokens}


def _completion(answer: Answer) -> Completion | None:
    """The completion of an answer that is over or cancelled; None if it failed."""
    until = time.monotonic() + _LAST_WORDS
    try:
        while answer.completion is None and time.monotonic() < until:
            if answer.take(0.1) is None:
                break
    except TinychatError:
        return None
    return answer.completion


def _message(context: PageContext, asked: Mapping[str, Any]) -> str:
    text = _text(asked, "text")
    most = context.limits.message_characters
    if not text.strip():
        raise SettingsError("Please write something first.")
    if len(text) > most:
        raise SettingsError(f"A message has at most {most:,} characters, not {len(text):,}.")
    return text


def _penalty(asked: Mapping[str, Any]) -> float | None:
    value = asked.get("repetition_penalty")
    return value if type(value) in (int, float) else None


def _text(asked: Mapping[str, Any], key: str) -> str:
    value = asked.get(key)
    return value if isinstance(value, str) else ""
