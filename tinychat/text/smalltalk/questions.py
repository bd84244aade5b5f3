"""The examination: questions that no talk of training or validation holds, and their answers."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from random import Random

from tinychat.text.chat import Message
from tinychat.text.smalltalk import words
from tinychat.text.smalltalk.itself import identity
from tinychat.text.smalltalk.memory import TOPICS, may_meet
from tinychat.text.smalltalk.skill import Exchange
from tinychat.text.smalltalk.stories import PLACES
from tinychat.text.smalltalk.talk import Talk
from tinychat.text.smalltalk.talks import (
    all_skills,
    anything,
    from_skills,
    is_bot_held_out,
    middle_skills,
)

# What a small model cannot be expected to know: it never met these numbers together.
KINDS_APART = ("unseen_sum", "unseen_counting")
MOST_OF_A_KIND = 500


@dataclass(frozen=True)
class Question:
    """`messages` end in a user turn; `answers` are all the exact texts that count as right."""

    kind: str
    messages: tuple[Message, ...]
    answers: tuple[str, ...]


@cache
def held_out_questions() -> tuple[Question, ...]:
    """Some thousand questions, always the same, at most MOST_OF_A_KIND of each kind."""
    random = Random("tinychat examination")
    of_kind: dict[str, list[Question]] = defaultdict(list)
    questions = (*_of_skills(random), *_of_memory(random), *_of_naming(random))
    for question in dict.fromkeys(questions):  # each only once
        of_kind[question.kind].append(question)
    chosen: list[Question] = []
    for group in of_kind.values():
        chosen += random.sample(group, min(len(group), MOST_OF_A_KIND))
    return tuple(chosen)


def _of_skills(random: Random) -> Iterator[Question]:
    """Wordings, pairs and ranges kept back; one in three after another exchange."""
    for skill in all_skills():
        for exchange in skill.examination():
            talk = Talk(random)
            if random.random() < 0.2:
                talk.add(anything(talk, random))
            elif random.random() < 0.2:
                talk.tell({"name": random.choice(words.NAMES)})
            yield _question(talk, exchange)


def _of_memory(random: Random) -> Iterator[Question]:
    """A name and another thing that never meet in training, told in one turn or in two."""
    pairs = [(topic, value) for topic in TOPICS for value in TOPICS[topic].values]
    for name in words.NAMES:
        for topic, value in pairs:
            if topic != "name" and not may_meet(name, value):
                talk = _told(random, {"name": name, topic: value})
                asked = random.choice(("name", topic, topic, None))
                yield _question(talk, talk.ask_for(asked) if asked else talk.ask_for_all())
        for place in PLACES:
            if not may_meet(name, place):
                talk = _told(random, {"name": name})
                yield _question(talk, talk.ask_for_story(place))


def _told(random: Random, facts: dict[str, str]) -> Talk:
    talk = Talk(random)
    if random.random() < 0.3:
        talk.tell(facts)
    else:
        for topic, value in facts.items():
            talk.tell({topic: value})
    if random.random() < 0.5:
        talk.add(from_skills(middle_skills(), talk, random))
    return talk


def _of_naming(random: Random) -> Iterator[Question]:
    """Names that a system turn gives the assistant, asked for as never in training."""
    for bot in words.ASSISTANT_NAMES:
        for skill in identity():
            for _ in range(200):
                exchange = skill.exchange(random)
                if is_bot_held_out(bot, exchange):
                    talk = Talk(random)
                    talk.system(bot)
                    yield _question(talk, Exchange("naming", exchange.user, exchange.answers))


def _question(talk: Talk, exchange: Exchange) -> Question:
    messages = (*talk.messages, Message("user", exchange.user))
    return Question(exchange.kind, messages, talk.answers(exchange))
