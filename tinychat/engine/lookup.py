"""Guessing the next tokens from the text so far, for a model to check many of them in one pass.

Where a text repeats something, be it of the prompt or of itself, what came after the same few
tokens before is likely to come again ("prompt lookup", Saxena 2023). A wrong guess costs time and
changes no token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

MATCH = 2  # newest tokens that must have stood together before
LONGEST = 7  # guessed tokens; with the newest one, a pass over 8
LEAST_RIGHT = 1  # of a guess that was worth its time: a pass over 8 takes 1.3 times that over one
REST = 4  # tokens without a guess after one that was not; twice as many after each further one
LONGEST_REST = 64


class PromptLookup:
    """Follows one row's tokens and guesses what comes next."""

    def __init__(self) -> None:
        self._ends: dict[tuple[int, ...], int] = {}  # where some tokens stood last, their end
        self._known = 0  # so many ids are in `_ends`
        self._guess: list[int] = []
        self._guessed_at = 0
        self._misses = 0
        self._rest_until = 0

    def guess(self, ids: Sequence[int], most: int) -> list[int]:
        """At most `most` tokens that may follow ids, which are those of the last call and more."""
        self._judge(ids)
        before = None
        for end in range(max(self._known + 1, MATCH), len(ids) + 1):
            newest = tuple(ids[end - MATCH : end])
            before = self._ends.get(newest)
            self._ends[newest] = end
        self._known = len(ids)
        if before is None or most < 1 or len(ids) < self._rest_until:
            return []
        self._guess, self._guessed_at = [], len(ids)
        for place in range(before, before + min(most, LONGEST)):  # a loop goes on into the guess
            known = place < len(ids)
            self._guess.append(ids[place] if known else self._guess[place - len(ids)])
        return self._guess

    def _judge(self, ids: Sequence[int]) -> None:
        """Rest for a while after a guess that was wrong."""
        if not self._guess:
            return
        came = ids[self._guessed_at :]
        pairs = zip(self._guess, came, strict=False)
        right = next((i for i, (one, other) in enumerate(pairs) if one != other), len(came))
        if right >= min(LEAST_RIGHT, len(self._guess)):
            self._misses = 0
        else:
            self._rest_until = len(ids) + min(REST << self._misses, LONGEST_REST)
            self._misses += 1
        self._guess = []


@dataclass(frozen=True)
class Ahead:
    """What a pass said after tokens that were only guessed; true as long as they come.

    The cache holds them behind what it says that the row holds.
    """

    row: object
    held: int  # of the row, before the first guess
    guess: list[int]
    logits: Tensor  # (guesses, V)

    def after(self, row: object, held: int, newest: int) -> Tensor | None:
        """The logits (1, V) that follow a row's newest token, if it was guessed."""
        place = held - self.held
        if row is not self.row or not 0 <= place < len(self.guess) or newest != self.guess[place]:
            return None
        return self.logits[place : place + 1]
