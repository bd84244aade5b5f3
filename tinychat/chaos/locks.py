"""Ten trainers started at once on one run: one runs, nine say who holds it.

In every other round they all want to begin the same run, else to go on with it.
"""

import signal
import subprocess
import time
from pathlib import Path

from tinychat.chaos.ground import WAIT_SECONDS, ExperimentError, Ground, reached, train_rows
from tinychat.chaos.outcome import Tell, Trial
from tinychat.runs import RunReader

# Enough steps to hold the lock while others start, and few enough to end should nobody end it.
FLAGS = (
    "--max-steps=5000", "--checkpoint.every-steps=none", "--eval.every-steps=none",
    "--sample.every-steps=none",
)  # fmt: skip


def locks(ground: Ground, tell: Tell, *, rounds: int = 20, trainers: int = 10) -> Trial:
    """Let that many trainers race for one run, again and again."""
    began = time.monotonic()
    failures: list[str] = []
    for number in range(rounds):
        run = ground.folder / f"raced-{number // 2}"
        failures += [f"round {number + 1}: {told}" for told in _race(ground, run, trainers)]
        tell(f"{number + 1} of {rounds} rounds")
    starts = rounds * trainers
    figures = {"rounds": rounds, "trainers_at_once": trainers}
    return Trial("locks", starts, figures, time.monotonic() - began, tuple(failures))


def _race(ground: Ground, run: Path, trainers: int) -> list[str]:
    """One round; returns what was wrong with it."""
    before = len(RunReader(run).attempts())
    words = ("resume", run.name) if before else ("train", run.name, *FLAGS)
    racers = [ground.spawn(*words) for _ in range(trainers)]
    living = _survivors(run, racers, before)
    if len(living) != 1:
        for racer in living:
            racer.kill()
        said = {racer.communicate()[0].strip() for racer in racers}
        return [f"{len(living)} trainers ran at once; they said: {' / '.join(sorted(said))}"]
    (holder,) = living
    failures = []
    for loser in racers:
        if loser is not holder:
            said = " ".join(loser.communicate()[0].split())
            named = f"The run {run.name} is held by process {holder.pid} on"
            if loser.returncode != 1 or named not in said or "Traceback" in said:
                failures.append(f"one left with {loser.returncode} and said: {said[-300:]}")
    reached(holder, lambda: _is_training(run, holder.pid))
    holder.send_signal(signal.SIGTERM)
    said, _ = holder.communicate(timeout=WAIT_SECONDS)
    if holder.returncode != 0:
        failures.append(f"the one that ran left with {holder.returncode}: {said[-300:]}")
    if len(RunReader(run).attempts()) != before + 1:
        failures.append("not exactly one attempt was made")
    steps = [step for step, _ in train_rows(run)]
    if steps != list(range(1, len(steps) + 1)):
        failures.append("the log does not hold each step once")
    return failures


def _survivors(
    run: Path, racers: list[subprocess.Popen[str]], before: int
) -> list[subprocess.Popen[str]]:
    """Those that live once all others have left, or once two are seen to train."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        living = [racer for racer in racers if racer.poll() is None]
        if len(living) <= 1 or len(RunReader(run).attempts()) > before + 1:
            return living
        time.sleep(0.01)
    raise ExperimentError(f"after {WAIT_SECONDS:.0f} s several trainers of {run.name} still live")


def _is_training(run: Path, pid: int) -> bool:
    status = RunReader(run).status
    return status is not None and status.pid == pid and status.state == "training"
