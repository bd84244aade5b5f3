"""What weights of eight bits cost in held-out loss: a model of 29.5 M parameters, or any run.

    python benchmarks/int8.py [--run RUN] [--data TEXT] [--steps 120] [--quick]

Without RUN a model of the shape of decoding.py is trained for a few minutes first, on TEXT or on
the built-in small talk. The loss is that of the whole validation split, in nats per token, and the
figure is how much it is higher with what `--int8` makes of the weights; it says nothing of speed
and may be taken on a busy machine.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measured import QUICKLY, Figure, arguments, save


def tinychat(*words: str) -> bytes:
    """What a command prints. What it tells a person goes where ours does."""
    command = [sys.executable, "-m", "tinychat", *words]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


def main() -> None:
    """Train if there is no run, measure, print."""
    parser = arguments(__doc__)
    parser.add_argument("--run", help="a run's folder or a checkpoint")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", type=int, default=120)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tinychat-int8-") as folder:
        run = told.run or str(Path(folder) / "run")
        if not told.run:
            words = ["train", "--preset", "30m", "--name", "run", "--checkpoints", folder]
            words += ["--model.context-length", "256", "--batch-size", "16"]
            words += ["--eval.every-steps", "none", "--sample.every-steps", "none"]
            words += ["--data", str(told.data)] if told.data else []
            if told.quick:
                words += ["--model.n-layer", "1", "--model.n-embd", "64", "--max-steps", "4"]
                words += ["--tokenizer.vocab-size", "300"]
                words += QUICKLY
            else:
                words += ["--max-steps", str(told.steps)]
            tinychat(*words)
        found = json.loads(tinychat("eval", run, "--int8", "--json"))
    figures = {
        "loss": Figure.of([found["int8"]["worse"]], " nats"),
        "plain": Figure.of([found["val_loss"]], " nats"),
    }
    for name, figure in figures.items():
        print(f"{name:8} {figure.median:.5f}{figure.unit}")
    save(told, figures)


if __name__ == "__main__":
    main()
