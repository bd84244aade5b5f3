"""The screens as they were looked at and found good, one file each in `snapshots/`.

A change of a screen shows as a diff of text. After looking at it:

    UPDATE_SNAPSHOTS=1 python -m pytest tests/apps/monitor/test_snapshots.py
"""

import difflib
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tinychat.config import learning_rate
from tinychat.config.load import read_preset, resolve
from tinychat.runs import (
    AttemptRecord,
    BestCheckpoint,
    RunRecord,
    RunWriter,
    State,
    Status,
    pin,
    process_identity,
    publish_checkpoint,
)
from tinychat_monitor.app import MonitorApp
from tinychat_monitor.options import Options

from .driving import drive, screen_text

FOLDER = Path(__file__).parent / "snapshots"
UPDATE = bool(os.environ.get("UPDATE_SNAPSHOTS"))
NOW = 1_790_000_000.0  # a Monday in September, 14:13 UTC
SIZES = [(60, 16), (80, 24), (120, 36), (200, 50)]
THEMES = ["tinychat-dark", "tinychat-light", "tinychat-contrast"]
PATIENCE_SECONDS = 60

# name -> (keys from the list of runs, or None for the run named at the start)
SCREENS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "runs": (None, ()),
    "run": ("story", ()),
    "run-events": ("story", ("2",)),
    "run-rates": ("story", ("4",)),
    "run-settings": ("story", ("5",)),
    "run-checkpoints": ("story", ("6",)),
    "run-log-axes": ("story", ("x", "y")),
    "crashed": ("gone", ()),
    "paused": ("waiting", ()),
    "stop": ("story", ("S",)),
    "help": ("story", ("question_mark",)),
    "compare": (None, ("space", "down", "space", "o")),
    "new-run": (None, ("n",)),
}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four runs in a world that stands still."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**11, 6 * 10**10, 4 * 10**10)
    )
    monkeypatch.setattr(Input, "cursor_blink", False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "checkpoints"
    _record(folder / "older", "finished", 5000, born=1)
    _record(folder / "gone", "training", 1730, born=2, pid=2**22 + 1)
    _record(folder / "waiting", "paused", 900, born=3)
    _record(folder / "story", "training", 2400, born=4)
    return Path("checkpoints")


def every_size() -> Iterator[Any]:
    """Each screen in each size; often those that are looked at most, and the usual size."""
    for name in SCREENS:
        for size in SIZES:
            often = size == (80, 24) or name in ("runs", "run")
            marks = () if often else pytest.mark.slow
            yield pytest.param(name, size, marks=marks, id=f"{name}-{size[0]}x{size[1]}")


@pytest.mark.parametrize(("name", "size"), every_size())
def test_a_screen_in_every_size(runs: Path, name: str, size: tuple[int, int]) -> None:
    _compare(runs, name, size, f"{name}-{size[0]}x{size[1]}.txt", screen_text, Options())


def test_a_screen_without_unicode(runs: Path) -> None:
    options = Options(ascii=True, marker="ascii")
    _compare(runs, "run", (80, 24), "run-ascii-80x24.txt", screen_text, options)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", ["runs", "run", "stop"])
def test_a_screen_in_every_theme(runs: Path, name: str, theme: str) -> None:
    def picture(pilot: Pilot[Any]) -> str:
        return pilot.app.export_screenshot(title=theme)

    file = f"{name}-{theme}.svg"
    _compare(runs, name, (100, 30), file, picture, Options(theme=theme))


def _compare(
    runs: Path,
    name: str,
    size: tuple[int, int],
    file: str,
    see: Callable[[Pilot[Any]], str],
    options: Options,
) -> None:
    """Wait until the screen is as it was, or, when updating, until it stays as it is."""
    run, keys = SCREENS[name]
    path = FOLDER / file
    wanted = path.read_text("utf-8") if path.exists() else ""

    async def play(pilot: Pilot[None]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        await _settle(pilot)
        for key in keys:
            await pilot.press(key)
            await _settle(pilot)
        while UPDATE or (see(pilot) + "\n") != wanted:
            if UPDATE or time.monotonic() > deadline:
                break
            await pilot.pause(0.1)
        seen = see(pilot) + "\n"
        if UPDATE:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(seen, "utf-8")
        diff = difflib.unified_diff(
            wanted.splitlines(), seen.splitlines(), file, "now", lineterm=""
        )
        assert UPDATE or seen == wanted, "\n".join(list(diff)[:80])

    drive(MonitorApp(runs, runs / run if run else None, options), play, size)


async def _settle(pilot: Pilot[Any]) -> None:
    """Until the screen looks the same a few times, so that the next key finds it ready."""
    same = 0
    before = ""
    while same < (12 if UPDATE else 3):
        await pilot.pause(0.1 if UPDATE else 0.05)
        now = screen_text(pilot)
        same = same + 1 if now == before and "reading" not in now else 0
        before = now


def _record(run: Path, state: State, steps: int, *, born: int, **changes: Any) -> None:
    """A run of smooth made-up numbers with everything that a screen shows."""
    writer = RunWriter(run)
    writer.create_run()
    resolved = resolve(read_preset("demo"))
    writer.write_settings(resolved.to_json())
    created_at = f"2026-09-{born:02d}T08:00:00+00:00"
    writer.write_run(
        RunRecord(
            id=run.name, created_at=created_at, version="0.1", parameters={"total": 1_967_616}
        )
    )
    writer.begin_attempt(
        AttemptRecord(
            from_step=0,
            reason="new",
            started_at=created_at,
            host="here",
            device="cpu",
            dtype="fp32",
            threads=2,
            micro_batch_size=16,
        )
    )
    first = NOW - steps * 0.5
    for step in range(1, steps + 1):
        rate = learning_rate(step - 1, 5000, resolved.settings.optim)
        _train_row(writer, step, first + step * 0.5, rate)
        if step % 200 == 0:
            at = first + step * 0.5
            loss = 1.2 + 4.0 * math.exp(-step / 500)
            writer.eval_row(step=step, time=at, val_loss=loss, bits_per_byte=loss / 2)
            for prompt in ("Hello!", "What is your name?"):
                text = f"Hello! I am Tiny, and I have learnt {step} steps. " * 3
                writer.sample_row(
                    step=step, time=at, prompt=prompt, text=text, settings={}, seed=step
                )
            message = f"checkpoint of step {step} saved (23.7 MB in 0.21 s)"
            writer.event_row("checkpoint_saved", step=step, message=message, time=at)
            writer.log_line(f"2026-09-21 14:00:00  step {step}: val_loss {loss:.4f}")
    newest = steps - steps % 200
    for step in (newest - 200, newest):
        publish_checkpoint(run, step, {"model.safetensors": b"x" * 1000, "state.json": b"{}"})
        for file in (run / f"step-{step:08d}").rglob("*"):
            os.utime(file, (NOW - 60, NOW - 60))
        os.utime(run / f"step-{step:08d}", (NOW - 60, NOW - 60))
    pin(run, newest - 200)
    told: dict[str, Any] = {
        "state": state,
        "step": steps,
        "max_steps": 5000,
        "time": NOW - 1,
        "next_beat_by": NOW + 600,
        "tokens_seen": steps * 2048,
        "eta_seconds": 0.5 * (5000 - steps),
        "best": BestCheckpoint(step=newest, val_loss=1.2 + 4.0 * math.exp(-newest / 500)),
        "latest": newest,
    }
    writer.status(Status(**{**process_identity(), **told, **changes}))
    writer.close()


def _train_row(writer: RunWriter, step: int, at: float, rate: float) -> None:
    noise = math.sin(step * 12.9898) * 0.08
    writer.train_row(
        step=step,
        time=at,
        train_loss=1.1 + 4.2 * math.exp(-step / 450) + noise,
        learning_rate=rate,
        grad_norm=0.6 + 2 * math.exp(-step / 300) + noise,
        tokens_seen=step * 2048,
        tokens_per_second=12_800 + 900 * noise,
        step_seconds=0.16,
        memory_bytes=640_000_000,
    )
