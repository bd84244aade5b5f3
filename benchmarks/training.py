"""Training tokens/s beside transformers' Llama of the same shape, and beside the matrix products.

    python benchmarks/training.py [26m|59m] [--rounds 5] [--quick]

Forward and backward pass of one batch, on one thread of one core, in turns in one process, in
seconds of CPU; medians of the rounds' ratios, with the least and the greatest. Ours as a run of
some minutes (as autotune takes it where it does not compile) and compiled; theirs in fp32 and in
bf16 autocast, which is what its Trainer does with `bf16=True`. The share of the matrix products is
what the model's products alone would take at the speed that they have here, measured in the same
rounds.
"""

import itertools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from measured import Figure, arguments, save
from tinychat.config import ModelSettings
from tinychat.model import Decoder, Runtime, processor
from tinychat.training.batches import Batch
from tinychat.training.compiled import CompiledLoss
from tinychat.training.evaluate import summed_loss

SHAPES = {
    "26m": (
        ModelSettings(n_layer=8, n_head=8, n_embd=512, intermediate_size=768, context_length=512),
        16384,
        4,
    ),
    "59m": (
        ModelSettings(n_layer=8, n_head=8, n_embd=512, intermediate_size=2048, context_length=1024),
        50304,
        2,
    ),
    "tiny": (ModelSettings(n_layer=1, n_head=2, n_embd=32, context_length=32), 300, 2),
}
Way = Callable[[], None]


def ours(settings: ModelSettings, vocab_size: int, batch: Batch, *, compiled: bool) -> Way:
    """Our decoder in bf16, attention in blocks."""
    decoder = Decoder(settings, vocab_size).train()
    decoder.initialise(0)
    runtime = Runtime("cpu", "bf16", 1, attention="blocks", compile=compiled)
    runtime.configure(decoder)
    loss = CompiledLoss(decoder) if compiled else None

    def once() -> None:
        runtime.apply()  # compiled and not compiled take turns in one process
        with runtime.autocast():
            nats = loss(batch) if loss else summed_loss(decoder, batch)
        (nats / batch.target_tokens).backward()
        decoder.zero_grad()

    return once


def theirs(settings: ModelSettings, vocab_size: int, batch: Batch, *, bf16: bool) -> Way:
    """transformers' Llama of the same shape."""
    from transformers import LlamaConfig, LlamaForCausalLM

    model: Any = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=settings.n_embd,
            intermediate_size=settings.mlp_width,
            num_hidden_layers=settings.n_layer,
            num_attention_heads=settings.n_head,
            num_key_value_heads=settings.kv_heads,
            max_position_embeddings=settings.context_length,
            tie_word_embeddings=True,
        )
    ).train()
    # it moves labels by one itself
    labels = torch.cat([batch.ids[:, :1], batch.next_ids[:, :-1]], 1)

    def once() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model(input_ids=batch.ids, labels=labels).loss
        loss.backward()
        model.zero_grad()

    return once


def products(settings: ModelSettings, vocab_size: int, rows: int) -> tuple[Way, float]:
    """All matrix products of a pass forwards and backwards and nothing else, in bf16; and their
    operations. Attention's own, of which causality needs half, are not among them."""
    count, width = rows * settings.context_length, settings.n_embd
    shapes = [
        *[(width, settings.n_head * settings.head_width)] * 2,
        *[(width, settings.kv_heads * settings.head_width)] * 2,
        *[(width, settings.mlp_width)] * 3,
    ]
    shapes = shapes * settings.n_layer + [(width, vocab_size)]
    made: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor]] = {}
    for inner, outer in set(shapes):
        sizes = ((count, inner), (inner, outer), (count, outer))
        x, w, g = (torch.randn(size).bfloat16() for size in sizes)
        made[inner, outer] = x, w, g

    def once() -> None:
        for shape in shapes:
            x, w, g = made[shape]
            torch.mm(x, w)
            torch.mm(g, w.t())
            torch.mm(x.t(), g)

    return once, float(sum(6 * count * inner * outer for inner, outer in shapes))


def cpu_seconds(way: Way) -> float:
    """Of one call."""
    began = time.process_time()
    way()
    return time.process_time() - began


def measure(name: str, rounds: int, *, compiled: bool) -> dict[str, Figure]:
    """Print a table of one shape."""
    settings, vocab_size, rows = SHAPES[name]
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocab_size, (rows, settings.context_length + 1), generator=generator)
    batch = Batch(ids[:, :-1], ids[:, 1:], torch.ones(rows, settings.context_length) > 0)
    multiply, operations = products(settings, vocab_size, rows)
    ways = {
        "ours": ours(settings, vocab_size, batch, compiled=False),
        "transformers fp32": theirs(settings, vocab_size, batch, bf16=False),
        "transformers bf16 autocast": theirs(settings, vocab_size, batch, bf16=True),
        "matrix products": multiply,
    }
    if compiled:
        ways["ours compiled"] = ours(settings, vocab_size, batch, compiled=True)
    for way in ways.values():  # the first call prepares, and compiles
        way()
    took: dict[str, list[float]] = {way: [] for way in ways}
    for _, way in itertools.product(range(rounds), ways):
        took[way].append(cpu_seconds(ways[way]))
    tokens = rows * settings.context_length
    print(f"\n{name}: {tokens} tokens in {rows} rows, bf16 where nothing is said, {rounds} rounds")
    figures: dict[str, Figure] = {}
    for way, seconds in sorted(took.items(), key=lambda each: statistics.median(each[1])):
        speed = Figure.of([tokens / each for each in seconds], " tokens/s")
        figures[f"{way}: speed"] = speed
        line = f"  {way:28} {speed.median:8,.0f} tokens/s"
        if way.startswith("ours"):
            for other in ("transformers fp32", "transformers bf16 autocast"):
                ratio = figures[f"{way} / {other}"] = Figure.ratio(took[other], seconds)
                line += f"   {ratio} {other}"
            share = figures[f"{way} / matrix products"] = Figure.ratio(
                took["matrix products"], seconds
            )
            line += f"   {share.median:.0%} of the products' speed"
        print(line, flush=True)
    speed = operations / statistics.median(took["matrix products"])
    print(f"  the products reach {speed / 1e9:,.0f} GFLOP/s")
    return figures


def main() -> None:
    """Measure what is asked for."""
    parser = arguments(__doc__)
    parser.add_argument("shape", nargs="?", choices=("26m", "59m"), default="26m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--core", type=int, default=0)
    told = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {told.core})
    torch.set_num_threads(1)
    print(f"{processor('cpu')}, torch {torch.__version__}, one thread")
    shape, rounds = ("tiny", 1) if told.quick else (told.shape, told.rounds)
    save(told, measure(shape, rounds, compiled=not told.quick))


if __name__ == "__main__":
    main()
