"""Guesses of what comes next: right ones where a text repeats itself, few where it does not."""

import random

from tinychat.engine.lookup import LONGEST, PromptLookup


def test_what_came_before_is_guessed_again() -> None:
    text = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    lookup = PromptLookup()
    assert lookup.guess(text, 7) == []
    assert lookup.guess([*text, 2], 7) == []
    assert lookup.guess([*text, 2, 3], 7) == [4, 5, 6, 7, 8, 9, 10]
    assert lookup.guess([*text, 2, 3, 4], 7) == [5, 6, 7, 8, 9, 10, 11]
    assert PromptLookup().guess([*text, 2, 3, 4], 7) == [5, 6, 7, 8, 9, 10, 11], "all at once"
    assert PromptLookup().guess([*text, 2, 3, 4], 2) == [5, 6]
    assert PromptLookup().guess([*text, 2, 3, 4], 0) == []


def test_the_newest_occurrence_counts() -> None:
    text = [1, 2, 3, 70, 1, 2, 3, 80, 9, 1, 2, 3]
    assert PromptLookup().guess(text, 2) == [80, 9]


def test_a_loop_is_guessed_on_and_on() -> None:
    assert PromptLookup().guess([1, 2, 1, 2, 1, 2], LONGEST) == [1, 2, 1, 2, 1, 2, 1]
    assert PromptLookup().guess([5] * 4, LONGEST) == [5] * LONGEST


def test_wrong_guesses_become_rare() -> None:
    """Of a text of few letters by chance, in which any three have been there before."""
    draw = random.Random(0)
    lookup, ids, guesses = PromptLookup(), [], 0
    for _ in range(2000):
        ids.append(draw.randrange(4))
        guesses += bool(lookup.guess(ids, LONGEST))
    assert 0 < guesses < 200
    for _ in range(20):  # and it says something it has said
        ids += list(range(100, 120))
        lookup.guess(ids, LONGEST)
    assert lookup.guess([*ids, 100, 101, 102], LONGEST)[:3] == [103, 104, 105]
