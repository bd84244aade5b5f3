"""How many held-out questions `demo` answers rightly after so many minutes of training.

    python benchmarks/exam.py [--minutes 2] [--seeds 3] [--steps N] [--quick] [FLAG ...]

Trains the preset once for each seed, with as many steps as `tinychat plan` expects to fit into the
minutes here, evaluations and samples included, and asks the questions that no talk of training or
validation holds: an answer is right if it is so to the letter. Sums of numbers that never met in
training are counted apart. The minutes are from the beginning of the first step to the end of the
last; preparing the data and trying ways to compute come before. Other flags go to `tinychat train`.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measured import QUICKLY, Figure, arguments, save
from tinychat.runs import RunReader

PROBED_STEPS = 1000  # planned for, to learn how long a step takes
MARGIN = 0.97  # of the time; plans have been off by 3 %


def tinychat(*words: str) -> bytes:
    """What a command prints. What it tells a person goes where ours does."""
    command = [sys.executable, "-m", "tinychat", *words]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


def steps_in(minutes: float, flags: list[str]) -> int:
    """How many steps that time is enough for."""
    told = tinychat("plan", *flags, "--max-steps", str(PROBED_STEPS), "--json")
    return int(60 * minutes * MARGIN / json.loads(told)["duration"]["total"] * PROBED_STEPS)


def examined(steps: int, seed: int, flags: list[str], folder: str) -> dict[str, float]:
    """One run and its examination: minutes and per cent."""
    name = f"seed-{seed}"
    tinychat("train", "--name", name, "--max-steps", str(steps), "--seed", str(seed), *flags)
    rows = [row for row in RunReader(Path(folder) / name).rows("metrics") if row["kind"] == "train"]
    minutes = (rows[-1]["time"] - rows[0]["time"]) / 60 * steps / max(1, steps - rows[0]["step"])
    right = json.loads(tinychat("eval", name, "--checkpoints", folder, "--json"))["answers_right"]
    return {
        "minutes": minutes,
        "steps": steps,
        "answers right": 100 * right["share"],
        "unseen sums": 100 * right["unseen_sums"]["share"],
        "unseen counting": 100 * right["unseen_counting"]["share"],
    }


def main() -> None:
    """Train, ask, print."""
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seeds", type=int, default=3, help="how many runs, with seeds 0, 1, ...")
    parser.add_argument("--steps", type=int, help="of each run, instead of minutes")
    told, more = parser.parse_known_args()
    if told.quick:
        told.seeds, told.steps = 1, 4
        more += ["--model.n-layer=1", "--model.n-embd=48", "--batch-size=2"]
        more += [*QUICKLY, "--sample.every-steps=none"]
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="tinychat-exam-") as folder:
        flags = ["--preset", "demo", "--checkpoints", folder, *more]
        steps = told.steps or steps_in(told.minutes, flags)
        for seed in range(told.seeds):
            for name, value in examined(steps, seed, flags, folder).items():
                found.setdefault(name, []).append(value)
            print(", ".join(f"{name} {all_[-1]:.1f}" for name, all_ in found.items()), flush=True)
    units = {"minutes": " min", "steps": ""}
    figures = {name: Figure.of(all_, units.get(name, " %")) for name, all_ in found.items()}
    for name, figure in figures.items():
        print(f"{name:16} {figure}")
    save(told, figures)


if __name__ == "__main__":
    main()
