"""Starting a run from the monitor, with a real trainer."""

import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.apps.monitor.driving import drive, screen_text, shown, until
from tests.conftest import tiny
from tinychat.runs import RunReader
from tinychat_monitor import starting
from tinychat_monitor.app import MonitorApp
from tinychat_monitor.screens.new_run import NewRunScreen, about_path
from tinychat_monitor.screens.run import RunScreen


async def form(pilot: Pilot[Any], **values: str) -> None:
    """Open the form and fill it in."""
    await pilot.press("n")
    await until(pilot, lambda: isinstance(pilot.app.screen, NewRunScreen))
    await until(pilot, lambda: pilot.app.screen.query("#more"))
    for name, value in values.items():
        pilot.app.screen.query_one(f"#{name.replace('_', '-')}", Input).value = value


def value(pilot: Pilot[Any], name: str) -> str:
    return pilot.app.screen.query_one(f"#{name}", Input).value


@pytest.mark.parametrize(
    ("typed", "said", "where"),
    [
        ({"data": "/nowhere/at all.txt"}, "There is no /nowhere/at all.txt", "data"),
        ({"data": "~nobody of that name/x"}, "There is no ~nobody", "data"),
        ({"data": "x" * 300}, "There is no xxx", "data"),
        ({"name": " "}, "needs a name", "name"),
        ({"max_steps": "many"}, "whole number", "max-steps"),
        ({"max_steps": "0"}, "whole number", "max-steps"),
        ({"more": "--a 'b"}, "cannot be read", "more"),
        ({"name": "taken"}, "There is a run taken already", "name"),
    ],
)
def test_what_is_wrong_in_the_form_is_said_beside_it(
    record: Any, tmp_path: Path, typed: dict[str, str], said: str, where: str
) -> None:
    record("taken")

    async def play(pilot: Pilot[None]) -> None:
        await form(pilot, **typed)
        await pilot.press("f9")
        await until(pilot, lambda: said in shown(pilot, "#message"))
        assert pilot.app.focused is pilot.app.screen.query_one(f"#{where}")
        assert not (tmp_path / ".launch").exists()
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, NewRunScreen))

    drive(MonitorApp(tmp_path), play)


def test_a_name_is_proposed_that_is_free(record: Any, tmp_path: Path) -> None:
    record("demo")
    record("demo-2")

    async def play(pilot: Pilot[None]) -> None:
        await form(pilot)
        assert value(pilot, "name") == "demo-3"

    drive(MonitorApp(tmp_path), play)


def test_the_data_are_looked_at_while_they_are_typed(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("x" * 1234, encoding="utf-8")
    assert about_path(tmp_path / "text.txt") == "a file of 1.2 kB"
    assert about_path(tmp_path) == "a folder of 1 entry"

    async def play(pilot: Pilot[None]) -> None:
        await form(pilot, data=str(tmp_path / "text"))
        await until(pilot, lambda: "no such" in shown(pilot, "#about-data"))
        pilot.app.screen.query_one("#data", Input).value += ".txt"
        await until(pilot, lambda: "1.2 kB" in shown(pilot, "#about-data"))

    drive(MonitorApp(tmp_path / "runs"), play)


def test_a_start_that_fails_keeps_what_was_typed(tmp_path: Path) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await form(pilot, name="mine", more="--optim.no-such-thing 3")
        await pilot.press("f9")
        await until(pilot, lambda: "no_such_thing" in shown(pilot, "#message"))
        assert "Traceback" not in screen_text(pilot)
        assert value(pilot, "name") == "mine"
        assert value(pilot, "more") == "--optim.no-such-thing 3"
        assert not pilot.app.screen.query_one("#start").disabled

    drive(MonitorApp(tmp_path), play)


def test_a_name_too_long_for_the_disk_is_refused_in_a_sentence(tmp_path: Path) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await form(pilot, name="x" * 300)
        await pilot.press("f9")
        await until(pilot, lambda: "name too long" in shown(pilot, "#message"))

    drive(MonitorApp(tmp_path), play)


def test_a_start_is_begun_once_however_often_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[list[str]] = []
    let_go = threading.Event()

    def launch(arguments: list[str], checkpoints: Path) -> None:
        begun.append(arguments)
        let_go.wait(60)
        raise OSError(28, "No space left on device", str(checkpoints))

    monkeypatch.setattr(starting, "launch", launch)

    async def play(pilot: Pilot[None]) -> None:
        await form(pilot, name="mine")
        await pilot.press("f9", "f9", "f5")
        await until(pilot, lambda: begun)
        let_go.set()
        await until(pilot, lambda: "No space left" in shown(pilot, "#message"))
        assert len(begun) == 1

    drive(MonitorApp(tmp_path), play)


def test_a_run_is_started_in_a_session_of_its_own_and_shown(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("The cat sat on the mat. " * 400, encoding="utf-8")
    runs = tmp_path / "runs"

    async def play(pilot: Pilot[None]) -> None:
        await form(pilot, data=str(text), name="mine", more=" ".join(tiny(max_steps=3)))
        await pilot.press("f9")
        await until(
            pilot, lambda: isinstance(pilot.app.screen, RunScreen) or shown(pilot, ".error")
        )
        assert isinstance(pilot.app.screen, RunScreen), screen_text(pilot)
        status = RunReader(runs / "mine").status
        assert status is not None
        if psutil.pid_exists(status.pid):
            assert psutil.Process(status.pid).terminal() is None
        await until(pilot, lambda: "FINISHED" in screen_text(pilot))

    drive(MonitorApp(runs), play)
    assert RunReader(runs / "mine").checkpoints()[-1] == 3
