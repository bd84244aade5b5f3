"""The plan in the form of a new run: the real monitor, and real processes that plan."""

import asyncio
import re
import shutil
from pathlib import Path

import psutil
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.apps.monitor.driving import drive, screen_text, shown, until
from tests.apps.monitor.test_new_run import form
from tests.apps.monitor.test_terminal import Terminal
from tests.conftest import tiny, write_corpora
from tests.conftest import until as until_so
from tinychat.errors import SettingsError
from tinychat.watch.launch import train_arguments
from tinychat.watch.plan import ask_plan, plan_arguments
from tinychat_monitor.app import MonitorApp
from tinychat_monitor.screens.new_run import NewRunScreen
from tinychat_monitor.screens.run import RunScreen

MORE = " ".join(tiny(max_steps=77))


def planners() -> list[psutil.Process]:
    """The processes below this one that plan or measure."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            words = process.cmdline()
        except psutil.NoSuchProcess:
            continue
        if "plan" in words or "tinychat.planning.probe" in words:
            found.append(process)
    return found


def test_a_plan_is_measured_and_shown_and_nothing_started(tmp_path: Path) -> None:
    talks, _ = write_corpora(tmp_path)
    runs = tmp_path / "runs"

    async def play(pilot: Pilot[None]) -> None:
        await form(pilot, data=str(talks), more=MORE)
        await pilot.press("f5")
        await until(pilot, lambda: shown(pilot, "#plan-text") or shown(pilot, ".error"))
        told = shown(pilot, "#plan-text")
        for words in ("parameters", "77 steps", "passes", "done at", "free", "▁", "cpu in"):
            assert words in told, told
        assert "nothing was started" in shown(pilot, "#message")
        assert not list(runs.glob("*/run.json"))
        box = pilot.app.screen.query_one("#told-plan")
        assert box.border_title == " plan "
        pilot.app.screen.query_one("#more", Input).value += " --seed=3"
        await until(pilot, lambda: "as it was" in str(box.border_title))

    drive(MonitorApp(runs), play, (100, 40))


def test_escape_ends_the_planning_and_what_it_measures_in(tmp_path: Path) -> None:
    talks, _ = write_corpora(tmp_path)

    async def play(pilot: Pilot[None]) -> None:
        await form(pilot, data=str(talks), more=MORE)
        await pilot.press("f5")
        await until(pilot, lambda: len(planners()) == 2)  # the second one measures
        assert "..." in shown(pilot, "#message")
        assert "Stop planning" in screen_text(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: not planners())
        assert "was stopped" in shown(pilot, "#message")
        assert isinstance(pilot.app.screen, NewRunScreen)
        assert not shown(pilot, "#plan-text")
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, NewRunScreen))

    drive(MonitorApp(tmp_path / "runs"), play)


def test_whoever_leaves_the_form_ends_the_planning(tmp_path: Path) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await form(pilot)
        await pilot.press("f5")
        await until(pilot, planners)
        await pilot.click("#back")
        await until(pilot, lambda: not isinstance(pilot.app.screen, NewRunScreen))
        await until(pilot, lambda: not planners())

    drive(MonitorApp(tmp_path), play)


@pytest.mark.slow
def test_a_run_is_started_before_its_plan_is_through(tmp_path: Path) -> None:
    talks, _ = write_corpora(tmp_path)
    runs = tmp_path / "runs"

    async def play(pilot: Pilot[None]) -> None:
        await form(pilot, data=str(talks), name="mine", more=" ".join(tiny(max_steps=3)))
        await pilot.press("f5")
        await until(pilot, planners)
        await pilot.press("f9")
        await until(pilot, lambda: not planners())
        await until(
            pilot, lambda: isinstance(pilot.app.screen, RunScreen) or shown(pilot, ".error")
        )
        assert isinstance(pilot.app.screen, RunScreen), screen_text(pilot)
        await until(pilot, lambda: "FINISHED" in screen_text(pilot))

    drive(MonitorApp(runs), play)


def test_what_is_wrong_with_a_plan_is_said_in_a_sentence(tmp_path: Path) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await form(pilot, more="--optim.no-such-thing 3")
        await pilot.press("f5")
        await until(pilot, lambda: "no_such_thing" in shown(pilot, ".error"))
        assert "Traceback" not in screen_text(pilot)
        assert "tinychat:" not in shown(pilot, "#message")
        assert not pilot.app.screen.query_one("#plan").disabled

    drive(MonitorApp(tmp_path), play)


def test_the_child_s_own_words_are_raised(tmp_path: Path) -> None:
    arguments = plan_arguments(train_arguments("dmo", None, "mine", tmp_path))
    with pytest.raises(SettingsError, match="no preset is called 'dmo'"):
        asyncio.run(ask_plan(arguments, lambda _: None))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
@pytest.mark.parametrize(
    "size",
    [
        pytest.param((80, 24), id="80x24"),
        pytest.param((120, 40), id="120x40", marks=pytest.mark.slow),
    ],
)
def test_the_plan_stands_in_a_real_terminal(tmp_path: Path, size: tuple[int, int]) -> None:
    talks, _ = write_corpora(tmp_path)
    screen = Terminal(size, "--checkpoints", str(tmp_path / "runs"), COLUMNS=str(size[0]))
    try:
        screen.shows("no runs|No runs")
        screen.press("n")
        screen.shows("max steps")
        fields = (str(talks), r"a file of"), ("mine", "name +.*mine"), ("77", "max steps +77")
        for typed, seen in (*fields, (MORE.replace("--max-steps=77 ", ""), "fp32")):
            row = screen.cursor_row()
            screen.press("Tab")  # what is typed before the focus has moved goes astray
            until_so(lambda row=row: screen.cursor_row() > row, screen.screen)
            screen.type(typed)
            screen.shows(seen)
        screen.press("F5")
        screen.shows("done at")
        lines = screen.screen().splitlines()
        assert max(map(len, lines)) <= size[0]
        names = ("parameters", "length", "time", "memory", "disk", "LR", "measured")
        for name in names:
            assert any(re.match(f" {name} ", line) for line in lines), screen.screen()
        screen.press("Escape")
        screen.shows("no runs|No runs")
    finally:
        screen.kill()
