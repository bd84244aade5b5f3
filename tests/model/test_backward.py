"""Backward passes that are written out, beside those that torch derives."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tinychat.config import ModelSettings
from tinychat.model import Decoder, backward, decoder
from tinychat.model.decoder import RMSNorm, rope_rotation, rotate


def gradients(of: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """What it gives, and the gradients of a weighted sum of that."""
    leaves = [each.clone().requires_grad_() for each in inputs]
    out = of(*leaves)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (out.float() * weights).sum().backward()
    return [out, *(each.grad for each in leaves if each.grad is not None)]


def both_ways(
    monkeypatch: pytest.MonkeyPatch, of: Callable[..., Tensor], *inputs: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Each result written out, and derived."""
    written = gradients(of, *inputs)
    monkeypatch.setattr(decoder, "has_own_backward", lambda x: False)
    return list(zip(written, gradients(of, *inputs), strict=True))


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("shape", [(3, 5, 16), (2, 3, 4, 8)])
def test_a_norm_s(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], dtype: torch.dtype, near: float
) -> None:
    norm = RMSNorm(shape[-1], 1e-6)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)

    def of(x: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(norm, {"weight": weight}, (x,))

    weight = torch.linspace(0.5, 2.0, shape[-1])
    for written, derived in both_ways(monkeypatch, of, x, weight):
        assert written.dtype == derived.dtype
        assert torch.allclose(written, derived, rtol=near, atol=near)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_a_rotation_s(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, near: float) -> None:
    settings = ModelSettings(n_head=2, n_embd=16, context_length=6)
    rotation = rope_rotation(torch.arange(6)[None], settings)
    assert rotation is not None
    x = torch.randn(3, 6, 2, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    for written, derived in both_ways(monkeypatch, lambda x: rotate(x, rotation), x):
        assert written.dtype == derived.dtype
        assert torch.allclose(written, derived, rtol=near, atol=near)


@pytest.mark.parametrize("bias", [False, True])
def test_a_model_s(monkeypatch: pytest.MonkeyPatch, bias: bool) -> None:
    settings = ModelSettings(
        n_layer=2, n_head=4, n_kv_head=2, n_embd=32, context_length=12, bias=bias
    )
    model = Decoder(settings, 40)
    model.initialise(0)
    ids = torch.randint(40, (3, 12), generator=torch.Generator().manual_seed(0))

    def grads() -> dict[str, Tensor]:
        model.zero_grad()
        model.train()(ids).square().sum().backward()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    written = grads()
    monkeypatch.setattr(decoder, "has_own_backward", lambda x: False)
    for name, derived in grads().items():
        assert torch.allclose(written[name], derived, rtol=1e-4, atol=1e-5), name


def test_nothing_is_kept_where_nobody_learns() -> None:
    with torch.no_grad():
        assert not backward.has_own_backward(torch.zeros(1))
