"""The charts and the panes of a run, by their keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable

from tests.apps.monitor.driving import drive, head, run_screen, screen_text, shown, told, until
from tests.apps.monitor.trainer import fill
from tinychat.runs import RunWriter, pinned, publish_checkpoint
from tinychat_monitor.app import MonitorApp

Record = Callable[..., RunWriter]
Train = Callable[..., None]


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


def test_preference_tuning_has_charts_of_its_own(
    record: Record, train: Train, tmp_path: Path
) -> None:
    writer = record("plain")
    fill(writer, train, 1300)
    writer = record("tuned")
    for step in (1251, 1252):
        row = {"train_loss": 2.0, "learning_rate": 1e-4, "grad_norm": 1.0, "tokens_seen": step}
        writer.train_row(
            step=step,
            tokens_per_second=1.0,
            step_seconds=1.0,
            reward_margin=0.25 * (step - 1250),
            preference_accuracy=0.5,
            **row,
        )  # type: ignore[typeddict-item]
    writer.eval_row(
        step=1252, val_loss=1.5, preference_loss=0.5, preference_accuracy=1.0, reward_margin=0.75
    )

    def charts(run: str) -> set[str]:
        seen: set[str] = set()

        async def play(pilot: Pilot[None]) -> None:
            await until(pilot, lambda: "loss" in head(pilot))
            await pilot.press("4")
            names = {"reward margin", "held-out loss"}
            drawn = {"gradient norm", *(names if run == "tuned" else ())}
            await until(pilot, lambda: all(name in screen_text(pilot) for name in drawn))
            seen.update(name for name in names if name in screen_text(pilot))

        drive(MonitorApp(tmp_path, tmp_path / run), play, (100, 40))
        return seen

    assert charts("tuned") == {"reward margin", "held-out loss"}
    assert charts("plain") == set()


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
        assert "weights only: it can be talked with, but not gone on from" in told(pilot)
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
