"""What the model that tuning began with makes of every reply: computed once, then only read.

It decides the bits of all steps, and it is a function of weights that may be gone tomorrow, so it
is kept in the run's folder (reference.json) and a resume repeats it.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinychat.errors import RunError
from tinychat.model import Decoder, Runtime
from tinychat.training.preferences.sequences import (
    EncodedExample,
    EncodedReply,
    log_probs_of,
)

FORMAT = 1
ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class LogProbs:
    """Of an example's replies in the reference, in nats; None where it has no such reply, or its
    objective needs no reference."""

    chosen: float | None = None
    rejected: float | None = None
    mismatched: float | None = None


def reference_of(
    decoder: Decoder,
    examples: Sequence[EncodedExample],
    pad: int,
    runtime: Runtime,
    at_once: int,
    telling: Callable[[int, int], None] = lambda done, total: None,
) -> list[LogProbs]:
    """Ask the weights as they are, before the first step. `telling` hears how many are done."""
    wanted = list(dict.fromkeys(each for example in examples for each in _needed(example)))
    at_once = max(1, min(at_once, ROWS_AT_ONCE))
    values = log_probs_of(decoder, wanted, pad, runtime, at_once, telling)
    found = dict(zip(wanted, values.tolist(), strict=True))
    return [_of(example, found) for example in examples]


def _needed(example: EncodedExample) -> list[EncodedReply]:
    if example.objective not in ("dpo", "kto"):
        return []
    return [*example.replies, *([example.mismatched] if example.mismatched else [])]


def _of(example: EncodedExample, found: dict[EncodedReply, float]) -> LogProbs:
    if not _needed(example):
        return LogProbs()
    replies = (example.chosen, example.rejected, example.mismatched)
    return LogProbs(*(None if each is None else found[each] for each in replies))


def reference_to_bytes(reference: Sequence[LogProbs]) -> bytes:
    """The same values always give the same bytes, and JSON keeps each to its last bit."""
    rows = [[each.chosen, each.rejected, each.mismatched] for each in reference]
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    return f'{{"format": {FORMAT}, "log_probs": [\n  {lines}\n]}}\n'.encode()


def reference_from_bytes(data: bytes) -> list[LogProbs]:
    """Raises RunError for what `reference_to_bytes` has not written."""
    try:
        told = json.loads(data)
        if told["format"] != FORMAT:
            raise ValueError(f"format {told['format']}")
        return [LogProbs(*row) for row in told["log_probs"]]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"reference.json cannot be used ({error!r}).") from None
