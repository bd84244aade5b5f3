"""Minutes to nanoGPT's own final loss on its Shakespeare task for CPUs, beside nanoGPT as shipped.

    python benchmarks/shakespeare.py --nanogpt PATH --data input.txt [--rounds 5] [--quick]

PATH is a checkout of nanoGPT, which gets its own command (README, "I only have a macbook"), and
input.txt the text that it trains on; its first 90 % are learnt from by both. Each command is timed
whole, from its start to its end, in turns, on the threads that it takes by itself. The loss is that
of all of the last 10 %, in windows of 64 characters. Ours is shakespeare.toml.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tinychat.model import processor

HERE = Path(__file__).parent
CONTEXT, ROWS = 64, 12
STEPS, OUR_STEPS = 2000, 300
EVALUATE = """
import pickle, sys, numpy, torch
from model import GPT, GPTConfig
saved = torch.load(sys.argv[1], map_location="cpu", weights_only=False)
model = GPT(GPTConfig(**saved["model_args"]))
model.load_state_dict(saved["model"])
model.eval()
ids = numpy.fromfile("data/shakespeare_char/val.bin", numpy.uint16)
ids = torch.from_numpy(ids.astype("int64"))
count = (len(ids) - 1) // 64
x, y = ids[: count * 64].view(count, 64), ids[1 : count * 64 + 1].view(count, 64)
with torch.no_grad():
    losses = [model(a, b)[1].item() * len(a) for a, b in zip(x.split(128), y.split(128))]
print(sum(losses) / count)
"""


@dataclass(frozen=True)
class Result:
    """Seconds of the whole command, and nats per character of the unseen text."""

    seconds: float
    loss: float


def timed(words: list[str], **where: object) -> float:
    """Seconds of a command. Raises CalledProcessError."""
    began = time.monotonic()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, **where)  # type: ignore[call-overload]
    return time.monotonic() - began


def theirs(nanogpt: Path, steps: int) -> Result:
    """nanoGPT as shipped; its checkpoint is the one with its lowest loss."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = timed(
            [sys.executable, "train.py", "config/train_shakespeare_char.py", "--device=cpu",
             "--compile=False", "--eval_iters=20", "--log_interval=1", f"--block_size={CONTEXT}",
             f"--batch_size={ROWS}", "--n_layer=4", "--n_head=4", "--n_embd=128",
             f"--max_iters={steps}", f"--lr_decay_iters={steps}", "--dropout=0.0",
             f"--out_dir={folder}", f"--eval_interval={min(steps, 250)}"],
            cwd=nanogpt,
        )  # fmt: skip
        words = [sys.executable, "-c", EVALUATE, str(Path(folder, "ckpt.pt"))]
        told = subprocess.run(words, check=True, cwd=nanogpt, capture_output=True, text=True)
    return Result(seconds, float(told.stdout.splitlines()[-1]))


def ours(train: Path, valid: Path, steps: int, seed: int) -> Result:
    """Our command, then our evaluation of its last checkpoint."""
    command = [sys.executable, "-m", "tinychat"]
    with tempfile.TemporaryDirectory() as folder:
        place = ["--checkpoints", folder]
        seconds = timed(
            [*command, "train", "--config", str(HERE / "shakespeare.toml"), "--name", "run",
             "--data", str(train), "--max-steps", str(steps), "--seed", str(seed), *place]
        )  # fmt: skip
        told = subprocess.run(
            [*command, "eval", "run", "--data", str(valid), "--json", *place],
            check=True, capture_output=True,
        )  # fmt: skip
    return Result(seconds, json.loads(told.stdout)["val_loss"])


def prepare(nanogpt: Path, data: Path) -> None:
    """nanoGPT's own token files, of this text."""
    there = nanogpt / "data" / "shakespeare_char"
    shutil.copyfile(data, there / "input.txt")
    subprocess.run([sys.executable, "prepare.py"], cwd=there, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Take turns, and print each turn and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nanogpt", type=Path, help="without it, ours alone")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=OUR_STEPS, help="of ours")
    parser.add_argument("--quick", action="store_true", help="one round of few steps")
    told = parser.parse_args()
    rounds, theirs_steps, steps = told.rounds, STEPS, told.steps
    if told.quick:
        rounds, theirs_steps, steps = 1, 20, 20
    print(f"{processor('cpu')}, {os.cpu_count()} cores")
    if told.nanogpt:
        prepare(told.nanogpt, told.data)
    text = told.data.read_text(encoding="utf-8")
    cut = int(len(text) * 0.9)
    pairs: list[tuple[Result | None, Result]] = []
    with tempfile.TemporaryDirectory() as folder:
        train, valid = Path(folder, "train.txt"), Path(folder, "valid.txt")
        train.write_text(text[:cut], encoding="utf-8")
        valid.write_text(text[cut:], encoding="utf-8")
        for turn in range(rounds):
            other = theirs(told.nanogpt, theirs_steps) if told.nanogpt else None
            mine = ours(train, valid, steps, seed=turn)
            pairs.append((other, mine))
            line = f"ours {mine.seconds:6.1f} s, loss {mine.loss:.4f}"
            if other:
                line = f"nanoGPT {other.seconds:6.1f} s, loss {other.loss:.4f}   {line}"
            print(line, flush=True)
    ratios = [other.seconds / mine.seconds for other, mine in pairs if other]
    if ratios:
        print(
            f"time: {statistics.median(ratios):.2f}x less ({min(ratios):.2f} to "
            f"{max(ratios):.2f}); characters learnt from: {theirs_steps / steps:.2f}x fewer; "
            f"at or below nanoGPT's loss: {sum(m.loss <= o.loss for o, m in pairs if o)} of "
            f"{len(ratios)}"
        )


if __name__ == "__main__":
    main()
