"""Whether a device and precision compute a model as they should, found out before it speaks.

Attention on MPS has let tokens see what comes after them, in half precision and in some versions of
torch; nothing but odd answers would tell.
"""

import torch
from torch import Tensor

from tinychat.engine.decoding import answering
from tinychat.model import Decoder, KVCache, Runtime

_TOKENS = 24
_TOLERANCE = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.02}  # of the largest logit


def problem_of(decoder: Decoder, runtime: Runtime) -> str | None:
    """What is wrong with this model on this runtime, in a few words, or None.

    Compares what the model says of a text with what it says once a later token is another one
    (causality), and with what it says if it reads the text in two pieces (the cache).
    """
    device = runtime.torch_device
    length = min(_TOKENS, decoder.settings.context_length)
    ids = torch.arange(length)[None] * 7919 % decoder.vocab_size
    other = ids.clone()
    other[:, -1] = (other[:, -1] + 1) % decoder.vocab_size
    with answering(decoder, runtime):
        cache = KVCache.allocate(decoder.settings, 1, device, runtime.torch_dtype)
        whole = decoder(ids.to(device)).float().cpu()
        changed = decoder(other.to(device)).float().cpu()
        half = length // 2
        pieces = [part.to(device) for part in (ids[:, :half], ids[:, half:]) if part.numel()]
        cached = torch.cat([decoder(part, cache).float().cpu() for part in pieces], 1)
    tolerance = _TOLERANCE[runtime.dtype]
    if not _close(whole[:, :-1], changed[:, :-1], tolerance):
        return "its tokens see what comes after them"
    if not _close(whole, cached, tolerance):
        return "it reads a text in pieces otherwise than in one"
    return None


def _close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """Nearly equal, as far as numbers go; a model of NaNs is broken, but not by its runtime."""
    finite = one.isfinite()
    if not finite.any():
        return True
    most = (one - other)[finite].abs().max()
    return bool(most <= tolerance * one[finite].abs().max().clamp(min=1.0))
