"""Training tokens/s of one process and of two by torchrun, on this machine.

    python benchmarks/ranks.py [--preset 5m] [--rounds 5] [--steps 10] [--quick]

The same run in turns: one process with one thread, one with as many threads as there are cores, and
two processes that share the cores, with gloo between them. Speed is that of the steps' median after
the first few; starting, which costs seconds more with torchrun, is not counted. Where a machine has
two cores, two processes have no more of them than two threads have: what this then tells is the
price of adding up gradients between processes, not what a second machine would bring.
"""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measured import QUICKLY, Figure, arguments, save
from tinychat.runs import RunReader

FIRST_STEPS = 3  # not counted
PROCESSES = 2


def commands(cores: int) -> dict[str, tuple[list[str], int]]:
    """The way to start Python, and the threads of each process."""
    alone = [sys.executable]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(PROCESSES)]
    return {
        "1 process, 1 thread": (alone, 1),
        f"1 process, {cores} threads": (alone, cores),
        f"{PROCESSES} processes": (launcher, max(1, cores // PROCESSES)),
    }


def speed(start: list[str], threads: int, flags: list[str], folder: Path) -> float:
    """Tokens/s of the median step."""
    if len(start) > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            start = [*start, "--master-port", str(free.getsockname()[1])]
    done = subprocess.run(
        [*start, "-m", "tinychat", "train", "--runtime.threads", str(threads), *flags],
        capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    run = folder / "run"
    rows = [row for row in RunReader(run).rows("metrics") if row["kind"] == "train"]
    shutil.rmtree(run)  # the prepared corpus stays
    return statistics.median(row["tokens_per_second"] for row in rows[FIRST_STEPS:])


def main() -> None:
    """Take turns, and print the medians."""
    parser = arguments(__doc__)
    parser.add_argument("--preset", default="5m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=8)
    told = parser.parse_args()
    if told.quick:
        told.preset, told.rounds, told.steps, told.batch_size = "demo", 1, 5, 2
    ways = commands(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    if told.quick:
        del ways[list(ways)[1]]
    took: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="tinychat-ranks-") as place:
        folder = Path(place)
        flags = ["--preset", told.preset, "--name", "run", "--checkpoints", place]
        flags += ["--max-steps", str(told.steps), "--batch-size", str(told.batch_size)]
        flags += ["--log.every-steps", "1", "--runtime.autotune=false"]
        flags += [f"--{each}.every-steps=none" for each in ("eval", "sample", "checkpoint")]
        if told.quick:
            flags += ["--model.n-layer", "1", *QUICKLY[:1]]
        for _ in range(told.rounds):
            for way, (start, threads) in ways.items():
                took[way].append(speed(start, threads, flags, folder))
                print(f"{way:24} {took[way][-1]:8,.0f} tokens/s", flush=True)
    figures = {way: Figure.of(all_, " tokens/s") for way, all_ in took.items()}
    *alone, together = took
    figures |= {f"{together} / {way}": Figure.ratio(took[together], took[way]) for way in alone}
    for name, figure in figures.items():
        print(f"{name:40} {figure}")
    save(told, figures)


if __name__ == "__main__":
    main()
