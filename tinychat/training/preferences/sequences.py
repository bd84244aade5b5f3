"""Examples as token ids, and batches of them: a prompt, then one reply, whose tokens are targets.

A prompt is written as the engine writes it, so that what is learnt is what will be asked.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from tinychat.conversations import EMPTY, EQUAL, Example, Objective, Reply
from tinychat.engine import fit_conversation
from tinychat.model import AnsweringDecoder, Decoder, Runtime
from tinychat.text import Message, Tokenizer, encode_turns
from tinychat.training.batches import Batch
from tinychat.training.evaluate import what_counts

LEAST_PROMPT = 0.25  # of a row, which no reply takes from a prompt, however long it is
LENGTHS = 16  # a batch is as long as a multiple of it: each further shape costs memory for good

T = TypeVar("T")


@dataclass(frozen=True)
class EncodedReply:
    """A reply to a prompt, as ids; those of the prompt are no targets."""

    prompt: tuple[int, ...]
    reply: tuple[int, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        return self.prompt + self.reply


@dataclass(frozen=True, kw_only=True)
class EncodedExample:
    """An example as ids. `mismatched` (kto) is a reply to another prompt, put to this one."""

    objective: Objective
    chosen: EncodedReply | None
    rejected: EncodedReply | None
    mismatched: EncodedReply | None = None
    shortened: bool = False  # prompt and replies had not all a place in the context
    source: str = ""

    @property
    def replies(self) -> tuple[EncodedReply, ...]:
        """What the example is learnt from: one reply, or the chosen and the rejected one."""
        return tuple(each for each in (self.chosen, self.rejected) if each is not None)


def encode_example(
    example: Example, tokenizer: Tokenizer, context_length: int
) -> EncodedExample | str:
    """The example as ids, or in words why nothing can be learnt from it.

    What is too long is shortened as everywhere: of the prompt the oldest turns go, down to a
    quarter of the row, then the reply is cut at its right. A pair keeps one prompt.
    """
    limit = context_length + 1  # the last token is a target only
    replies = [
        None if each is None else _reply(each, tokenizer)
        for each in (example.chosen, example.rejected)
    ]
    longest = max((len(each) for each in replies if each is not None), default=0)
    room = max(limit - longest, int(LEAST_PROMPT * limit))
    prompt, dropped_tokens = _prompt(example, tokenizer, room)
    room = limit - len(prompt)
    chosen, rejected = (
        None if each is None else EncodedReply(prompt, each[:room]) for each in replies
    )
    found = EncodedExample(
        objective=example.objective,
        chosen=chosen,
        rejected=rejected,
        shortened=dropped_tokens > 0 or longest > room,
        source=example.source,
    )
    if not prompt or not all(each.reply for each in found.replies):
        return EMPTY
    if chosen == rejected:
        return EQUAL
    return found


def _reply(reply: Reply, tokenizer: Tokenizer) -> tuple[int, ...]:
    ids = tokenizer.encode(reply.text)
    return (*ids, tokenizer.format.end) if reply.ended else tuple(ids)


def _prompt(example: Example, tokenizer: Tokenizer, limit: int) -> tuple[tuple[int, ...], int]:
    """The prompt as ids, and how many tokens of it had no place."""
    chat = tokenizer.format
    if isinstance(example.prompt, str):
        # a model that knows no bos begins where another text has ended
        ids = tokenizer.encode(example.prompt)
        begin = chat.begin or ([] if ids else [chat.end])
        cut = max(0, len(ids) - limit + len(begin))
        return (*begin, *ids[cut:]), cut
    messages = [Message(each["role"], each["content"]) for each in example.prompt]
    turns = encode_turns(tokenizer, messages)
    fitted = fit_conversation(messages, turns, chat, limit)
    return fitted.ids, fitted.dropped_tokens


def with_mismatched(
    examples: Sequence[EncodedExample], context_length: int
) -> list[EncodedExample]:
    """The same; each of kto has the reply of the nearest one before it with another prompt, cut
    where the row ends.

    Where all prompts are different this is what TRL makes of a batch, by turning its replies round
    by one. It is settled once and not in each batch, so that the reference has to be asked once.
    """
    kto = [i for i, each in enumerate(examples) if each.objective == "kto"]
    rated = [examples[i].replies[0] for i in kto]
    found = list(examples)
    # from where prompts change on, so that each place knows what its neighbour found
    first = next((n for n, own in enumerate(rated) if own.prompt != rated[n - 1].prompt), None)
    if first is None:
        return found
    other = rated[first - 1]
    for n in range(first, first + len(kto)):
        i, own, before = kto[n % len(kto)], rated[n % len(kto)], rated[(n - 1) % len(kto)]
        other = before if before.prompt != own.prompt else other
        reply = other.reply[: context_length + 1 - len(own.prompt)]
        found[i] = replace(examples[i], mismatched=EncodedReply(own.prompt, reply))
    return found


def batch_of(replies: Sequence[EncodedReply], pad: int, context_length: int) -> Batch:
    """One row each, padded at its right, where causal attention does not see it; none is longer
    than the context, as a model may know no position beyond."""
    longest = max(len(each.ids) for each in replies)
    length = min(-(-(longest - 1) // LENGTHS) * LENGTHS, context_length) + 1
    ids = torch.full((len(replies), length), pad, dtype=torch.long)
    wanted = torch.zeros((len(replies), length), dtype=torch.bool)
    for i, each in enumerate(replies):
        ids[i, : len(each.ids)] = torch.tensor(each.ids, dtype=torch.long)
        wanted[i, len(each.prompt) : len(each.ids)] = True
    return Batch(ids[:, :-1], ids[:, 1:], wanted[:, 1:])


def log_probs(decoder: Decoder | AnsweringDecoder, batch: Batch) -> Tensor:
    """Of each row's targets together, (B,), fp32."""
    hidden, targets = what_counts(decoder.hidden(batch.ids), batch)
    nats = F.cross_entropy(decoder.head(hidden).float(), targets, reduction="none")
    places = batch.is_target.flatten().nonzero().squeeze(1)
    row_of = F.pad(places // batch.ids.shape[1], (0, len(nats) - len(places)))  # those add nothing
    rows = torch.arange(len(batch.ids), device=row_of.device)
    return -torch.where(rows[:, None] == row_of, nats, 0.0).sum(1)


@torch.no_grad()
def log_probs_of(
    decoder: Decoder | AnsweringDecoder,
    replies: Sequence[EncodedReply],
    pad: int,
    runtime: Runtime,
    at_once: int,
    telling: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """Of each reply, (replies,), fp32, without dropout or gradients, so many in one forward pass.
    `telling` hears how many are done."""
    found: list[Tensor] = []
    was_training = decoder.training
    decoder.eval()
    try:
        for number, some in enumerate(in_parts(replies, at_once)):
            telling(number * at_once, len(replies))
            batch = batch_of(some, pad, decoder.settings.context_length)
            with runtime.autocast():
                found.append(log_probs(decoder, batch.to(runtime.torch_device)))
    finally:
        decoder.train(was_training)
    return torch.cat(found) if found else torch.zeros(0)


def in_parts(items: Sequence[T], at_once: int) -> Iterator[Sequence[T]]:
    """At most so many at a time."""
    for i in range(0, len(items), at_once):
        yield items[i : i + at_once]
