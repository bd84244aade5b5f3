"""Live samples: what the model says while it learns.

Ten prompts a round: most of them fixed, so that rounds can be compared, the others rotating
through the validation data. A round has one seed, keyed by (seed, step), and goes through the same
engine that everybody asks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tinychat.config import SampleSettings, Settings
from tinychat.engine import Sampling, TextModel
from tinychat.keys import draw_key
from tinychat.model import Decoder, Runtime
from tinychat.text import (
    TEXT_PROMPT_TOKENS,
    Message,
    Prepared,
    TokenFile,
    Tokenizer,
    beginnings,
    first_questions,
    sample_prompts,
)
from tinychat.training.events import Sampled

PROMPTS_A_ROUND = 10
FIXED_PROMPTS = 7
ROTATING_PROMPTS = 60


@dataclass(frozen=True)
class PromptBook:
    """Which prompts a round gets. In a chat each is a user's turn, else the start of a text."""

    fixed: tuple[str, ...]
    rotating: tuple[str, ...]
    chat: bool

    def round(self, number: int) -> list[str]:
        """The fixed ones, then as many rotating ones as make the round full."""
        free = min(PROMPTS_A_ROUND - len(self.fixed), len(self.rotating))
        places = (number * free + i for i in range(free))
        return [*self.fixed, *(self.rotating[i % len(self.rotating)] for i in places)]


class LiveSampler:
    """Makes a round of samples from the weights as they are."""

    def __init__(
        self, decoder: Decoder, tokenizer: Tokenizer, runtime: Runtime, book: PromptBook, seed: int
    ) -> None:
        self._model = TextModel(decoder, tokenizer, runtime)
        self._book = book
        self._seed = seed

    def __call__(
        self,
        step: int,
        typed: str | None,
        settings: SampleSettings,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Sampled]:
        """A round of the book, or one sample of a typed prompt; nothing once it is cancelled."""
        if typed is not None:
            prompts = [typed]
        else:
            prompts = list(settings.prompts)
            prompts = prompts or self._book.round(step // (settings.every_steps or 1))
        told = {
            "temperature": settings.temperature,
            "top_k": settings.top_k,
            "max_new_tokens": settings.max_new_tokens,
        }
        seed = draw_key(self._seed, "live samples", step)
        asked = [[Message("user", p)] if self._book.chat else p for p in prompts]
        # a loop is shown as it is: that is what one wants to see getting better
        rules = Sampling(**told, seed=seed, repetition_guard=False)
        completions = self._model.complete(asked, rules, cancelled=cancelled)
        if cancelled():
            return
        for prompt, completion in zip(prompts, completions, strict=True):
            yield Sampled(step, prompt, completion.text, seed, told)


def prompt_book(settings: Settings, prepared: Prepared) -> PromptBook:
    """The prompts of a round whose settings name none: ten that suit the corpus."""
    chat = prepared.form == "chat"
    if prompts := sample_prompts(settings.data.paths):
        return PromptBook(prompts, (), chat)
    file, limit = prepared.valid, settings.model.context_length // 2
    documents = range(min(ROTATING_PROMPTS, file.n_documents))
    if chat:
        found = tuple(first_questions(file, prepared.tokenizer, limit, documents))
    else:
        found = tuple(beginnings(file, prepared.tokenizer, limit, _starts(file, limit, documents)))
    return PromptBook(found[:FIXED_PROMPTS], found[FIXED_PROMPTS:], chat)


def _starts(file: TokenFile, limit: int, documents: range) -> list[int]:
    """Where documents begin, or places spread over a few long ones."""
    if len(documents) >= PROMPTS_A_ROUND:
        return [file.bounds(i)[0] for i in documents]
    length = min(TEXT_PROMPT_TOKENS, limit, file.n_tokens)
    last = file.n_tokens - length
    apart = max(1, last // ROTATING_PROMPTS)
    return list(range(0, last + 1, apart))[:ROTATING_PROMPTS]
