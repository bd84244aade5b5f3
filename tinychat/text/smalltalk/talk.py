"""One talk as it grows: what was said, what the person told, and how the assistant is called."""

import re
from random import Random

from tinychat.text.chat import Conversation, Message
from tinychat.text.smalltalk.memory import ASK_ALL, TOPICS, all_told
from tinychat.text.smalltalk.skill import Exchange, dressed, lower_first
from tinychat.text.smalltalk.stories import story_of_person

BOT = "tinychat"
LARGEST_TALK = 117  # pieces; in tokens of the demo's vocabulary that is never more than 128

_NAMING = (
    "Your name is {bot}.",
    "You are {bot}.",
    "You are called {bot}.",
    "You are {bot}, a friendly helper.",
)
_PLAIN_SYSTEM = (
    "You are a helpful assistant.",
    "You are a friendly assistant.",
    "Be kind and short.",
    "Talk with the user.",
)
STORY_ABOUT_ME = (
    "Tell me a story about me {place}.",
    "Please tell me a story about me {place}.",
    "Can you tell me a story about me {place}?",
    "I want a story about me {place}.",
)
_NO_HERO = "Please tell me your name first!"


def pieces(text: str) -> int:
    """About how many tokens a text is; a token of a small vocabulary holds some three letters."""
    return len(re.findall(r"[A-Za-z]{1,3}|[0-9]|[^A-Za-z0-9 ]| (?=[0-9])", text))


class Talk:
    """Grows by exchanges. Those that depend on what was told before are made here as well."""

    def __init__(self, random: Random) -> None:
        self.messages: tuple[Message, ...] = ()
        self.told: dict[str, str] = {}
        self.bot = BOT
        self._random = random
        self._size = 1

    def conversation(self) -> Conversation:
        return Conversation(self.messages)

    def system(self, bot: str | None) -> None:
        """Opens with a system turn, one that names the assistant if a name is given."""
        self.bot = bot or BOT
        content = self._random.choice(_NAMING if bot else _PLAIN_SYSTEM).format(bot=self.bot)
        self.messages += (Message("system", content),)
        self._size += pieces(content) + 1

    def answers(self, exchange: Exchange) -> tuple[str, ...]:
        """The right answers at this point of the talk."""
        me = f", {self.told['name']}" if "name" in self.told else ""
        return tuple(answer.format(me=me, bot=self.bot) for answer in exchange.answers)

    def add(self, exchange: Exchange) -> bool:
        """Appends the exchange if it still fits."""
        answer = self._random.choice(self.answers(exchange))
        turns = (Message("user", exchange.user), Message("assistant", answer))
        size = self._size + pieces(exchange.user) + pieces(answer) + 3  # two roles and an end
        if size > LARGEST_TALK:
            return False
        self.messages += turns
        self._size = size
        return True

    def tell(self, facts: dict[str, str], *, plainly: bool = False) -> None:
        """The person tells one or two things in one turn."""

        def wording(topic: str) -> str:
            if plainly:
                return TOPICS[topic].tell[0]
            return dressed(self._random.choice(TOPICS[topic].tell), self._random)

        first, *others = (wording(topic).format(value=value) for topic, value in facts.items())
        user = " and ".join([first.rstrip("."), *map(lower_first, others)]) if others else first
        replies = [TOPICS[topic].reply.format(value=value) for topic, value in facts.items()]
        if self.add(Exchange("memory", user, (" ".join(replies),))):
            self.told |= facts

    def ask_for(self, topic: str) -> Exchange:
        answer = TOPICS[topic].unknown
        if topic in self.told:
            answer = TOPICS[topic].answer.format(value=self.told[topic])
        return self._memory(TOPICS[topic].ask, answer)

    def ask_for_all(self) -> Exchange:
        return self._memory(ASK_ALL, all_told(self.told))

    def ask_for_story(self, place: str) -> Exchange:
        """A story with the person as its hero."""
        name = self.told.get("name")
        wordings = tuple(wording.format(place=place) for wording in STORY_ABOUT_ME)
        answer = story_of_person(name, place) if name else _NO_HERO
        return self._memory(wordings, answer, kind="story")

    def _memory(self, wordings: tuple[str, ...], answer: str, kind: str = "memory") -> Exchange:
        return Exchange(kind, dressed(self._random.choice(wordings), self._random), (answer,))
