"""SIGKILL at random moments of one run: while it starts, between steps, inside saves and prunes."""

import math
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tinychat.chaos.ground import Ground, finish, reached, train_rows
from tinychat.chaos.outcome import Tell, Trial
from tinychat.chaos.verdict import compare
from tinychat.runs import RunReader

EPOCHS = 3
EVERY = 5  # steps between checkpoints, and so the most that a kill may cost
MIX = ("birth", *["steps"] * 4, *["save"] * 3, *["prune"] * 2)  # each tenth kill
LEAST = len(MIX)

FLAGS = (
    f"--max-epochs={EPOCHS}", "--eval.every-steps=70", "--sample.every-steps=50",
    "--checkpoint.milestones=3",
)  # fmt: skip


def kills(
    ground: Ground,
    tell: Tell,
    *,
    count: int = 100,
    batch_size: int = 2,
    seconds: float = math.inf,
) -> Trial:
    """Kill one run of three epochs `count` times, then let it end; nobody kills its reference.

    The run has dropout and two micro-batches a step. After `seconds` no more kills are made than
    the least number.
    """
    began = time.monotonic()
    flags = (*FLAGS, f"--batch-size={batch_size}", f"--micro-batch-size={batch_size // 2}")
    # how often it is saved decides no bit
    reference = ground.train("reference", *flags, "--checkpoint.every-steps=none", tell=tell)
    last, _ = train_rows(reference)[-1]
    flags = (*flags, f"--checkpoint.every-steps={EVERY}")
    spree = _Spree(ground.folder / "killed", count, last)
    process = ground.spawn("train", "killed", *flags)
    in_time = True
    for number in range(count):
        in_time = number < LEAST or time.monotonic() - began < seconds
        if not in_time:
            break
        if not spree.kill(process, count - number):
            break
        tell(f"{number + 1} of {count} kills")
        process = ground.go_on("killed", *flags)
    tell("letting it end")
    finish(process)
    verdict = compare(spree.run, reference, last, EVERY)
    resumes = _resumes_within_one_epoch(spree.run, last)
    failures = list(verdict.failures)
    if in_time and spree.killed < count:
        failures.append(f"the run ended after {spree.killed} of {count} kills")
    if resumes < 3:
        failures.append(f"only {resumes} resumes fell into one epoch, which proves too little")
    if not spree.inside["save"]:
        failures.append("no kill hit a save, which proves too little")
    figures = {
        "kills": spree.killed,
        "planned": count,
        "inside_saves": spree.inside["save"],
        "inside_prunes": spree.inside["prune"],
        "resumes_within_one_epoch": resumes,
        "steps": last,
        "steps_redone_at_most": verdict.steps_redone_at_most,
        "bits_different": verdict.bits_different,
    }
    return Trial("kills", spree.killed, figures, time.monotonic() - began, tuple(failures))


class _Spree:
    """Kills one run again and again, spread over its whole length of `last` steps."""

    def __init__(self, run: Path, planned: int, last: int) -> None:
        self.run, self.last = run, last
        self.killed = 0
        self.inside: Counter[str] = Counter()  # what a kill left half done
        self.birth_seconds = 3.0  # until the first step; measured as soon as there is one
        self.random = random.Random("kills")
        self.kinds = [*MIX] * -(-planned // len(MIX))
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
        seen: list[int] = []

        def now() -> bool:
            attempts = _attempts(self.run)
            if kind == "birth":
                return time.monotonic() - began >= wait
            done = _lines(attempts[-1] / "metrics.jsonl") if len(attempts) > before else 0
            if done and not seen:
                seen.append(done)
                self.birth_seconds = time.monotonic() - began
            if kind == "steps" or done > 3 * share + EVERY:
                return done >= steps and len(attempts) > before
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
