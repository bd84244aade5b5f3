"""Causal attention, in torch's form and, for training on a CPU, in one that is faster there.

Shapes in comments: B rows, H n_head, G n_kv_head, T queries, S keys, D head_dim; N is B * H.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from tinychat.config import ModelSettings

AttentionKind = Literal["sdpa", "blocks"]

# Below this length the half-precision backward pass of torch's CPU attention costs several times
# that of fp32, which is taken instead.
SHORT_CPU_CONTEXT = 1024
BLOCK = 128  # queries that `blocks` takes at once; 64 to 256 were tried at 64 to 1,024 tokens
LONGEST_IN_BLOCKS = 1024  # beyond it `blocks` gains less and less, and its memory grows the faster


def may_compute_in_blocks(device: str, model: ModelSettings) -> bool:
    """Whether training this model there has `blocks` to choose from; it knows no dropout."""
    return device == "cpu" and not model.dropout and model.context_length <= LONGEST_IN_BLOCKS


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    dropout: float,
    kind: AttentionKind = "sdpa",
) -> Tensor:
    """Causal attention of q (B, H, T, D) over k, v (B, G, S, D); a mask replaces causality."""
    if k.shape[1] != q.shape[1]:
        k = share_heads(k, q.shape[1])
        v = share_heads(v, q.shape[1])
    if kind == "blocks" and mask is None and not dropout:
        return in_blocks(q, k.to(q.dtype), v.to(q.dtype))
    if q.device.type == "cpu" and k.shape[2] < SHORT_CPU_CONTEXT:
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(
                q.float(), k.float(), v.float(), mask, dropout, is_causal=mask is None
            ).to(v.dtype)
    return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=mask is None)


def share_heads(x: Tensor, heads: int) -> Tensor:
    """(B, G, S, D) repeated to (B, H, S, D): head h uses group h * G // H."""
    rows, groups, length, width = x.shape
    x = x[:, :, None].expand(rows, groups, heads // groups, length, width)
    return x.reshape(rows, heads, length, width)


def in_blocks(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of q over k, v, all (B, H, T, D): blocks of queries, each with the keys it
    may see, as plain matrix products in the precision of q; weights are kept for the backward pass.

    On CPUs that multiply bf16 matrices it takes a third to a half of the time of torch's kernels
    (benchmarks/README.md), and memory that grows with T squared.
    """
    flat = (x.reshape(-1, *x.shape[2:]) for x in (q, k, v))
    compiling = torch.compiler.is_compiling()
    out = _blocks_operation(*flat)[0] if compiling else _Blocks.apply(*flat)
    return out.view(q.shape)


def _blocks(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """(out (N, T, D), the weights of all blocks one after the other) of q, k, v (N, T, D)."""
    count, length, width = q.shape
    out, kept = torch.empty_like(q), q.new_empty(_kept_numbers(count, length))
    later = q.new_full((BLOCK, BLOCK), -math.inf).triu_(1)
    for (start, stop), weights in _parts(kept, count, length):
        keys, scores = k[:, :stop].transpose(1, 2), torch.empty_like(weights)
        torch.baddbmm(scores, q[:, start:stop], keys, beta=0, alpha=width**-0.5, out=scores)
        scores[:, :, start:] += later[: stop - start, : stop - start]
        torch.softmax(scores, -1, out=weights)
        torch.bmm(weights, v[:, :stop], out=out[:, start:stop])
    return out, kept


def _blocks_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v. Sums over blocks are kept in fp32."""
    count, length, width = q.shape
    grad_q = torch.empty_like(q)
    grad_k, grad_v = (torch.zeros_like(q, dtype=torch.float32) for _ in range(2))
    for (start, stop), weights in _parts(kept, count, length):
        here = grad[:, start:stop]
        scores = torch.bmm(here, v[:, :stop].transpose(1, 2))
        scores = torch.ops.aten._softmax_backward_data(scores, weights, -1, q.dtype)
        torch.bmm(scores, k[:, :stop], out=grad_q[:, start:stop])
        grad_k[:, :stop] += torch.bmm(scores.transpose(1, 2), q[:, start:stop])
        grad_v[:, :stop] += torch.bmm(weights.transpose(1, 2), here)
    scale = width**-0.5
    return grad_q.mul_(scale), grad_k.mul_(scale).to(k.dtype), grad_v.to(v.dtype)


def _parts(kept: Tensor, count: int, length: int) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """Each block's queries, and its place (N, queries, keys) in what is kept."""
    at = 0
    for start, stop in pairwise([*range(0, length, BLOCK), length]):
        numbers = count * (stop - start) * stop
        yield (start, stop), kept[at : at + numbers].view(count, stop - start, stop)
        at += numbers


def _kept_numbers(count: int, length: int) -> int:
    edges = [*range(0, length, BLOCK), length]
    return count * sum((stop - start) * stop for start, stop in pairwise(edges))


class _Blocks(Function):
    """The two as one operation."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out, kept = _blocks(q, k, v)
        ctx.save_for_backward(q, k, v, kept)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        return _blocks_backward(grad.contiguous(), *ctx.saved_tensors)


# torch.compile would unroll that, and what it leaves whole is slower to call and imports it

_blocks_operation = torch.library.custom_op("tinychat::blocks", _blocks, mutates_args=())
_blocks_backward_operation = torch.library.custom_op(
    "tinychat::blocks_backward", _blocks_backward, mutates_args=()
)


@_blocks_operation.register_fake
def _(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(q), q.new_empty(_kept_numbers(q.shape[0], q.shape[1]))


@_blocks_backward_operation.register_fake
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)  # else zeros as large as the weights, which nobody reads
    ctx.save_for_backward(*inputs, output[1])


def _back(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _blocks_backward_operation(grad.contiguous(), *ctx.saved_tensors)


_blocks_operation.register_autograd(_back, setup_context=_keep)
