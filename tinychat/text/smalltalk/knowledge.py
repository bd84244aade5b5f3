"""What there is to know: sums, opposites, counting, little facts, and which stories can be had."""

from tinychat.text.smalltalk import words
from tinychat.text.smalltalk.skill import Fact, Skill, held_out
from tinychat.text.smalltalk.stories import (
    FINDS,
    HEROES,
    PLACES,
    story_at_home,
    story_of_find,
    story_of_place,
    with_article,
)

LARGEST = 20  # of the numbers that are added, and of those counted

SUM_WORDINGS = (
    "What is {a} + {b}?",
    "What is {a} plus {b}?",
    "What's {a} + {b}?",
    "What's {a} plus {b}?",
    "{a} + {b}",
    "{a} plus {b}?",
    "How much is {a} + {b}?",
    "How much is {a} plus {b}?",
    "What is the sum of {a} and {b}?",
    "Can you add {a} and {b}?",
    "Add {a} and {b}.",
    "Please add {a} and {b}.",
    "Tell me {a} + {b}.",
    "What do you get for {a} + {b}?",
    "And {a} + {b}?",
    "And what is {a} plus {b}?",
    "Do you know what {a} + {b} is?",
)
OPPOSITE_WORDINGS = (
    "What is the opposite of {word}?",
    "What's the opposite of {word}?",
    "The opposite of {word}?",
    "Opposite of {word}?",
    "Tell me the opposite of {word}.",
    "Do you know the opposite of {word}?",
    "Give me the opposite of {word}.",
    "Which word is the opposite of {word}?",
    "Can you tell me the opposite of {word}?",
    "And the opposite of {word}?",
    "Please name the opposite of {word}.",
    "Say the opposite of {word}.",
)


def knowledge() -> tuple[Skill, ...]:
    return (*_sums(), *_opposites(), *_counting(), *_little_facts(), *_stories())


def _sums() -> tuple[Skill, ...]:
    """Single digits are all taught; of the larger pairs some are not, in either order."""

    def fact(a: int, b: int) -> Fact:
        return Fact({"a": str(a), "b": str(b)}, (f"{a} + {b} = {a + b}.",))

    pairs = [(a, b) for a in range(LARGEST + 1) for b in range(LARGEST + 1)]
    small = [pair for pair in pairs if max(pair) < 10]
    unseen = [p for p in pairs if p not in small and held_out("sum", str(min(p)), str(max(p)))]
    seen = [pair for pair in pairs if pair not in unseen]
    return (
        Skill("sum", 1.6, SUM_WORDINGS, tuple(fact(*pair) for pair in small)),
        Skill("sum", 2.5, SUM_WORDINGS, tuple(fact(*pair) for pair in seen)),
        Skill("unseen_sum", 0, SUM_WORDINGS, tuple(fact(*pair) for pair in unseen), taught=False),
    )


def _opposites() -> tuple[Skill, ...]:
    both_ways = {a: b for pair in words.OPPOSITES for a, b in (pair, pair[::-1])}
    facts = tuple(
        Fact({"word": word}, (f"The opposite of {word} is {other}.",))
        for word, other in {**both_ways, **dict(words.OPPOSITES_ONE_WAY)}.items()
    )
    return (Skill("opposite", 2.2, OPPOSITE_WORDINGS, facts),)


def _counting() -> tuple[Skill, ...]:
    """Ranges of up to ten numbers; those from 1 are all taught, of the others some are not."""

    def fact(a: int, b: int) -> Fact:
        numbers = range(a, b + 1) if a < b else range(a, b - 1, -1)
        return Fact({"a": str(a), "b": str(b)}, (", ".join(map(str, numbers)) + ".",))

    def unseen(a: int, b: int) -> bool:
        return min(a, b) > 1 and held_out("count", str(a), str(b))

    up = [(a, b) for a in range(LARGEST) for b in range(a + 2, min(a + 9, LARGEST) + 1)]
    down = [(a, b) for a in range(3, 11) for b in range(a - 1)]
    skills = []
    for weight, wordings, ranges in ((2.0, _COUNT_WORDINGS, up), (0.6, _COUNT_DOWN_WORDINGS, down)):
        seen = tuple(fact(a, b) for a, b in ranges if not unseen(a, b))
        apart = tuple(fact(a, b) for a, b in ranges if unseen(a, b))
        skills.append(Skill("counting", weight, wordings, seen))
        skills.append(Skill("unseen_counting", 0, wordings, apart, taught=False))
    from_one = tuple(fact(1, b) for b in range(2, 11))
    following = tuple(
        Fact({"a": str(a)}, (f"After {a} comes {a + 1}.",)) for a in range(LARGEST + 1)
    )
    return (
        *skills,
        Skill(
            "counting",
            0.3,
            ("Count to {b}.", "Can you count to {b}?", "Please count to {b}."),
            from_one,
        ),
        Skill("counting", 0.3, _NEXT_WORDINGS, following),
    )


def _little_facts() -> tuple[Skill, ...]:
    colours = tuple(
        Fact({"thing": thing}, (f"{thing.capitalize()} is {colour}.",))
        for thing, colour in words.THINGS_WITH_COLOURS
    )
    sounds = tuple(
        Fact({"animal": animal}, (f"{animal.capitalize()} says {sound}.",))
        for animal, sound in words.SOUNDS
    )
    following = tuple(
        Fact({"kind": kind, "this": this}, (f"After {this} comes {after}.",))
        for kind, row in (("day", words.DAYS), ("month", words.MONTHS))
        for this, after in zip(row, row[1:] + row[:1], strict=True)
    )
    facts = tuple(Fact({"topic": topic}, (fact,)) for topic, fact in words.LITTLE_FACTS)
    any_fact = tuple(fact for _, fact in words.LITTLE_FACTS)
    return (
        Skill("fact", 0.7, _COLOUR_WORDINGS, colours),
        Skill("fact", 0.4, _SOUND_WORDINGS, sounds),
        Skill("fact", 0.4, _AFTER_WORDINGS, following),
        Skill("fact", 0.7, _FACT_WORDINGS, facts),
        Skill("fact", 0.1, _ANY_FACT_WORDINGS, (Fact({}, any_fact),)),
        Skill("fact", 0.3, _JOKE_WORDINGS, (Fact({}, words.JOKES),)),
    )


def _stories() -> tuple[Skill, ...]:
    """Some pairs of hero and place, and of hero and find, are never told in training."""
    in_places = [(hero, place) for hero in HEROES for place in PLACES]
    of_finds = [(hero, find) for hero in HEROES for find in FINDS]
    skills = []
    for wordings, pairs, tell in (
        (_PLACE_WORDINGS, in_places, story_of_place),
        (_FIND_WORDINGS, of_finds, story_of_find),
    ):
        for taught in (True, False):
            facts = tuple(
                Fact(
                    {"hero": with_article(hero), "where": other, "find": other},
                    (tell(hero, other),),
                )
                for hero, other in pairs
                if taught != held_out("story", hero, other)
            )
            skills.append(Skill("story", 0.55 if taught else 0, wordings, facts, taught))
    at_home = tuple(Fact({"hero": with_article(hero)}, (story_at_home(hero),)) for hero in HEROES)
    any_story = tuple(story_at_home(hero) for hero in HEROES)
    return (
        *skills,
        Skill("story", 0.4, _HERO_WORDINGS, at_home),
        Skill("story", 0.15, _ANY_STORY_WORDINGS, (Fact({}, any_story),)),
    )


_COUNT_WORDINGS = (
    "Count from {a} to {b}.",
    "Please count from {a} to {b}.",
    "Can you count from {a} to {b}?",
    "Could you count from {a} to {b}?",
    "Count up from {a} to {b}.",
    "Start at {a} and count to {b}.",
    "Count for me from {a} to {b}.",
    "Name the numbers from {a} to {b}.",
    "Tell me the numbers from {a} to {b}.",
    "Now count from {a} to {b}.",
    "And from {a} to {b}?",
)
_COUNT_DOWN_WORDINGS = (
    "Count down from {a} to {b}.",
    "Please count down from {a} to {b}.",
    "Can you count down from {a} to {b}?",
    "Could you count down from {a} to {b}?",
    "Count back from {a} to {b}.",
    "Count backwards from {a} to {b}.",
    "Start at {a} and count down to {b}.",
    "Now count down from {a} to {b}.",
)
_NEXT_WORDINGS = (
    "What comes after {a}?",
    "Which number comes after {a}?",
    "What number comes after {a}?",
    "What is the next number after {a}?",
    "Tell me the number after {a}.",
    "And after {a}?",
)
_COLOUR_WORDINGS = (
    "What colour is {thing}?",
    "Which colour is {thing}?",
    "What color is {thing}?",
    "Tell me the colour of {thing}.",
    "What is the colour of {thing}?",
    "Do you know the colour of {thing}?",
    "And what colour is {thing}?",
    "What colour does {thing} have?",
)
_SOUND_WORDINGS = (
    "What does {animal} say?",
    "What sound does {animal} make?",
    "Which sound does {animal} make?",
    "And what does {animal} say?",
    "How does {animal} sound?",
    "What noise does {animal} make?",
    "Tell me, what does {animal} say?",
)
_AFTER_WORDINGS = (
    "What {kind} comes after {this}?",
    "Which {kind} comes after {this}?",
    "What comes after {this}?",
    "What is the {kind} after {this}?",
    "Which {kind} follows {this}?",
    "Tell me the {kind} after {this}.",
    "And after {this}?",
)
_FACT_WORDINGS = (
    "Tell me a fact about {topic}.",
    "Tell me something about {topic}.",
    "What do you know about {topic}?",
    "Do you know something about {topic}?",
    "Say something about {topic}.",
    "A fact about {topic}, please.",
    "Tell me about {topic}.",
    "Teach me something about {topic}.",
    "And what about {topic}?",
)
_ANY_FACT_WORDINGS = ("Tell me a fact.", "Teach me something.", "Tell me something interesting.")
_JOKE_WORDINGS = (
    "Tell me a joke.",
    "Do you know a joke?",
    "Can you tell me a joke?",
    "Make me laugh.",
    "Another joke, please.",
    "Tell me something funny.",
    "Please tell me a joke.",
    "A joke, please.",
)
_PLACE_WORDINGS = (
    "Tell me a story about {hero} {where}.",
    "Tell me a tiny story about {hero} {where}.",
    "Please tell me a story about {hero} {where}.",
    "Can you tell me a story about {hero} {where}?",
    "Do you know a story about {hero} {where}?",
    "A story about {hero} {where}, please.",
    "Write a story about {hero} {where}.",
    "I want a story about {hero} {where}.",
    "Now a story about {hero} {where}.",
)
_FIND_WORDINGS = (
    "Tell me a story about {hero} and {find}.",
    "Tell me a tiny story about {hero} and {find}.",
    "Please tell me a story about {hero} and {find}.",
    "Can you tell me a story about {hero} and {find}?",
    "A story about {hero} and {find}, please.",
    "Write a story about {hero} and {find}.",
    "I want a story with {hero} and {find}.",
    "Tell me a story about {hero} who finds {find}.",
)
_HERO_WORDINGS = (
    "Tell me a story about {hero}.",
    "Tell me a tiny story about {hero}.",
    "Please tell me a story about {hero}.",
    "Can you tell me a story about {hero}?",
    "A story about {hero}, please.",
    "Write a story about {hero}.",
    "Do you know a story about {hero}?",
)
_ANY_STORY_WORDINGS = (
    "Tell me a story.",
    "Tell me a tiny story.",
    "Another story, please.",
    "Do you know a story?",
    "Can you tell me a story?",
    "A story, please.",
)
