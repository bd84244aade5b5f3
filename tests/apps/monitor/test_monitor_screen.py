"""The live screen, driven as a person drives it, over runs on disk."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable

from tinychat.runs import RunWriter, Status
from tinychat_monitor.app import InertText, MonitorApp, RunScreen, RunsScreen

Record = Callable[..., RunWriter]
Train = Callable[..., None]
MakeStatus = Callable[..., Status]
Play = Callable[[Pilot[None]], Awaitable[None]]


def drive(app: MonitorApp, play: Play, size: tuple[int, int] = (80, 24)) -> None:
    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await play(pilot)

    asyncio.run(run())


async def until(pilot: Pilot[Any], condition: Callable[[], object]) -> None:
    """Wait for something to come true; the time is only how long a failure takes."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        await pilot.pause(0.02)


def table(pilot: Pilot[None]) -> list[list[str]]:
    if not isinstance(pilot.app.screen, RunsScreen):
        return []
    runs = pilot.app.screen.query_one(DataTable)
    return [[str(cell) for cell in runs.get_row_at(row)] for row in range(runs.row_count)]


def text(pilot: Pilot[None], name: str) -> str:
    return pilot.app.screen.query_one(f"#{name}", InertText).shown.plain


def names(pilot: Pilot[None]) -> list[str]:
    return [row[0] for row in table(pilot)]


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (200, 50)])
def test_the_list_follows_the_runs(
    record: Record, train: Train, status: MakeStatus, tmp_path: Path, size: tuple[int, int]
) -> None:
    writer = record("demo")
    record("other", "finished", 5000)

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: names(pilot) == ["other", "demo"])
        assert table(pilot)[1][1:4] == ["● training", "1,250/5,000", "1.842"]
        train(writer, 1300, 1.5)
        writer.status(status("evaluating", 1300))
        await until(pilot, lambda: table(pilot)[1][1:4] == ["● evaluating", "1,300/5,000", "1.500"])
        assert text(pilot, "title").endswith("2 runs, 1 live")
        await pilot.press("down")
        record("third")
        await until(pilot, lambda: names(pilot) == ["third", "other", "demo"])
        assert pilot.app.screen.query_one(DataTable).cursor_row == 2  # still on demo
        await pilot.press("q")

    drive(MonitorApp(tmp_path), play, size)


def test_enter_shows_a_run_and_escape_leads_back(
    record: Record, train: Train, tmp_path: Path
) -> None:
    writer = record("demo")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: names(pilot) == ["demo"])
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and text(pilot, "state"))
        assert text(pilot, "state").startswith("● training   step 1,250/5,000 (25%)")
        assert "train loss 1.842 at step 1,250" in text(pilot, "metrics")
        writer.sample_row(step=1300, prompt="Bye", text="See you", settings={}, seed=1)
        await until(pilot, lambda: text(pilot, "sample") == "› Bye\nSee you")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        train(writer, 1400, 1.25)
        await until(pilot, lambda: table(pilot)[0][3] == "1.250")  # it looks again

    drive(MonitorApp(tmp_path), play)


def test_what_stands_in_files_is_inert(record: Record, hostile: str, tmp_path: Path) -> None:
    record("a [bold]name\x1b [oops]", message=hostile)

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: names(pilot) == ["a [bold]name␛ [oops]"])
        await until(pilot, lambda: "[@click=app.quit]" in text(pilot, "reason"))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and text(pilot, "log"))
        for name in ("title", "reason", "sample", "log"):
            shown = text(pilot, name)
            assert "[/oops]" in shown or name == "title"
            assert not set(shown) & set("\x1b\x07\u202e")
        screen = pilot.app.export_screenshot()
        assert "owned" in screen
        assert "\x1b" not in screen

    drive(MonitorApp(tmp_path), play, (120, 40))


def test_it_opens_on_one_run_and_q_leaves(record: Record, tmp_path: Path) -> None:
    record("demo")
    record("other")
    app = MonitorApp(tmp_path, tmp_path / "demo")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and text(pilot, "state"))
        assert text(pilot, "title") == "tinychat  demo"
        await pilot.press("q")
        await until(pilot, lambda: not app.is_running)

    drive(app, play)


def test_an_empty_folder_says_how_to_begin(record: Record, tmp_path: Path) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "`tinychat train` starts one" in text(pilot, "empty"))
        record("demo")
        await until(pilot, lambda: names(pilot) == ["demo"])
        assert text(pilot, "empty") == ""

    drive(MonitorApp(tmp_path), play)


def test_hurt_files_do_not_end_it(record: Record, tmp_path: Path) -> None:
    record("demo")
    record("newer")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: names(pilot) == ["newer", "demo"])
        (tmp_path / "demo" / "status.json").write_bytes(b"\xff{")
        (tmp_path / "demo" / "attempts" / "0001" / "metrics.jsonl").write_bytes(b"\0\xff\n[[[[")
        (tmp_path / "newer" / "run.json").write_text('{"format": 9}', encoding="utf-8")
        await until(pilot, lambda: [row[1] for row in table(pilot)] == ["? unknown", "? unknown"])
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and text(pilot, "state"))

    drive(MonitorApp(tmp_path), play)
