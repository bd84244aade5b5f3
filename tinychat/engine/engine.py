"""Text out of a model: the one face that live samples, terminal, API and page ask.

A text prompt is continued; a conversation is answered. Text is released at whole characters only
and never past the possible start of a stop string. Which tokens come is `decoding`'s charge. The
engine works when it is asked, in the caller's thread, and holds nothing between two calls.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from tinychat.engine.decoding import Finish, FinishReason, Request, decode, newest_that_fit
from tinychat.engine.sampling import Sampling
from tinychat.model import Decoder, Runtime
from tinychat.text import ChatFormat, Message, TextStream, Tokenizer, encode_turns


@dataclass(frozen=True)
class Prompt:
    """What the model is shown, and what had to be left out to fit its context."""

    ids: tuple[int, ...]
    overflow: Literal["slide", "stop"]
    dropped_turns: int = 0  # whole turns of a conversation, the oldest ones
    dropped_tokens: int = 0  # all tokens that were left out, those turns' included


@dataclass(frozen=True)
class Completion:
    """An answer that is finished."""

    text: str  # ends before a stop string
    ids: tuple[int, ...]  # every token that came, without the end token
    finish_reason: FinishReason
    prompt: Prompt


class Engine:
    """Answers for one model. The decoder must already lie on the runtime's device.

    batch_rows bounds how many prompts share a forward pass, and with it the cache's memory.
    """

    def __init__(
        self, decoder: Decoder, tokenizer: Tokenizer, runtime: Runtime, *, batch_rows: int = 64
    ) -> None:
        self.decoder = decoder
        self.tokenizer = tokenizer
        self.runtime = runtime
        self.batch_rows = batch_rows
        chat = tokenizer.format
        # Control tokens are structure, not text: decoding skips them, so nobody would see one that
        # was sampled, and a role token would let the model speak in the person's name. Some models
        # also have more rows than their vocabulary has tokens.
        beyond = range(tokenizer.vocab_size, decoder.vocab_size)
        self.never_sampled = sorted((chat.control_ids - {chat.end}).union(beyond))

    def complete(
        self,
        prompts: Sequence[str | Sequence[Message]],
        sampling: Sampling,
        *,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> list[Completion]:
        """Finished answers to any number of prompts, in their order.

        `cancelled` is asked at every token; once true, all end with what they have.
        """
        fitted = [self.fit(prompt, sampling.max_new_tokens) for prompt in prompts]
        answers = [GrowingText(self.tokenizer, sampling.stop) for _ in prompts]
        # neighbours of equal length share the pass over their prompts
        order = sorted(range(len(fitted)), key=lambda i: len(fitted[i].ids))
        for start in range(0, len(order), self.batch_rows):
            chunk = order[start : start + self.batch_rows]
            growing = [answers[i] for i in chunk]
            requests = [self.request(fitted[i], sampling) for i in chunk]
            for row, event in decode(
                self.decoder,
                requests,
                runtime=self.runtime,
                never_sampled=self.never_sampled,
                cancelled=lambda row, here=growing: here[row].stopped or cancelled(),
            ):
                growing[row].take(event)
        return [answers[i].completion(fitted[i]) for i in range(len(fitted))]

    def stream_text(self, prompt: str, sampling: Sampling) -> "Answer":
        """The continuation of a text, as it comes."""
        return Answer(self, self.fit(prompt, sampling.max_new_tokens), sampling)

    def stream_chat(self, messages: Sequence[Message], sampling: Sampling) -> "Answer":
        """The answer to a conversation, as it comes. `.prompt` says what was left out."""
        return Answer(self, self.fit(messages, sampling.max_new_tokens), sampling)

    def fit(self, prompt: str | Sequence[Message], max_new_tokens: int) -> Prompt:
        """Token ids for a text to be continued or a conversation to be answered.

        A conversation leaves room for max_new_tokens, but at most a third of the context.
        """
        context_length = self.decoder.settings.context_length
        chat = self.tokenizer.format
        if isinstance(prompt, str):
            # a model that knows no bos begins where another text has ended
            ids = [*chat.begin, *self.tokenizer.encode(prompt)] or [chat.end]
            kept = newest_that_fit(ids, context_length, max_new_tokens)
            return Prompt(tuple(kept), "slide", dropped_tokens=len(ids) - len(kept))
        limit = context_length - min(max_new_tokens, context_length // 3)
        return fit_conversation(prompt, encode_turns(self.tokenizer, prompt), chat, limit)

    def request(self, prompt: Prompt, sampling: Sampling) -> Request:
        """What `decode` is asked for a fitted prompt."""
        return Request(
            prompt_ids=prompt.ids,
            sampling=sampling,
            stop_ids=(self.tokenizer.format.end,),
            overflow=prompt.overflow,
        )


class Answer(Iterator[str]):
    """Pieces of text as they come. Whoever stops asking for pieces has stopped the model."""

    def __init__(self, engine: Engine, prompt: Prompt, sampling: Sampling) -> None:
        self.prompt = prompt
        self.completion: Completion | None = None
        """The whole answer, once the last piece was given."""
        self._cancelled = False
        self._pieces = self._run(engine, sampling)

    def __next__(self) -> str:
        return next(self._pieces)

    def cancel(self) -> None:
        """End after the token in progress. May be called from another thread."""
        self._cancelled = True

    def _run(self, engine: Engine, sampling: Sampling) -> Iterator[str]:
        growing = GrowingText(engine.tokenizer, sampling.stop)
        for _, event in decode(
            engine.decoder,
            [engine.request(self.prompt, sampling)],
            runtime=engine.runtime,
            never_sampled=engine.never_sampled,
            cancelled=lambda row: growing.stopped or self._cancelled,
        ):
            if piece := growing.take(event):
                yield piece
        self.completion = growing.completion(self.prompt)


class GrowingText:
    """One answer's tokens turned into text that is certain: whole characters, up to where a stop
    string may have begun."""

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...]) -> None:
        self.stopped = False
        self._characters = TextStream(tokenizer)
        self._stop = stop
        self._ids: list[int] = []
        self._pieces: list[str] = []
        self._held = ""  # may be the beginning of a stop string
        self._reason: FinishReason = "cancelled"

    def take(self, event: int | Finish) -> str:
        """The text that has become certain with this token or end."""
        if isinstance(event, Finish):
            piece = self._release(self._characters.finish())
            self._reason = "stop" if self.stopped else event.reason
            piece, self._held = piece + self._held, ""
        else:
            self._ids.append(event)
            piece = self._release(self._characters.push(event))
        self._pieces.append(piece)
        return piece

    def completion(self, prompt: Prompt) -> Completion:
        """The answer, after its Finish was taken."""
        return Completion("".join(self._pieces), tuple(self._ids), self._reason, prompt)

    def _release(self, text: str) -> str:
        if not self._stop:
            return text
        if self.stopped:
            return ""
        text = self._held + text
        found = [(start + len(s), start) for s in self._stop if (start := text.find(s)) >= 0]
        if found:
            # the one that was complete first, however the text came in pieces
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        certain = len(text) - max(_overlap(text, s) for s in self._stop)
        self._held = text[certain:]
        return text[:certain]


def fit_conversation(
    messages: Sequence[Message], turns: Sequence[list[int]], chat: ChatFormat, limit: int
) -> Prompt:
    """A conversation's prompt in at most `limit` tokens; `turns` are the messages as ids.

    The system message stays (if it takes at most half), the oldest whole turns go; if the last
    turn alone is too long, its text is cut at the left. The trainer shortens its rows likewise.
    """
    asking = chat.opening["assistant"]
    whole = [*chat.begin, *chain.from_iterable(turns), *asking]
    if len(whole) <= limit:
        return Prompt(tuple(whole), "stop")
    starts = [i for i, message in enumerate(messages) if message.role == "user"]
    first = starts[0] if starts else 0
    head = [*chat.begin, *chain.from_iterable(turns[:first])]
    if len(head) > limit // 2 or all(message.role != "system" for message in messages[:first]):
        head = chat.begin
    for dropped, start in enumerate(starts):
        kept = [*head, *chain.from_iterable(turns[start:]), *asking]
        if len(kept) <= limit:
            return Prompt(tuple(kept), "stop", dropped, len(whole) - len(kept))
    opening = [*head, *chat.opening["user"]] if starts else head
    room = max(1, limit - len(opening))
    kept = [*opening, *whole[-room:]][-limit:]
    return Prompt(tuple(kept), "stop", max(0, len(starts) - 1), len(whole) - len(kept))


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`, but not all of it."""
    lengths = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((n for n in lengths if text.endswith(stop[:n])), 0)
