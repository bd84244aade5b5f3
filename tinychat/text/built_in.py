"""The corpora that come with tinychat, by the words that name them where a path is asked for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tinychat.errors import NoDataError
from tinychat.text.chat import Conversation

PREFIX = "builtin:"
SMALL_TALK = f"{PREFIX}smalltalk"  # what no path at all stands for too
PERSONA = f"{PREFIX}persona"
TITLES: Mapping[str, str] = {SMALL_TALK: "built-in small talk", PERSONA: "built-in persona"}

Talks = Callable[[], Iterable[Conversation]]


def is_built_in(word: str) -> bool:
    """Whether a word names a built-in corpus, or would if there were one of that name."""
    return word.startswith(PREFIX)


def title_of(word: str) -> str:
    """What a built-in corpus is called. Raises NoDataError for one that is not there."""
    if word not in TITLES:
        there = " and ".join(TITLES)
        raise NoDataError(f"There is no built-in corpus {word}; there are {there}.")
    return TITLES[word]


def data_names(paths: Sequence[str]) -> tuple[str, ...]:
    """What the data that lies there is called, in words."""
    words = paths or (SMALL_TALK,)
    return tuple(f"the {title_of(w)}" if is_built_in(w) else Path(w).name for w in words)


def conversations_of(word: str) -> tuple[Sequence[Conversation], Sequence[Conversation]]:
    """(for training, for validation)"""
    from tinychat.text import smalltalk  # only where it is wanted: its tables are large

    if title_of(word) == TITLES[PERSONA]:
        sides = (
            smalltalk.persona_training_conversations(),
            smalltalk.persona_validation_conversations(),
        )
    else:
        sides = (smalltalk.training_conversations(), smalltalk.validation_conversations())
    train, valid = map(tuple, sides)
    return train, valid


def sample_prompts(paths: Sequence[str]) -> tuple[str, ...]:
    """What to ask a model of a built-in corpus while it learns; nothing where it learns others."""
    from tinychat.text import smalltalk

    if not paths or tuple(paths) == (SMALL_TALK,):
        return smalltalk.SAMPLE_PROMPTS
    return smalltalk.PERSONA_PROMPTS if PERSONA in paths else ()


def learns_small_talk(paths: Sequence[str]) -> bool:
    """Whether a model of this data can be asked what the small talk teaches."""
    return not paths or SMALL_TALK in paths
