"""SIGKILL at random moments of one run: while it starts, between steps, inside saves and prunes."""

import math
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tinychat.chaos.ground import Ground, finish, reached
from tinychat.chaos.outcome import Outcome, Tell
from tinychat.chaos.verdict import compare
from tinychat.runs import RunReader

EPOCHS = 3
EVERY = 5  # steps between checkpoints, and so the most that a kill may cost
LEAST = 20
MIX = ("birth", *["steps"] * 4, *["save"] * 3, *["prune"] * 2)  # each tenth kill

FLAGS = (
    f"--max-epochs={EPOCHS}", f"--checkpoint.every-steps={EVERY}", "--checkpoint.milestones=3",
    "--eval.every-steps=70", "--sample.every-steps=50",
)  # fmt: skip


def kills(
    ground: Ground,
    tell: Tell,
    *,
    count: int = 100,
    batch_size: int = 2,
    seconds: float = math.inf,
) -> Outcome:
    """Kill one run of three epochs `count` times, then let it end; nobody kills its reference.

    The run has dropout and two micro-batches a step. After `seconds` no more kills are made than
    the least number.
    """
    began = time.monotonic()
    flags = (*FLAGS, f"--batch-size={batch_size}", f"--micro-batch-size={batch_size // 2}")
    tell("training the run that nobody kills")
    birth_seconds, last = _reference(ground, flags)
    spree = _Spree(ground, flags, count, last, birth_seconds)
    process = ground.spawn("train", "killed", *flags)
    for number in range(count):
        if number >= LEAST and time.monotonic() - began > seconds:
            break
        if not spree.kill(process, count - number):
            break
        tell(f"{number + 1} of {count} kills")
        process = ground.go_on("killed", *flags)
    tell("letting it end")
    finish(process)
    run = ground.folder / "killed"
    verdict = compare(run, ground.folder / "reference", last, EVERY)
    resumes = _resumes_within_one_epoch(run, last)
    failures = list(verdict.failures)
    if spree.killed < min(count, LEAST):
        failures.append(f"the run ended after {spree.killed} kills")
    if resumes < 3:
        failures.append(f"only {resumes} resumes fell into one epoch, which proves too little")
    if not spree.inside["save"]:
        failures.append("no kill hit a save, which proves too little")
    figures = {
        "kills": spree.killed,
        "inside_saves": spree.inside["save"],
        "inside_prunes": spree.inside["prune"],
        "resumes_within_one_epoch": resumes,
        "steps": last,
        "steps_redone_at_most": verdict.steps_redone_at_most,
        "bits_different": verdict.bits_different,
    }
    return Outcome("kills", spree.killed, figures, time.monotonic() - began, tuple(failures))


def _reference(ground: Ground, flags: tuple[str, ...]) -> tuple[float, int]:
    """(seconds until its first attempt, steps to the end) of the run that nobody kills."""
    began = time.monotonic()
    process = ground.spawn("train", "reference", *flags)
    run = ground.folder / "reference"
    reached(process, lambda: _attempts(run))
    birth_seconds = time.monotonic() - began
    finish(process)
    status = RunReader(run).status
    assert status is not None  # it has ended well
    return birth_seconds, status.step


@dataclass
class _Spree:
    """Kills one run again and again, spread over its whole length."""

    ground: Ground
    flags: tuple[str, ...]
    planned: int
    last: int
    birth_seconds: float
    killed: int = 0
    inside: Counter[str] = field(default_factory=Counter)  # what a kill left half done

    def __post_init__(self) -> None:
        self.random = random.Random("kills")
        self.run = self.ground.folder / "killed"
        tens = -(-self.planned // len(MIX))
        self.kinds = [kind for kind in MIX for _ in range(tens)]
        self.random.shuffle(self.kinds)
        # the first one hits a run that is not born yet
        self.kinds.insert(0, self.kinds.pop(self.kinds.index("birth")))

    def kill(self, process: subprocess.Popen[str], left: int) -> bool:
        """Kill it at a moment of this kill's kind; False if it ended before."""
        kind = self.kinds[self.killed]
        if not reached(process, self._moment(kind, left)) or process.poll() is not None:
            return False
        if kind == "steps":
            time.sleep(self.random.uniform(0, 0.02))
        process.kill()
        process.communicate()
        self.killed += 1
        names = _names(self.run)
        if any(name.startswith((".tmp-step", ".old-step")) for name in names):
            self.inside["save"] += 1
        if any(name.startswith(".del-") for name in names):
            self.inside["prune"] += 1
        return True

    def _moment(self, kind: str, left: int) -> Callable[[], bool]:
        """True at the moment to kill. Each kill has its share of the steps that are left, so that
        the run is killed to its end however long it is."""
        began, before = time.monotonic(), len(_attempts(self.run))
        status = RunReader(self.run).status
        share = (self.last - (status.step if status else 0)) / (left + 1)
        steps = self.random.uniform(0, 2 * share)
        wait = self.random.uniform(0, self.birth_seconds)

        def now() -> bool:
            attempts = _attempts(self.run)
            if kind == "birth":
                return time.monotonic() - began >= wait
            if len(attempts) == before:
                return False
            done = _lines(attempts[-1] / "metrics.jsonl")
            if kind == "steps" or done > 3 * share + EVERY:
                return done >= steps
            wanted = ".tmp-step" if kind == "save" else ".del-"
            return done > 0 and any(name.startswith(wanted) for name in _names(self.run))

        return now


def _attempts(run: Path) -> list[Path]:
    return [path.parent for path in sorted(run.glob("attempts/*/attempt.json"))]


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _names(run: Path) -> list[str]:
    try:
        return os.listdir(run)
    except FileNotFoundError:
        return []


def _resumes_within_one_epoch(run: Path, last: int) -> int:
    """The most resumes that fell into the same epoch, after its first step."""
    steps = last / EPOCHS
    starts = [a.from_step for _, a in RunReader(run).attempts() if a.from_step % steps]
    return max(Counter(int(step // steps) for step in starts).values(), default=0)
