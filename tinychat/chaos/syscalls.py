"""The interpreter itself under strace: killed before, or failed in, each of its system calls on a
run's folder, while it saves, saves the same step again, and prunes.

A first, unhurt trace tells which calls there are. Then the program is started once for each of
them and each fault. Whatever it had acknowledged by then must be there for the next start, every
listed checkpoint must be whole, and nothing may lie about once it has been swept.
"""

import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tinychat.chaos.ground import ExperimentError
from tinychat.chaos.outcome import Tell, Trial
from tinychat.errors import TinychatError
from tinychat.runs import (
    RunPaths,
    list_checkpoints,
    newest_good,
    publish_checkpoint,
    read_checkpoint,
    sweep,
)

CALLS = (
    "openat", "write", "fsync", "close", "rename", "renameat", "renameat2", "unlink", "unlinkat",
    "mkdir", "mkdirat", "rmdir",
)  # fmt: skip
FAULTS = {"kills": "signal=KILL", "eio": "error=EIO", "enospc": "error=ENOSPC"}

# A save, the same step again, one older checkpoint thinned and one deleted, as a trainer does it.
PROGRAM = """
import sys
from pathlib import Path
from tinychat.runs import prune, publish_checkpoint

run = Path(sys.argv[1])
for salt in ("once", "again"):
    files = {name: f"{name} 3 {salt} ".encode() * 9
             for name in ("model.safetensors", "optimizer.safetensors", "state.json")}
    publish_checkpoint(run, 3, files)
    print("saved", salt, flush=True)
prune(run, {3}, {2})
print("pruned", flush=True)
"""


class Point(NamedTuple):
    """One system call of the program on the run's folder."""

    call: str
    nth: int  # of all calls of that name, from 1


def syscalls(folder: Path, tell: Tell, *, every: int = 1, program: str = PROGRAM) -> Trial:
    """Hurt the program at every `every`-th point; `folder` is empty and stays so.

    Each fault must be tried somewhere.
    """
    began = time.monotonic()
    run, trace = folder / "run", folder / "trace"
    if why := _not_traceable():
        return Trial("syscalls", 0, {}, time.monotonic() - began, left_out=why)
    for _ in range(2):  # the first time compiles what the program imports
        _begin(run)
        _traced(run, trace, program)
    # fault by fault, so that leaving points out leaves out no fault
    points = [(fault, point) for fault in FAULTS for point in _points(trace, run)][::every]
    counts = Counter(fault for fault, _ in points)
    failures = [f"{FAULTS[fault]} was never tried" for fault in FAULTS if not counts[fault]]
    lost = 0
    for number, (kind, point) in enumerate(points, start=1):
        fault = FAULTS[kind]
        _begin(run)
        said = _traced(run, trace, program, f"inject={point.call}:{fault}:when={point.nth}")
        name = f"{point.call} {point.nth}, {fault}"
        if not _was_hit(trace, run, point, fault):
            failures.append(f"{name}: the fault missed the run's folder")
        elif bad := _problem(run, said):
            lost += 1
            failures.append(f"{name}: {bad}")
        tell(f"{number} of {len(points)} points")
    _clear(run)
    trace.unlink()
    tried = {fault: counts[fault] for fault in FAULTS}
    figures = {"points": len(points), **tried, "checkpoints_lost": lost}
    return Trial("syscalls", len(points), figures, time.monotonic() - began, tuple(failures))


def _not_traceable() -> str:
    """Why there is nothing to trace with (empty: there is)."""
    if sys.platform != "linux":
        return "strace is for Linux only"
    if shutil.which("strace") is None:
        return "strace is not installed"
    words = ["strace", "-f", "-e", "trace=close", "-e", "inject=close:signal=KILL:when=1", "true"]
    tried = subprocess.run(words, capture_output=True, text=True, check=False)
    if tried.returncode == 0 or "killed by SIGKILL" not in tried.stderr:
        said = tried.stderr.strip().splitlines() or ["nothing"]
        return f"strace cannot trace here, it says: {said[0]}"
    return ""


def _begin(run: Path) -> None:
    """A run with two checkpoints."""
    _clear(run)
    run.mkdir(parents=True)
    for step in (1, 2):
        names = ("model.safetensors", "optimizer.safetensors", "state.json")
        publish_checkpoint(run, step, {name: f"{name} {step} ".encode() * 9 for name in names})


def _clear(run: Path) -> None:
    shutil.rmtree(run, ignore_errors=True)


def _traced(run: Path, trace: Path, program: str, *inject: str) -> str:
    """Run the program; returns what it had acknowledged.

    Raises ExperimentError if it fails unhurt.
    """
    words = ["strace", "-f", "-y", "-o", str(trace)]  # --seccomp-bpf would deliver no signal
    words += ["-e", f"trace={','.join(f'?{call}' for call in CALLS)}"]
    words += [word for each in inject for word in ("-e", each)]
    words += [sys.executable, "-c", program, str(run)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode and not inject:
        raise ExperimentError(f"the traced program failed: {done.stderr.strip()[-300:]}")
    return done.stdout


_LINE = re.compile(r"\d+ +(\w+)\((.*)")


def _points(trace: Path, run: Path) -> Iterator[Point]:
    seen: Counter[str] = Counter()
    for line in trace.read_text(encoding="utf-8", errors="replace").splitlines():
        if (match := _LINE.match(line)) is None:
            continue
        seen[match[1]] += 1
        if str(run) in match[2]:
            yield Point(match[1], seen[match[1]])


def _was_hit(trace: Path, run: Path, point: Point, fault: str) -> bool:
    """Whether the fault came where the first trace had that call on the run's folder."""
    lines = trace.read_text(encoding="utf-8", errors="replace").splitlines()
    mark = "= ?" if fault == "signal=KILL" else "(INJECTED)"
    return any(f" {point.call}(" in x and mark in x and str(run) in x for x in lines)


def _problem(run: Path, said: str) -> str | None:
    """What the next start finds wrong."""
    try:
        sweep(run)
        good, damaged = newest_good(run)
        if damaged:
            return str(damaged[0])
        steps = list_checkpoints(run)
        for step in steps:
            _check(step, read_checkpoint(RunPaths(run).checkpoint(step)).files)
    except (TinychatError, OSError) as error:
        return str(error)
    salt = good.files["state.json"].decode().split()[2] if good.step == 3 else ""
    if "saved" in said and good.step != 3:
        return f"step {good.step} is the newest, but 3 was acknowledged"
    if "saved again" in said and salt != "again":
        return "the second save of step 3 was acknowledged, but the first is there"
    wanted = {2, good.step} if "saved again" in said else {1, 2, good.step}
    if not wanted <= set(steps):
        return f"checkpoints {steps} are there, but {sorted(wanted)} were acknowledged"
    if left := sweep(run):
        return f"the start left {left}"
    return None


def _check(step: int, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        if not data.startswith(f"{name} {step} ".encode()):
            raise TinychatError(f"{name} of step {step} holds wrong bytes")
