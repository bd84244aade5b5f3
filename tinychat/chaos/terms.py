"""SIGTERM at any moment: the run saves, leaves with 0, and the next start does the next step.

The moments are those in which a process does something that takes long: a step, an evaluation,
samples, a save, the preparation of its corpus.
"""

import math
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Mapping

from tinychat.chaos.ground import Ground, finish, reached, train_rows
from tinychat.chaos.outcome import Tell, Trial
from tinychat.chaos.verdict import compare
from tinychat.runs import RunReader, list_checkpoints

MOMENTS = ("tokenizing", "evaluating", "training", "sampling", "saving")
LEAST = len(MOMENTS)
STEPS_PER_SIGNAL = 15
MISSES = 5  # in a row, after which a moment is taken to be too short on this machine

LOOKING = ("--eval.every-steps=6", "--sample.every-steps=4", "--checkpoint.every-steps=5")
NOT_LOOKING = ("--eval.every-steps=none", "--sample.every-steps=none")  # which decides no bit


def terms(ground: Ground, tell: Tell, *, count: int = 30, seconds: float = math.inf) -> Trial:
    """Send one run SIGTERM `count` times, each time at a moment that was hit for certain.

    After `seconds` no more are sent than the least number.
    """
    began = time.monotonic()
    length = f"--max-steps={STEPS_PER_SIGNAL * count}"
    reference = ground.train("reference", length, *NOT_LOOKING, tell=tell)
    series = _Series(ground, (length, *LOOKING))
    in_time = True
    while series.sent < count and in_time:
        if not series.send():
            break
        tell(f"{series.sent} of {count} signals")
        in_time = series.sent < LEAST or time.monotonic() - began < seconds
    tell("letting it end")
    quickly = (*NOT_LOOKING, "--checkpoint.every-steps=none")
    finish(ground.spawn("resume", "told", *quickly))
    verdict = compare(ground.folder / "told", reference, STEPS_PER_SIGNAL * count, 0)
    failures = [*series.failures, *verdict.failures, *never_hit(series.hits)]
    if in_time and series.sent < count:
        failures.append(f"only {series.sent} of {count} signals hit their moment")
    figures = {
        "planned": count,
        **{moment: series.hits[moment] for moment in MOMENTS},
        "steps_redone": verdict.steps_redone_at_most,
        "bits_different": verdict.bits_different,
    }
    return Trial("terms", series.sent, figures, time.monotonic() - began, tuple(failures))


def never_hit(hits: Mapping[str, int]) -> list[str]:
    """A sentence for each kind of moment of which nothing is proved."""
    missing = (moment for moment in MOMENTS if not hits.get(moment))
    return [f"no signal came while {moment}, which proves too little" for moment in missing]


class _Series:
    """The signals to one run, moment by moment."""

    def __init__(self, ground: Ground, flags: tuple[str, ...]) -> None:
        self.ground, self.flags = ground, flags
        self.run = ground.folder / "told"
        self.random = random.Random("terms")
        self.hits: Counter[str] = Counter()
        self.misses: Counter[str] = Counter()
        self.failures: list[str] = []

    @property
    def sent(self) -> int:
        """Signals that hit their moment."""
        return self.hits.total()

    def send(self) -> bool:
        """Start the run and end it again; False if there is nothing left to end."""
        moments = [moment for moment in MOMENTS if self.misses[moment] < MISSES]
        if not moments:
            return False
        moment = min(moments, key=lambda each: self.hits[each])
        if moment == "tokenizing":
            shutil.rmtree(self.ground.folder / ".cache", ignore_errors=True)
        process = self.ground.go_on("told", *self.flags)
        steps, attempts = self.random.randint(1, 6), len(RunReader(self.run).attempts())
        if not reached(process, lambda: self._is_there(process, moment, steps, attempts)):
            finish(process)
            return False
        time.sleep(self.random.uniform(0, 0.01) if moment == "training" else 0)
        process.terminate()
        hit = self._is_in(process, moment) or moment in ("training", "tokenizing")
        finish(process)
        status = RunReader(self.run).status
        if moment == "tokenizing":
            hit = status is not None and "before its data was ready" in status.message
        self._look_at(moment)
        self.hits[moment] += hit
        self.misses[moment] = 0 if hit else self.misses[moment] + 1
        return status is not None and status.state == "stopped"

    def _is_there(
        self, process: "subprocess.Popen[str]", moment: str, steps: int, attempts_before: int
    ) -> bool:
        if moment != "training":
            return self._is_in(process, moment)
        attempts = RunReader(self.run).attempts()
        begun = len(attempts) > attempts_before
        return begun and self._last_step() - attempts[-1][1].from_step >= steps

    def _is_in(self, process: "subprocess.Popen[str]", moment: str) -> bool:
        status = RunReader(self.run).status
        state = "starting" if moment == "tokenizing" else moment
        return status is not None and status.pid == process.pid and status.state == state

    def _last_step(self) -> int:
        return max((step for step, _ in train_rows(self.run)), default=0)

    def _look_at(self, moment: str) -> None:
        """Whether the last step that was done is saved."""
        done, saved = self._last_step(), max(list_checkpoints(self.run), default=0)
        if saved != done:
            self.failures.append(f"told to end while {moment}: did {done} steps, saved {saved}")
