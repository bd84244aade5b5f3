"""Tokens out of a model: many requests side by side, one forward pass a token for all of them.

Each row has a row of one preallocated cache. A request that comes in fills its row with its prompt,
a bounded piece at a time, so that nobody waits long for it and it can be cancelled amid it; from
then on the newest token of every row goes through the model together, and nothing that the cache
holds is computed again. A row that is finished leaves at once. What it leaves in the cache may be
kept: a request that begins with the same tokens, such as the next turn of a conversation, finds
them there. A row that is alone may be given guesses of its next tokens, which one pass checks all
together. Speaks token ids only; text and stop strings are others' charge.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Literal

import torch
from torch import Tensor

from tinychat.engine.lookup import Ahead, PromptLookup
from tinychat.engine.repetition import RepetitionGuard
from tinychat.engine.sampling import Sampling, TokenDetail, explain, no_nan, pick
from tinychat.keys import draw_key
from tinychat.model import AnsweringDecoder, Decoder, KVCache, Runtime

FinishReason = Literal["end", "length", "context", "stop", "repetition", "deadline", "cancelled"]

# Most tokens in one pass over prompts, which bounds the memory of its activations.
PREFILL_TOKENS = 8192
KEPT_ROWS = 4  # a cache grows to that many for the sake of what is kept


@dataclass(frozen=True, kw_only=True)
class Request:
    """Token ids to go on from. A prompt longer than the context loses its oldest tokens.

    When the context is full, "slide" goes on from the newest half of it, "stop" ends the row.
    `details` asks for a TokenDetail with that many candidates for each token; None for none.
    """

    prompt_ids: Sequence[int]
    sampling: Sampling = field(default_factory=Sampling)
    stop_ids: tuple[int, ...]
    overflow: Literal["slide", "stop"] = "slide"
    details: int | None = None


@dataclass(frozen=True)
class Finish:
    """The last event of a request. "stop" is never given here: stop strings are text."""

    reason: FinishReason


@dataclass(eq=False)
class Row:
    """A request on its way. The cache holds `held` of `ids`, from `start` on."""

    request: Request
    ids: list[int]
    start: int = 0
    held: int = 0
    kept: int = 0  # of the prompt, found in the cache
    produced: int = 0
    passes: int = 0  # through the model, for the tokens produced
    details: list[TokenDetail] = field(default_factory=list)
    seen_ids: set[int] = field(default_factory=set)  # what the repetition penalty counts
    guard: RepetitionGuard = field(default_factory=RepetitionGuard)
    lookup: PromptLookup = field(default_factory=PromptLookup)

    @property
    def missing(self) -> int:
        """Tokens before the newest one that the cache does not hold yet."""
        return len(self.ids) - 1 - self.start - self.held


@dataclass(frozen=True)
class Left:
    """What a finished row left in its row of the cache, and when."""

    when: int = 0
    ids: Sequence[int] = ()


Event = tuple[Row, int | Finish]  # a row, and its token or its end


def decode(
    decoder: Decoder | AnsweringDecoder,
    requests: Sequence[Request],
    *,
    runtime: Runtime,
    never_sampled: Sequence[int] = (),
    cancelled: Callable[[int], bool] = lambda index: False,
) -> Iterator[tuple[int, int | Finish]]:
    """The tokens of all requests as they come, and one Finish for each request, each with the
    request's place in the list.

    A token that ends a request (`stop_ids`) is not given out, one of `never_sampled` never comes.
    `cancelled(index)` is asked for each row before each token. All rows share the memory of one
    cache: the caller bounds their number.
    """
    if not requests:
        return
    context_length = decoder.settings.context_length
    room = max(
        len(_fitted(each, context_length)) + each.sampling.max_new_tokens for each in requests
    )
    batch = Batch(decoder, runtime, never_sampled, most_rows=len(requests), room=room)
    index_of = {row: index for index, row in enumerate(batch.admit(requests))}
    while len(requests) > 1 and batch.fill():  # all prompts first: rows that begin together go on
        pass
    while batch.rows:
        for row, event in batch.step(lambda row: cancelled(index_of[row])):
            yield index_of[row], event


class Batch:
    """Rows that are decoded together. `step` is one token for each of them that is ready.

    Row i lives in row i of the cache: first those that are ready, then those whose prompt is not in
    the cache yet, then (if `keeps`) what finished rows left. Between steps the model's training
    flag is as it was found. `room` is the tokens that a row may need, if less than a context.
    """

    def __init__(
        self,
        decoder: Decoder | AnsweringDecoder,
        runtime: Runtime,
        never_sampled: Sequence[int] = (),
        *,
        most_rows: int,
        room: int | None = None,
        keeps: bool = False,
        prefill_tokens: int = PREFILL_TOKENS,
        guesses: bool = True,
    ) -> None:
        self.decoder = decoder
        self.runtime = runtime
        self.context_length = decoder.settings.context_length
        self.most_rows = most_rows
        self.rows: list[Row] = []
        self._ready = 0  # that many rows, the first ones
        self._keeps = keeps
        self._left: list[Left] = []  # in each row of the cache behind `rows`
        self._clock = 0  # how many rows have left
        self._prefill_tokens = prefill_tokens
        self._guesses = guesses and decoder.checks_guesses
        self._ahead: Ahead | None = None
        self._generator = torch.Generator()  # seeded anew for each draw
        length = self.context_length if room is None else min(room, self.context_length)
        shape = replace(decoder.settings, context_length=length)
        with torch.inference_mode():
            dtype = decoder.cache_dtype or runtime.torch_dtype
            self.cache = KVCache.allocate(shape, 0, runtime.torch_device, dtype)
            self._forbidden = torch.tensor(
                never_sampled, dtype=torch.long, device=runtime.torch_device
            )

    def admit(self, requests: Sequence[Request]) -> list[Row]:
        """Give each request a row. There must be no more than `most_rows`."""
        rows = [self._open(request) for request in requests]
        with torch.inference_mode():
            self._grow(len(self.rows) + len(rows))
            # neighbours of equal length share the pass over their prompts
            for row in sorted(rows, key=lambda row: len(row.ids)):
                self._seat(row)
        return rows

    def fill(self) -> bool:
        """One pass over prompts that the cache lacks; False if there was none to fill."""
        self._count_ready()
        waiting = self.rows[self._ready :]
        if not waiting:
            return False
        state = (waiting[0].held, waiting[0].missing)
        same = list(takewhile(lambda row: (row.held, row.missing) == state, waiting))
        length = min(state[1], self._prefill_tokens)
        rows = same[: max(1, self._prefill_tokens // length)]
        ids = [row.ids[row.start + row.held :][:length] for row in rows]
        with answering(self.decoder, self.runtime):
            part = self.cache.part(self._ready, self._ready + len(rows))
            self.decoder.read(torch.tensor(ids, device=self.runtime.torch_device), part)
        for row in rows:
            row.held += length
        self._count_ready()
        return True

    def step(self, cancelled: Callable[[Row], bool]) -> list[Event]:
        """One pass over prompts, and one token or the Finish of every row that is ready; finished
        rows are gone afterwards."""
        events: list[Event] = []
        self._leave([(row, Finish("cancelled")) for row in self.rows if cancelled(row)], events)
        self._leave(self._make_room(), events)
        if not self._reads_at_once():
            self.fill()
        if self._ready:
            with answering(self.decoder, self.runtime):
                tokens = self._next_tokens()
            self._leave(self._advance(tokens, events), events)
        return events

    def _reads_at_once(self) -> bool:
        """Whether the pass that gives a lone row its next token reads the prompt before it too."""
        if len(self.rows) != 1 or not 0 < self.rows[0].missing < self._prefill_tokens:
            return False
        self._ready = 1
        return True

    # places

    def _open(self, request: Request) -> Row:
        ids = _fitted(request, self.context_length)
        if not ids:
            raise ValueError("a request needs at least one prompt id")
        if not all(0 <= id < self.decoder.vocab_size for id in ids):  # would end its neighbours too
            raise ValueError("the prompt holds ids that the model has no row for")
        return Row(request, ids, seen_ids=set(ids) - set(request.stop_ids))

    def _grow(self, rows: int) -> None:
        """Have that many rows; twice as many at once, up to the most there may be."""
        held = len(self.cache.lengths)
        rows = min(max(rows, 2 * held), self.most_rows) if rows > held else held
        if rows > held:
            self.cache = self.cache.with_rows(rows)
            self._left += [Left()] * (rows - held)

    def _seat(self, row: Row) -> None:
        """Put a row behind the others, and take over what the cache holds of its beginning."""
        place = len(self.rows)
        if self._keeps:
            self._take_over(row, place)
        self._left.pop(0)
        self.rows.append(row)
        self.cache.lengths[place] = row.held

    def _take_over(self, row: Row, place: int) -> None:
        """Bring to `place` the row of the cache that was left for this, or a copy of its part.

        Only what ends where this row goes on, or makes up most of it, is used up: two conversations
        that merely begin alike are both kept.
        """
        common = [_common(left.ids, row.ids) for left in self._left]
        best = chosen = max(range(len(common)), key=common.__getitem__)
        row.held = row.kept = common[best]
        if 2 * row.held <= min(len(self._left[best].ids), len(row.ids)):
            if all(left.ids for left in self._left) and len(self.cache.lengths) < KEPT_ROWS:
                self._grow(len(self.cache.lengths) + 1)
            chosen = min(range(len(self._left)), key=lambda i: self._left[i].when)
        if best != chosen:
            self.cache.copy_row(place + best, place + chosen, row.held)
        if chosen:
            self.cache.swap_rows(place, place + chosen, max(len(self._left[0].ids), row.held))
            self._left[chosen] = self._left[0]

    def _count_ready(self) -> None:
        while self._ready < len(self.rows) and not self.rows[self._ready].missing:
            self._ready += 1

    def _swap(self, one: int, other: int) -> None:
        if one != other:
            rows = self.rows
            rows[one], rows[other] = rows[other], rows[one]
            self.cache.swap_rows(one, other, max(rows[one].held, rows[other].held))

    def _not_ready(self, row: Row) -> None:
        """Move a row behind those that are ready."""
        place = self.rows.index(row)
        if place < self._ready:
            self._ready -= 1
            self._swap(place, self._ready)

    def _leave(self, ends: Iterable[tuple[Row, Finish]], events: list[Event]) -> None:
        """Take rows out of the batch; others move into the gaps."""
        with torch.inference_mode():
            for row, finish in ends:
                self._not_ready(row)
                self._swap(self.rows.index(row), len(self.rows) - 1)
                self.rows.pop()
                self._clock += 1
                keep = self._keeps and not row.start
                left = Left(self._clock, row.ids[: row.held]) if keep else Left()
                self._left.insert(0, left)
                events.append((row, finish))

    def _make_room(self) -> list[tuple[Row, Finish]]:
        """Slide the full rows that want it; return those that end instead."""
        full = [row for row in self.rows[: self._ready] if row.held == self.context_length]
        for row in full:
            if row.request.overflow == "slide":
                row.start, row.held = len(row.ids) - max(1, self.context_length // 2), 0
                self._ahead = None  # it speaks of places that others have now
                with torch.inference_mode():
                    self._not_ready(row)
                    self.cache.lengths[self.rows.index(row)] = 0
        return [(row, Finish("context")) for row in full if row.request.overflow == "stop"]

    # tokens

    def _advance(self, tokens: list[int], events: list[Event]) -> list[tuple[Row, Finish]]:
        """Give each ready row its token. Returns the rows that end with it."""
        ends = []
        for row, token in zip(self.rows[: self._ready], tokens, strict=True):
            row.held += 1
            if token in row.request.stop_ids:
                ends.append((row, Finish("end")))
                continue
            row.ids.append(token)
            row.seen_ids.add(token)
            row.produced += 1
            events.append((row, token))
            sampling = row.request.sampling
            if row.produced == sampling.max_new_tokens:
                ends.append((row, Finish("length")))
            elif sampling.repetition_guard and row.guard.push(token):
                ends.append((row, Finish("repetition")))
        return ends

    def _next_tokens(self) -> list[int]:
        rows = self.rows[: self._ready]
        logits = no_nan(self._logits(rows).float()).index_fill(1, self._forbidden, -math.inf)
        tokens = logits.argmax(-1).tolist()
        asks = [not r.request.sampling.is_greedy or r.request.details is not None for r in rows]
        if any(asks):
            logits = logits.cpu()  # the draws must not depend on the device
        for place, row in enumerate(rows):
            if not row.request.sampling.is_greedy:
                tokens[place] = self._pick(row, logits[place])
            if row.request.details is not None and tokens[place] not in row.request.stop_ids:
                row.details.append(self._explain(row, logits[place], tokens[place]))
        return tokens

    def _logits(self, rows: list[Row]) -> Tensor:
        """What follows the newest token of each row (B, V)."""
        live = self.cache.part(0, len(rows))
        alone = len(self.rows) == 1
        if alone and self._ahead is not None:
            known = self._ahead.after(rows[0], rows[0].held, rows[0].ids[-1])
            if known is not None:
                live.lengths += 1
                return known
        if alone and (missing := rows[0].missing):
            rows[0].held += missing
            rows[0].passes += 1
            ids = torch.tensor([rows[0].ids[-1 - missing :]], device=self.runtime.torch_device)
            return self.decoder(ids, live, last_only=True)[:, 0]
        guess = self._guess(rows[0]) if alone and self._guesses else []
        ids = torch.tensor([[row.ids[-1], *guess] for row in rows])
        logits = self.decoder(ids.to(self.runtime.torch_device), live)
        for row in rows:
            row.passes += 1
        live.lengths -= len(guess)
        self._ahead = Ahead(rows[0], rows[0].held + 1, guess, logits[0, 1:]) if guess else None
        return logits[:, 0]

    def _guess(self, row: Row) -> list[int]:
        """Tokens that may follow, as many as the context and the answer have room for."""
        room = self.context_length - row.held - 1
        wanted = row.request.sampling.max_new_tokens - row.produced - 1
        return row.lookup.guess(row.ids, min(room, wanted))

    def _pick(self, row: Row, logits: Tensor) -> int:
        sampling = row.request.sampling
        # a function of (seed, how many before), so that neighbours in the batch change nothing
        self._generator.manual_seed(draw_key(sampling.seed, "sample", row.produced))
        return pick(logits, sampling, self._generator, row.seen_ids)

    def _explain(self, row: Row, logits: Tensor, token: int) -> TokenDetail:
        assert row.request.details is not None
        return explain(logits, token, row.request.sampling, row.seen_ids, row.request.details)


def _fitted(request: Request, context_length: int) -> list[int]:
    return newest_that_fit(request.prompt_ids, context_length, request.sampling.max_new_tokens)


def _common(left: Sequence[int], ids: Sequence[int]) -> int:
    """How many tokens both begin with; the newest id never counts, since it is the next input."""
    most = min(len(left), len(ids) - 1)
    return next((n for n in range(most) if left[n] != ids[n]), most)


def newest_that_fit(
    ids: Sequence[int], context_length: int, max_new_tokens: int, least: int = 1
) -> list[int]:
    """The prompt, or if it is longer than the context, as many of its newest tokens as leave room
    for the answer, but at least half a context, and `least`."""
    if len(ids) <= context_length:
        return list(ids)
    kept = max(least, context_length // 2, context_length - max_new_tokens)
    return list(ids[-kept:])


@contextmanager
def answering(decoder: Decoder | AnsweringDecoder, runtime: Runtime) -> Iterator[None]:
    """No dropout, no gradients, the runtime's precision; afterwards everything is as it was."""
    was_training = decoder.training
    if was_training:
        decoder.eval()
    try:
        # the form for answering knows its precision: torch need not look at each operation
        precision = runtime.autocast() if isinstance(decoder, Decoder) else nullcontext()
        with torch.inference_mode(), precision:
            yield
    finally:
        if was_training:
            decoder.train()
