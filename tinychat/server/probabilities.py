"""How likely the tokens of an answer were, in the two forms that OpenAI's API tells it."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from tinychat.engine import TokenDetail
from tinychat.text import TextStream, Tokenizer

UNLIKELIEST = -9999.0  # what OpenAI sends for a probability too small to tell

Told = list[tuple[TokenDetail, int]]  # tokens, and where in the answer's text they begin


class Probabilities:
    """The tokens of one answer as they come, in step with its text.

    A token is told once the text where it begins was, so that what comes in pieces is, put
    together, what comes at once; tokens of a stop string are never told.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._characters = TextStream(tokenizer)
        self._starts: list[int] = []  # where in the answer's text each token begins
        self._length = 0  # of the text of all tokens in `starts`
        self._told = 0

    def until(self, details: Sequence[TokenDetail], released: int, *, last: bool = False) -> Told:
        """The tokens not told yet that begin within the first `released` characters, and where.

        `last` adds those at the very end, which stand for no text.
        """
        for detail in details[len(self._starts) :]:
            self._starts.append(self._length)
            self._length += len(self._characters.push(detail.id))
        first = self._told
        while self._told < len(self._starts) and (last or self._starts[self._told] < released):
            self._told += 1
        return list(zip(details[first : self._told], self._starts[first : self._told], strict=True))


def chat_form(tokenizer: Tokenizer, told: Told, candidates: int) -> dict[str, Any]:
    """`logprobs` of a choice of /v1/chat/completions, with so many candidates a token."""

    def named(token: int, logprob: float) -> dict[str, Any]:
        piece, octets = tokenizer.pieces([token])[0], tokenizer.id_bytes(token)
        return {"token": piece, "logprob": max(logprob, UNLIKELIEST), "bytes": list(octets)}

    content = [
        named(detail.id, detail.logprob)
        | {"top_logprobs": [named(*each) for each in _possible(detail)[:candidates]]}
        for detail, _ in told
    ]
    return {"content": content, "refusal": None}


def legacy_form(
    tokenizer: Tokenizer, told: Told, echo: Sequence[int], offset: int
) -> dict[str, Any]:
    """`logprobs` of a choice of /v1/completions, whose text begins with a prompt of `offset`
    characters. `echo` are the prompt's last ids: nothing chose them, so theirs are null."""
    stream = TextStream(tokenizer)
    lengths = [len(stream.push(token)) for token in echo]
    first = offset - sum(lengths)
    nothing = [None] * len(echo)
    ids = [*echo, *(detail.id for detail, _ in told)]
    likeliest = [
        {tokenizer.pieces([token])[0]: max(logprob, UNLIKELIEST) for token, logprob in each}
        for each in (_possible(detail) for detail, _ in told)
    ]
    return {
        "tokens": tokenizer.pieces(ids),
        "token_logprobs": [*nothing, *(max(d.logprob, UNLIKELIEST) for d, _ in told)],
        "top_logprobs": [*nothing, *likeliest],
        "text_offset": [
            *(first + before for before in accumulate(lengths[:-1], initial=0) if echo),
            *(offset + start for _, start in told),
        ],
    }


def _possible(detail: TokenDetail) -> list[tuple[int, float]]:
    """(id, logprob) of the candidates. Rows of a model beyond its vocabulary have none."""
    return [(c.id, math.log(c.probability)) for c in detail.candidates if c.probability > 0]
