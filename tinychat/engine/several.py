"""Several answers to one prompt, each with its own seed, made together and kept as they are."""

import threading
from collections.abc import Sequence
from dataclasses import asdict, replace

from tinychat.config.sampling import SEEDS
from tinychat.conversations import Answer as KeptAnswer
from tinychat.engine.answer import Answer
from tinychat.engine.engine import Engine
from tinychat.engine.keep import kept_answer
from tinychat.engine.sampling import Sampling
from tinychat.engine.shelf import OpenedModel
from tinychat.errors import SettingsError
from tinychat.text import Message


def with_seeds(rules: Sampling, number: int) -> list[Sampling]:
    """The same rules with so many seeds in a row. Raises SettingsError where chance has no say."""
    if rules.temperature == 0:
        raise SettingsError(f"With temperature 0 all {number} answers would be the same: raise it.")
    return [replace(rules, seed=(rules.seed + place) % SEEDS) for place in range(number)]


def prompt_messages(said: str, system: str = "") -> list[dict[str, str]]:
    """The turns that an answer was given to, as judgements keep them."""
    told = [{"role": "system", "content": system}] if system else []
    return [*told, {"role": "user", "content": said}]


class Several:
    """The answers of one model to one prompt, on their way together.

    A model that goes on with texts gets the prompt alone, without `system`. `news` is set whenever
    there is more of any of them. Raises EngineBusyError if the queue is full.
    """

    def __init__(
        self,
        engine: Engine,
        model: OpenedModel,
        said: str,
        rules: Sequence[Sampling],
        system: str = "",
    ) -> None:
        self.model = model
        self.system = system if model.is_chat else ""
        self.messages = prompt_messages(said, self.system)
        self.rules = rules
        self.news = threading.Event()
        turns = [Message(**each) for each in self.messages] if model.is_chat else said
        self.answers: list[Answer] = []
        try:
            for sampling in rules:
                prompt = model.text.fit(turns, sampling.max_new_tokens)
                asked = engine.ask(model.text, prompt, sampling, on_change=self.news.set)
                self.answers.append(asked)
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """End all of them after the token in progress."""
        for answer in self.answers:
            answer.cancel()

    @property
    def is_over(self) -> bool:
        return all(answer.is_over for answer in self.answers)

    def kept(self) -> list[KeptAnswer]:
        """The answers with all that decided them, once all are over and were taken whole."""
        kept = []
        for answer, sampling in zip(self.answers, self.rules, strict=True):
            assert answer.completion is not None  # none failed
            stats = asdict(answer.stats())
            kept.append(
                kept_answer(self.model, answer.completion, sampling, stats, system=self.system)
            )
        return kept
