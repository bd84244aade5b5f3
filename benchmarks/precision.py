"""Milliseconds of one training step in fp32 and bf16, side by side in one process.

    python benchmarks/precision.py [THREADS] [--quick]

Shapes take turns, so that a busy machine disturbs all alike.
"""

import time

import torch

from measured import Figure, arguments, save
from tinychat.config import ModelSettings, OptimSettings
from tinychat.model import Decoder, Runtime
from tinychat.training.batches import Batch
from tinychat.training.evaluate import summed_loss
from tinychat.training.optimizer import Optimizer, gradient_norm

ROUNDS = 10
VOCAB_SIZE = 512
SHAPES = {
    "demo, 16 rows of 128": (
        ModelSettings(n_layer=6, n_head=5, n_embd=160, context_length=128),
        16,
    ),
    "demo, 32 rows of 128": (
        ModelSettings(n_layer=6, n_head=5, n_embd=160, context_length=128),
        32,
    ),
    "0.8 M, 12 rows of 64": (ModelSettings(n_layer=4, n_head=4, n_embd=128, context_length=64), 12),
}


class Case:
    """One shape, ready to take steps."""

    def __init__(self, settings: ModelSettings, rows: int) -> None:
        self.decoder = Decoder(settings, VOCAB_SIZE)
        self.decoder.initialise(0)
        self.optimizer = Optimizer(self.decoder, OptimSettings())
        ids = torch.randint(6, VOCAB_SIZE, (rows, settings.context_length + 1))
        self.batch = Batch(ids[:, :-1], ids[:, 1:], torch.ones(rows, settings.context_length) > 0)

    def step(self, runtime: Runtime) -> float:
        """Seconds of one update."""
        began = time.monotonic()
        with runtime.autocast():
            loss = summed_loss(self.decoder, self.batch) / self.batch.target_tokens
        loss.backward()
        gradient_norm(self.decoder)
        self.optimizer.step(1e-4)
        self.optimizer.zero_grad()
        return time.monotonic() - began


def main() -> None:
    """Measure and print a table."""
    parser = arguments(__doc__)
    parser.add_argument("threads", nargs="?", type=int, default=2)
    told = parser.parse_args()
    threads, rounds = (1, 2) if told.quick else (told.threads, ROUNDS)
    torch.set_num_threads(threads)
    cases = {name: Case(*shape) for name, shape in SHAPES.items()}
    took: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for name, case in cases.items():
            for dtype in ("fp32", "bf16"):
                seconds = case.step(Runtime("cpu", dtype, threads))
                took.setdefault((name, dtype), []).append(1000 * seconds)
    print(f"{threads} threads, torch {torch.__version__}")
    figures: dict[str, Figure] = {}
    for name in cases:
        fp32, bf16 = took[name, "fp32"], took[name, "bf16"]
        figures |= {
            f"{name}: fp32": Figure.of(fp32, " ms"),
            f"{name}: bf16": Figure.of(bf16, " ms"),
            f"{name}: fp32 / bf16": Figure.ratio(fp32, bf16),
        }
    for name, figure in figures.items():
        print(f"{name:36} {figure}")
    save(told, figures)


if __name__ == "__main__":
    main()
