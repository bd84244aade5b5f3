"""What a person can tell about themselves, and how they ask for it again later in the talk."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from tinychat.text.smalltalk import words
from tinychat.text.smalltalk.skill import held_out, lower_first


@dataclass(frozen=True)
class Topic:
    """One thing to remember: how it is told and answered, asked and answered, and missed."""

    values: tuple[str, ...]
    tell: tuple[str, ...]
    reply: str
    ask: tuple[str, ...]
    answer: str
    unknown: str


TOPICS: Mapping[str, Topic] = {
    "name": Topic(
        values=words.NAMES,
        tell=(
            "My name is {value}.",
            "I am {value}.",
            "I'm {value}.",
            "Hello, I am {value}.",
            "Hi, my name is {value}.",
            "Hi, I'm {value}.",
            "You can call me {value}.",
            "Call me {value}.",
            "Please call me {value}.",
            "My name's {value}.",
            "People call me {value}.",
        ),
        reply="Nice to meet you, {value}!",
        ask=(
            "What is my name?",
            "What's my name?",
            "Do you know my name?",
            "Do you remember my name?",
            "Who am I?",
            "Can you tell me my name?",
            "Tell me my name.",
            "What am I called?",
            "Did you forget my name?",
        ),
        answer="Your name is {value}.",
        unknown="You have not told me your name yet.",
    ),
    "colour": Topic(
        values=words.COLOURS,
        tell=(
            "My favourite colour is {value}.",
            "My favorite color is {value}.",
            "I like the colour {value}.",
            "I love the colour {value}.",
            "The colour I like best is {value}.",
            "I like {value} best of all colours.",
        ),
        reply="I think {value} is a lovely colour.",
        ask=(
            "What is my favourite colour?",
            "What is my favorite color?",
            "What's my favourite colour?",
            "Which colour do I like?",
            "What colour do I like best?",
            "Do you remember my favourite colour?",
            "Do you know my favourite colour?",
            "Tell me my favourite colour.",
        ),
        answer="Your favourite colour is {value}.",
        unknown="You have not told me your favourite colour yet.",
    ),
    "food": Topic(
        values=words.FOODS,
        tell=(
            "My favourite food is {value}.",
            "My favorite food is {value}.",
            "I like to eat {value}.",
            "I love to eat {value}.",
            "The food I like best is {value}.",
        ),
        reply="Mmm, {value}! That sounds tasty.",
        ask=(
            "What is my favourite food?",
            "What is my favorite food?",
            "What's my favourite food?",
            "What do I like to eat?",
            "Which food do I like best?",
            "Do you remember my favourite food?",
        ),
        answer="Your favourite food is {value}.",
        unknown="You have not told me your favourite food yet.",
    ),
    "dog": Topic(
        values=words.PET_NAMES,
        tell=(
            "My dog is called {value}.",
            "I have a dog called {value}.",
            "I have a dog, and its name is {value}.",
            "The name of my dog is {value}.",
        ),
        reply="Say hello to {value} from me!",
        ask=(
            "What is my dog called?",
            "What is the name of my dog?",
            "What's my dog's name?",
            "Do you remember my dog?",
            "What is my dog's name?",
        ),
        answer="Your dog is called {value}.",
        unknown="You have not told me about a dog yet.",
    ),
    "cat": Topic(
        values=words.PET_NAMES,
        tell=(
            "My cat is called {value}.",
            "I have a cat called {value}.",
            "I have a cat, and its name is {value}.",
            "The name of my cat is {value}.",
        ),
        reply="Please stroke {value} for me!",
        ask=(
            "What is my cat called?",
            "What is the name of my cat?",
            "What's my cat's name?",
            "Do you remember my cat?",
            "What is my cat's name?",
        ),
        answer="Your cat is called {value}.",
        unknown="You have not told me about a cat yet.",
    ),
    "animal": Topic(
        values=words.ANIMALS,
        tell=(
            "My favourite animals are {value}.",
            "My favorite animals are {value}.",
            "The animals I like best are {value}.",
        ),
        reply="Oh, {value} are wonderful!",
        ask=(
            "What are my favourite animals?",
            "What are my favorite animals?",
            "Which animals do I like best?",
            "Do you remember my favourite animals?",
        ),
        answer="Your favourite animals are {value}.",
        unknown="You have not told me your favourite animals yet.",
    ),
    "town": Topic(
        values=words.TOWNS,
        tell=("I live in {value}.", "I come from {value}.", "My home is in {value}."),
        reply="I would love to see {value} one day.",
        ask=(
            "Where do I live?",
            "Do you know where I live?",
            "Where is my home?",
            "Do you remember where I live?",
        ),
        answer="You live in {value}.",
        unknown="You have not told me where you live yet.",
    ),
}
ASK_ALL = ("What do you know about me?", "What did I tell you?", "What do you remember about me?")
KNOWS_NOTHING = "I know nothing about you yet. Tell me your name!"


def may_meet(name: str, value: str) -> bool:
    """Whether training may tell this name and this favourite (or place of a story) in one talk."""
    return not held_out("memory", name.lower(), value.lower())


def all_told(told: Mapping[str, str]) -> str:
    """The answer to ASK_ALL."""
    if not told:
        return KNOWS_NOTHING
    answers = [TOPICS[topic].answer.format(value=value) for topic, value in told.items()]
    first, *others = (answer.rstrip(".") for answer in answers)
    return " and ".join((first, *map(lower_first, others))) + "."


def a_name(known: tuple[str, ...], random: Random) -> str:
    """One of the known names, or now and then one made up, so that any name can be repeated."""
    name = random.choice(known) if random.random() < 0.65 else _made_up(random)
    return name.lower() if random.random() < 0.15 else name


def _made_up(random: Random) -> str:
    syllables = (
        random.choice(_BEGINNINGS) + random.choice(_VOWELS) for _ in range(random.randint(1, 3))
    )
    return ("".join(syllables) + random.choice(_ENDS)).capitalize()


_BEGINNINGS = words.listed("b c d f g h j k l m n p r s t v w y z br ch dr fl gr kh sh st tr th")
_VOWELS = words.listed("a a a e e i i o o u ai ia ee ou")
_ENDS = ("", "", "", *words.listed("n l r s t m k x nd ck lla"))
