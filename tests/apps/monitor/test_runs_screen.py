"""The list of runs, driven as a person drives it, over runs on disk."""

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.apps.monitor.driving import drive, screen_text, shown, told, until
from tinychat.runs import RunWriter, Status
from tinychat_monitor.app import MonitorApp, Options
from tinychat_monitor.screens.compare import CompareScreen
from tinychat_monitor.screens.runs import RunsScreen
from tinychat_monitor.widgets.chart import Chart
from tinychat_monitor.widgets.runs_table import COLUMNS, GAP, RunsTable, fitting

Record = Callable[..., RunWriter]
Train = Callable[..., None]
MakeStatus = Callable[..., Status]


def table(pilot: Pilot[None]) -> list[dict[str, str]]:
    """The rows of the table by the keys of their columns, if the list is on top."""
    if not isinstance(pilot.app.screen, RunsScreen):
        return []
    runs = pilot.app.screen.query_one(RunsTable)
    names = [str(key.value) for key in runs.columns]
    return [
        {name: str(cell).strip() for name, cell in zip(names, runs.get_row_at(row), strict=True)}
        for row in range(runs.row_count)
    ]


def names(pilot: Pilot[None]) -> list[str]:
    return [row["run"] for row in table(pilot)]


@pytest.mark.parametrize("size", [(40, 10), (60, 16), (80, 24), (200, 50)])
def test_the_list_follows_the_runs(
    record: Record, train: Train, status: MakeStatus, tmp_path: Path, size: tuple[int, int]
) -> None:
    writer = record("demo")
    record("other", "finished", 5000)

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: names(pilot) == ["other", "demo"])
        assert table(pilot)[1]["state"] == "● training"
        train(writer, 1300, 1.5)
        writer.status(status("evaluating", 1300))
        await until(pilot, lambda: table(pilot)[1]["state"] == "● evaluating")
        if size[0] >= 60:
            await until(pilot, lambda: table(pilot)[1]["train"] == "1.500")
            assert "2 runs, 1 live" in shown(pilot, "#title")
        await pilot.press("down")
        record("third")
        await until(pilot, lambda: names(pilot) == ["third", "other", "demo"])
        assert pilot.app.screen.query_one(RunsTable).cursor_row == 2  # still on demo
        await until(pilot, lambda: shown(pilot, "#reason").startswith("demo"))

    drive(MonitorApp(tmp_path), play, size)


def test_columns_are_left_out_by_their_importance() -> None:
    everything = fitting(400, 10)
    assert everything == list(COLUMNS)
    for width in range(10, 140):
        columns = fitting(width, 10)
        assert {"run", "state", "trend"} <= set(columns)  # what the smallest screen shows
        taken = sum((COLUMNS[name].width or 10) + GAP for name in columns)
        assert taken <= width or set(columns) == {"run", "state", "trend"}
    assert {"train", "val", "eta", "age"} <= set(fitting(80, 10))


def test_at_every_size_the_columns_fit(record: Record, tmp_path: Path) -> None:
    record("demo")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: names(pilot) == ["demo"])
        for size in [(60, 16), (120, 36), (30, 8), (200, 50), (1, 1), (80, 24)]:
            await pilot.resize_terminal(*size)
            await pilot.pause()
        await until(pilot, lambda: "age" in table(pilot)[0])
        runs = pilot.app.screen.query_one(RunsTable)
        assert runs.virtual_size.width <= runs.size.width
        assert names(pilot) == ["demo"]

    drive(MonitorApp(tmp_path), play)


def test_what_stands_in_files_is_inert(record: Record, hostile: str, tmp_path: Path) -> None:
    record("a [bold]name\x1b [oops]", message=hostile)

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: names(pilot) == ["a [bold]name␛ [oops]"])
        await until(pilot, lambda: "[@click=app.quit]" in shown(pilot, "#reason"))
        screen = screen_text(pilot)
        assert "[bold]name␛" in screen
        assert not set(screen) & set("\x1b\x07\u202e")

    drive(MonitorApp(tmp_path), play, (120, 40))


def test_the_filter_shows_only_runs_with_its_text(record: Record, tmp_path: Path) -> None:
    for name, state in (("apple", "finished"), ("pear", "paused"), ("grape", "finished")):
        record(name, state)

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: names(pilot) == ["grape", "pear", "apple"])
        await pilot.press("slash", "a", "p")
        await until(pilot, lambda: names(pilot) == ["grape", "apple"])
        await pilot.press("enter")  # kept: keys go to the table again
        assert isinstance(pilot.app.focused, RunsTable)
        await pilot.press("slash", "escape")
        await until(pilot, lambda: len(names(pilot)) == 3)
        await pilot.press("slash", *"PAUSED")
        await until(pilot, lambda: names(pilot) == ["pear"])
        await pilot.press("x", "x")
        await until(pilot, lambda: "No run has" in shown(pilot, "#empty"))
        await pilot.press("escape")
        await until(pilot, lambda: len(names(pilot)) == 3)
        assert shown(pilot, "#empty") == ""

    drive(MonitorApp(tmp_path), play)


def test_marked_runs_are_compared(record: Record, train: Train, tmp_path: Path) -> None:
    train(record("first"), 1300, 2.0)
    second = record("second")
    train(second, 1300, 1.5)
    train(second, 1400, 1.2)  # farther than the other: not what is compared
    record("third")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(names(pilot)) == 3)
        await pilot.press("down", "space")  # on to the next row
        await pilot.press("o")
        assert isinstance(pilot.app.screen, RunsScreen)  # one is none
        await pilot.press("space")
        assert names(pilot) == ["third", "◆ second", "◆ first"]
        await pilot.press("o")
        await until(pilot, lambda: isinstance(pilot.app.screen, CompareScreen))
        await until(pilot, lambda: "at step 1,300" in shown(pilot, "#numbers"))
        _, line, first = shown(pilot, "#numbers").splitlines()
        assert line.split()[0] == "second"
        assert line.rstrip().endswith("–")
        # both have rows at 1250 and 1300; the average of each leans to its last row
        difference = float(first.split()[-1])
        assert 0.2 < difference < 0.5
        await pilot.press("t")
        await until(pilot, lambda: "tokens" in shown(pilot, "#numbers").splitlines()[0])
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, RunsScreen)

    drive(MonitorApp(tmp_path), play, (120, 36))


def test_the_chosen_run_is_looked_at_more_closely_where_there_is_room(
    record: Record, train: Train, tmp_path: Path
) -> None:
    train(record("demo"), 1300, 2.0)

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: names(pilot) == ["demo"])
        chart = pilot.app.screen.query_one(Chart)
        await until(pilot, lambda: chart.display and chart.size.height > 4)
        await pilot.resize_terminal(80, 20)
        await until(pilot, lambda: not chart.display or chart.size.height == 0)

    drive(MonitorApp(tmp_path), play, (120, 40))


def test_an_empty_folder_says_how_to_begin(record: Record, tmp_path: Path) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "tinychat train" in shown(pilot, "#empty"))
        record("demo")
        await until(pilot, lambda: names(pilot) == ["demo"])
        assert shown(pilot, "#empty") == ""

    drive(MonitorApp(tmp_path), play)


def test_hurt_files_do_not_end_it(record: Record, tmp_path: Path) -> None:
    record("demo")
    record("newer")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(names(pilot)) == 2)
        (tmp_path / "demo" / "status.json").write_bytes(b"\xff{")
        (tmp_path / "demo" / "attempts" / "0001" / "metrics.jsonl").write_bytes(b"\0\xff\n[[[[")
        (tmp_path / "newer" / "run.json").write_text('{"format": 9}', encoding="utf-8")
        await until(pilot, lambda: [row["state"] for row in table(pilot)] == ["? unknown"] * 2)
        await until(pilot, lambda: shown(pilot, "#reason").count("\n") >= 1)  # and says why

    drive(MonitorApp(tmp_path), play)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("training", "nothing to resume"),
        ("paused", "p goes on"),
        ("finished", "--max-steps"),
    ],
)
def test_a_run_that_needs_no_resuming_says_so(
    record: Record, tmp_path: Path, state: str, said: str
) -> None:
    record("demo", state)

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: names(pilot) == ["demo"])
        await pilot.press("r")
        await until(pilot, lambda: said in told(pilot))

    drive(MonitorApp(tmp_path), play)


def test_a_resume_that_fails_shows_the_trainers_own_words(record: Record, tmp_path: Path) -> None:
    record("demo", "stopped")  # its checkpoint is no model

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: names(pilot) == ["demo"])
        await pilot.press("r")
        await until(pilot, lambda: "could not be resumed" in shown(pilot, "#question"))
        await until(pilot, lambda: "demo" in shown(pilot, "#text"))
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, RunsScreen)

    drive(MonitorApp(tmp_path), play)


def test_readonly_takes_starting_away(record: Record, tmp_path: Path) -> None:
    record("demo", "stopped")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: names(pilot) == ["demo"])
        await pilot.press("n", "r")
        assert isinstance(pilot.app.screen, RunsScreen)
        assert "[read only]" in shown(pilot, "#title")
        footer = screen_text(pilot).splitlines()[-1]
        assert "Open" in footer
        assert "New" not in footer
        assert not (tmp_path / ".launch").exists()

    drive(MonitorApp(tmp_path, options=Options(readonly=True)), play)
