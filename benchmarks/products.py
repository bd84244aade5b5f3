"""A decoding step's matrix products by all the ways that torch has, beside reading their weights.

    python benchmarks/products.py [--rounds 25] [--quick]

One row through every weight of the model of decoding.py, on one thread of one core, in turns, in
seconds of CPU. Reading is a sum over as many bytes as the weights have in bf16: no product of bf16
can be faster, and whole tokens are slower by what lies between the products.
"""

import os
import time
from collections.abc import Callable

import torch
from torch import Tensor

from measured import Figure, arguments, save
from tinychat.model.products import Product, bfloat16, float32, int8, packed_bfloat16

LAYER = ((512, 1536), (512, 512), (512, 2752), (1376, 512))  # (in, out)
HEAD = (512, 8192)


def by_mv(weight: Tensor) -> Product:
    """Matrix times vector."""
    weight = weight.bfloat16()
    return lambda x: torch.mv(weight, x[0])


def transposed(weight: Tensor) -> Product:
    """The weight laid out (in, out)."""
    weight = weight.bfloat16().t().contiguous()
    return lambda x: torch.mm(x, weight)


def fp16(weight: Tensor) -> Product:
    """fbgemm's: weights of fp16, inputs of fp32."""
    packed = torch.ops.quantized.linear_prepack_fp16(weight, None)
    product = torch.ops.quantized.linear_dynamic_fp16.default
    return lambda x: product(x, packed)


def int8_weights(weight: Tensor) -> Product:
    """Weights of eight bits, inputs of bf16."""
    scales = weight.abs().amax(1) / 127
    whole = (weight / scales[:, None]).round().to(torch.int8).contiguous()
    product = torch.ops.aten._weight_int8pack_mm.default
    return lambda x: product(x, whole, scales.bfloat16())


WAYS: dict[str, tuple[Callable[[Tensor], Product], torch.dtype]] = {
    "bf16, laid out once (ours)": (lambda weight: packed_bfloat16(weight, None), torch.bfloat16),
    "bf16, F.linear": (lambda weight: bfloat16(weight, None), torch.bfloat16),
    "bf16, torch.mv": (by_mv, torch.bfloat16),
    "bf16, transposed": (transposed, torch.bfloat16),
    "fp16 by fbgemm": (fp16, torch.float32),
    "int8, inputs too (ours)": (lambda weight: int8(weight, None), torch.float32),
    "int8, weights only": (int8_weights, torch.bfloat16),
    "fp32": (lambda weight: float32(weight, None), torch.float32),
}


def main() -> None:
    """Measure, print."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--core", type=int, default=0)
    told = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {told.core})
    torch.set_num_threads(1)
    rounds, layers = (2, 1) if told.quick else (told.rounds, 8)
    shapes = [*LAYER * layers, HEAD]
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(out, inner, generator=generator) * 0.05 for inner, out in shapes]
    read = torch.zeros(sum(weight.numel() for weight in weights) // 2)
    made: dict[str, list[Product]] = {}
    for way, (maker, _) in WAYS.items():
        try:
            made[way] = [maker(weight) for weight in weights]
        except (AttributeError, RuntimeError) as error:
            print(f"{way}: not here ({str(error).splitlines()[0]})")
    took: dict[str, list[float]] = {way: [] for way in ("reading", *made)}
    with torch.inference_mode():
        for _ in range(rounds):
            began = time.process_time()
            read.sum()
            took["reading"].append(1000 * (time.process_time() - began))
            for way, products in made.items():
                rows = {inner: torch.ones(1, inner, dtype=WAYS[way][1]) for inner, _ in shapes}
                began = time.process_time()
                for product, (inner, _) in zip(products, shapes, strict=True):
                    product(rows[inner])
                took[way].append(1000 * (time.process_time() - began))
    figures = {way: Figure.of(all_, " ms") for way, all_ in took.items()}
    for way, figure in figures.items():
        print(f"{way:28} {figure}")
    save(told, figures)


if __name__ == "__main__":
    main()
