"""Keys and values of the tokens that were already seen, kept so that none is computed twice."""

import math
import mmap
from dataclasses import dataclass

import torch
from torch import Tensor

from tinychat.config import ModelSettings

_PAGES = 1 << 20  # bytes from which on memory comes from the system and not from torch


@dataclass
class KVCache:
    """One preallocated tensor, `held` (n_layer, 2, rows, n_kv_head, context_length, head_dim): of
    each layer the keys, then the values.

    In memory a head's tokens lie side by side, because attention reads them so: on a CPU that
    halves its time and more. `lengths` (rows,) says how many tokens each row holds; rows may
    differ.
    """

    held: Tensor
    lengths: Tensor

    @classmethod
    def allocate(
        cls, model: ModelSettings, rows: int, device: torch.device, dtype: torch.dtype
    ) -> "KVCache":
        shape = (model.n_layer, 2, rows, model.kv_heads, model.context_length, model.head_width)
        return cls(_zeros(shape, device, dtype), torch.zeros(rows, device=device, dtype=torch.long))

    @property
    def keys(self) -> list[Tensor]:
        """Of each layer (rows, context_length, n_kv_head, head_dim), in the cache's own memory."""
        return list(self.held[:, 0].transpose(2, 3))

    @property
    def values(self) -> list[Tensor]:
        """The same of the values."""
        return list(self.held[:, 1].transpose(2, 3))

    def part(self, start: int, stop: int) -> "KVCache":
        """Neighbouring rows as a cache of their own that shares this one's memory."""
        return KVCache(self.held[:, :, start:stop], self.lengths[start:stop])

    def swap_rows(self, one: int, other: int, length: int) -> None:
        """Let two rows change places, with the first `length` tokens of each."""
        here, there = (self.held[:, :, row, :, :length] for row in (one, other))
        kept = here.clone()
        here.copy_(there)
        there.copy_(kept)
        held = self.lengths[one].clone()
        self.lengths[one] = self.lengths[other]
        self.lengths[other] = held

    def copy_row(self, source: int, target: int, length: int) -> None:
        """Make a row hold the first `length` tokens of another, and no more."""
        self.held[:, :, target, :, :length] = self.held[:, :, source, :, :length]
        self.lengths[target] = length

    def with_rows(self, rows: int) -> "KVCache":
        """A larger cache that holds the same and empty rows after it."""
        before, longest = len(self.lengths), int(self.lengths.max()) if len(self.lengths) else 0
        shape = (*self.held.shape[:2], rows, *self.held.shape[3:])
        held = _zeros(shape, self.held.device, self.held.dtype)
        held[:, :, :before, :, :longest] = self.held[..., :longest, :]
        lengths = self.lengths.new_zeros(rows)
        lengths[:before] = self.lengths
        return KVCache(held, lengths)

    def store(
        self, layer: int, positions: Tensor, k: Tensor, v: Tensor, used: int
    ) -> tuple[Tensor, Tensor]:
        """Write k and v (B, T, heads, head_dim) at positions (B, T); return the first `used`."""
        rows = torch.arange(k.shape[0], device=k.device)[:, None]
        keys, values = self.held[layer].transpose(2, 3)
        keys[rows, positions] = k.to(keys.dtype)
        values[rows, positions] = v.to(values.dtype)
        return keys[:, :used].to(k.dtype), values[:, :used].to(v.dtype)


def _zeros(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Zeros; on a CPU memory that the system clears when it is first touched, since of a whole
    context's place a short talk touches little: to clear it all takes as long as a prompt."""
    size = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or size < _PAGES:
        return torch.zeros(shape, device=device, dtype=dtype)
    return torch.frombuffer(mmap.mmap(-1, size), dtype=dtype).view(shape)
