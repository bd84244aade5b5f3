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
from tinychat.text import Message, Prepared, TokenFile, Tokenizer
from tinychat.training.events import Sampled

PROMPTS_A_ROUND = 10
FIXED_PROMPTS = 7
ROTATING_PROMPTS = 60
TEXT_PROMPT_TOKENS = 12


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
    if not settings.data.paths:
        from tinychat.text.smalltalk import SAMPLE_PROMPTS

        return PromptBook(tuple(SAMPLE_PROMPTS), (), chat)
    find = _first_questions if chat else _beginnings
    found = tuple(find(prepared.valid, prepared.tokenizer, settings.model.context_length // 2))
    return PromptBook(found[:FIXED_PROMPTS], found[FIXED_PROMPTS:], chat)


def _first_questions(file: TokenFile, tokenizer: Tokenizer, limit: int) -> Iterator[str]:
    """What the user says first, in the first conversations of the file."""
    user, assistant = (tokenizer.format.opening[role][0] for role in ("user", "assistant"))
    for i in range(min(ROTATING_PROMPTS, file.n_documents)):
        start, stop = file.bounds(i)
        ids = list(file.read(start, min(stop, start + limit)))
        if user in ids and assistant in ids[ids.index(user) :]:
            yield tokenizer.decode(ids[ids.index(user) + 1 : ids.index(assistant)])


def _beginnings(file: TokenFile, tokenizer: Tokenizer, limit: int) -> Iterator[str]:
    """The beginnings of documents, or of places spread over a few long ones."""
    length = min(TEXT_PROMPT_TOKENS, limit, file.n_tokens)
    starts = [file.bounds(i)[0] for i in range(min(ROTATING_PROMPTS, file.n_documents))]
    if len(starts) < PROMPTS_A_ROUND:
        apart = max(1, (file.n_tokens - length) // ROTATING_PROMPTS)
        starts = [i * apart for i in range(ROTATING_PROMPTS)]
    for start in starts:
        text = tokenizer.decode(file.read(start, min(start + length, file.n_tokens)))
        if text.strip():
            yield text
