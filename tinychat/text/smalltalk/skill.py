"""What the corpus is woven from: a skill is facts times wordings, and some of its questions are
never taught. Which ones is a pure function of their words, so whoever asks gets the same answer."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

HELD_OUT_ONE_IN = 6


def held_out(*words: str) -> bool:
    """Whether this combination is kept for the examination; fixed for ever."""
    return one_in(HELD_OUT_ONE_IN, *words)


def one_in(n: int, *words: str) -> bool:
    digest = hashlib.blake2b("|".join(words).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % n == 0


def bare(text: str) -> str:
    """The words, numbers and signs of a text, so that case and punctuation make no new question."""
    return " ".join(re.findall(r"[a-z]+|[0-9]+|[-+*]", text.lower()))


@dataclass(frozen=True)
class Fact:
    """`slots` fill the wordings. Answers may hold {bot}, the assistant's name, and {me}, which is
    ", Anna" once that name was told and empty before."""

    slots: Mapping[str, str]
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Exchange:
    """One user turn and every answer that is right. A talk shows one of them."""

    kind: str
    user: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Skill:
    """Facts times wordings. The first wording of each fact is always taught, so no fact stays
    unknown; of the others, those whose words are `held_out` are only asked in the examination.
    A skill that is not `taught` is asked there alone. `weight` is how often it comes up."""

    kind: str
    weight: float
    wordings: tuple[str, ...]
    facts: tuple[Fact, ...]
    taught: bool = True

    def exchange(self, random: Random) -> Exchange:
        """A taught one, dressed as people type."""
        while True:
            fact = random.choice(self.facts)
            user = random.choice(self.wordings).format_map(fact.slots)
            if not self._kept_back(fact, user):
                return Exchange(self.kind, dressed(user, random), fact.answers)

    def plainest(self) -> Iterator[Exchange]:
        """Each taught fact once, in the first wording."""
        for fact in self.facts if self.taught else ():
            yield Exchange(self.kind, self.wordings[0].format_map(fact.slots), fact.answers)

    def examination(self) -> Iterator[Exchange]:
        """Every question that is never taught."""
        for fact in self.facts:
            for wording in self.wordings:
                user = wording.format_map(fact.slots)
                if not self.taught or self._kept_back(fact, user):
                    yield Exchange(self.kind, user, fact.answers)

    def _kept_back(self, fact: Fact, user: str) -> bool:
        if len(self.facts) == 1:
            return False  # else a wording kept back would be one that was never seen at all
        plainest = self.wordings[0].format_map(fact.slots)
        return held_out(bare(user)) and bare(user) != bare(plainest)


def dressed(text: str, random: Random) -> str:
    """Sometimes in lower case, sometimes without its last full stop, sometimes both."""
    style = random.random()
    if style < 0.3:
        text = text.lower()
    if 0.2 < style < 0.4:
        text = text.rstrip(".!?")
    return text


def lower_first(sentence: str) -> str:
    """For use within another sentence: "What is" becomes "what is", but "I am" stays."""
    return sentence if sentence.startswith(("I ", "I'")) else sentence[0].lower() + sentence[1:]
