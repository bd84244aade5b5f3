"""Two runs at once on this machine's cores, by how their threads wait for each other.

    python benchmarks/sharing.py [--preset demo] [--rounds 5] [--steps 40] [--quick]

The same run in turns: alone and beside another of its kind, as torch's OpenMP waits of itself and
as `tinychat` has it wait (tinychat/threads.py). Each has as many threads as there are cores. Speed
is what all of them learnt from, by the time from the first step of any to the last of all.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measured import QUICKLY, Figure, arguments, save
from tinychat.runs import RunReader

WAYS = {"OpenMP's own waiting": {"GOMP_SPINCOUNT": "300000"}, "tinychat's waiting": {}}
UNSET = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")


def speed(n_runs: int, waiting: dict[str, str], flags: list[str], folder: Path) -> float:
    """Tokens/s of all runs that go on at once."""
    environ = {name: value for name, value in os.environ.items() if name not in UNSET} | waiting
    names = [f"run-{number}" for number in range(n_runs)]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tinychat", "train", "--name", name, *flags],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environ,
        )
        for name in names
    ]  # fmt: skip
    for process in started:
        told = process.communicate()[1]
        if process.returncode:
            raise SystemExit(told)
    steps = [_steps(folder / name) for name in names]
    tokens = sum(rows[-1]["tokens_seen"] - rows[0]["tokens_seen"] for rows in steps)
    return tokens / (
        max(rows[-1]["time"] for rows in steps) - min(rows[0]["time"] for rows in steps)
    )


def _steps(run: Path) -> list[dict[str, Any]]:
    rows = [row for row in RunReader(run).rows("metrics") if row["kind"] == "train"]
    shutil.rmtree(run)  # the prepared corpus stays
    return rows


def main() -> None:
    """Take turns, and print the medians."""
    parser = arguments(__doc__)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    told = parser.parse_args()
    if told.quick:
        told.rounds = 1
    took: dict[tuple[int, str], list[float]] = {(n, way): [] for n in (1, 2) for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="tinychat-sharing-") as place:
        flags = ["--preset", told.preset, "--checkpoints", place, "--runtime.autotune=false"]
        flags += ["--max-steps", str(told.steps), "--log.every-steps", "1"]
        flags += [f"--{each}.every-steps=none" for each in ("eval", "sample", "checkpoint")]
        if told.quick:
            flags += ["--model.n-layer", "1", "--batch-size", "4", *QUICKLY[:1]]
        speed(1, {}, flags, Path(place))  # prepares the corpus, once for all
        for _ in range(told.rounds):
            for n_runs, way in took:
                took[n_runs, way].append(speed(n_runs, WAYS[way], flags, Path(place)))
                print(
                    f"{n_runs} at once, {way:22} {took[n_runs, way][-1]:9,.0f} tokens/s", flush=True
                )
    figures = {
        f"{n} at once, {way}": Figure.of(all_, " tokens/s") for (n, way), all_ in took.items()
    }
    theirs, ours = WAYS
    for n in (1, 2):
        figures[f"{n} at once, ours / theirs"] = Figure.ratio(took[n, ours], took[n, theirs])
    for name, figure in figures.items():
        print(f"{name:40} {figure}")
    save(told, figures)


if __name__ == "__main__":
    main()
