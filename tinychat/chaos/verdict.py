"""Whether a run that was hurt ended as one that was not."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tinychat.chaos.ground import train_rows
from tinychat.runs import RunPaths, RunReader
from tinychat.runs.reader import parse_line


@dataclass(frozen=True)
class Verdict:
    """What is left of the harm."""

    bits_different: int  # in the last weights and the optimizer's memory
    steps_redone_at_most: int  # after any one interruption
    failures: tuple[str, ...]


def compare(run: Path, reference: Path, last: int, every: int) -> Verdict:
    """Compare two runs of `last` steps with a checkpoint at least each `every` steps.

    All is well if no bit differs, each step stands once in the log with the reference's loss, no
    more than `every` steps were done again at a time, and no remains of a save lie about.
    """
    failures = []
    bits = sum(
        _bits_different(RunPaths(run).checkpoint(last) / name, other / name)
        for other in [RunPaths(reference).checkpoint(last)]
        for name in ("model.safetensors", "optimizer.safetensors")
    )
    if bits:
        failures.append(f"{bits:,} bits of weights and optimizer differ at step {last}")
    rows, expected = train_rows(run), train_rows(reference)
    if [step for step, _ in rows] != list(range(1, last + 1)):
        failures.append(f"the log does not hold each step from 1 to {last} once")
    elif rows != expected:
        step = next(a[0] for a, b in zip(rows, expected, strict=True) if a != b)
        failures.append(f"logged losses differ from step {step} on")
    redone = steps_redone_at_most(run)
    if redone > every:
        failures.append(f"{redone} steps were done again at once; checkpoints are {every} apart")
    if left := leftovers(run):
        failures.append(f"left behind: {', '.join(left)}")
    return Verdict(bits, redone, tuple(failures))


def steps_redone_at_most(run: Path) -> int:
    """The most steps that an attempt had done and the next one did again."""
    most = 0
    for (number, _), (_, later) in pairwise(RunReader(run).attempts()):
        log = RunPaths(run).attempt(number).metrics
        lines = log.read_bytes().splitlines() if log.exists() else []
        rows = [row for line in lines if (row := parse_line(line))]
        done = max((row["step"] for row in rows if row["kind"] == "train"), default=0)
        most = max(most, done - later.from_step)
    return most


def leftovers(run: Path) -> list[str]:
    """Names of what an interrupted write left in the run's folder."""
    return sorted(path.name for path in run.iterdir() if path.name.startswith("."))


def _bits_different(one: Path, other: Path) -> int:
    a, b = one.read_bytes(), other.read_bytes()
    length = min(len(a), len(b))
    differing = int.from_bytes(a[:length]) ^ int.from_bytes(b[:length])
    return differing.bit_count() + 8 * abs(len(a) - len(b))
