"""Several answers to one prompt, made together, to choose among; they differ where they can.

Each has its own seed. A model that is sure of itself says the same whatever the seed: then an
answer that repeats another is made anew, to differ at the place where another token was likeliest.
"""

import threading
from collections.abc import Sequence
from dataclasses import asdict, replace

from tinychat.config.sampling import SEEDS
from tinychat.conversations import Answer as KeptAnswer
from tinychat.conversations import whole_text
from tinychat.engine.answer import Answer
from tinychat.engine.engine import Engine
from tinychat.engine.keep import kept_answer
from tinychat.engine.prompt import Completion
from tinychat.engine.sampling import Sampling
from tinychat.engine.shelf import OpenedModel
from tinychat.errors import SettingsError
from tinychat.text import Message

CANDIDATES = 8  # other tokens that are looked at, at each place
TRIES = 4  # to make answers differ
HOTTER, HOTTEST = 1.5, 2.0  # how much the temperature is raised, and how far

Fork = tuple[int, ...]  # the ids that an answer is made to begin with


def with_seeds(rules: Sampling, number: int) -> list[Sampling]:
    """The same rules with so many seeds in a row. Raises SettingsError where chance has no say."""
    if rules.temperature == 0:
        raise SettingsError(f"With temperature 0 all {number} answers would be the same: raise it.")
    return [replace(rules, seed=(rules.seed + place) % SEEDS) for place in range(number)]


def prompt_messages(
    said: str, system: str = "", before: Sequence[Message] = ()
) -> list[dict[str, str]]:
    """The turns that an answer was given to, as judgements keep them. Raises ConversationError for
    a prompt that none could keep."""
    told = [Message("system", system)] if system else []
    turns = (*told, *before, Message("user", whole_text(said, "The prompt")))
    return [{"role": turn.role, "content": turn.content} for turn in turns]


class Several:
    """The answers of one model to one prompt, on their way together.

    `texts` is how far they have come by the last `take`. `news` is set whenever there is more. A
    model that goes on with texts gets the prompt alone, without `system` and the turns `before`.
    With `differ`, answers that repeat others are made anew. `deadline_seconds` is for each of them.
    Raises EngineBusyError if the queue is full, ConversationError for a prompt that no judgement
    could keep.
    """

    def __init__(
        self,
        engine: Engine,
        model: OpenedModel,
        said: str,
        rules: Sequence[Sampling],
        system: str = "",
        *,
        before: Sequence[Message] = (),
        differ: bool = False,
        deadline_seconds: float | None = None,
    ) -> None:
        self.model = model
        self.system = system if model.is_chat else ""
        self.messages = prompt_messages(said, self.system, before if model.is_chat else ())
        self.rules = list(rules)
        self.news = threading.Event()
        self.texts = [""] * len(rules)
        self.dropped_tokens = 0  # of the prompt, where it did not fit the context
        self._said = [Message(**each) for each in self.messages] if model.is_chat else said
        self._engine = engine
        self._tries = TRIES if differ else 0
        self._tried: set[Fork] = set()
        self._cancelled = False
        self._deadline_seconds = deadline_seconds
        self.answers: list[Answer] = []
        for sampling in rules:
            self.answers.append(self._ask(sampling))

    def cancel(self) -> None:
        """End all of them after the token in progress."""
        self._cancelled = True
        for answer in self.answers:
            answer.cancel()

    def take(self, timeout: float | None = 0.0) -> bool:
        """Take what has come, waiting so long for the first of it (None: until there is some);
        False once all are over and were taken. Raises EngineError if one failed."""
        self.news.wait(timeout)
        self.news.clear()
        goes_on = False
        for place, answer in enumerate(self.answers):
            while piece := answer.take():
                self.texts[place] += piece
            goes_on |= piece is not None
        return goes_on or self._make_differ()

    def kept(self) -> list[KeptAnswer]:
        """The answers with all that decided them, once all are over and were taken."""
        return [
            kept_answer(
                self.model,
                _completion(answer),
                sampling,
                asdict(answer.stats()),
                system=self.system,
            )
            for answer, sampling in zip(self.answers, self.rules, strict=True)
        ]

    def _ask(self, sampling: Sampling, begin: Fork = ()) -> Answer:
        text = self.model.text
        details = CANDIDATES if self._tries else None
        try:
            prompt = text.fit(self._said, sampling.max_new_tokens, begin=begin)
            self.dropped_tokens = max(self.dropped_tokens, prompt.dropped_tokens)
            return self._engine.ask(
                text, prompt, sampling, details=details, on_change=self.news.set,
                deadline_seconds=self._deadline_seconds,
            )  # fmt: skip
        except BaseException:
            self.cancel()
            raise

    def _make_differ(self) -> bool:
        """Ask anew for answers that repeat others; whether there was one."""
        repeats = [n for n, text in enumerate(self.texts) if text in self.texts[:n]]
        if not repeats or not self._tries or self._cancelled:
            return False
        self._tries -= 1
        for place in repeats:
            fork = self._fork(self.texts[place]) or ()
            if not fork:
                self.rules[place] = _freer(self.rules[place], len(self.rules))
            self._tried.add(fork)
            self.texts[place] = self.model.text.tokenizer.decode(fork)
            self.answers[place] = self._ask(self.rules[place], fork)
        return True

    def _fork(self, text: str) -> Fork | None:
        """The likeliest beginning that leads away from all answers with this text and was not tried
        yet; None if there is none."""
        control = self.model.text.tokenizer.format.control_ids
        found: dict[Fork, float] = {}
        for each, answer in zip(self.texts, self.answers, strict=True):
            done = answer.completion
            if each != text or done is None:  # one that was asked anew just now
                continue
            ids = (*done.prompt.begin, *done.ids)
            for place, detail in enumerate(done.details, len(done.prompt.begin)):
                for other in detail.candidates:
                    fork = (*ids[:place], other.id)
                    if other.id not in (detail.id, *control) and fork not in self._tried:
                        found[fork] = max(found.get(fork, 0.0), other.probability)
        return max(found, key=lambda fork: found[fork], default=None)


def _freer(rules: Sampling, apart: int) -> Sampling:
    """A higher temperature, and a seed that no other of so many has."""
    temperature = min(HOTTEST, HOTTER * rules.temperature)
    return replace(rules, temperature=temperature, seed=(rules.seed + apart) % SEEDS)


def _completion(answer: Answer) -> Completion:
    assert answer.completion is not None  # it is over, and did not fail
    return answer.completion
