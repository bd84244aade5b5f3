"""Each file operation of a run fails in turn: once, and for good from there on.

A run of a few steps with dropout, two micro-batches a step, evaluations, saves and prunes is
trained in this process on a disk whose Nth operation fails. If it fails once, the trainer waits and
goes on, or the start ends with a sentence. If it fails for good, the trainer is asked to end. That
is done without signals: those are left to whoever wants an end of all this.
Then the same is started again on a disk that works, and must end as a run whose disk never failed.
N goes up from 1 until a run has fewer operations.
"""

import errno
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tinychat.chaos.disks import RefusingDisk
from tinychat.chaos.ground import Ground
from tinychat.chaos.outcome import Tell, Trial
from tinychat.chaos.verdict import compare
from tinychat.config.load import Resolved, from_json
from tinychat.errors import TinychatError
from tinychat.runs import RunLock, RunReader, RunWriter
from tinychat.training import Event, Plan, StateChanged, StopSignals, patience, train

STEPS = 20
EVERY = 4  # steps between checkpoints
FLAGS = (
    f"--max-steps={STEPS}", f"--checkpoint.every-steps={EVERY}", "--checkpoint.keep-last=2",
    "--checkpoint.milestones=3", "--batch-size=4", "--micro-batch-size=2", "--eval.every-steps=10",
    "--sample.every-steps=none",
)  # fmt: skip
ERRORS = {"eio": errno.EIO, "enospc": errno.ENOSPC}  # in turn
IMPATIENT_SECONDS = 0.001  # instead of seconds between two tries


class Wishes(StopSignals):
    """Asks a trainer to end without any signal."""

    def __enter__(self) -> "Wishes":
        return self

    def __call__(self, event: Event) -> None:
        """Who sees a run wait for a disk that never comes back gives up: two requests."""
        if isinstance(event, StateChanged) and event.state == "paused":
            self.count = 2


class HastyDisk(RefusingDisk):
    """Flushes nothing: no power is cut here, and flushing would take most of the time."""

    def fsync(self, path: Path) -> None:
        self.before("fsync", path)

    def fsync_folder(self, path: Path) -> None:
        self.before("fsync_folder", path)


def calls(ground: Ground, tell: Tell, *, every: int = 1) -> Trial:
    """Fail every `every`-th operation of such a run in both ways, with each error in turn."""
    began = time.monotonic()
    tell("training the run whose disk never fails")
    reference = ground.train("calls-reference", *FLAGS)
    resolved = from_json(RunReader(reference).settings)
    failures: list[str] = []
    counts: Counter[str] = Counter()
    with short_waits():
        for dead in (False, True):
            nth, clean = 1, False
            while not clean:
                folder = ground.folder / "calls"  # of its own: the corpus is prepared anew in it
                folder.mkdir()
                how = f"operation {nth} fails{' and all after it' if dead else ''}"
                kind = list(ERRORS)[counts["tried"] % len(ERRORS)]
                disk = HastyDisk(nth, dead=dead, error=ERRORS[kind])
                finished = _start(folder / "run", resolved, disk)
                clean = disk.count < nth
                if not finished and not _start(folder / "run", resolved, HastyDisk(0)):
                    failures.append(f"{how}: the next start on a good disk failed")
                else:
                    verdict = compare(folder / "run", reference, STEPS, EVERY)
                    failures += [f"{how}: {told}" for told in verdict.failures]
                counts["tried"] += not clean
                counts[kind] += not clean
                counts["healed"] += finished and not clean
                counts["restarted"] += not finished
                counts["operations"] = disk.count if clean else counts["operations"]
                shutil.rmtree(folder)
                tell(how)
                nth += every
    failures += [f"{kind.upper()} was never tried" for kind in ERRORS if not counts[kind]]
    figures = {name: counts[name] for name in ("operations", *ERRORS, "healed", "restarted")}
    return Trial("calls", counts["tried"], figures, time.monotonic() - began, tuple(failures))


def _start(run: Path, resolved: Resolved, disk: RefusingDisk) -> bool:
    """Start the run or go on with it, as the command line does; False if it ended early."""
    if not RunReader(run).paths.settings_json.exists():
        writer = RunWriter(run)
        writer.create_run()
        writer.write_settings(resolved.to_json())
    wishes = Wishes()
    listener = wishes if disk.dead else _wait
    with RunLock(run) as lock:
        try:
            outcome = train(Plan(run, resolved), lock, listener, disk=disk, signals=wishes)
        except (OSError, TinychatError):
            return False
    return outcome.state == "finished"


def _wait(_: Event) -> None:
    """Who sees the run wait for a disk that comes back lets it."""


@contextmanager
def short_waits() -> Iterator[None]:
    """Inside, a trainer whose disk refuses tries again at once."""
    names = ("FIRST_WAIT_SECONDS", "LONGEST_WAIT_SECONDS", "POLL_SECONDS")
    before = {name: getattr(patience, name) for name in names}
    try:
        for name in names:
            setattr(patience, name, IMPATIENT_SECONDS)
        yield
    finally:
        for name, value in before.items():
            setattr(patience, name, value)
