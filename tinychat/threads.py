"""The threads of this process: how many there may be, and how they wait for each other."""

import os
import sys
import time
from collections.abc import MutableMapping
from pathlib import Path

from tinychat.launch import launch_of

# A program that computes runs at each of these looks, one that shows something does not.
LOOKS = 5
APART_SECONDS = 0.002
CHOSEN = "TINYCHAT_CHOSE_WAIT_POLICY"  # set beside a policy that nobody asked for


def usable_cores() -> int:
    """Physical cores that this process may use; OMP_NUM_THREADS says fewer or more.

    Of several processes by torchrun each takes its share; the 1 that torchrun puts there is no
    more than its caution.
    """
    import psutil

    told, launch = os.environ.get("OMP_NUM_THREADS", ""), launch_of()
    together = launch.local_world_size if launch else 1
    if told.isdigit() and int(told) > (together > 1):
        return int(told)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(allowed or 1, psutil.cpu_count(logical=False) or 1) // together)


def share_cores(environ: MutableMapping[str, str] = os.environ) -> None:
    """Have threads that wait sleep at once where other programs compute now on the cores they need.

    GNU OpenMP, which computes for torch on Linux, has a waiting thread spin for some milliseconds
    before it sleeps. That is the fastest way on cores of one's own; otherwise it keeps a core from
    the very thread that it waits for (docs/experiments.md). An environment that says how threads
    wait is left alone, but not what the program that started this one chose for itself: a page may
    start a run hours later. Only what is said before torch is loaded counts.

    The look is at the whole machine: in a container with a part of its cores neighbours may be
    overlooked, and whoever computes elsewhere counts too.
    """
    if environ.pop(CHOSEN, None) and environ.get("OMP_WAIT_POLICY") == "passive":
        del environ["OMP_WAIT_POLICY"]
    if "OMP_WAIT_POLICY" in environ or "GOMP_SPINCOUNT" in environ:
        return
    others = computing()
    if others and others + usable_cores() > (os.cpu_count() or 1):
        environ.update({"OMP_WAIT_POLICY": "passive", CHOSEN: "yes"})


def computing(load: Path = Path("/proc/loadavg")) -> int:
    """How many threads of other programs compute now; 0 where the system does not tell."""
    fewest = sys.maxsize
    for look in range(LOOKS):
        if look:
            time.sleep(APART_SECONDS)
        try:
            running = int(load.read_text("utf-8").split()[3].split("/")[0])
        except (OSError, ValueError, IndexError):
            return 0
        fewest = min(fewest, running - 1)  # this thread runs too
        if fewest <= 0:  # at once, so that two that are started together do not both see nobody
            return 0
    return fewest
