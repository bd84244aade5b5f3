"""The screen of one run, driven as a person drives it, over a run that somebody trains."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import DataTable

from tests.apps.monitor.driving import drive, screen_text, shown, told, until
from tinychat.runs import Command, ControlInbox, RunWriter, Status, pinned, publish_checkpoint
from tinychat.runs.liveness import process_start_time
from tinychat.watch.overview import Watch
from tinychat_monitor.app import MonitorApp, Options
from tinychat_monitor.screens import steering
from tinychat_monitor.screens.log_tail import LogTailScreen
from tinychat_monitor.screens.prompt import PromptScreen
from tinychat_monitor.screens.run import RunScreen
from tinychat_monitor.screens.stop import EndScreen, StopScreen
from tinychat_monitor.starting import why_not_resume
from tinychat_monitor.widgets.headline import Headline
from tinychat_monitor.widgets.panes import Pane

Record = Callable[..., RunWriter]
Train = Callable[..., None]
MakeStatus = Callable[..., Status]
SIZES = [(60, 16), (80, 24), (120, 36), (200, 50)]


def head(pilot: Pilot[None]) -> str:
    """The headline of the run on top; empty while there is none."""
    if not isinstance(pilot.app.screen, RunScreen):
        return ""
    return pilot.app.screen.query_one(Headline).shown.plain


def open_pane(pilot: Pilot[None]) -> str | None:
    panes = [pane.id for pane in pilot.app.screen.query(Pane) if pane.display]
    return panes[0] if len(panes) == 1 else None


def run_screen(pilot: Pilot[None]) -> RunScreen:
    assert isinstance(pilot.app.screen, RunScreen)
    return pilot.app.screen


def fill(writer: RunWriter, train: Train, last: int) -> None:
    for step in range(1251, last + 1):
        train(writer, step, 2.0 + 100 / step)


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


def asked(run: Path) -> list[str]:
    """The commands that lie in a run's mailbox, oldest first."""
    files = sorted((run / "control").glob("*.json"))
    return [json.loads(file.read_text(encoding="utf-8"))["command"] for file in files]


async def obey(
    pilot: Pilot[None], writer: RunWriter, result: str = "done", kind: str = "applied"
) -> Command:
    """Do as a trainer does with the one command in its mailbox, once it is there."""
    run = writer.paths.root
    await until(pilot, lambda: asked(run))
    (command,) = ControlInbox(run).poll()
    writer.event_row(
        f"command_{kind}", step=1250, message=result, id=command.id, command=command.command
    )
    return command


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


def test_the_keys_of_the_charts(record: Record, train: Train, tmp_path: Path) -> None:
    writer = record("demo")
    fill(writer, train, 1450)

    async def play(pilot: Pilot[None]) -> None:
        def view() -> Any:
            return run_screen(pilot).view

        await until(pilot, lambda: "loss 2.069" in head(pilot))
        await until(pilot, lambda: "EMA .9" in screen_text(pilot))
        await pilot.press("x", "y", "t", "e")
        assert (view().log_x, view().log_y, view().axis, view().ema) == (True, True, "tokens", 0.98)
        await pilot.press("x", "y", "t", "t", "e")
        assert (view().log_x, view().log_y, view().axis, view().ema) == (False, False, "step", 0.0)
        await pilot.press("plus")
        assert view().low == pytest.approx(1350, abs=1)
        await pilot.press("left_square_bracket")
        assert view().low < 1340
        assert not view().follow
        await pilot.press("f")  # the samples have the focus: it is theirs
        assert not view().follow
        await pilot.press("i", "f")
        assert view().follow
        at = view().crosshair
        await pilot.press("left")
        assert view().crosshair < at
        await until(pilot, lambda: "train 2.0" in screen_text(pilot))
        await pilot.press("i", "0", "v", "z")
        assert view().crosshair is None
        assert not view().clip_warm_up
        assert view().low == pytest.approx(1350, abs=1)
        await pilot.press("minus", "0")
        assert view().low is None

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play, (100, 30))


def test_a_baseline_is_drawn_with_its_difference(
    record: Record, train: Train, tmp_path: Path
) -> None:
    fill(record("older [b]"), train, 1300)
    fill(record("demo"), train, 1300)

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "loss 2.077" in head(pilot))
        await pilot.press("b", "down", "enter")
        await until(pilot, lambda: "▲ older [b] train" in screen_text(pilot))
        await until(pilot, lambda: len(run_screen(pilot).histories()[1].train) == 51)
        await pilot.press("i")
        await until(pilot, lambda: "vs older [b]" in screen_text(pilot))
        await pilot.press("b", "home", "enter")
        await until(pilot, lambda: "older" not in screen_text(pilot))

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play, (200, 50))


def test_the_monitor_can_be_left_while_a_run_opens(record: Record, tmp_path: Path) -> None:
    record("demo")

    async def play(pilot: Pilot[None]) -> None:
        pilot.app.open_run(tmp_path / "demo")  # type: ignore[attr-defined]
        pilot.app.exit()

    drive(MonitorApp(tmp_path), play)


def test_checkpoints_can_be_pinned(record: Record, tmp_path: Path) -> None:
    record("demo")
    run = tmp_path / "demo"
    publish_checkpoint(run, 1300, {"model.safetensors": b"x", "optimizer.safetensors": b"y"})

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "TRAINING" in head(pilot))
        run_screen(pilot).query_one("#loss").focus()  # a pane's number takes the keys from there
        await pilot.press("6")
        table = run_screen(pilot).query_one("#pane-checkpoints DataTable", DataTable)
        await until(pilot, lambda: table.row_count == 2)
        assert str(table.get_row_at(1)[0]) == "1,250"
        assert str(table.get_row_at(1)[4]) == "best · weights only"
        await pilot.press("down", "k")
        assert pinned(run) == {1250}
        await until(pilot, lambda: "pinned" in str(table.get_row_at(1)[4]))
        assert table.cursor_row == 1  # the cursor stays on its step
        publish_checkpoint(run, 1350, {"model.safetensors": b"x"})
        await until(pilot, lambda: table.row_count == 3)
        assert table.cursor_row == 2
        assert "demo@1250" in shown(pilot, "#checkpoint-hint")
        await pilot.press("k")
        assert pinned(run) == set()

    drive(MonitorApp(tmp_path, run), play)


def test_settings_that_were_changed_stand_first(record: Record, tmp_path: Path) -> None:
    writer = record("demo")
    writer.write_settings(
        {
            "settings": {"seed": 0, "optim": {"learning_rate": 0.5, "schedule": "cosine"}},
            "sources": {
                "seed": "default",
                "optim.learning_rate": "command line",
                "optim.schedule": "[/] file",
            },
        }
    )

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "TRAINING" in head(pilot))
        await pilot.press("5")
        table = run_screen(pilot).query_one("#pane-settings DataTable", DataTable)
        await until(pilot, lambda: table.row_count == 3)
        names = [str(table.get_row_at(row)[0]) for row in range(3)]
        assert names == ["*optim.learning_rate", "*optim.schedule", " seed"]
        assert str(table.get_row_at(1)[2]) == "[/] file"
        await until(pilot, lambda: "Peak learning rate" in shown(pilot, "#setting-help"))

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play)


def test_the_log_can_be_filtered_and_follows(record: Record, tmp_path: Path) -> None:
    writer = record("demo")
    for number in range(100):
        writer.log_line(f"line {number} {'Odd' if number % 2 else 'even'}")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "TRAINING" in head(pilot))
        await pilot.press("3")
        await until(pilot, lambda: "line 99 Odd" in screen_text(pilot))
        writer.log_line("line 100 even")
        await until(pilot, lambda: "line 100 even" in screen_text(pilot))
        await pilot.press("slash", "o", "d", "d", "enter")
        await until(pilot, lambda: "50 of the last 102 lines" in screen_text(pilot))
        await until(pilot, lambda: "line 100" not in screen_text(pilot))
        await pilot.press("home")
        await until(pilot, lambda: "line 1 Odd" in screen_text(pilot))
        writer.log_line("line 101 Odd")
        await until(pilot, lambda: "51 of the last 103 lines" in screen_text(pilot))
        assert "line 101" not in screen_text(pilot)  # a person reads elsewhere
        await pilot.press("slash", "escape")
        await until(pilot, lambda: "lines" not in shown(pilot, "#log-found"))

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play)


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


def test_a_run_that_cannot_be_resumed_tells_why(record: Record, tmp_path: Path) -> None:
    record("demo", "stopped")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "Stopped: r goes on." in head(pilot))
        await pilot.press("r")
        await until(pilot, lambda: "resume…" in head(pilot))
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
