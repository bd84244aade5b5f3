"""Matrix products for answering on a CPU, where a step's time is the time to read the weights.

Each maker takes a weight (out, in) and a bias in fp32 and gives a function from (rows, in) to
(rows, out). `float32` is the plain one. `packed_bfloat16` lays the weight out once as oneDNN wants
it; F.linear would do that at each call, which costs as much as the half of the bytes saves.
`int8` keeps a whole number of eight bits and a scale for each output, and rounds its input, one
row, to eight bits as well: a quarter of the bytes, for the steps of a single conversation.

The operators behind the last two are no public interface of torch, so whether they are there, and
right, is tried before they are used.
"""

import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_STEP = 6.1e-5  # between two of the eight-bit numbers that torch rounds an input to

Product = Callable[[Tensor], Tensor]
Maker = Callable[[Tensor, Tensor | None], Product]


def float32(weight: Tensor, bias: Tensor | None) -> Product:
    """fp32 in and out."""
    weight = weight.float().contiguous()
    return lambda x: F.linear(x, weight, bias)


def bfloat16(weight: Tensor, bias: Tensor | None) -> Product:
    """bf16 in and out, by torch's public function."""
    weight, bias = weight.bfloat16(), None if bias is None else bias.bfloat16()
    return lambda x: F.linear(x, weight, bias)


def packed_bfloat16(weight: Tensor, bias: Tensor | None) -> Product:
    """bf16 in and out, as `bfloat16`, with the weight laid out once."""
    product = torch.ops.mkldnn._linear_pointwise.default
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16().contiguous(), None)
    bias = None if bias is None else bias.bfloat16()
    return lambda x: product(x, packed, bias, "none", [], "")


def int8(weight: Tensor, bias: Tensor | None) -> Product:
    """fp32 in and out, one row at a time; inside, whole numbers of eight bits."""
    product = torch.ops.quantized.linear_dynamic.default
    scales = int8_scales(weight)
    zeros = torch.zeros(len(weight), dtype=torch.long)
    with warnings.catch_warnings(action="ignore"):  # that torch may give it up one day
        whole = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
        packed = torch.ops.quantized.linear_prepack(whole, bias)
    return lambda x: product(x, packed, False)


def imitated_int8(weight: Tensor, bias: Tensor | None) -> Product:
    """What `int8` gives, by products in fp32, for any number of rows: to measure what it costs."""
    scales = int8_scales(weight)[:, None]
    weight = (weight / scales).round() * scales

    def product(x: Tensor) -> Tensor:
        least, most = x.aminmax(dim=-1, keepdim=True)
        least, most = least.clamp(max=0), most.clamp(min=0)
        step = ((most - least) / 255).clamp(min=1e-12)
        zero = (-least / step).round()
        step = step.clamp(min=LEAST_STEP)
        return F.linear((((x / step).round() + zero).clamp(0, 255) - zero) * step, weight, bias)

    return product


def int8_scales(weight: Tensor) -> Tensor:
    """What one of 127 is worth in each output's row (out,)."""
    return weight.abs().amax(1).clamp(min=1e-12) / 127


def best_bfloat16() -> Maker:
    """The packed product where it is there and right, else the plain one."""
    return packed_bfloat16 if _agree(packed_bfloat16, bfloat16, torch.bfloat16, 0.02) else bfloat16


def has_int8() -> bool:
    """Whether this CPU multiplies eight-bit numbers without overflow, and torch gives them out."""
    vnni = getattr(torch.cpu, "_is_vnni_supported", lambda: False)()
    if not vnni or torch.backends.quantized.engine not in ("x86", "fbgemm", "onednn"):
        return False
    return _agree(int8, float32, torch.float32, 0.03)


def _agree(maker: Maker, other: Maker, dtype: torch.dtype, tolerance: float) -> bool:
    """Whether two makers' products are equal up to rounding."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(96, 64, generator=generator)
    bias = torch.randn(96, generator=generator)
    x = torch.randn(1, 64, generator=generator).to(dtype)
    try:
        for b in (None, bias):
            one, two = maker(weight, b)(x).float(), other(weight, b)(x).float()
            if not bool((one - two).abs().max() <= tolerance * two.abs().max()):
                return False
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return True
