"""Minutes to nanoGPT's own final loss on its Shakespeare task for CPUs, beside nanoGPT as shipped.

    python benchmarks/shakespeare.py [--nanogpt PATH] [--data input.txt] [--rounds 5] [--quick]

PATH is a checkout of nanoGPT, which gets its own command (README, "I only have a macbook"), and
input.txt the text that it trains on; its first 90 % are learnt from by both. Each command is timed
whole, from its start to its end, in turns, on the threads that it takes by itself. The loss is that
of all of the last 10 %, in windows of 64 characters. Ours is shakespeare.toml.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from measured import Figure, arguments, save
from tinychat.model import processor
from tinychat.text.smalltalk import training_conversations

HERE = Path(__file__).parent
CONTEXT, ROWS, STEPS = 64, 12, 2000  # theirs
OUR_ROWS, OUR_STEPS = 24, 140  # as shakespeare.toml has them
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


def ours(train: Path, valid: Path, steps: int, seed: int, more: list[str]) -> Result:
    """Our command, then our evaluation of its last checkpoint."""
    command = [sys.executable, "-m", "tinychat"]
    with tempfile.TemporaryDirectory() as folder:
        place = ["--checkpoints", folder]
        seconds = timed(
            [*command, "train", "--config", str(HERE / "shakespeare.toml"), "--name", "run",
             "--data", str(train), "--max-steps", str(steps), "--seed", str(seed), *place, *more]
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
    parser = arguments(__doc__)
    parser.add_argument("--nanogpt", type=Path, help="without it, ours alone")
    parser.add_argument("--data", type=Path, help="without it, the built-in small talk")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=OUR_STEPS, help="of ours")
    told = parser.parse_args()
    rounds, theirs_steps, steps, more = told.rounds, STEPS, told.steps, list[str]()
    if told.quick:
        rounds, theirs_steps, steps = 1, 20, 20
        more = ["--runtime.autotune=false", "--runtime.threads=1"]
    print(f"{processor('cpu')}, {os.cpu_count()} cores")
    pairs: list[tuple[Result | None, Result]] = []
    with tempfile.TemporaryDirectory() as folder:
        whole, train, valid = (Path(folder, f"{name}.txt") for name in ("all", "train", "valid"))
        text = told.data.read_text(encoding="utf-8") if told.data else small_talk()
        cut = int(len(text) * 0.9)
        whole.write_text(text, encoding="utf-8")
        train.write_text(text[:cut], encoding="utf-8")
        valid.write_text(text[cut:], encoding="utf-8")
        if told.nanogpt:
            prepare(told.nanogpt, whole)
        for turn in range(rounds):
            other = theirs(told.nanogpt, theirs_steps) if told.nanogpt else None
            mine = ours(train, valid, steps, turn, more)
            pairs.append((other, mine))
            line = f"ours {mine.seconds:6.1f} s, loss {mine.loss:.4f}"
            if other:
                line = f"nanoGPT {other.seconds:6.1f} s, loss {other.loss:.4f}   {line}"
            print(line, flush=True)
    characters = theirs_steps * ROWS / (steps * OUR_ROWS)
    figures = tell(pairs) | {"characters fewer": Figure.of([characters])}
    for name, figure in figures.items():
        print(f"{name:24} {figure}")
    save(told, figures)


def tell(pairs: list[tuple[Result | None, Result]]) -> dict[str, Figure]:
    """What the turns come to."""
    figures = {
        "ours: seconds": Figure.of([mine.seconds for _, mine in pairs], " s"),
        "ours: loss": Figure.of([mine.loss for _, mine in pairs], " nats"),
    }
    beside = [(other, mine) for other, mine in pairs if other]
    if beside:
        figures |= {
            "nanoGPT: seconds": Figure.of([other.seconds for other, _ in beside], " s"),
            "nanoGPT: loss": Figure.of([other.loss for other, _ in beside], " nats"),
            "less time": Figure.of([other.seconds / mine.seconds for other, mine in beside]),
            "less loss": Figure.of([other.loss - mine.loss for other, mine in beside], " nats"),
        }
    return figures


def small_talk() -> str:
    """A text to show that it runs."""
    talks = itertools.islice(training_conversations(), 200)
    return "\n".join(message.content for talk in talks for message in talk.messages)


if __name__ == "__main__":
    main()
