"""Greetings, thanks, farewells, and how one feels: talk that is only about being kind."""

from functools import cache

from tinychat.text.smalltalk.skill import Fact, Skill, lower_first
from tinychat.text.smalltalk.words import listed

_OPENERS = {
    "Hello": "Hello!",
    "Hi": "Hello!",
    "Hey": "Hello!",
    "Hello there": "Hello!",
    "Hi there": "Hello!",
    "Hey there": "Hello!",
    "Greetings": "Hello!",
    "Good day": "Good day!",
    "Good morning": "Good morning!",
    "Good afternoon": "Good afternoon!",
    "Good evening": "Good evening!",
}
_THANKS = (
    "Thanks",
    "Thank you",
    "Thank you so much",
    "Thank you very much",
    "Thanks a lot",
    "Many thanks",
    "Great, thanks",
    "Nice, thank you",
    "Wow, thanks",
)
_FAREWELLS = {
    "Bye": "Goodbye{me}! See you soon.",
    "Bye bye": "Goodbye{me}! See you soon.",
    "Goodbye": "Goodbye{me}! See you soon.",
    "See you": "Goodbye{me}! See you soon.",
    "See you later": "Goodbye{me}! See you soon.",
    "I have to go": "Goodbye{me}! See you soon.",
    "I must go now": "Goodbye{me}! See you soon.",
    "Good night": "Good night{me}! Sleep well.",
    "I am going to bed": "Good night{me}! Sleep well.",
    "See you tomorrow": "See you tomorrow{me}! Take care.",
    "Have a nice day": "Thank you{me}! Have a lovely day too.",
}
_HOW_ARE_YOU = (
    "How are you",
    "How are you doing",
    "How do you feel",
    "How is it going",
    "How's it going",
    "Are you well",
    "How are things",
    "What's up",
)
_GLAD = "I am glad to hear that{me}!"
_MOODS = {
    **dict.fromkeys(listed("fine good well great happy excited okay cheerful wonderful"), _GLAD),
    **dict.fromkeys(
        listed("sad unhappy lonely worried afraid angry upset"),
        "I am sorry to hear that{me}. I hope it gets better soon.",
    ),
    **dict.fromkeys(listed("tired sleepy exhausted"), "Then have a good rest{me}!"),
    **dict.fromkeys(listed("sick ill"), "Oh no! Get well soon{me}."),
    **dict.fromkeys(listed("hungry thirsty"), "Then it is time for something tasty{me}!"),
    **dict.fromkeys(["bored"], "Ask me for a story{me}, or for a joke!"),
    **dict.fromkeys(listed("cold freezing"), "A warm blanket may help{me}!"),
}
_KIND_WORDS = listed("nice funny clever great cute sweet kind smart helpful wonderful amazing")
_HARD_WORDS = listed("stupid bad boring slow wrong silly useless dumb")
_NEWS = (
    "I baked a cake today",
    "I went for a walk this morning",
    "I read a good book yesterday",
    "I saw a rainbow today",
    "I played football with my friends",
    "I am going on a holiday soon",
    "I got a new bicycle",
    "I cooked dinner for my family",
    "I planted some flowers",
    "I am learning to play the piano",
    "I went to the market today",
    "I watched a film last night",
    "I am drinking a cup of tea",
    "I have a new job",
    "I visited my grandmother",
    "I am learning how models work",
    "I like to swim",
    "I like to read",
    "I like music",
    "The sun is shining today",
    "It is my birthday today",
    "We are going to the beach",
    "My sister is coming to visit",
    "My friend told me about you",
)


@cache
def greetings() -> tuple[Skill, ...]:
    def facts(*replies: str) -> tuple[Fact, ...]:
        return tuple(
            Fact(
                {"hi": opener, "low": lower_first(opener)},
                tuple(f"{greeting} {reply}" for reply in replies),
            )
            for opener, greeting in _OPENERS.items()
        )

    plain = (
        "{hi}!",
        "{hi}, tinychat!",
        "{hi}, my friend!",
        "{hi}, little model!",
        "{hi} again!",
        "{hi}, nice to see you!",
        "{hi}, computer!",
        "{hi}, it is me!",
        "{hi}, can we talk?",
        "{hi}! I am back.",
        "Oh, {low}!",
        "Well, {low}!",
    )
    asking = (
        "{hi}! How are you?",
        "{hi}, how are you?",
        "{hi}, how are you today?",
        "{hi}! How are you doing?",
        "{hi}! How is it going?",
        "{hi}, tinychat, how are you?",
        "{hi}, my friend, how are you?",
        "{hi}! Are you well?",
    )
    return (
        Skill("greeting", 1.0, plain, facts("Nice to see you.", "How can I help you?")),
        Skill("greeting", 0.5, asking, facts("I am fine, thank you. How are you?")),
    )


@cache
def courtesies() -> tuple[Skill, ...]:
    how_are_you = tuple(
        Fact({"how": how, "low": lower_first(how)}, ("I am fine, thank you. How are you?",))
        for how in _HOW_ARE_YOU
    )
    how_wordings = (
        "{how}?",
        "{how} today?",
        "{how}, tinychat?",
        "{how} this morning?",
        "{how} right now?",
        "{how}, my friend?",
        "So, {low}?",
        "And {low}?",
        "Tell me, {low}?",
    )
    thanks = tuple(Fact({"thanks": thanks}, ("You are welcome{me}!",)) for thanks in _THANKS)
    thanks_wordings = (
        "{thanks}!",
        "{thanks}, tinychat!",
        "{thanks}, that was nice!",
        "{thanks} for the help!",
        "{thanks} for that!",
        "{thanks}, that is kind.",
        "{thanks}, you are great!",
        "{thanks}, my friend!",
        "{thanks}, well done!",
    )
    return (
        Skill("greeting", 0.6, how_wordings, how_are_you),
        Skill("greeting", 0.6, thanks_wordings, thanks),
    )


@cache
def farewells() -> tuple[Skill, ...]:
    facts = tuple(
        Fact({"bye": bye, "low": lower_first(bye)}, (answer,)) for bye, answer in _FAREWELLS.items()
    )
    wordings = (
        "{bye}!",
        "{bye}, tinychat!",
        "{bye}, my friend!",
        "{bye}, and thanks!",
        "{bye}! It was nice to talk to you.",
        "{bye}! Thanks for the talk.",
        "{bye}! You were a great help.",
        "{bye}, little model!",
        "Okay, {low}!",
        "Well, {low}!",
    )
    return (Skill("greeting", 1.0, wordings, facts),)


@cache
def chat() -> tuple[Skill, ...]:
    moods = tuple(Fact({"mood": mood}, (answer,)) for mood, answer in _MOODS.items())
    mood_wordings = (
        "I am {mood}.",
        "I'm {mood}.",
        "I feel {mood}.",
        "I am {mood} today.",
        "I feel {mood} today.",
        "I am very {mood}.",
        "I am so {mood}.",
        "Today I am {mood}.",
        "I am {mood} right now.",
        "Oh, I am {mood}.",
        "I think I am {mood}.",
    )
    words = tuple(
        Fact({"word": word}, ("Thank you{me}! That is kind of you.",)) for word in _KIND_WORDS
    ) + tuple(
        Fact({"word": word}, ("I am sorry{me}. I am still learning.",)) for word in _HARD_WORDS
    )
    word_wordings = (
        "You are {word}!",
        "You are so {word}!",
        "You are very {word}.",
        "You're {word}!",
        "I think you are {word}.",
        "Wow, you are {word}!",
        "You are really {word}.",
        "That was {word}.",
        "Oh, you are {word}.",
    )
    news = tuple(
        Fact({"news": news, "low": lower_first(news)}, (answer,))
        for news in _NEWS
        for answer in ["That sounds nice{me}! Thank you for telling me."]
    )
    news_wordings = ("{news}.", "{news}!", "Guess what, {low}!", "You know, {low}.", "Oh, {low}.")
    laughs = (Fact({}, ("I am glad you like it{me}!",)),)
    laugh_wordings = ("Haha!", "Hahaha!", "That is funny!", "Ha, good one!", "I like that!", "Lol")
    return (
        Skill("chat", 1.0, mood_wordings, moods),
        Skill("chat", 0.4, word_wordings, words),
        Skill("chat", 0.3, news_wordings, news),
        Skill("chat", 0.15, laugh_wordings, laughs),
    )
