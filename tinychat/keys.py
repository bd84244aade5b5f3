"""Chance as a pure function: one 32-bit key for every draw.

Nothing in tinychat keeps "the state of a generator so far". Whoever needs chance makes a fresh
generator from (seed, purpose, numbers), so that resuming a run needs one integer, and sampling or
evaluating changes nothing. The key is a hash, never a sum or a shift: torch's CPU generator uses
only the low 32 bits of a seed, so neighbouring steps would otherwise share their draws.
"""

import hashlib


def draw_key(seed: int, purpose: str, *numbers: int) -> int:
    """The 32-bit key of one draw, for example `draw_key(seed, "dropout", step, micro_step)`."""
    text = "/".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")
