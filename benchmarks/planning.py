"""Whether the plan's time and memory hold: plan, then run for minutes, and compare.

    python benchmarks/planning.py [--minutes 5] [--quick] --data FOLDER [PRESET ...] [FLAG ..]

Each preset is planned for a run of about so many minutes here, with evaluations, samples and saves,
and that very run is done. FOLDER (or file) is what all of them learn from; flags that are not known
here go to tinychat. The runs are deleted, unless --keep says where they stay. The limits are
10 % of time and 15 % of memory.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from measured import QUICKLY, Figure, arguments, save

TIME_LIMIT, MEMORY_LIMIT = 0.10, 0.15
PRESETS = ("demo", "5m", "dolly-7m")
PROBED_STEPS = 1000


def tinychat(*words: str) -> list[str]:
    return [sys.executable, "-m", "tinychat", *words]


def plan(flags: list[str]) -> dict:
    done = subprocess.run(tinychat("plan", *flags, "--json"), capture_output=True, check=True)
    return json.loads(done.stdout)


def steps_in(minutes: float, flags: list[str]) -> int:
    """How many steps that time is enough for."""
    first = plan([*flags, "--max-steps", str(PROBED_STEPS)])
    return max(20, int(60 * minutes / first["duration"]["total"] * PROBED_STEPS))


def run(flags: list[str]) -> tuple[float, int]:
    """(seconds from the first step to the end, peak bytes of the process)."""
    process = subprocess.Popen(tinychat("train", "--name", "run", *flags), stdout=sys.stderr)
    started, began, peak = time.monotonic(), 0.0, 0
    status = Path(flags[flags.index("--checkpoints") + 1]) / "run" / "status.json"
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text("utf-8").splitlines()
            peak = next(int(x.split()[1]) * 1024 for x in lines if x.startswith("VmHWM"))
        except (OSError, StopIteration):
            peak = max(peak, _rss(process.pid))
        if not began and status.exists() and b'"training"' in status.read_bytes():
            began = time.monotonic()
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.monotonic() - (began or started), peak  # one of few steps may never be seen


def _rss(pid: int) -> int:
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("presets", nargs="*", default=PRESETS)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--keep", type=Path)
    told, more = parser.parse_known_args()
    if told.quick:
        told.presets = ["demo"]
        more += ["--model.n-layer", "1", "--batch-size", "2", *QUICKLY]
    if not told.data and set(told.presets) != {"demo"}:
        parser.error("give --data FOLDER, or demo alone, which learns the built-in small talk")
    ok, figures = True, dict[str, Figure]()
    for preset in told.presets:
        kept = contextlib.nullcontext(told.keep and str(told.keep / preset))
        with kept if told.keep else tempfile.TemporaryDirectory() as folder:
            flags = ["--preset", preset, "--tokenizer", "trained", "--checkpoints", folder, *more]
            flags += ["--data", str(told.data)] if told.data else []
            steps = 20 if told.quick else steps_in(told.minutes, flags)
            flags += ["--max-steps", str(steps)]
            every = steps if told.quick else steps // 8
            for kind in ("eval", "checkpoint", "sample"):
                flags += [f"--{kind}.every-steps", str(every)]
            planned = plan(flags)
            seconds, peak = run(flags)
        time_off = planned["duration"]["total"] / seconds - 1
        memory_off = planned["memory"]["peak"] / peak - 1
        ok &= abs(time_off) <= TIME_LIMIT and abs(memory_off) <= MEMORY_LIMIT
        figures[f"{preset}: time"] = Figure.of([100 * time_off], " %")
        figures[f"{preset}: memory"] = Figure.of([100 * memory_off], " %")
        print(
            f"{preset:12} {steps:7,} {planned['duration']['total']:9.0f} s {seconds:6.0f} s "
            f"{time_off:+7.1%} {planned['memory']['peak'] / 1e6:10,.0f} MB {peak / 1e6:6,.0f} MB "
            f"{memory_off:+7.1%}",
            flush=True,
        )
    print(f"limits: time {TIME_LIMIT:.0%}, memory {MEMORY_LIMIT:.0%}")
    save(told, figures)
    return 0 if ok or told.quick else 1


if __name__ == "__main__":
    sys.exit(main())
