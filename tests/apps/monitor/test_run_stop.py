"""Stopping a run: the question before, and ending a trainer that does not listen."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import Screen

from tests.apps.monitor.driving import drive, head, run_screen, shown, told, until
from tests.apps.monitor.trainer import asked, obey
from tinychat.runs import RunWriter, Status
from tinychat.runs.liveness import process_start_time
from tinychat_monitor.app import MonitorApp
from tinychat_monitor.screens import steering
from tinychat_monitor.screens.run import RunScreen
from tinychat_monitor.screens.stop import EndScreen, StopScreen

Record = Callable[..., RunWriter]
MakeStatus = Callable[..., Status]


@pytest.mark.parametrize(
    ("keys", "save"),
    [(["enter"], None), (["escape"], None), (["left", "left", "enter"], True),
     (["left", "enter"], False)],
)  # fmt: skip
def test_stopping_asks_first_and_cancel_is_the_default(
    record: Record, tmp_path: Path, keys: list[str], save: bool | None
) -> None:
    writer, run = record("demo"), tmp_path / "demo"

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "TRAINING" in head(pilot))
        await pilot.press("S")
        await until(pilot, lambda: isinstance(pilot.app.screen, StopScreen))
        await pilot.press(*keys)
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        if save is None:
            assert asked(run) == []
            return
        await until(pilot, lambda: "stop…" in head(pilot))
        await pilot.press("S")  # not a second question, but how long it will wait
        await until(pilot, lambda: "asked to stop" in told(pilot))
        assert (await obey(pilot, writer)).args == {"save": save}

    drive(MonitorApp(tmp_path, run), play)


@pytest.fixture
def stubborn() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not end when it is asked to."""
    code = """if True:
        import signal, time
        signal.signal(signal.SIGTERM, lambda *_: print("no", flush=True))
        print("ready", flush=True)
        while True:
            time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def test_a_trainer_that_does_not_stop_can_be_ended_after_questions(
    record: Record,
    tmp_path: Path,
    stubborn: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pid = stubborn.pid
    record("demo", pid=pid, process_start_time=process_start_time(pid))
    monkeypatch.setattr(steering, "STOP_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(steering, "END_PATIENCE_SECONDS", 0.0)

    async def play(pilot: Pilot[None]) -> None:
        async def answer(screen: type[Screen[Any]], words: str) -> None:
            await pilot.press("S")
            await until(pilot, lambda: isinstance(pilot.app.screen, screen))
            await until(pilot, lambda: words in shown(pilot, "#question"))
            await pilot.press("left", "enter")
            await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))

        await until(pilot, lambda: "TRAINING" in head(pilot))
        await answer(StopScreen, "Stop demo?")
        await until(pilot, lambda: "S asks whether to end its process" in told(pilot))
        await answer(EndScreen, f"End process {pid} (SIGTERM)?")
        assert stubborn.stdout is not None
        assert stubborn.stdout.readline() == b"no\n"
        await until(pilot, lambda: "S asks whether to kill it" in told(pilot))
        await answer(EndScreen, f"Kill process {pid}")
        assert stubborn.wait(30) == -signal.SIGKILL
        await until(pilot, lambda: "✗ CRASHED" in head(pilot))

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play)


def test_only_the_process_that_was_asked_about_is_ended(
    record: Record,
    status: MakeStatus,
    tmp_path: Path,
    stubborn: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked_about = {"pid": stubborn.pid, "process_start_time": process_start_time(stubborn.pid)}
    writer = record("demo", **asked_about)
    monkeypatch.setattr(steering, "STOP_PATIENCE_SECONDS", 0.0)
    ended: list[int] = []
    monkeypatch.setattr(steering, "end_process", lambda status, _: ended.append(status.pid))

    async def play(pilot: Pilot[None]) -> None:
        async def question(screen: type[Screen[Any]]) -> None:
            await pilot.press("S")
            await until(pilot, lambda: isinstance(pilot.app.screen, screen))

        await until(pilot, lambda: "TRAINING" in head(pilot))
        await question(StopScreen)
        await pilot.press("left", "enter")
        await question(EndScreen)
        writer.status(status("training", 1251))  # another one trains it by now
        under = pilot.app.screen_stack[-2]
        assert isinstance(under, RunScreen)
        await until(pilot, lambda: under.seen and under.seen.overview.step == 1251)
        await pilot.press("left", "enter")
        await until(pilot, lambda: ended)
        assert ended == [stubborn.pid]

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play)


@pytest.mark.parametrize("how", ["refused", "another process"])
def test_a_stop_that_is_over_ends_nobody_later(
    record: Record, status: MakeStatus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    writer = record("demo")
    monkeypatch.setattr(steering, "STOP_PATIENCE_SECONDS", 0.0)

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "TRAINING" in head(pilot))
        await pilot.press("S")
        await until(pilot, lambda: isinstance(pilot.app.screen, StopScreen))
        await pilot.press("left", "enter")
        await until(pilot, lambda: asked(tmp_path / "demo") == ["stop"])
        if how == "refused":
            await obey(pilot, writer, "it came too late", kind="refused")
        else:
            other = {"pid": 1, "process_start_time": process_start_time(1)}
            writer.status(status("training", 1251, **other))
        await until(pilot, lambda: run_screen(pilot)._stop_sent_at is None)
        await pilot.press("S")
        await until(pilot, lambda: isinstance(pilot.app.screen, StopScreen))

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play)
