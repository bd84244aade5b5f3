"""Whether a device and precision compute a model as they should, found out before it speaks.

Attention on MPS has let tokens see what comes after them, in half precision and in some versions of
torch; nothing but odd answers would tell.
"""

from itertools import pairwise

import torch
from torch import Tensor

from tinychat.engine.decoding import answering
from tinychat.model import AnsweringDecoder, Decoder, KVCache, Runtime

_TOKENS = 24
_TOLERANCE = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.02}  # of the largest logit


def problem_of(
    decoder: Decoder | AnsweringDecoder, runtime: Runtime, plain: Decoder | None = None
) -> str | None:
    """What is wrong with this model on this runtime, in a few words, or None.

    Compares what the model says of a text with what it says once a later token is another one
    (causality), with what it says if it reads the text in pieces, the last one a single token (the
    cache), and with what `plain` says, of which it is another form.
    """
    device = runtime.torch_device
    length = min(_TOKENS, decoder.settings.context_length)
    ids = torch.arange(length)[None] * 7919 % decoder.vocab_size
    other = ids.clone()
    other[:, -1] = (other[:, -1] + 1) % decoder.vocab_size
    with answering(decoder, runtime):
        dtype = decoder.cache_dtype or runtime.torch_dtype
        cache = KVCache.allocate(decoder.settings, 1, device, dtype)
        whole = decoder(ids.to(device)).float().cpu()
        changed = decoder(other.to(device)).float().cpu()
        cuts = (0, length // 2, length - 1, length)
        pieces = [ids[:, start:end].to(device) for start, end in pairwise(cuts) if start < end]
        cached = torch.cat([decoder(part, cache).float().cpu() for part in pieces], 1)
    is_int8 = isinstance(decoder, AnsweringDecoder) and decoder.one_row_int8
    tolerance = _TOLERANCE["bf16" if is_int8 else runtime.dtype]
    if not _close(whole[:, :-1], changed[:, :-1], tolerance):
        return "its tokens see what comes after them"
    if not _close(whole, cached, tolerance):
        return "it reads a text in pieces otherwise than in one"
    if plain is not None:
        with torch.inference_mode():
            expected = plain(ids.to(device)).float().cpu()
        if not _close(expected, whole, tolerance):
            return "its fast form says something else than its plain one"
    return None


def _close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """Nearly equal, as far as numbers go; a model of NaNs is broken, but not by its runtime."""
    finite = one.isfinite()
    if not finite.any():
        return True
    most = (one - other)[finite].abs().max()
    return bool(most <= tolerance * one[finite].abs().max().clamp(min=1.0))
