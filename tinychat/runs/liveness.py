"""Does the process behind a status still live? Told from what can be checked, never guessed."""

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypedDict

from tinychat.runs.records import Status

GRACE_SECONDS = 3.0  # a busy machine may be that late with a beat
_ENDED = ("finished", "stopped", "failed")


class ProcessIdentity(TypedDict):
    """What tells this process from every other, also after a restart of the machine."""

    pid: int
    process_start_time: float | None  # Linux: seconds since boot; elsewhere: Unix seconds
    boot_id: str | None  # None where the system has none
    host: str


class TrueState(NamedTuple):
    """`state` is one of records.STATES, or crashed, stalled, "other host"."""

    state: str
    reason: str  # a sentence for a person; empty if there is nothing to add


def process_identity() -> ProcessIdentity:
    """The identity of the calling process, as keyword arguments for Status."""
    pid = os.getpid()
    return ProcessIdentity(
        pid=pid,
        process_start_time=process_start_time(pid),
        boot_id=_boot_id(),
        host=socket.gethostname(),
    )


def process_start_time(pid: int) -> float | None:
    """When a living process started, or None if there is none (a zombie is none)."""
    if sys.platform == "linux":  # psutil adds the boot time, which moves when the clock is set
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if fields[0] in (b"Z", b"X") else int(fields[19]) / os.sysconf("SC_CLK_TCK")
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def true_state(
    status: Status,
    *,
    now: float | None = None,
    host: str | None = None,
    boot_id: str | None = None,
    start_time_of: Callable[[int], float | None] = process_start_time,
) -> TrueState:
    """What a status is worth now: the told state, or crashed, stalled, "other host".

    A run that ended is believed. Otherwise, on the run's own host its process must still be
    the same one (else "crashed"), not suspended, and its beat not overdue (else "stalled"); for a
    run on another host only the beat can be judged ("other host" if it is overdue). `now` (Unix
    seconds), `host`, `boot_id` and `start_time_of` are those of this machine unless given.
    """
    if status.state in _ENDED:
        return TrueState(status.state, status.message)
    now = time.time() if now is None else now
    late = now - status.next_beat_by
    if status.host != (host or socket.gethostname()):
        if late > GRACE_SECONDS:
            reason = f"No beat from {status.host} for {_since(status, late)}: it may have ended."
            return TrueState("other host", reason)
        return TrueState(status.state, f"On {status.host}.")
    if not _same_process(status, boot_id or _boot_id(), start_time_of(status.pid)):
        doing = "was paused" if status.state == "paused" else f"was {status.state}"
        return TrueState("crashed", f"Process {status.pid} is gone; it {doing}.")
    silent = f"No beat for {_since(status, late)}; it was {status.state}."
    if now - status.time > GRACE_SECONDS and _is_suspended(status.pid):
        hint = f"Process {status.pid} is suspended; `kill -CONT {status.pid}` lets it go on."
        return TrueState("stalled", f"{silent} {hint}")
    if late > GRACE_SECONDS:
        return TrueState("stalled", silent)
    return TrueState(status.state, status.message)


def is_process_of(status: Status) -> bool:
    """Whether the process behind a status is, beyond doubt, alive on this machine."""
    told, started = status.process_start_time, process_start_time(status.pid)
    here = status.host == socket.gethostname() and status.boot_id == _boot_id()
    return here and told is not None and started is not None and abs(told - started) < 0.01


def _same_process(status: Status, boot_id: str | None, started: float | None) -> bool:
    if status.boot_id is not None and boot_id is not None and status.boot_id != boot_id:
        return False
    if started is None:
        return False
    told = status.process_start_time
    return told is None or abs(told - started) < 1.0


def _is_suspended(pid: int) -> bool:
    """Whether somebody stopped it with Ctrl+Z or a signal, for it to go on later."""
    import psutil  # only now: it costs more than all the rest that a look needs

    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


def _since(status: Status, late: float) -> str:
    seconds = late + status.next_beat_by - status.time
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
