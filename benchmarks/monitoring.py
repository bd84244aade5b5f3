"""The monitor on a run of a million steps, in a real terminal (tmux); and what it costs a trainer.

    python benchmarks/monitoring.py [--rows 1000000] [--only opening following ...] [--quick]

Makes a run in a temporary folder and prints each figure beside its limit; exits with 1 if one is
broken. CPU is that of the monitor's process. On a busy machine the figures in seconds are upper
bounds. The trainer is measured against itself: three monitors on it are frozen and let go in turn.
"""

import itertools
import json
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from measured import Figure, arguments, save
from tinychat.runs import (
    AttemptRecord,
    RunPaths,
    RunReader,
    RunRecord,
    RunWriter,
    Status,
    process_identity,
)
from tinychat.runs.records import encode_row

PATIENCE_SECONDS = 180.0
SIZES = {(80, 24): 0.060, (200, 50): 0.200}  # the most CPU seconds that a frame may take
FRAMES = 20
IDLE_SECONDS = 20.0
_TURNS = 6  # of each kind, beside the trainer
_TURN_SECONDS = 4.0
_NAME = "million"
_EVALS, _ROUNDS, _PROMPTS, _EVENTS = 1000, 2000, 10, 3000
_BORN = 1_700_000_000.0


class Seen(NamedTuple):
    """What was measured, and the most it may be (None: it is only told)."""

    what: str
    value: float
    unit: str
    limit: float | None
    note: str = ""

    @property
    def holds(self) -> bool:
        return self.limit is None or self.value <= self.limit


class Monitor:
    """A monitor in a terminal of its own."""

    def __init__(self, size: tuple[int, int], *words: str) -> None:
        self._name = f"tinychat-{uuid.uuid4().hex[:12]}"
        self.began = time.perf_counter()
        self._tmux(
            "-u", "-f", os.devnull, "new-session", "-d", "-x", str(size[0]), "-y", str(size[1]),
            "env", "TERM=xterm-256color", "LC_ALL=C.UTF-8",
            sys.executable, "-m", "tinychat_monitor", *words,
            ";", "set-option", "-g", "remain-on-exit", "on",  # what it said when it ended
        )  # fmt: skip
        self.process = psutil.Process(int(self._tmux("list-panes", "-F", "#{pane_pid}")))

    def screen(self) -> str:
        """What stands on it now."""
        return self._tmux("capture-pane", "-p")

    def wait(self, condition: Callable[[str], object]) -> float:
        """Wait until that is true of the screen; seconds since the monitor's start."""
        while not condition(screen := self.screen()):
            if time.perf_counter() - self.began > PATIENCE_SECONDS:
                raise SystemExit(f"It did not come; there stands\n{screen}")
            time.sleep(0.02)
        return time.perf_counter() - self.began

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        times = self.process.cpu_times()
        return times.user + times.system

    def memory(self) -> float:
        """MB that it has in memory."""
        return self.process.memory_info().rss / 1e6

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self._name, "kill-server"], check=False, capture_output=True)

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._name, *words], check=True, capture_output=True, encoding="utf-8"
        )
        return done.stdout


@contextmanager
def opened(size: tuple[int, int], *words: str) -> Iterator[Monitor]:
    """A monitor that is closed in the end."""
    monitor = Monitor(size, *words)
    try:
        yield monitor
    finally:
        monitor.close()


# --- the run


def make_run(run: Path, rows: int) -> None:
    """A finished run with that many train rows."""
    writer = RunWriter(run)
    writer.create_run()
    writer.write_run(RunRecord(id=_NAME, created_at="2026-01-01T00:00:00+00:00", version="0"))
    attempt = AttemptRecord(
        from_step=0, reason="new", started_at="2026-01-01T00:00:00+00:00", host="here", device="cpu"
    )
    number = writer.begin_attempt(attempt)
    for event in range(_EVENTS):
        step = rows * event // _EVENTS
        writer.event_row("checkpoint_saved", step=step, message=f"saved step {step:,}")
    for line in range(1000):
        writer.log_line(f"step {rows - 1000 + line:,}   loss 1.234   51.2k tokens/s")
    text = "Once upon a time there was a small red boat. It wanted to see the big sea. " * 5
    for told, prompt in itertools.product(range(_ROUNDS), range(_PROMPTS)):
        step = rows * (told + 1) // _ROUNDS
        writer.sample_row(step=step, prompt=f"prompt {prompt}", text=text, settings={}, seed=told)
    writer.close()
    with open(RunPaths(run).attempt(number).metrics, "ab", buffering=2**20) as metrics:
        for line in _metrics(rows):
            metrics.write(line)
    if _newest_step(run) != rows:
        raise SystemExit("The rows are not what the reader understands.")
    writer.status(_status("finished", rows, rows))


def _metrics(rows: int) -> Iterator[bytes]:
    noise = [math.sin(99991 * i) for i in range(9973)]
    every = max(1, rows // _EVALS)
    for step in range(1, rows + 1):
        row = _train_row(step, noise[step % len(noise)])
        if step == 1:  # formatted here because that is three times as fast
            assert _line(row) == encode_row(row)
        if step % 100_000 == 0:
            _progress(f"writing row {step:,} of {rows:,}")
        yield _line(row) + b"\n"
        if step % every == 0 or step == rows:
            evaluated = {"kind": "eval", "step": step, "val_loss": row["train_loss"] + 0.1}
            yield encode_row({"time": row["time"], **evaluated, "bits_per_byte": 1.5}) + b"\n"


def _train_row(step: int, noise: float) -> dict[str, Any]:
    return {
        "time": round(_BORN + step * 0.05, 3),
        "kind": "train",
        "step": step,
        "train_loss": 1.5 + 9.0 / (1 + step / 500) + 0.2 * noise,
        "learning_rate": 3e-4 * min(1.0, step / 1000),
        "grad_norm": 0.5 + 0.3 * noise,
        "tokens_seen": step * 8192,
        "tokens_per_second": 163840.0 + 1e4 * noise,
        "step_seconds": 0.05,
        "memory_bytes": 1_500_000_000,
    }


def _line(row: dict[str, Any]) -> bytes:
    pairs = (f'"{key}": ' + (f'"{v}"' if type(v) is str else repr(v)) for key, v in row.items())
    return ("{" + ", ".join(pairs) + "}").encode("ascii")


def _newest_step(run: Path) -> int:
    return next(RunReader(run).rows_backwards("metrics"))["step"]


def _status(state: Any, step: int, most: int) -> Status:
    now = time.time()
    told: dict[str, Any] = {"state": state, "step": step, "max_steps": most, "time": now}
    told |= {"next_beat_by": now + 600, "tokens_seen": step * 8192, "eta_seconds": 3600.0}
    return Status(**process_identity(), **told)


# --- what is measured


def opening(run: Path, rows: int) -> Iterator[Seen]:
    """From the start of the process to its first screen, and to the whole history in it."""
    paints: list[tuple[float, float]] = []
    wholes: list[tuple[float, float]] = []
    for _ in range(3):
        _progress("opening")
        with opened((80, 24), str(run)) as monitor:
            paints.append((monitor.wait(lambda screen: _NAME in screen), monitor.cpu()))
            wholes.append((monitor.wait(lambda screen: whole(screen, rows)), monitor.cpu()))
    for what, limit, times in (("first paint", 1.0, paints), ("whole history", 5.0, wholes)):
        seconds, cpu = min(times)
        yield Seen(what, seconds, "s", limit, f"best of 3; {cpu:.2f} s of CPU")


def whole(screen: str, rows: int) -> bool:
    """Whether all of that many rows are in view."""
    return f"{rows:,}/" in screen and "reading history" not in screen and _drawn(screen)


def _drawn(screen: str) -> bool:
    return any(0x2800 < ord(sign) < 0x2900 for sign in screen)  # braille: there are curves


def following(run: Path, rows: int) -> Iterator[Seen]:
    """CPU a frame while a row a second comes, and memory."""
    writer = RunWriter(run)
    last = _newest_step(run)
    record = AttemptRecord(
        from_step=last, reason="resume", started_at="2026-01-02T00:00:00+00:00", host="here"
    )
    writer.begin_attempt(record)
    writer.status(_status("training", last, 2 * rows))
    for size, limit in SIZES.items():
        with opened(size, str(run)) as monitor:
            step = last
            monitor.wait(lambda screen, step=step: whole(screen, step))
            time.sleep(2.0)
            before = monitor.cpu()
            for frame in range(FRAMES):
                _progress(f"frame {frame + 1} of {FRAMES} at {size[0]}x{size[1]}")
                due = time.perf_counter() + 1.0
                last += 1
                row = _train_row(last, 0.0)
                del row["kind"], row["time"]
                writer.train_row(**row)
                writer.status(_status("training", last, 2 * rows))
                monitor.wait(lambda screen, step=last: f"{step:,}/" in screen)
                time.sleep(max(0.0, due - time.perf_counter()))
            cost = (monitor.cpu() - before) / FRAMES
            name = f"{size[0]}x{size[1]}"
            yield Seen(f"CPU a frame, {name}", 1000 * cost, "ms", 1000 * limit)
            for key in "txyezi":  # every axis and average once
                monitor.press(key)
                time.sleep(1.0)
            yield Seen(f"memory, {name}", monitor.memory(), "MB", 250.0)
    writer.status(_status("finished", last, 2 * rows))
    writer.close()


def idle(run: Path, rows: int) -> Iterator[Seen]:
    """CPU while nothing happens."""
    for size in SIZES:
        with opened(size, str(run)) as monitor:
            step = _newest_step(run)
            monitor.wait(lambda screen, step=step: whole(screen, step))
            _progress(f"watching it do nothing at {size[0]}x{size[1]}")
            time.sleep(5.0)
            before, began = monitor.cpu(), time.perf_counter()
            time.sleep(IDLE_SECONDS)
            share = (monitor.cpu() - before) / (time.perf_counter() - began)
        yield Seen(f"idle, {size[0]}x{size[1]}", 100 * share, "% CPU", 1.0, "a finished run")


def help_text(run: Path, rows: int) -> Iterator[Seen]:
    """CPU of `--help`, and of Python alone."""
    costs = [min(_cpu_of(words) for _ in range(5)) for words in (
        ["-m", "tinychat_monitor", "--help"], ["-c", "pass"],
    )]  # fmt: skip
    yield Seen("--help", costs[0], "s CPU", 0.3, f"Python alone {costs[1]:.2f}")


def _cpu_of(words: list[str]) -> float:
    child = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    _, code, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(code)
    return used.ru_utime + used.ru_stime


def trainer(run: Path, rows: int) -> Iterator[Seen]:
    """The time of a step with three monitors on the run, over the time without them."""
    folder = run.parent / "trained"
    words = ["train", "--name", "demo", "--checkpoints", str(folder), "--max-steps", "1000000"]
    rarely = [f"--{each}.every-steps=1000000" for each in ("eval", "sample", "checkpoint")]
    short = [  # many steps in a turn
        "--model.n-layer=2", "--model.n-embd=96", "--batch-size=4", "--runtime.threads=1",
    ]  # fmt: skip
    folder.mkdir()
    with open(folder / "said", "wb") as said:
        child = subprocess.Popen(
            [sys.executable, "-m", "tinychat", *words, *rarely, *short],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    monitors: list[Monitor] = []
    try:
        _progress("starting a trainer")
        metrics = RunPaths(folder / "demo").attempt(1).metrics
        while not metrics.exists() or metrics.read_bytes().count(b"\n") < 20:
            if child.poll() is not None:
                raise SystemExit((folder / "said").read_text(errors="replace"))
            time.sleep(0.2)
        monitors += [Monitor(size, str(folder / "demo")) for size in [(80, 24)] * 2 + [(200, 50)]]
        for monitor in monitors:
            monitor.wait(lambda screen: re.search(r"step \d", screen) and _drawn(screen))
        yield from _side_by_side(metrics, [monitor.process for monitor in monitors])
    finally:
        for monitor in monitors:
            monitor.process.send_signal(signal.SIGCONT)
            monitor.close()
        child.kill()
        child.wait()


def _side_by_side(metrics: Path, monitors: list[psutil.Process]) -> Iterator[Seen]:
    turns: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for turn in range(2 * _TURNS):
        watched = turn % 2 == 0
        _progress(f"{'with' if watched else 'without'} monitors, turn {turn + 1} of {2 * _TURNS}")
        for process in monitors:
            process.send_signal(signal.SIGCONT if watched else signal.SIGSTOP)
        time.sleep(0.5)
        began = time.time()
        time.sleep(_TURN_SECONDS)
        turns[watched].append((began, time.time()))
    rows = [json.loads(line) for line in metrics.read_bytes().split(b"\n")[:-1]]
    steps = [(row["time"], row["step_seconds"]) for row in rows if row["kind"] == "train"]

    def costs(watched: bool) -> list[float]:
        return [
            statistics.fmean(seconds for at, seconds in steps if begin <= at <= end)
            for begin, end in turns[watched]
        ]

    beside, alone = costs(True), costs(False)
    ratio = statistics.median(a / b for a, b in zip(beside, alone, strict=True))
    noise = statistics.median(abs(a / b - 1) for a, b in itertools.pairwise(alone))
    told = f"turns without differ by {100 * noise:.1f} % among themselves"
    yield Seen("a step, three monitors / none", ratio, "", 1.05 + noise, told)


def _progress(told: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{told} ...", end="", file=sys.stderr, flush=True)


PARTS = {"opening": opening, "following": following, "idle": idle, "help": help_text,
         "trainer": trainer}  # fmt: skip


def main() -> int:
    """Measure and tell; 1 if a limit is broken."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    if options.quick:
        options.rows, options.only = 20_000, ["opening", "help"]
    if shutil.which("tmux") is None:
        raise SystemExit("This needs tmux: install it, or leave this benchmark out.")
    broken, figures = 0, dict[str, Figure]()
    with tempfile.TemporaryDirectory(prefix="tinychat-", ignore_cleanup_errors=True) as folder:
        run = Path(folder) / _NAME
        make_run(run, options.rows)
        for part in options.only:
            for seen in PARTS[part](run, options.rows):
                limit = "" if seen.limit is None else f"limit {seen.limit:.3g}"
                said = "" if seen.holds else "BROKEN"
                broken += not seen.holds
                _progress("")
                value = f"{seen.value:.3g} {seen.unit}"
                print(f"{seen.what:32} {value:12} {limit:12} {seen.note} {said}", flush=True)
                figures[seen.what] = Figure.of([seen.value], f" {seen.unit}".rstrip() or "x")
    save(options, figures)
    return 1 if broken and not options.quick else 0


if __name__ == "__main__":
    sys.exit(main())
