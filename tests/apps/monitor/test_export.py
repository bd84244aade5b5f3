"""A chart as CSV, SVG and PNG: its rows, its picture, and no file written over."""

import asyncio
import csv
import io
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Button

from tests.apps.monitor.rows import falling, history
from tests.apps.monitor.test_chart import PALETTE
from tinychat.watch.plot import Mark
from tinychat_monitor.export import export, to_csv, to_png, to_svg
from tinychat_monitor.screens.export import ExportScreen
from tinychat_monitor.widgets.chart import Chart
from tinychat_monitor.widgets.chart_options import ChartOptions
from tinychat_monitor.widgets.chart_series import LOSS, ChartView, Source
from tinychat_monitor.widgets.inert import InertText

HOSTILE = '<script>"&[/oops]\x1b]0;owned\x07'


def view(*names: str, **changes: Any) -> ChartView:
    made = history(range(1, 101), {50: 2.5, 100: 1.25}, train_loss=falling)
    sources = [Source(name, made, i) for i, name in enumerate(names or ("run-a",))]
    told = ChartView(
        "loss (nats/token)", "nats/token", LOSS, sources, ChartOptions(),
        [Mark(60.0, "▲", "checkpoint"), Mark(70.0, "‖", "pause")], PALETTE,
    )  # fmt: skip
    return replace(told, **changes)


def rows(told: ChartView) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(told).decode())))


def test_csv_has_every_row_at_full_resolution() -> None:
    found = rows(view())
    assert [int(row["step"]) for row in found] == list(range(1, 101))
    assert [float(row["train_loss"]) for row in found] == [falling(s) for s in range(1, 101)]
    assert {row["step"]: row["val_loss"] for row in found if row["val_loss"]} == {
        "50": "2.5",
        "100": "1.25",
    }
    assert (found[9]["run"], found[9]["tokens"], found[9]["seconds"]) == ("run-a", "10000", "20")


def test_csv_has_the_rows_in_view_only() -> None:
    found = rows(view(options=ChartOptions(low=40.0, high=60.0, follow=False)))
    assert [int(row["step"]) for row in found] == list(range(40, 61))


def test_csv_leaves_out_what_is_not_finite_and_keeps_evaluations_between_rows() -> None:
    made = history([10, 20], {15: 3.0}, train_loss=lambda s: math.nan if s == 20 else 1.0)
    found = rows(view(sources=[Source("a", made)]))
    assert [(row["step"], row["train_loss"], row["val_loss"]) for row in found] == [
        ("10", "1.0", ""),
        ("15", "", "3.0"),
        ("20", "", ""),
    ]


def test_csv_of_several_runs_names_them_and_no_name_is_a_formula() -> None:
    found = rows(view("a", "=cmd", HOSTILE))
    assert len(found) == 300
    assert {row["run"] for row in found} == {"a", "'=cmd", '<script>"&[/oops]␛]0;owned␇'}


def test_svg_is_whole_and_holds_the_curves_and_words_as_text() -> None:
    root = ElementTree.fromstring(to_svg(view("run-a", HOSTILE)))
    spaced = "{http://www.w3.org/2000/svg}"
    said = [node.text for node in root.iter(f"{spaced}text")]
    assert not list(root.iter(f"{spaced}script"))
    assert any(text and "<script>" in text for text in said)
    assert "step" in said
    colours = {node.get("stroke") for node in root.iter(f"{spaced}polyline")}
    assert set(PALETTE.runs[:2]) <= colours
    assert len(list(root.iter(f"{spaced}circle"))) == 2 + 1  # two evaluations, one in the legend


def test_png_shows_both_curves_in_their_colours() -> None:
    image = Image.open(io.BytesIO(to_png(view())))
    assert image.size == (2400, 1280)
    colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or []}
    assert {(0x56, 0xB4, 0xE9), (0xE6, 0x9F, 0x00)} <= colours


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("value", [math.nan, 1e300, -1.0, 0.0, 2.0])
@pytest.mark.parametrize("count", [0, 1, 200])
def test_odd_rows_make_a_picture_too(count: int, value: float, log: bool) -> None:
    made = history(range(1, count + 1), {}, train_loss=lambda s: value if s > 1 else 1.0)
    told = view(sources=[Source("a", made)], options=ChartOptions(log_x=log, log_y=log))
    assert ElementTree.fromstring(to_svg(told)).tag.endswith("svg")
    if count:
        assert to_png(told).startswith(b"\x89PNG")


def test_no_file_is_ever_replaced(tmp_path: Path) -> None:
    paths = [export(view(HOSTILE), "csv", tmp_path) for _ in range(3)]
    names = [path.name for path in paths]
    assert names[0].startswith("script-oops-0-owned-loss-nats-token")
    assert names[1:] == [names[0].replace(".csv", "-1.csv"), names[0].replace(".csv", "-2.csv")]
    assert {path.read_bytes() for path in paths} == {to_csv(view(HOSTILE))}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    assert export(view("../../up"), "svg", folder).parent == folder


class Exporting(App[None]):
    """A chart below the question how to export it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def compose(self) -> ComposeResult:
        yield Chart(LOSS, title="loss", unit="nats/token")

    def ask(self) -> ExportScreen:
        self.query_one(Chart).show(view().sources, ChartOptions())
        screen = ExportScreen(self.query_one(Chart), self.folder)
        self.push_screen(screen)
        return screen


def ask(folder: Path, steps: Callable[[Pilot[None], ExportScreen], Any]) -> None:
    app = Exporting(folder)

    async def run() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            screen = app.ask()
            await pilot.pause()
            await steps(pilot, screen)

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["csv", "svg", "png"])
def test_the_screen_writes_and_shows_the_path(tmp_path: Path, kind: str) -> None:
    async def steps(pilot: Pilot[None], screen: ExportScreen) -> None:
        screen.query_one(f"#{kind}", Button).press()
        await pilot.pause()
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        (path,) = tmp_path.iterdir()
        assert path.suffix == f".{kind}"
        assert screen.query_one("#told", InertText).shown.plain == f"Written: {path}"
        await pilot.press("escape")
        assert pilot.app.screen is not screen

    ask(tmp_path, steps)


def test_the_screen_says_why_nothing_was_written(tmp_path: Path) -> None:
    async def steps(pilot: Pilot[None], screen: ExportScreen) -> None:
        await pilot.press("enter")
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        told = screen.query_one("#told", InertText).shown.plain
        assert told.startswith("Not written into ")
        assert told.endswith("No such file or directory.")

    ask(tmp_path / "gone", steps)
