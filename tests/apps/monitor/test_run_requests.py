"""What a person asks of a run: pending until its trainer answers, and refused with the reason."""

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.apps.monitor.driving import drive, head, screen_text, shown, told, until
from tests.apps.monitor.trainer import asked, obey
from tinychat.runs import RunWriter, Status, pinned
from tinychat.watch.overview import Watch
from tinychat_monitor.app import MonitorApp, Options
from tinychat_monitor.screens.log_tail import LogTailScreen
from tinychat_monitor.screens.prompt import PromptScreen
from tinychat_monitor.screens.run import RunScreen
from tinychat_monitor.starting import why_not_resume

Record = Callable[..., RunWriter]
MakeStatus = Callable[..., Status]


def test_requests_are_pending_until_the_trainer_answers(
    record: Record, status: MakeStatus, tmp_path: Path
) -> None:
    writer, run = record("demo"), tmp_path / "demo"

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "TRAINING" in head(pilot))
        await pilot.press("p")
        assert "pause…" in head(pilot)
        await pilot.press("p")
        await until(pilot, lambda: "pause was asked already" in told(pilot))
        assert (await obey(pilot, writer, "paused after step 1250")).command == "pause"
        writer.status(status("paused", 1250))
        await until(pilot, lambda: "‖ PAUSED" in head(pilot) and "pause…" not in head(pilot))
        await until(pilot, lambda: "paused after step 1250" in told(pilot))
        await pilot.press("p")
        assert (await obey(pilot, writer)).command == "resume"
        writer.status(status("training", 1250))
        await until(pilot, lambda: "● TRAINING" in head(pilot) and "…" not in head(pilot))
        for key, command in [("c", "checkpoint"), ("g", "sample"), ("E", "evaluate")]:
            await pilot.press(key)
            assert f"{command}…" in head(pilot)
            assert (await obey(pilot, writer)).command == command
            await until(pilot, lambda: "…" not in head(pilot))
        await pilot.press("c")
        await obey(pilot, writer, "the disk is full \x1b[2J", kind="refused")
        await until(pilot, lambda: "checkpoint was refused: the disk is full ␛[2J" in told(pilot))

    drive(MonitorApp(tmp_path, run), play)


def test_a_typed_prompt_is_sampled(record: Record, tmp_path: Path) -> None:
    writer, run = record("demo"), tmp_path / "demo"

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "TRAINING" in head(pilot))
        await pilot.press("G")
        await until(pilot, lambda: isinstance(pilot.app.screen, PromptScreen))
        await pilot.press("H", "i", "enter")
        await until(pilot, lambda: "sample…" in head(pilot))
        assert (await obey(pilot, writer)).args == {"prompt": "Hi"}
        writer.sample_row(step=1250, prompt="Hi", text="Hello you", settings={}, seed=1)
        await until(pilot, lambda: "prompt 2/2" in screen_text(pilot))
        assert "Hello you" in screen_text(pilot)

    drive(MonitorApp(tmp_path, run), play)


def test_a_run_that_is_over_refuses_with_the_reason(record: Record, tmp_path: Path) -> None:
    record("demo", "finished", 5000)

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "✓ FINISHED" in head(pilot))
        await pilot.press("p", "c", "g", "E", "G", "S")
        await until(pilot, lambda: told(pilot).count("demo has finished") == 6)
        await pilot.press("r")
        await until(pilot, lambda: "tinychat resume demo --max-steps 10000" in told(pilot))
        assert asked(tmp_path / "demo") == []
        assert isinstance(pilot.app.screen, RunScreen)

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play)


def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(
    record: Record, tmp_path: Path
) -> None:
    record("demo")
    control = tmp_path / "demo" / "control"
    control.rmdir()
    control.write_text("no folder", encoding="utf-8")  # works as root, too

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "TRAINING" in head(pilot))
        await pilot.press("c")
        await until(pilot, lambda: "cannot be written" in told(pilot))
        assert "so nothing was asked" in told(pilot)
        assert "checkpoint…" not in head(pilot)

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play)


def test_readonly_takes_everything_away_that_steers(record: Record, tmp_path: Path) -> None:
    record("demo")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "[read only]" in head(pilot))
        await pilot.press("p", "c", "g", "G", "E", "S", "r", "6", "k")
        assert isinstance(pilot.app.screen, RunScreen)
        assert asked(tmp_path / "demo") == []
        assert pinned(tmp_path / "demo") == set()
        assert "Pause" not in screen_text(pilot)
        assert told(pilot) == ""

    app = MonitorApp(tmp_path, tmp_path / "demo", Options(readonly=True))
    drive(app, play, (160, 48))


def test_a_run_that_cannot_be_resumed_tells_why(record: Record, tmp_path: Path) -> None:
    record("demo", "stopped")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "Stopped: r goes on." in head(pilot))
        await pilot.press("r")
        await until(pilot, lambda: isinstance(pilot.app.screen, LogTailScreen))
        await until(pilot, lambda: "demo could not be resumed" in shown(pilot, "#question"))
        await until(pilot, lambda: "settings.json" in shown(pilot, "#text"))
        await pilot.press("escape")
        await until(pilot, lambda: "STOPPED" in head(pilot) and "resume…" not in head(pilot))

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("training", "demo is training: there is nothing to resume."),
        ("paused", "demo is paused: p goes on."),
    ],
)
def test_a_run_that_goes_on_is_not_resumed(
    record: Record, tmp_path: Path, state: str, told: str
) -> None:
    record("demo", state)
    assert why_not_resume(Watch(tmp_path).look_at(tmp_path / "demo")) == told
