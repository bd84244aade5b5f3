"""The table of keys, and what is made of it."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from textual.binding import Binding
from textual.pilot import Pilot
from textual.widgets import DataTable

from tests.apps.monitor.driving import drive, screen_text, until
from tinychat.runs import RunWriter
from tinychat_monitor import keys
from tinychat_monitor.app import MonitorApp, Options
from tinychat_monitor.screens.compare import CompareScreen
from tinychat_monitor.screens.help import HelpScreen
from tinychat_monitor.screens.run import RunScreen
from tinychat_monitor.screens.runs import RunsScreen
from tinychat_monitor.widgets.checkpoints import CheckpointsPane
from tinychat_monitor.widgets.runs_table import RunsTable
from tinychat_monitor.widgets.samples import SamplesPane

OWNERS: dict[keys.Place, type] = {
    "app": MonitorApp,
    "runs": RunsScreen,
    "run": RunScreen,
    "compare": CompareScreen,
    "runs_table": RunsTable,
    "samples": SamplesPane,
    "checkpoints": CheckpointsPane,
}
Record = Callable[..., RunWriter]
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("key", keys.KEYS, ids=lambda key: key.id)
def test_every_key_does_something_where_it_belongs(key: keys.Key) -> None:
    for place in key.where:
        owner = OWNERS[place]
        assert hasattr(owner, f"action_{key.action.split('(')[0]}"), (place, key.action)
        bound = [one for one in owner.__dict__["BINDINGS"] if isinstance(one, Binding)]
        assert {one.key for one in bound if one.action == key.action} >= set(key.keys.split(","))


def test_no_key_has_two_meanings_in_one_place() -> None:
    for one, other in combinations(keys.KEYS, 2):
        shared = set(one.keys.split(",")) & set(other.keys.split(","))
        assert not shared or not set(one.where) & set(other.where), (one.id, other.id)
    assert len({key.id for key in keys.KEYS}) == len(keys.KEYS)


def test_what_cannot_be_taken_back_is_a_capital() -> None:
    stop = keys.key_of("stop")
    assert stop is not None
    assert stop.keys.isupper()


def test_whatever_asks_something_of_a_trainer_is_known_to_readonly() -> None:
    steering = {key.id for key in keys.KEYS if key.steers}
    training = {key.id for key in keys.KEYS if key.group == "training"}
    assert steering == training | {"new_run", "resume_chosen", "pin"}
    assert all(keys.steers(key.action) == key.steers for key in keys.KEYS)


def test_the_docs_hold_the_table() -> None:
    page = (ROOT / "docs" / "monitor.md").read_text(encoding="utf-8")
    assert keys.markdown() in page, "run `make docs`"


def test_help_opens_over_any_screen_and_closes(record: Record, tmp_path: Path) -> None:
    record("demo")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: pilot.app.screen.query_one(RunsTable).row_count)
        for opened in ("question_mark", "f1"):
            await pilot.press(opened)
            await until(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))
            assert "List of runs" in screen_text(pilot)
            assert "New" in screen_text(pilot) or "Start a new run" in screen_text(pilot)
            await pilot.press("escape")
            assert isinstance(pilot.app.screen, RunsScreen)

    drive(MonitorApp(tmp_path), play, (120, 40))


def test_help_of_a_readonly_monitor_leaves_steering_out(tmp_path: Path) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await pilot.press("question_mark")
        await until(pilot, lambda: "List of runs" in screen_text(pilot))
        assert "Start a new run" not in screen_text(pilot)

    drive(MonitorApp(tmp_path, options=Options(readonly=True)), play, (200, 60))


async def _palette(pilot: Pilot[None], typed: str) -> None:
    from textual.command import CommandPalette

    await pilot.press("ctrl+p")
    await until(pilot, lambda: isinstance(pilot.app.screen, CommandPalette))
    await pilot.press(*typed)


def test_the_palette_offers_what_applies_and_does_it(record: Record, tmp_path: Path) -> None:
    record("demo")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: pilot.app.screen.query_one(RunsTable).row_count)
        await _palette(pilot, "mark")
        await until(pilot, lambda: "runs: mark" in screen_text(pilot))
        assert "training: pause" not in screen_text(pilot)  # that is for the screen of one run
        await pilot.press("enter")
        table = lambda: pilot.app.screen.query(RunsTable)  # noqa: E731
        await until(pilot, lambda: any(each.marked for each in table()))

    drive(MonitorApp(tmp_path), play, (100, 40))


def test_the_palette_of_a_readonly_monitor_steers_nothing(record: Record, tmp_path: Path) -> None:
    record("demo")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: pilot.app.screen.query_one(RunsTable).row_count)
        await _palette(pilot, "runs")
        await until(pilot, lambda: "runs: mark" in screen_text(pilot))
        assert "runs: new" not in screen_text(pilot)

    drive(MonitorApp(tmp_path, options=Options(readonly=True)), play, (100, 40))


@pytest.mark.parametrize("leave", ["q", "ctrl+q"])
def test_it_opens_on_one_run_and_leaves(record: Record, tmp_path: Path, leave: str) -> None:
    record("demo")
    record("other")
    app = MonitorApp(tmp_path, tmp_path / "demo")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        await pilot.press(leave)
        await until(pilot, lambda: not app.is_running)

    drive(app, play)
    assert app.left_on == tmp_path / "demo"


def test_escape_leads_back_to_the_list_and_no_farther(record: Record, tmp_path: Path) -> None:
    record("demo")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        await until(pilot, lambda: pilot.app.screen.query_one(DataTable).row_count == 1)
        await pilot.press("escape", "escape")
        assert isinstance(pilot.app.screen, RunsScreen)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play)
