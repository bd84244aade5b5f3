"""A model that speaks text: its decoder, its tokenizer, and how prompts fit its context.

A text prompt is continued; a conversation is answered.
"""

from collections.abc import Callable, Sequence

from tinychat.engine.decoding import Request, decode, newest_that_fit
from tinychat.engine.growing_text import GrowingText
from tinychat.engine.prompt import Completion, Prompt, fit_conversation
from tinychat.engine.sampling import Sampling
from tinychat.errors import SettingsError
from tinychat.model import AnsweringDecoder, Decoder, Runtime
from tinychat.text import Message, Tokenizer, encode_turns


class TextModel:
    """One model. The decoder must already lie on the runtime's device.

    batch_rows bounds how many prompts share a forward pass in `complete`, and with it the cache's
    memory.
    """

    def __init__(
        self,
        decoder: Decoder | AnsweringDecoder,
        tokenizer: Tokenizer,
        runtime: Runtime,
        *,
        batch_rows: int = 64,
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

    @property
    def context_length(self) -> int:
        return self.decoder.settings.context_length

    def complete(
        self,
        prompts: Sequence[str | Sequence[Message]],
        sampling: Sampling,
        *,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> list[Completion]:
        """Finished answers to any number of prompts, in their order, in the caller's thread.

        `cancelled` is asked at every token; once true, all end with what they have.
        """
        fitted = [self.fit(prompt, sampling.max_new_tokens) for prompt in prompts]
        answers = [GrowingText(self.tokenizer, sampling.stop) for _ in prompts]
        # neighbours of equal length share the pass over their prompts
        order = sorted(range(len(fitted)), key=lambda i: len(fitted[i].ids))
        for start in range(0, len(order), self.batch_rows):
            chunk = order[start : start + self.batch_rows]
            growing = [answers[i] for i in chunk]
            for row, event in decode(
                self.decoder,
                [self.request(fitted[i], sampling) for i in chunk],
                runtime=self.runtime,
                never_sampled=self.never_sampled,
                cancelled=lambda row, here=growing: here[row].stopped or cancelled(),
            ):
                growing[row].take(event)
        return [answers[i].completion(fitted[i]) for i in range(len(fitted))]

    def fit(
        self,
        prompt: str | Sequence[Message],
        max_new_tokens: int,
        *,
        begin: str | Sequence[int] = (),
    ) -> Prompt:
        """Token ids for a text to be continued or a conversation to be answered.

        A conversation leaves room for max_new_tokens, but at most a third of the context. `begin`,
        text or ids, is what the answer is made to begin with; it is part of the prompt, never of
        the answer. Raises SettingsError if it alone is too long.
        """
        chat = self.tokenizer.format
        begin = self.tokenizer.encode(begin) if isinstance(begin, str) else list(begin)
        limit = self.context_length - min(max_new_tokens, self.context_length // 3)
        around = [*chat.begin]
        if not isinstance(prompt, str):
            around += [*chat.opening["user"], *chat.opening["assistant"]]
        if begin and len(begin) >= limit - len(around):
            raise SettingsError(
                f"the answer is to begin with {len(begin)} tokens, which leaves the model no room: "
                f"its context holds {self.context_length}"
            )
        if isinstance(prompt, str):
            # a model that knows no bos begins where another text has ended
            ids = [*chat.begin, *self.tokenizer.encode(prompt), *begin] or [chat.end]
            kept = newest_that_fit(ids, self.context_length, max_new_tokens, least=len(begin) + 1)
            dropped = len(ids) - len(kept)
            return Prompt(tuple(kept), "slide", dropped_tokens=dropped, begin=tuple(begin))
        turns = encode_turns(self.tokenizer, prompt)
        return fit_conversation(prompt, turns, chat, limit, begin)

    def request(self, prompt: Prompt, sampling: Sampling, details: int | None = None) -> Request:
        """What `decode` is asked for a fitted prompt."""
        return Request(
            prompt_ids=prompt.ids,
            sampling=sampling,
            stop_ids=(self.tokenizer.format.end,),
            overflow=prompt.overflow,
            details=details,
        )
