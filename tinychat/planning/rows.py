"""Rows to measure with: random ones where there is no corpus, and the first ones of a split."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol, cast

import torch

from tinychat.keys import draw_key
from tinychat.text import TokenFile, tinychat_format
from tinychat.training.batches import Row


class RandomRows:
    """Rows of tokens drawn from (epoch, index), every one a target: a corpus that nobody has."""

    def __init__(self, vocab_size: int, context_length: int) -> None:
        self.file = cast(TokenFile, _RandomFile(vocab_size))
        self.context_length = context_length
        self.count = 1 << 20

    def row(self, seed: int, epoch: int, index: int) -> Row:
        start = index * self.context_length
        return ((start, start + self.context_length + 1),)


class _RandomFile:
    """As much of a token file as reading rows takes."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.format = tinychat_format()

    def read(self, start: int, stop: int) -> Sequence[int]:
        generator = torch.Generator().manual_seed(draw_key(0, "probe", start))
        return torch.randint(self.vocab_size, (stop - start,), generator=generator).tolist()

    def targets(self, start: int, stop: int) -> bytes:
        return b"\x01" * (stop - start)


class _InOrder(Protocol):
    file: TokenFile
    context_length: int

    def in_order(self) -> Iterator[Row]: ...


class FirstRows:
    """The first rows of a split."""

    def __init__(self, rows: _InOrder, count: int) -> None:
        self._rows = rows
        self.file = rows.file
        self.context_length = rows.context_length
        self.count = count

    def in_order(self) -> Iterator[Row]:
        return islice(self._rows.in_order(), self.count)
