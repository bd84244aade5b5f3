"""Tokens out of a model: many requests side by side, one forward pass a token for all of them.

Each row fills its own row of a preallocated cache with its prompt; rows of equal length do so in
one pass. From then on the newest token of every row goes through the model together, and nothing
that the cache holds is computed again. A row that is finished leaves at once: the last row moves
into its place. Speaks token ids only; text and stop strings are `engine`'s charge.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from tinychat.engine.sampling import Sampling, pick
from tinychat.keys import draw_key
from tinychat.model import Decoder, KVCache, Runtime

FinishReason = Literal["end", "length", "stop", "cancelled"]

# Most tokens in one pass over prompts, which bounds the memory of its activations.
PREFILL_TOKENS = 8192


@dataclass(frozen=True, kw_only=True)
class Request:
    """Token ids to go on from. A prompt longer than the context loses its oldest tokens.

    When the context is full, "slide" goes on from the newest half of it, "stop" ends the row.
    """

    prompt_ids: Sequence[int]
    sampling: Sampling = field(default_factory=Sampling)
    stop_ids: tuple[int, ...]
    overflow: Literal["slide", "stop"] = "slide"


@dataclass(frozen=True)
class Finish:
    """The last event of a request. "stop" is never given here: stop strings are text."""

    reason: FinishReason


Event = tuple[int, int | Finish]  # the request's place in the list, and its token or its end


@dataclass(eq=False)
class Row:
    """A request on its way. The cache holds all of `ids` that fit, except the newest one."""

    index: int
    request: Request
    ids: list[int]
    held: int = 0  # tokens in the cache
    produced: int = 0
    seen_ids: set[int] = field(default_factory=set)  # what the repetition penalty counts


def decode(
    decoder: Decoder,
    requests: Sequence[Request],
    *,
    runtime: Runtime,
    never_sampled: Sequence[int] = (),
    cancelled: Callable[[int], bool] = lambda index: False,
) -> Iterator[Event]:
    """The tokens of all requests as they come, and one Finish for each request.

    A token that ends a request (`stop_ids`) is not given out, one of `never_sampled` never comes.
    `cancelled(index)` is asked for each row before each token. All rows share the memory of one
    cache: the caller bounds their number.
    """
    if not requests:
        return
    batch = Batch(decoder, requests, runtime, never_sampled)
    while batch.rows:
        yield from batch.step(cancelled)


class Batch:
    """Rows that are decoded together. `step` is one token for each of them.

    Row i lives in row i of the cache. Between steps the model's training flag is as it was found.
    """

    def __init__(
        self,
        decoder: Decoder,
        requests: Sequence[Request],
        runtime: Runtime,
        never_sampled: Sequence[int] = (),
    ) -> None:
        self.decoder = decoder
        self.runtime = runtime
        self.context_length = decoder.settings.context_length
        rows = [self._open(index, request) for index, request in enumerate(requests)]
        self.rows = sorted(rows, key=lambda row: len(row.ids))
        self._generator = torch.Generator()  # seeded anew for each draw
        room = max(len(row.ids) + row.request.sampling.max_new_tokens for row in rows)
        shape = replace(decoder.settings, context_length=min(room, self.context_length))
        with answering(decoder, runtime):
            self.cache = KVCache.allocate(
                shape, len(rows), runtime.torch_device, runtime.torch_dtype
            )
            self._forbidden = torch.tensor(
                never_sampled, dtype=torch.long, device=runtime.torch_device
            )
            self._prefill()

    def step(self, cancelled: Callable[[int], bool]) -> list[Event]:
        """One token or the Finish of every row; finished rows are gone afterwards."""
        events: list[Event] = []
        ends = [(row, Finish("cancelled")) for row in self.rows if cancelled(row.index)]
        with answering(self.decoder, self.runtime):
            self._leave(ends, events)
            self._leave(self._make_room(), events)
            if self.rows:
                self._leave(self._advance(events), events)
        return events

    def _open(self, index: int, request: Request) -> Row:
        new_tokens = request.sampling.max_new_tokens
        ids = newest_that_fit(request.prompt_ids, self.context_length, new_tokens)
        if not ids:
            raise ValueError("a request needs at least one prompt id")
        return Row(index, request, ids, seen_ids=set(ids) - set(request.stop_ids))

    def _prefill(self) -> None:
        """Every row's prompt, without its newest token, goes into the cache."""
        first = 0
        for length, same in groupby(len(row.ids) - 1 for row in self.rows):
            last = first + len(list(same))
            most = max(1, PREFILL_TOKENS // max(1, length))
            for start in range(first, last, most):
                self._fill(start, min(start + most, last), length)
            first = last

    def _fill(self, start: int, stop: int, length: int) -> None:
        """Put `length` tokens before the newest one into each of these rows, from the beginning."""
        rows = self.rows[start:stop]
        cache = self.cache.part(start, stop)
        cache.lengths.zero_()
        for row in rows:
            row.held = length
        if length:
            ids = [row.ids[-length - 1 : -1] for row in rows]
            self.decoder.hidden(torch.tensor(ids, device=self.runtime.torch_device), cache)

    def _make_room(self) -> list[tuple[Row, Finish]]:
        """Slide the full rows that want it; return those that end instead."""
        full = [place for place, row in enumerate(self.rows) if row.held == self.context_length]
        ends = []
        for place in full:
            if self.rows[place].request.overflow == "slide":
                self._fill(place, place + 1, max(1, self.context_length // 2) - 1)
            else:
                ends.append((self.rows[place], Finish("length")))
        return ends

    def _advance(self, events: list[Event]) -> list[tuple[Row, Finish]]:
        """One forward pass: a token for each row. Returns the rows that end with it."""
        ends = []
        for row, token in zip(self.rows, self._next_tokens(), strict=True):
            row.held += 1
            if token in row.request.stop_ids:
                ends.append((row, Finish("end")))
                continue
            row.ids.append(token)
            row.seen_ids.add(token)
            row.produced += 1
            events.append((row.index, token))
            if row.produced == row.request.sampling.max_new_tokens:
                ends.append((row, Finish("length")))
        return ends

    def _next_tokens(self) -> list[int]:
        newest = torch.tensor([[row.ids[-1]] for row in self.rows])
        live = self.cache.part(0, len(self.rows))
        logits = self.decoder(newest.to(self.runtime.torch_device), live)[:, -1].float()  # (B, V)
        logits = logits.index_fill(1, self._forbidden, -math.inf)
        tokens = logits.argmax(-1).tolist()
        if not all(row.request.sampling.is_greedy for row in self.rows):
            logits = logits.cpu()  # the draws must not depend on the device
            for place, row in enumerate(self.rows):
                if not row.request.sampling.is_greedy:
                    tokens[place] = self._pick(row, logits[place])
        return tokens

    def _pick(self, row: Row, logits: Tensor) -> int:
        sampling = row.request.sampling
        # a function of (seed, how many before), so that neighbours in the batch change nothing
        self._generator.manual_seed(draw_key(sampling.seed, "sample", row.produced))
        return pick(logits, sampling, self._generator, row.seen_ids)

    def _leave(self, ends: Sequence[tuple[Row, Finish]], events: list[Event]) -> None:
        """Take rows out of the batch; the last row moves into each gap."""
        for row, finish in ends:
            place = self.rows.index(row)
            last = self.rows.pop()
            if last is not row:
                self.rows[place] = last
                self.cache.copy_row(len(self.rows), place, last.held)
            events.append((row.index, finish))


def newest_that_fit(ids: Sequence[int], context_length: int, max_new_tokens: int) -> list[int]:
    """The prompt, or if it is longer than the context, as many of its newest tokens as leave room
    for the answer, but at least half a context."""
    if len(ids) <= context_length:
        return list(ids)
    kept = max(1, context_length // 2, context_length - max_new_tokens)
    return list(ids[-kept:])


@contextmanager
def answering(decoder: Decoder, runtime: Runtime) -> Iterator[None]:
    """No dropout, no gradients, the runtime's precision; afterwards everything is as it was."""
    was_training = decoder.training
    if was_training:
        decoder.eval()
    try:
        with torch.inference_mode(), runtime.autocast():
            yield
    finally:
        if was_training:
            decoder.train()
