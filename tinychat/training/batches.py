"""Which rows a step sees: a pure function of (seed, step), on the whole batch.

A row is context_length + 1 tokens, so that each of its first context_length has a next one to be
guessed. Text: documents joined and cut into windows, each epoch at another keyed offset and in
another keyed order. Conversations: whole, packed best-fit into rows, padded; each epoch the rows,
and the conversations within a row, come in another keyed order. Micro-batches, accumulation and
restarts only cut what is defined here. A run with old data takes a share of its rows from there.
"""

import random
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tinychat.errors import DataError
from tinychat.keys import draw_key
from tinychat.text import ROLES, TINYCHAT, ChatFormat, TokenFile

Span = tuple[int, int]  # tokens start to stop of a token file
Row = tuple[Span, ...]


@dataclass(frozen=True)
class Batch:
    """ids (B, T) and for each the next token and whether it is to be learnt, both (B, T)."""

    ids: Tensor
    next_ids: Tensor
    is_target: Tensor

    @property
    def target_tokens(self) -> int:
        return int(self.is_target.sum())

    def split(self, rows: int) -> Iterator["Batch"]:
        """Consecutive micro-batches of at most `rows` rows."""
        for i in range(0, len(self.ids), rows):
            here = slice(i, i + rows)
            yield Batch(self.ids[here], self.next_ids[here], self.is_target[here])

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(t.to(device) for t in (self.ids, self.next_ids, self.is_target)))


class Rows(Protocol):
    """A split as rows. `count` rows make an epoch."""

    file: TokenFile
    context_length: int
    count: int

    def row(self, seed: int, epoch: int, index: int) -> Row:
        """The spans of the index-th row of an epoch, in its keyed order."""
        ...

    def in_order(self) -> Iterator[Row]:
        """Every target of the split exactly once, for evaluation."""
        ...


@dataclass(frozen=True)
class Replay:
    """The rows of old data that come with a run's own, and their share of all rows."""

    rows: Rows
    share: float

    def rows_before(self, step: int, batch_size: int) -> int:
        """How many of them all steps before this one have seen."""
        return round(step * batch_size * self.share)


def batch_at(
    rows: Rows, seed: int, step: int, batch_size: int, replay: Replay | None = None
) -> Batch:
    """The batch of the update from `step` to `step + 1`; old rows come last in it."""
    first, last = step * batch_size, (step + 1) * batch_size
    if replay is None:
        return _drawn(rows, seed, first, last)
    old_first, old_last = (replay.rows_before(n, batch_size) for n in (step, step + 1))
    parts = [
        _drawn(each, key, start, stop)
        for each, key, start, stop in (
            (rows, seed, first - old_first, last - old_last),
            (replay.rows, draw_key(seed, "old rows"), old_first, old_last),
        )
        if start < stop
    ]
    return _joined(parts)


def _drawn(rows: Rows, seed: int, first: int, last: int) -> Batch:
    """Of all rows in the order of their epochs, those from `first` to before `last`."""
    where = (divmod(i, rows.count) for i in range(first, last))
    return read_rows(rows, [rows.row(seed, epoch, index) for epoch, index in where])


def _joined(parts: Sequence[Batch]) -> Batch:
    return Batch(
        torch.cat([part.ids for part in parts]),
        torch.cat([part.next_ids for part in parts]),
        torch.cat([part.is_target for part in parts]),
    )


def evaluation_batches(rows: Rows, batch_size: int) -> Iterator[Batch]:
    """The whole split once, in order."""
    waiting: list[Row] = []
    for row in rows.in_order():
        waiting.append(row)
        if len(waiting) == batch_size:
            yield read_rows(rows, waiting)
            waiting = []
    if waiting:
        yield read_rows(rows, waiting)


def read_rows(rows: Rows, spans: Sequence[Row]) -> Batch:
    """Read rows from the token file; what is short is padded, and padding is no target."""
    length = rows.context_length + 1
    ids = torch.full((len(spans), length), rows.file.format.pad, dtype=torch.long)
    wanted = torch.zeros((len(spans), length), dtype=torch.bool)
    for i, row in enumerate(spans):
        at = 0
        for start, stop in row:
            size = stop - start
            ids[i, at : at + size] = torch.tensor(rows.file.read(start, stop), dtype=torch.long)
            flags = bytearray(rows.file.targets(start, stop))
            wanted[i, at : at + size] = torch.frombuffer(flags, dtype=torch.uint8).bool()
            if rows.file.format.name != TINYCHAT:  # a window's first token is one before it too
                wanted[i, at] = False
            at += size
    return Batch(ids[:, :-1], ids[:, 1:], wanted[:, 1:])


class Order:
    """The keyed permutation of an epoch's rows; the last two epochs are kept."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept: dict[tuple[int, int], Tensor] = {}

    def at(self, seed: int, epoch: int, index: int) -> int:
        key = (seed, epoch)
        if key not in self._kept:
            generator = torch.Generator().manual_seed(draw_key(seed, "order of rows", epoch))
            self._kept = dict(list(self._kept.items())[-1:])
            self._kept[key] = torch.randperm(self.count, generator=generator)
        return int(self._kept[key][index])


class TextRows:
    """Documents joined and cut into windows."""

    def __init__(self, file: TokenFile, context_length: int) -> None:
        self.file = file
        self.context_length = context_length
        # one window less than fits leaves room for the epoch's offset
        self.count = max(1, (file.n_tokens - 1) // context_length - 1)
        self._slack = file.n_tokens - 1 - self.count * context_length
        self._order = Order(self.count)

    def row(self, seed: int, epoch: int, index: int) -> Row:
        offset = draw_key(seed, "offset of rows", epoch) % min(self.context_length, self._slack + 1)
        start = offset + self._order.at(seed, epoch, index) * self.context_length
        return ((start, start + self.context_length + 1),)

    def in_order(self) -> Iterator[Row]:
        return windows(0, self.file.n_tokens, self.context_length)


class ConversationRows:
    """Conversations packed whole into rows. `dropped` counts those without anything to learn,
    `shortened` those that were longer than a row."""

    def __init__(self, file: TokenFile, context_length: int) -> None:
        self.file = file
        self.context_length = context_length
        self.dropped = 0
        self.shortened = 0
        self._rows = pack(list(self._pieces()), context_length + 1)
        if not self._rows:
            raise DataError("no conversation has an answer to learn from")
        self.count = len(self._rows)
        self._order = Order(self.count)

    def row(self, seed: int, epoch: int, index: int) -> Row:
        number = self._order.at(seed, epoch, index)
        pieces = list(self._rows[number])
        random.Random(draw_key(seed, "order in a row", epoch, number)).shuffle(pieces)
        return tuple(span for piece in pieces for span in piece)

    def in_order(self) -> Iterator[Row]:
        return (tuple(span for piece in row for span in piece) for row in self._rows)

    def _pieces(self) -> Iterator[Row]:
        limit = self.context_length + 1
        for i in range(self.file.n_documents):
            start, stop = self.file.bounds(i)
            pieces = [((start, stop),)]
            if stop - start > limit:
                self.shortened += 1
                pieces = self._shorten(start, stop, limit)
            for piece in pieces:
                if any(1 in self.file.targets(a, b) for a, b in piece):
                    yield piece
                else:
                    self.dropped += 1

    def _shorten(self, start: int, stop: int, limit: int) -> list[Row]:
        ids = self.file.read(start, stop)
        chat = self.file.format
        if chat.name != TINYCHAT:  # a model from elsewhere: no single ids tell its turns apart
            return list(windows(start, stop, self.context_length))
        spans = shorten_conversation(ids, limit, chat)
        return [tuple((start + a, start + b) for a, b in spans)]


class SomeRows:
    """A few rows of a split, evenly spread over it and always the same, for a quick look."""

    def __init__(self, rows: Rows, most: int) -> None:
        self.file, self.context_length = rows.file, rows.context_length
        self._spans = list(rows.in_order())
        self.of = len(self._spans)
        if self.of > most:
            self._spans = [self._spans[i * self.of // most] for i in range(most)]
        self.count = len(self._spans)

    def row(self, seed: int, epoch: int, index: int) -> Row:
        return self._spans[index]

    def in_order(self) -> Iterator[Row]:
        return iter(self._spans)


def windows(start: int, stop: int, context_length: int) -> Iterator[Row]:
    """Non-overlapping windows in which every token but the first is a target exactly once."""
    for at in range(start, stop - 1, context_length):
        yield ((at, min(at + context_length + 1, stop)),)


def shorten_conversation(ids: Sequence[int], limit: int, chat: ChatFormat) -> Row:
    """The spans of a conversation that are kept when it is longer than `limit` tokens.

    The system turn stays, the oldest whole turns go; if the last turn alone is too long, its
    prompt is cut at the left (down to a quarter of the row), then its answer at the right.
    """
    system, user, assistant = (chat.opening[role][0] for role in ROLES)
    users = [i for i, token in enumerate(ids) if token == user]
    first_user = users[0] if users else 1
    head = first_user if system in ids[:first_user] and first_user <= limit // 2 else 1
    for turn in users:
        if head + len(ids) - turn <= limit:
            return ((0, head), (turn, len(ids)))
    last = users[-1] if users else first_user
    answer = next(i for i in range(last, len(ids)) if ids[i] == assistant)
    room = limit - head - 1  # after the head and the user token
    prompt = min(answer - last - 1, max(room // 4, room - (len(ids) - answer)))
    spans = ((0, head), (last, last + 1), (answer - prompt, answer + room - prompt))
    return tuple((a, min(b, len(ids))) for a, b in spans)


def pack(pieces: Sequence[Row], limit: int) -> list[list[Row]]:
    """Rows of pieces. Best-fit decreasing: longest first, each into the fullest row with room."""
    sized = sorted(((sum(b - a for a, b in p), i) for i, p in enumerate(pieces)), reverse=True)
    rows: list[list[Row]] = []
    room: list[tuple[int, int]] = []  # (tokens left, row), sorted
    for size, i in sized:
        at = bisect_left(room, (size, -1))
        if at == len(room):
            rows.append([])
            left, number = limit, len(rows) - 1
        else:
            left, number = room.pop(at)
        rows[number].append(pieces[i])
        if left > size:
            insort(room, (left - size, number))
    return rows


def training_rows(file: TokenFile, form: str, context_length: int) -> TextRows | ConversationRows:
    """The rows to train on. Raises DataError for a text that does not fill one."""
    if form == "text" and file.n_tokens <= context_length:
        raise DataError(
            f"the training text has {file.n_tokens:,} tokens, but one row needs "
            f"{context_length + 1:,}; bring more text or a smaller model.context_length"
        )
    return make_rows(file, form, context_length)


def make_rows(file: TokenFile, form: str, context_length: int) -> TextRows | ConversationRows:
    """The rows of a split of this form ("text" or "chat"), for evaluation of any length."""
    if form == "text":
        return TextRows(file, context_length)
    return ConversationRows(file, context_length)
