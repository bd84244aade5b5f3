"""What the notes behind the presets claim, where it was off, and what is true: computed, not told.

Each claim is checked with the numbers that its own source gives (seconds a step, steps, bytes) and
with the model as it is built; no measurement of this machine goes into it.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tinychat.config import Settings
from tinychat.config.load import read_preset, resolve
from tinychat.planning.forecast import FLOAT_BYTES, Shape, fixed_bytes
from tinychat.planning.outlook import shape_of
from tinychat.words import long_duration, size

MB, GB, HOUR, DAY = 1e6, 1e9, 3600, 86400


class Claim(NamedTuple):
    """One sentence of a source, and the true figure."""

    said: str
    true: str


Check = Callable[[Settings, Shape], Claim]


def claims_of(preset: str) -> list[Claim]:
    """What is to be said about the source of this preset; nothing for our own. What a person
    changed in the preset changes nothing of what its source says."""
    if preset not in CHECKS:
        return []
    settings = resolve(read_preset(preset)).settings
    shape = shape_of(settings, None)
    return [check(settings, shape) for check in CHECKS[preset]]


def _tokens(settings: Settings) -> int:
    """Of the whole run."""
    return (settings.max_steps or 0) * settings.batch_size * settings.model.context_length


def _weights(shape: Shape) -> int:
    return shape.total * FLOAT_BYTES


def _tinygpt_size(settings: Settings, shape: Shape) -> Claim:
    return Claim("about 50M parameters", f"{shape.total:,} parameters")


def _tinygpt_time(settings: Settings, shape: Shape) -> Claim:
    seconds = 150 * 80
    return Claim(
        "3 hours on an A100: 150 epochs of 80 s each",
        f"150 x 80 s are {seconds / HOUR:.2f} h, and take "
        f"{_tokens(settings) / seconds:,.0f} tokens/s",
    )


def _tinygpt_memory(settings: Settings, shape: Shape) -> Claim:
    model = settings.model
    cache = 2 * model.n_layer * model.context_length * model.kv_heads * model.head_width
    return Claim(
        "to chat: weights 200 MB, KV cache about 100 MB",
        f"weights {size(_weights(shape))}, KV cache {size(cache * FLOAT_BYTES)}",
    )


def _char_time(settings: Settings, shape: Shape) -> Claim:
    epochs, steps, pace = 80, 400, 2.42
    seconds = steps / pace
    return Claim(
        "about 4.5 minutes an epoch, 6 hours in all, at 2.42 steps/s",
        f"{steps} steps at {pace} steps/s are {long_duration(seconds)} an epoch, "
        f"{epochs * seconds / HOUR:.1f} h in all",
    )


def _vidya_size(settings: Settings, shape: Shape) -> Claim:
    return Claim("about 25M parameters", f"{shape.total:,} parameters")


def _vidya_memory(settings: Settings, shape: Shape) -> Claim:
    double = 8  # the source computes in 64 bits
    weights = shape.total * double
    return Claim(
        "200 MB weights, 400 MB Adam, 200 MB gradients (8 bytes a number)",
        f"{weights / MB:.0f} MB weights, {2 * weights / MB:.0f} MB Adam, {weights / MB:.0f} MB "
        "gradients",
    )


def _m2_time(settings: Settings, shape: Shape) -> Claim:
    steps = settings.max_steps or 0
    fastest = _tokens(settings) / 3000
    return Claim(
        "50,000 steps in 8 to 9 days, at 26 s a step or 2,500 to 3,000 tokens/s",
        f"{steps * 26 / DAY:.1f} days at 26 s a step, {fastest / DAY:.1f} at 3,000 tokens/s",
    )


def _m2_disk(settings: Settings, shape: Shape) -> Claim:
    weights, _, optimizer = fixed_bytes(settings, shape)
    whole, keep = weights + optimizer, settings.checkpoint.keep_last
    return Claim(
        "5 checkpoints of 720 MB and a final one of 720 MB: 3.6 GB, then 4.3 GB",
        f"{whole / MB:.0f} MB each; by the source's own rule {(keep + 1) * whole / GB:.2f} GB at "
        "the most, because a new one is there before an old one goes; its final file holds weights "
        f"only, {weights / MB:.0f} MB",
    )


def _m2_memory(settings: Settings, shape: Shape) -> Claim:
    model, rows = settings.model, settings.rows_per_micro_batch
    attention = rows * model.n_head * model.context_length**2 * FLOAT_BYTES
    logits = rows * model.context_length * shape.vocab_size * FLOAT_BYTES
    return Claim(
        "activations 300 MB, 1.4 GB in all",
        f"where attention keeps its weights, {attention / GB:.2f} GB a layer for each copy, and "
        f"logits {logits / GB:.1f} GB a copy: it does not fit into 16 GB",
    )


def _dolly_size(settings: Settings, shape: Shape) -> Claim:
    return Claim("about 25M parameters", f"{shape.total:,} parameters")


def _dolly_steps(settings: Settings, shape: Shape) -> Claim:
    epochs, documents = settings.max_epochs or 0, settings.data.max_documents or 0
    train = documents * (1 - settings.data.validation_share)
    an_epoch = train / settings.batch_size
    return Claim(
        "625 steps an epoch, 21,875 in all",
        f"{an_epoch:,.2f} steps an epoch of {train:,.0f} conversations, one a row, "
        f"{int(an_epoch * epochs):,} in all; packed into whole rows they are fewer",
    )


def _dolly_loss(settings: Settings, shape: Shape) -> Claim:
    return Claim(
        "a val_loss below 3.5 is a perplexity below 50",
        f"3.5 is a perplexity of {math.exp(3.5):.0f}, and a perplexity of 50 is a val_loss of "
        f"{math.log(50):.2f}",
    )


CHECKS: Mapping[str, tuple[Check, ...]] = {
    "tinygpt-char-6m": (_char_time,),
    "tinygpt-30m": (_tinygpt_size, _tinygpt_time, _tinygpt_memory),
    "vidya-33m": (_vidya_size, _vidya_memory),
    "m2-59m": (_m2_time, _m2_disk, _m2_memory),
    "dolly-17m": (_dolly_size, _dolly_steps, _dolly_loss),
}
