"""RMSNorm and rotary positions for training on a CPU, with backward passes written out.

torch has neither as one operation there. Derived by autograd, each norm becomes some twenty passes
over its input, and in a small model they take longer than the matrix products.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def has_own_backward(x: Tensor) -> bool:
    """Whether these are to be used; torch.compile makes better ones out of what is plainly said."""
    return x.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling()


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x (..., C) over the root of its mean square, times weight (C): computed in fp32, returned as
    what autocast would make of it, or as x's type."""
    return _RMSNorm.apply(x, weight, eps)


def rotate_by(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Each pair (x_i, x_{i + D/2}) of x (B, T, heads, D) turned by angles (B, T, 1, D)."""
    return _Rotation.apply(x, cosine, sine)


class _RMSNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = (length.square() / x.shape[-1] + eps).rsqrt()
        ctx.save_for_backward(x, weight, scale)
        autocast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if autocast else x.dtype
        return (x * scale).mul_(weight).to(dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        x, weight, scale = ctx.saved_tensors
        normed, grad = x * scale, grad.float()
        both = grad * normed
        along = (both @ weight)[..., None] / x.shape[-1]
        grad_x = (grad * weight).addcmul_(normed, along, value=-1).mul_(scale)
        return grad_x.to(x.dtype), both.flatten(0, -2).sum(0), None


class _Rotation(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        return _turned(x, cosine, sine)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        cosine, sine = ctx.saved_tensors
        return _turned(grad, cosine, -sine), None, None


def _turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    turned = x * cosine
    turned[..., :half].addcmul_(x[..., half:], sine[..., :half], value=-1)
    turned[..., half:].addcmul_(x[..., :half], sine[..., half:])
    return turned.to(x.dtype)
