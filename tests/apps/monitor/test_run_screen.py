"""The screen of one run, driven as a person drives it, over a run that somebody trains."""

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.apps.monitor.driving import drive, head, screen_text, shown, told, until
from tests.apps.monitor.trainer import asked, fill
from tinychat.runs import RunWriter, Status
from tinychat_monitor.app import MonitorApp, Options
from tinychat_monitor.widgets.panes import Pane

Record = Callable[..., RunWriter]
Train = Callable[..., None]
MakeStatus = Callable[..., Status]
SIZES = [(60, 16), (80, 24), (120, 36), (200, 50)]


def open_pane(pilot: Pilot[None]) -> str | None:
    panes = [pane.id for pane in pilot.app.screen.query(Pane) if pane.display]
    return panes[0] if len(panes) == 1 else None


@pytest.mark.parametrize("size", SIZES)
def test_everything_of_a_run_can_be_seen(
    record: Record, train: Train, tmp_path: Path, size: tuple[int, int]
) -> None:
    writer = record("demo")
    writer.event_row("resume", step=1250, message="resumed from step 1250")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "● TRAINING" in head(pilot))
        fill(writer, train, 1300)
        await until(pilot, lambda: "loss 2.077" in head(pilot))
        for key, pane, word in [
            ("2", "events", "resumed from step 1250"),
            ("3", "log", "step 1250 [@click=app.quit]press[/]"),
            ("4", "rates", "gradient norm"),
            ("5", "settings", "its settings cannot be read"),
            ("6", "checkpoints", "demo@1250"),
            ("1", "samples", "› Hello"),
        ]:
            await pilot.press(key)
            assert open_pane(pilot) == f"pane-{pane}"
            await until(pilot, lambda word=word: word in screen_text(pilot))
        assert "loss (nats/token)" in screen_text(pilot)
        drawn = screen_text(pilot).splitlines()
        assert len(drawn) == size[1]
        await pilot.press("q")

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play, size)


def test_a_wide_screen_hides_nothing(record: Record, train: Train, tmp_path: Path) -> None:
    writer = record("demo")
    fill(writer, train, 1300)
    writer.event_row("checkpoint_saved", step=1250, message="checkpoint of step 1250 saved")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "loss 2.077" in head(pilot))
        await until(pilot, lambda: "tokens/s" in screen_text(pilot))
        for word in ("loss", "learning rate", "gradient norm", "› Hello", "last events", "Stop"):
            await until(pilot, lambda word=word: word in screen_text(pilot))
        await pilot.click("#button-checkpoint")
        await until(pilot, lambda: asked(tmp_path / "demo") == ["checkpoint"])
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "last events" not in screen_text(pilot))
        await pilot.resize_terminal(40, 10)
        await until(pilot, lambda: "loss (nats" not in screen_text(pilot))
        assert "● TRAINING" in head(pilot)
        await until(pilot, lambda: set(shown(pilot, "#glance")) & set("▁▂▃▄▅▆▇█"))

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play, (160, 48))


def test_a_crash_is_seen_told_and_explained(
    record: Record, status: MakeStatus, tmp_path: Path
) -> None:
    writer = record("demo")
    writer.log_line("the last words")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "TRAINING" in head(pilot))
        assert open_pane(pilot) == "pane-samples"
        writer.status(status("training", 1250, process_start_time=1.0))
        await until(pilot, lambda: "✗ CRASHED" in head(pilot))
        assert "r goes on from step 1,250" in head(pilot)
        await until(pilot, lambda: "the last words" in screen_text(pilot))
        assert open_pane(pilot) == "pane-log"
        await until(pilot, lambda: "CRASHED" in told(pilot))
        await pilot.press("1")
        writer.sample_row(step=1250, prompt="Hello", text="later", settings={}, seed=1)
        await until(pilot, lambda: "prompt 1/2" in screen_text(pilot))
        assert open_pane(pilot) == "pane-samples"

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play)


def test_freezing_holds_the_view_but_not_the_headline(
    record: Record, train: Train, status: MakeStatus, tmp_path: Path
) -> None:
    writer = record("demo")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "step 1,250 · round 1/1" in shown(pilot, "#sample-place"))
        await pilot.press("space")
        assert "FROZEN" in head(pilot)
        writer.sample_row(step=1300, prompt="Hello", text="new", settings={}, seed=1)
        train(writer, 1300, 1.5)
        writer.status(status("training", 1300))
        await until(pilot, lambda: "loss 1.500" in head(pilot))
        assert "round 1/1" in shown(pilot, "#sample-place")
        await pilot.press("space")
        assert "FROZEN" not in head(pilot)
        await until(pilot, lambda: "round 2/2" in shown(pilot, "#sample-place"))

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play)


def test_the_monitor_can_be_left_while_a_run_opens(record: Record, tmp_path: Path) -> None:
    record("demo")

    async def play(pilot: Pilot[None]) -> None:
        pilot.app.open_run(tmp_path / "demo")  # type: ignore[attr-defined]
        pilot.app.exit()

    drive(MonitorApp(tmp_path), play)


def test_a_folder_that_vanishes_does_not_end_it(record: Record, tmp_path: Path) -> None:
    record("demo")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "TRAINING" in head(pilot))
        (tmp_path / "demo").rename(tmp_path / ".gone")
        await until(pilot, lambda: "? UNKNOWN" in head(pilot))
        await pilot.press("p", "c", "2", "3", "4", "5", "6", "k", "space", "space")
        assert pilot.app.is_running
        (tmp_path / ".gone").rename(tmp_path / "demo")
        await until(pilot, lambda: "● TRAINING" in head(pilot))

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play)


def test_ascii_is_all_there_is(record: Record, train: Train, tmp_path: Path) -> None:
    writer = record("demo")
    fill(writer, train, 1260)

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "loss 2.079" in screen_text(pilot))
        for key in "123456":
            await pilot.press(key)
            drawn = screen_text(pilot)
            assert drawn.isascii(), [c for c in drawn if not c.isascii()]

    app = MonitorApp(tmp_path, tmp_path / "demo", Options(ascii=True, marker="ascii"))
    drive(app, play, (160, 48))
