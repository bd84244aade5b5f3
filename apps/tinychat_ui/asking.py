"""One question outside any conversation, to one model or to two at once."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tinychat.engine import Answer, Completion, OpenedModel, Sampling
from tinychat.errors import EngineError, SettingsError
from tinychat.text import Message
from tinychat.words import count
from tinychat_ui.context import FLUSH_SECONDS, PageContext
from tinychat_ui.transcript import REASONS


class Growing:
    """An answer as far as it has come. Once it is over, or let go, it holds no model any more."""

    def __init__(self, answer: Answer) -> None:
        self.text = ""
        self.facts = ""  # 42 tokens · 120 tokens/s · stopped: end token
        self.trouble = ""  # why it failed
        self.completion: Completion | None = None
        self._answer: Answer | None = answer

    @property
    def is_over(self) -> bool:
        return self._answer is None

    def take(self) -> bool:
        """Take what has come; whether that was anything."""
        answer = self._answer
        if answer is None:
            return False
        try:
            piece = answer.take()
        except EngineError as error:
            self.trouble, piece = str(error), None
        self.text += piece or ""
        if piece is None:
            self.completion, self._answer = answer.completion, None
        if piece != "":
            self.facts = _facts(answer)
        return piece != ""

    def cancel(self) -> None:
        """End it after the token in progress."""
        answer = self._answer  # once: another thread may be taking its last words
        if answer is not None:
            answer.cancel()

    def let_go(self) -> None:
        """End it; nobody waits for its last words."""
        self.cancel()
        self._answer = None


@dataclass(eq=False)
class Asking:
    """What one browser tab has asked and may want to stop; kept on the server, changed in place,
    so that "stop" reaches what another handler is streaming."""

    going: list[Growing] = field(default_factory=list)
    busy: bool = False
    stopped: bool = False

    def begin(self) -> bool:
        """False if a question of this tab is still on its way."""
        if self.busy:
            return False
        self.busy, self.stopped, self.going = True, False, []
        return True

    def add(self, answer: Answer) -> Growing:
        """What has just been asked; it ends at once if "stop" came while the model was opened."""
        growing = Growing(answer)
        self.going.append(growing)
        if self.stopped:
            growing.cancel()
        return growing

    def stop(self) -> None:
        """End all that is on its way; also between two models."""
        self.stopped = True
        for growing in self.going:
            growing.cancel()

    def over(self) -> None:
        """Nothing is on its way any more; what still is, nobody waits for."""
        for growing in self.going:
            growing.let_go()
        self.busy, self.going = False, []


def question_of(text: Any, context: PageContext) -> str:
    """The prompt as a person typed it. Raises SettingsError if there is none, or too much."""
    most = context.limits.message_characters
    if not isinstance(text, str) or not text.strip():
        raise SettingsError("Type a prompt first.")
    if len(text) > most:
        raise SettingsError(f"The prompt has {len(text):,} characters; at most {most:,} can be.")
    return text


def ask(
    context: PageContext,
    model: OpenedModel,
    question: str,
    sampling: Sampling,
    system: str = "",
    *,
    before: Sequence[Message] = (),
    news: threading.Event | None = None,
) -> Answer:
    """The answer of a chat model, or how a base model continues the text. `before` are turns before
    the question. `news` is set whenever more of it is there. Raises EngineBusyError."""
    prompt: str | list[Message] = question
    if model.is_chat:
        told = [Message("system", system)] if system else []
        prompt = [*told, *before, Message("user", question)]
    return context.engine.ask(
        model.text,
        model.text.fit(prompt, sampling.max_new_tokens),
        sampling,
        deadline_seconds=context.limits.deadline_seconds,
        on_change=None if news is None else news.set,
    )


def follow(answers: Sequence[Growing], news: threading.Event) -> Iterator[None]:
    """Yields whenever there is more to show of any of them: the first text at once, then at most
    20 times a second, the last time when all are over."""
    while not all(growing.is_over for growing in answers):
        news.wait(1.0)
        news.clear()
        if any([growing.take() for growing in answers]):
            yield
            time.sleep(FLUSH_SECONDS)


def _facts(answer: Answer) -> str:
    stats = answer.stats()
    told = [count(stats.new_tokens, "token")]
    if stats.tokens_per_second is not None:
        told.append(f"{stats.tokens_per_second:,.0f} tokens/s")
    if answer.completion is not None:
        told.append(REASONS[answer.completion.finish_reason])
    return " · ".join(told)
