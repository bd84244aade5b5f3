"""All experiments, one after the other, each with its share of the time."""

import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tinychat import __version__
from tinychat.chaos import calls, flips, full_disk, kills, locks, memory, power, syscalls, terms
from tinychat.chaos.ground import PINNED, Ground
from tinychat.chaos.outcome import Tell, Trial
from tinychat.errors import TinychatError

# The demo's architecture and its built-in small talk, with fewer rows a step and fewer documents,
# so that starting and saving, which is where things break, weigh more than computing.
BATCH_SIZE = 2
MODEL = (
    "--preset=demo", f"--batch-size={BATCH_SIZE}", "--data.max-documents=500",
    "--sample.max-new-tokens=8", *PINNED,
)  # fmt: skip
# For experiments that start some hundred runs: the same text, a smaller shape.
SMALL_MODEL = (
    "--preset=demo", "--model.n-layer=2", "--model.n-head=2", "--model.n-embd=32",
    "--model.context-length=64", "--tokenizer.vocab-size=300", "--data.max-documents=100", *PINNED,
)  # fmt: skip
DOCUMENTS_PER_ROW = 5  # talks are short; about so many share one row of the context
STEPS_PER_KILL = 8
CALLS_SECONDS = 900.0  # what all of them take on two cores
SYSCALLS_SECONDS = 120.0
SECONDS_PER_RACE = 15.0
SECONDS_PER_FLIP = 0.02
CUTS = 6000  # that are tried if there is time for all
SECONDS_PER_SIGNAL = 6.0
DISK_MEGABYTES = 160  # a few of this model's checkpoints
# Of computing on one core, measured for 20: 4.3 a kill, 1.7 its share of the twin and of the end.
SECONDS_PER_KILL = 6.0


@dataclass(frozen=True)
class Experiment:
    """One line of the pass table, before it is run."""

    name: str
    about: str  # in one line
    share: float  # of the time there is
    run: Callable[[Ground, Tell, float], Trial]  # with the seconds it may take


def _fitting(number: float, least: int, most: int) -> int:
    return int(min(most, max(least, number)))


def _kills(ground: Ground, tell: Tell, seconds: float) -> Trial:
    count = _fitting(seconds / SECONDS_PER_KILL, kills.LEAST, 100)
    documents = STEPS_PER_KILL * count * BATCH_SIZE * DOCUMENTS_PER_ROW // kills.EPOCHS
    model = [flag for flag in ground.model if not flag.startswith("--data.max-documents")]
    ground = replace(ground, model=(*model, f"--data.max-documents={documents}"))
    return kills.kills(ground, tell, count=count, batch_size=BATCH_SIZE, seconds=seconds)


def _terms(ground: Ground, tell: Tell, seconds: float) -> Trial:
    count = _fitting(seconds / SECONDS_PER_SIGNAL, terms.LEAST, 30)
    return terms.terms(ground, tell, count=count, seconds=seconds)


def _full_disk(ground: Ground, tell: Tell, _: float) -> Trial:
    return full_disk.full_disk(ground, tell, megabytes=DISK_MEGABYTES)


def _memory(ground: Ground, tell: Tell, _: float) -> Trial:
    return memory.memory(ground, tell)


def _calls(ground: Ground, tell: Tell, seconds: float) -> Trial:
    every = _fitting(CALLS_SECONDS / seconds, 1, 70)
    return calls.calls(replace(ground, model=SMALL_MODEL), tell, every=every)


def _power(ground: Ground, tell: Tell, _: float) -> Trial:
    return power.power(ground.folder, tell)


def _syscalls(ground: Ground, tell: Tell, seconds: float) -> Trial:
    every = _fitting(SYSCALLS_SECONDS / seconds, 1, 50)
    return syscalls.syscalls(ground.folder, tell, every=every)


def _locks(ground: Ground, tell: Tell, seconds: float) -> Trial:
    rounds = _fitting(seconds / SECONDS_PER_RACE, 2, 20)
    return locks.locks(ground, tell, rounds=rounds)


def _flips(ground: Ground, tell: Tell, seconds: float) -> Trial:
    count = _fitting(seconds / 2 / SECONDS_PER_FLIP, 100, 1000)
    every = _fitting(2 * CUTS * SECONDS_PER_FLIP / seconds, 1, CUTS)
    return flips.flips(replace(ground, model=SMALL_MODEL), tell, count=count, every=every)


EXPERIMENTS = (
    Experiment("kills", "SIGKILL at random moments of one run", 0.4, _kills),
    Experiment("terms", "SIGTERM in steps, evaluations, samples, saves and reading", 0.18, _terms),
    Experiment("full disk", "a disk that is full in mid-run", 0.06, _full_disk),
    Experiment("memory", "memory that runs out in mid-run", 0.05, _memory),
    Experiment("calls", "file operations of a run that fail", 0.1, _calls),
    Experiment("syscalls", "system calls of a save that kill or fail", 0.06, _syscalls),
    Experiment("power", "every state of a disk after a power cut", 0.05, _power),
    Experiment("locks", "ten trainers that start on one run at once", 0.05, _locks),
    Experiment("flips", "bits that flip and files that are cut", 0.05, _flips),
)


def run_all(
    folder: Path,
    seconds: float,
    done: list[Trial],
    tell: Callable[[Experiment, str], None],
    experiments: Sequence[Experiment] = EXPERIMENTS,
    *,
    keep: bool = False,
) -> None:
    """Run the experiments inside `folder`, in about so many seconds (infinite: all there is to do),
    and add to `done` what each found out. Unless `keep`, what passed leaves nothing behind there;
    what failed leaves its runs.

    Ended by KeyboardInterrupt it stops its processes first.
    """
    whole = sum(experiment.share for experiment in experiments)
    for experiment in experiments:
        ground = Ground(folder / experiment.name, MODEL, "auto")
        ground.folder.mkdir(mode=0o700)
        began = time.monotonic()
        tell_of = partial(tell, experiment)
        tell_of("")
        try:
            outcome = experiment.run(ground, tell_of, seconds * experiment.share / whole)
        except Exception as error:  # whatever it is, it is something found out, and others go on
            told = str(error) if isinstance(error, TinychatError) else repr(error)
            outcome = Trial(experiment.name, 0, {}, time.monotonic() - began, (told,))
        finally:
            ground.stop_all()
        done.append(outcome)
        if not outcome.failures and not keep:
            shutil.rmtree(ground.folder)


def machine(folder: Path) -> dict[str, str]:
    """What the figures hold for: the device, versions, and the disk's free space."""
    import torch

    from tinychat.config import RuntimeSettings
    from tinychat.model import choose_runtime, processor

    device = choose_runtime(RuntimeSettings()).device
    return {
        "device": device,
        "processor": processor(device),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "tinychat": __version__,
        "disk_free": f"{shutil.disk_usage(folder).free / 1e9:,.1f} GB",
    }
