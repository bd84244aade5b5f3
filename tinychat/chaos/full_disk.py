"""A disk that fills up in the middle of a run: it pauses, and goes on once there is room."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tinychat.chaos.ground import ExperimentError, Ground, finish, reached
from tinychat.chaos.outcome import Tell, Trial
from tinychat.chaos.verdict import compare
from tinychat.runs import RunReader, Status, list_checkpoints

EVERY = 10  # steps between checkpoints
FLAGS = (
    "--max-steps=100", f"--checkpoint.every-steps={EVERY}", "--checkpoint.milestones=0",
    "--eval.every-steps=none", "--sample.every-steps=none",
)  # fmt: skip
ROOM_BYTES = 100_000  # for rows and status, but not for a checkpoint
MOST_SECONDS = 30.0  # until it goes on


def full_disk(ground: Ground, tell: Tell, *, megabytes: int = 64) -> Trial:
    """Fill a small disk in memory while a run trains on it, and empty it again.

    Needs Linux and root, for the disk; is left out elsewhere.
    """
    began = time.monotonic()
    if why := _why_not():
        return Trial("full disk", 0, {}, 0.0, left_out=why)
    reference = ground.train("reference", *FLAGS, tell=tell)
    small = ground.folder / "small"
    small.mkdir()
    try:
        if why := _mount(small, megabytes):
            return Trial("full disk", 0, {}, time.monotonic() - began, left_out=why)
        with _trainer(replace(ground, folder=small)) as process:
            failures, figures = _fill_and_empty(process, small, tell)
        verdict = compare(small / "full", reference, 100, 0)
    finally:
        if small.is_mount():
            # in a session of its own: a second Ctrl+C must not reach it
            subprocess.run(["umount", "-l", str(small)], check=True, start_new_session=True)
    figures |= {"bits_different": verdict.bits_different, "disk_megabytes": megabytes}
    failures += verdict.failures
    return Trial("full disk", 1, figures, time.monotonic() - began, tuple(failures))


def _why_not() -> str:
    if sys.platform != "linux":
        return "needs Linux, for a small disk in memory"
    return "" if os.geteuid() == 0 else "needs root, to mount a small disk in memory"


def _mount(folder: Path, megabytes: int) -> str:
    """Mount a small disk in memory; returns why it could not be."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"cannot mount a small disk in memory: {error}"
    return f"cannot mount a small disk in memory: {done.stderr.strip()}" if done.returncode else ""


@contextmanager
def _trainer(ground: Ground) -> "Iterator[subprocess.Popen[str]]":
    """The run on the small disk; it does not outlive the disk."""
    process = ground.spawn("train", "full", *FLAGS)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _fill_and_empty(
    process: "subprocess.Popen[str]", small: Path, tell: Tell
) -> tuple[list[str], dict[str, int | float]]:
    """(failures, figures) of one full disk."""
    run, ballast, failures = small / "full", small / "ballast", []
    if not reached(process, lambda: len(list_checkpoints(run)) > 1):
        raise ExperimentError("the run ended before its disk was full")
    tell("filling the disk")
    _fill(ballast)
    os.truncate(ballast, ballast.stat().st_size - ROOM_BYTES)
    filled_at = time.monotonic()
    if not reached(process, lambda: _status(run).state == "paused"):
        raise ExperimentError("the run ended although its disk was full")
    paused_seconds = time.monotonic() - filled_at
    status, checkpoints = _status(run), list_checkpoints(run)
    if "No space left on device" not in status.message:
        failures.append(f"it paused without saying why: {status.message!r}")
    if status.step % EVERY:
        failures.append(f"it paused at step {status.step}, where nothing was to be saved")
    tell("emptying the disk")
    _fill(ballast)  # also what the failed save gave back
    ballast.unlink()
    emptied_at = time.monotonic()
    if not reached(process, lambda: _status(run).state != "paused"):
        raise ExperimentError("the run ended instead of going on")
    on_seconds = time.monotonic() - emptied_at
    if on_seconds > MOST_SECONDS:
        failures.append(f"it went on only after {on_seconds:.0f} s")
    if not checkpoints:
        failures.append("no checkpoint was left while the disk was full")
    finish(process)
    return failures, {"seconds_until_paused": paused_seconds, "seconds_until_on": on_seconds}


def _status(run: Path) -> Status:
    status = RunReader(run).status
    if status is None:
        raise ExperimentError(f"{run} has no status that can be read")
    return status


def _fill(path: Path) -> None:
    with open(path, "ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
