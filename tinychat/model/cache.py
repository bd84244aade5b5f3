"""Keys and values of the tokens that were already seen, kept so that none is computed twice."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tinychat.config import ModelSettings


@dataclass
class KVCache:
    """One preallocated tensor a layer, shape (rows, context_length, n_kv_head, head_dim).

    In memory a head's tokens lie side by side, because attention reads them so: on a CPU that
    halves its time and more. `lengths` (rows,) says how many tokens each row holds; rows may
    differ.
    """

    keys: list[Tensor]
    values: list[Tensor]
    lengths: Tensor

    @classmethod
    def allocate(
        cls, model: ModelSettings, rows: int, device: torch.device, dtype: torch.dtype
    ) -> "KVCache":
        shape = (rows, model.kv_heads, model.context_length, model.head_width)

        def empty() -> list[Tensor]:
            zeros = (torch.zeros(shape, device=device, dtype=dtype) for _ in range(model.n_layer))
            return [each.transpose(1, 2) for each in zeros]

        return cls(
            empty(),
            empty(),
            torch.zeros(rows, device=device, dtype=torch.long),
        )

    def part(self, start: int, stop: int) -> "KVCache":
        """Neighbouring rows as a cache of their own that shares this one's memory."""
        here = slice(start, stop)
        return KVCache(
            [k[here] for k in self.keys], [v[here] for v in self.values], self.lengths[here]
        )

    def swap_rows(self, one: int, other: int, length: int) -> None:
        """Let two rows change places, with the first `length` tokens of each."""
        for tensor in (*self.keys, *self.values):
            kept = tensor[one, :length].clone()
            tensor[one, :length] = tensor[other, :length]
            tensor[other, :length] = kept
        held = self.lengths[one].clone()
        self.lengths[one] = self.lengths[other]
        self.lengths[other] = held

    def copy_row(self, source: int, target: int, length: int) -> None:
        """Make a row hold the first `length` tokens of another, and no more."""
        for tensor in (*self.keys, *self.values):
            tensor[target, :length] = tensor[source, :length]
        self.lengths[target] = length

    def with_rows(self, rows: int) -> "KVCache":
        """A larger cache that holds the same and empty rows after it."""
        held = len(self.lengths)

        def larger(tensor: Tensor) -> Tensor:
            inner = tensor.transpose(1, 2)  # as it lies in memory
            grown = inner.new_zeros(rows, *inner.shape[1:])
            grown[:held] = inner
            return grown.transpose(1, 2)

        lengths = self.lengths.new_zeros(rows)
        lengths[:held] = self.lengths
        return KVCache([larger(k) for k in self.keys], [larger(v) for v in self.values], lengths)

    def store(
        self, layer: int, positions: Tensor, k: Tensor, v: Tensor, used: int
    ) -> tuple[Tensor, Tensor]:
        """Write k and v (B, T, heads, head_dim) at positions (B, T); return the first `used`."""
        rows = torch.arange(k.shape[0], device=k.device)[:, None]
        self.keys[layer][rows, positions] = k.to(self.keys[layer].dtype)
        self.values[layer][rows, positions] = v.to(self.values[layer].dtype)
        return self.keys[layer][:, :used].to(k.dtype), self.values[layer][:, :used].to(v.dtype)
