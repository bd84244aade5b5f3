"""val_loss in nats per token and bits_per_byte, over a whole split."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tinychat.errors import DataError
from tinychat.model import AnsweringDecoder, Decoder, Runtime
from tinychat.training.batches import Batch, Rows, evaluation_batches

TARGETS_AT_ONCE = 2048  # whose logits are held in an evaluation
MOST_NUMBERS_OF_TARGETS = 32  # that a micro-batch may have,
LEAST_STEP_OF_TARGETS = 64  # but none for the sake of fewer than so many
NO_TARGET = -100  # what torch's cross entropy passes over


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of a split it did not learn from."""

    val_loss: float  # nats per target token
    bits_per_byte: float | None  # None where targets stand for no bytes
    target_tokens: int
    target_bytes: int
    replay_val_loss: float | None = None  # the same of the old data, where that is another
    preference_loss: float | None = None  # mean over the preferences that were held out,
    preference_accuracy: float | None = None  # the share of them that the model shares,
    reward_margin: float | None = None  # and how much it prefers the better answer

    @property
    def old_val_loss(self) -> float:
        """On what the weights had learnt before they came into a run that watches it."""
        return self.val_loss if self.replay_val_loss is None else self.replay_val_loss

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.val_loss, 700.0))


def summed_loss(decoder: Decoder | AnsweringDecoder, batch: Batch) -> Tensor:
    """Nats of all targets together, fp32. The head is computed for targets only."""
    hidden, targets = what_counts(decoder.hidden(batch.ids), batch)
    # Nothing keeps the logits without gradients, so that few at a time bound the memory.
    at_once = len(targets) if torch.is_grad_enabled() else TARGETS_AT_ONCE
    parts = zip(hidden.split(at_once), targets.split(at_once), strict=True)
    losses = [F.cross_entropy(decoder.head(h).float(), t, reduction="sum") for h, t in parts]
    return torch.stack(losses).sum() if len(losses) > 1 else losses[0]


def what_counts(hidden: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The states (N, C) that have a target, and the targets (N,).

    Where only some do, the last few may be states again with a target that counts for nothing: each
    number of them that comes up costs memory for good, in libraries that keep something for each
    shape of a product.
    """
    hidden, targets = hidden.flatten(0, 1), batch.next_ids.flatten()
    if batch.is_target.all():
        return hidden, targets
    places = batch.is_target.flatten().nonzero().squeeze(1)
    more = -len(places) % max(LEAST_STEP_OF_TARGETS, len(targets) // MOST_NUMBERS_OF_TARGETS)
    targets = torch.cat([targets[places], targets.new_full((more,), NO_TARGET)])
    return hidden[torch.cat([places, places.new_zeros(more)])], targets


@torch.no_grad()
def evaluate(
    decoder: Decoder | AnsweringDecoder,
    rows: Rows,
    token_bytes: list[int],
    runtime: Runtime,
    batch_size: int,
    beat: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Evaluate on every target of the split. Touches no generator and restores training mode.

    token_bytes: UTF-8 bytes of each id, 0 for control tokens. beat is called after each batch.
    """
    was_training = decoder.training
    decoder.eval()
    bytes_of = torch.tensor(token_bytes)
    nats, tokens, size = 0.0, 0, 0
    try:
        for batch in evaluation_batches(rows, batch_size):
            tokens += batch.target_tokens
            size += int(bytes_of[batch.next_ids[batch.is_target]].sum())
            with runtime.autocast():
                nats += summed_loss(decoder, batch.to(runtime.torch_device)).item()
            beat()
    finally:
        decoder.train(was_training)
    if not tokens:
        raise DataError("the validation data holds nothing to predict; bring more of it")
    per_byte = nats / math.log(2) / size if size else None
    return Evaluation(nats / tokens, per_byte, tokens, size)
