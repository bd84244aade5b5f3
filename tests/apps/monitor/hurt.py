"""A run's folder that is hurt, and a look at everything that the monitor makes of it."""

import json
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from tests.apps.monitor.driving import until
from tinychat.runs.records import encode_row
from tinychat.words import is_harmless
from tinychat_monitor.app import MonitorApp
from tinychat_monitor.once import report
from tinychat_monitor.plain import Follower
from tinychat_monitor.screens.run import RunScreen

SIZE = (120, 40)
PANES = "123456"
# Every view of the charts, and back to the first.
CHART_KEYS = (*"xytetteyx", "plus", "minus", "z", "z", "left_square_bracket", "0", "i", "left",
              "right", "i", "v", "f", "space", "space")  # fmt: skip

DEEP = b"[" * 200_000


def metrics(run: Path) -> Path:
    return run / "attempts" / "0001" / "metrics.jsonl"


def append(path: Path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def row(step: int, **more: Any) -> bytes:
    return encode_row({"kind": "train", "step": step, "train_loss": 1.25, **more}) + b"\n"


def opened(path: Path) -> MonitorApp:
    return MonitorApp(path.parent, path)


def steps(pilot: Pilot[None]) -> list[int]:
    """The steps of the train rows that the screen has read."""
    screen = pilot.app.screen
    if not isinstance(screen, RunScreen) or screen.seen is None:
        return []
    with screen.seen.history.lock:
        return list(screen.seen.history.train.steps)


async def ready(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: steps(pilot))


async def walk(pilot: Pilot[None]) -> None:
    """Look at everything that the run screen has."""
    for pane in PANES:
        await pilot.press(pane, "down", "up", "end", "home")
    await pilot.press("tab", *CHART_KEYS)


async def looks_again(pilot: Pilot[None]) -> None:
    """Wait until the files have been looked at twice more."""
    for _ in range(2):
        screen = pilot.app.screen
        assert isinstance(screen, RunScreen)
        before = screen.seen
        await until(pilot, lambda screen=screen, before=before: screen.seen is not before)


def as_text(run: Path) -> str:
    """What the texts for scripts say; that each can be made, and read."""
    for where in (run, None):
        json.loads(report(run.parent, where, as_json=True))
        follower = Follower(run.parent, where)
        lines = [*follower.look(0.0), *follower.look(100.0)]
        assert lines
        assert harmless("\n".join(lines))
    texts = [report(run.parent, where, as_json=False) for where in (run, None)]
    assert all(map(harmless, texts))
    assert all(report(run.parent, where, as_json=False, ascii=True).isascii() for where in (run,))
    return "\n".join([*texts, *lines])


def harmless(text: str) -> bool:
    return all(sign == "\n" or is_harmless(sign) for sign in text)
