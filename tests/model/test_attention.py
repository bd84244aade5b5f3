"""Attention in blocks is attention: equal to torch's, forwards and backwards."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tinychat.config import ModelSettings
from tinychat.model import Decoder
from tinychat.model.attention import BLOCK, attend, in_blocks


def tensors(length: int, *, heads: int = 3, groups: int = 3, dtype: torch.dtype) -> list[Tensor]:
    """q, k, v and a gradient of the result."""
    generator = torch.Generator().manual_seed(length)
    made = [
        torch.randn(2, count, length, 16, generator=generator).to(dtype)
        for count in (heads, groups, groups, heads)
    ]
    return [each.requires_grad_(place < 3) for place, each in enumerate(made)]


@pytest.mark.parametrize("length", [1, 5, BLOCK, BLOCK + 1, 3 * BLOCK - 7])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_values_and_gradients_are_those_of_torch(
    length: int, dtype: torch.dtype, close: float
) -> None:
    q, k, v, grad = tensors(length, dtype=dtype)
    ours = in_blocks(q, k, v)
    theirs = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=True)
    assert ours.dtype == dtype
    assert torch.allclose(ours.float(), theirs, atol=close, rtol=close)
    found = torch.autograd.grad(ours, (q, k, v), grad)
    expected = torch.autograd.grad(theirs, (q, k, v), grad.float())
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one.float(), other.float(), atol=close, rtol=close)


def test_heads_share_keys_and_values() -> None:
    q, k, v, _ = tensors(40, heads=4, groups=2, dtype=torch.float32)
    assert torch.allclose(
        attend(q, k, v, None, 0.0, "blocks"), attend(q, k, v, None, 0.0, "sdpa"), atol=1e-6
    )


def test_no_bit_depends_on_later_tokens() -> None:
    q, k, v, _ = tensors(2 * BLOCK + 9, dtype=torch.bfloat16)
    before = in_blocks(q, k, v)
    at = BLOCK + 3
    for each in (k, v):
        each.data[:, :, at:] = 7.0
    after = in_blocks(q, k, v)
    assert torch.equal(before[:, :, :at], after[:, :, :at])
    assert not torch.equal(before[:, :, at:], after[:, :, at:])


def test_a_decoder_computes_the_same_in_blocks() -> None:
    decoder = Decoder(
        ModelSettings(n_layer=2, n_head=4, n_kv_head=2, n_embd=32, context_length=200), 50
    )
    decoder.initialise(1)
    for parameter in decoder.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    ids = torch.randint(50, (2, 200), generator=torch.Generator().manual_seed(0))
    plain = decoder(ids)
    decoder.compute_attention("blocks")
    assert torch.allclose(decoder(ids), plain, atol=1e-5)
    assert not torch.equal(decoder(ids), plain), "another order of the same sums"
