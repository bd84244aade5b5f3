"""The seeded stream of whole talks that training and validation are cut from."""

from collections.abc import Iterator, Mapping
from functools import cache
from random import Random

from tinychat.text.chat import Conversation
from tinychat.text.smalltalk import words
from tinychat.text.smalltalk.itself import about_itself, identity, limits
from tinychat.text.smalltalk.knowledge import knowledge
from tinychat.text.smalltalk.manners import chat, courtesies, farewells, greetings
from tinychat.text.smalltalk.memory import TOPICS, a_name, may_meet
from tinychat.text.smalltalk.skill import Exchange, Skill, bare, held_out, one_in
from tinychat.text.smalltalk.stories import PLACES
from tinychat.text.smalltalk.talk import BOT, Talk

TALKS = 11_000  # after the primer
VALIDATION_ONE_IN = 25


def training_conversations() -> Iterator[Conversation]:
    """The talks to learn from, always the same ones in the same order."""
    return (talk for talk in _talks() if not _for_validation(talk))


def validation_conversations() -> Iterator[Conversation]:
    """Talks of the same grammar, none of them among the training talks."""
    return (talk for talk in _talks() if _for_validation(talk))


@cache
def _talks() -> tuple[Conversation, ...]:
    random = Random("tinychat small talk")
    return (*_primer(random), *(a_talk(random) for _ in range(TALKS)))


def _for_validation(talk: Conversation) -> bool:
    # Decided by its words, so that equal talks never part; never a talk as short as the primer's.
    words = [message.content for message in talk.messages]
    return len(words) > 2 and one_in(VALIDATION_ONE_IN, "talk", *words)


def _primer(random: Random) -> Iterator[Conversation]:
    """Every fact in its plainest words, so that none is left to chance."""
    for skill in all_skills():
        for exchange in skill.plainest():
            talk = Talk(random)
            talk.add(exchange)
            yield talk.conversation()
    for name, topic in TOPICS.items():
        for value in topic.values:
            talk = Talk(random)
            talk.tell({name: value}, plainly=True)
            yield talk.conversation()


def a_talk(random: Random) -> Conversation:
    """One taught talk: perhaps a system turn and a greeting, then either things told and asked for
    again, or a few exchanges about anything, then perhaps a farewell."""
    talk = Talk(random)
    if random.random() < 0.18:
        named = random.random() < 0.75
        talk.system(a_name(words.ASSISTANT_NAMES, random) if named else None)
        if random.random() < 0.6:
            talk.add(from_skills(identity(), talk, random))
    if random.random() < 0.3:
        talk.add(from_skills(greetings(), talk, random))
    if random.random() < 0.45:
        _tell_and_ask(talk, random)
    else:
        for _ in range(random.choice((0, 1, 1, 1, 1, 2, 2, 3, 4, 8))):
            talk.add(anything(talk, random))
    if random.random() < 0.3:
        talk.add(from_skills(farewells(), talk, random))
    if not talk.messages or talk.messages[-1].role == "system":
        talk.add(anything(talk, random))
    return talk.conversation()


def anything(talk: Talk, random: Random) -> Exchange:
    """A taught exchange that fits any talk; now and then one that depends on what was told."""
    chance = random.random()
    if chance < 0.04:
        return talk.ask_for(random.choice(tuple(TOPICS)))
    if chance < 0.05:
        return talk.ask_for_all()
    if chance < 0.06:
        return _story_about_me(talk, random)
    return from_skills(middle_skills(), talk, random)


def from_skills(skills: tuple[Skill, ...], talk: Talk, random: Random) -> Exchange:
    while True:
        (skill,) = random.choices(skills, [skill.weight for skill in skills])
        exchange = skill.exchange(random)
        if not is_bot_held_out(talk.bot, exchange):
            return exchange


def is_bot_held_out(bot: str, exchange: Exchange) -> bool:
    """Whether an assistant of this name is never asked for its name in this way."""
    asks_for_it = any("{bot}" in answer for answer in exchange.answers)
    return bot != BOT and asks_for_it and held_out("bot", bot, bare(exchange.user))


@cache
def all_skills() -> tuple[Skill, ...]:
    return (*greetings(), *farewells(), *middle_skills())


@cache
def middle_skills() -> tuple[Skill, ...]:
    """What fits anywhere between a greeting and a farewell."""
    return (*courtesies(), *chat(), *identity(), *about_itself(), *limits(), *knowledge())


def _tell_and_ask(talk: Talk, random: Random) -> None:
    facts = _facts(random)
    if len(facts) == 2 and random.random() < 0.3:
        talk.tell(facts)
    else:
        for topic, value in facts.items():
            talk.tell({topic: value})
            if random.random() < 0.25:
                talk.add(anything(talk, random))
    for _ in range(random.choice((0, 0, 1, 1, 2))):
        talk.add(anything(talk, random))
    asked = [*map(talk.ask_for, talk.told), talk.ask_for_all()]
    for question in random.sample(asked, random.randint(1, 2)):
        talk.add(question)
    if "name" in talk.told and random.random() < 0.6:
        talk.add(_story_about_me(talk, random))
    if random.random() < 0.08:  # somebody else goes on, or the name was not right
        talk.tell({"name": _name_for(talk.told, random)})
        talk.add(talk.ask_for("name"))


def _facts(random: Random) -> dict[str, str]:
    """What this person tells: a name, another thing, or both, if the two may meet."""
    topic = random.choice((*(topic for topic in TOPICS if topic != "name"), "colour", "food"))
    value = random.choice(TOPICS[topic].values)
    name = _name_for({topic: value}, random)
    return random.choice(({"name": name}, {topic: value}, *3 * ({"name": name, topic: value},)))


def _name_for(told: Mapping[str, str], random: Random) -> str:
    """A name that may meet all that was told."""
    while True:
        name = a_name(words.NAMES, random)
        if all(may_meet(name, value) for topic, value in told.items() if topic != "name"):
            return name


def _story_about_me(talk: Talk, random: Random) -> Exchange:
    while True:
        place = random.choice(tuple(PLACES))
        if "name" not in talk.told or may_meet(talk.told["name"], place):
            return talk.ask_for_story(place)
