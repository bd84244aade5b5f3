"""Logs and folders that are torn, vanish or cannot be read: the screens go on, and say so."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.apps.monitor.driving import drive, screen_text, shown, told, until
from tests.apps.monitor.hurt import (
    DEEP,
    SIZE,
    append,
    as_text,
    looks_again,
    metrics,
    opened,
    ready,
    row,
    steps,
    walk,
)
from tinychat.runs import RunWriter
from tinychat_monitor.__main__ import main
from tinychat_monitor.app import MonitorApp
from tinychat_monitor.parting import parting_line
from tinychat_monitor.plain import Follower
from tinychat_monitor.widgets.checkpoints import CheckpointsPane

Record = Callable[..., RunWriter]


def test_a_torn_line_waits_for_its_end(record: Record, tmp_path: Path) -> None:
    record("demo")
    run = tmp_path / "demo"
    line = row(1251)

    async def play(pilot: Pilot[None]) -> None:
        await ready(pilot)
        append(metrics(run), line[:20])
        await looks_again(pilot)
        assert steps(pilot) == [1250]
        append(metrics(run), line[20:])
        await until(pilot, lambda: steps(pilot) == [1250, 1251])
        await pilot.press("2")
        assert "passed over" not in shown(pilot, "#notes-text")

    drive(opened(run), play, SIZE)


@pytest.mark.slow
def test_damaged_lines_are_passed_over_and_counted(record: Record, tmp_path: Path) -> None:
    record("demo")
    run = tmp_path / "demo"

    async def play(pilot: Pilot[None]) -> None:
        await ready(pilot)
        append(metrics(run), b"\0" * 5000 + b"\n\xff\xfe\n" + DEEP + b"\n[1]\n" + row(1251))
        await until(pilot, lambda: steps(pilot) == [1250, 1251])
        append(metrics(run), b"\0" * 4096 + row(1252))
        await until(pilot, lambda: steps(pilot) == [1250, 1251, 1252])
        await pilot.press("2")
        said = "4 damaged lines passed over (metrics.jsonl of attempt 1)."
        await until(pilot, lambda: said in shown(pilot, "#notes-text"))
        await walk(pilot)

    drive(opened(run), play, SIZE)
    assert "1,252" in as_text(run)


@pytest.mark.slow
def test_another_file_in_place_of_the_log_is_read_anew(record: Record, tmp_path: Path) -> None:
    record("demo")
    run = tmp_path / "demo"

    async def play(pilot: Pilot[None]) -> None:
        await ready(pilot)
        other = tmp_path / "other.jsonl"
        other.write_bytes(b"".join(map(row, range(1, 400))))
        os.replace(other, metrics(run))
        await until(pilot, lambda: steps(pilot) == list(range(1, 400)))
        metrics(run).write_bytes(row(5))  # and a shorter one
        await until(pilot, lambda: steps(pilot) == [5])
        await walk(pilot)

    drive(opened(run), play, SIZE)


# --- the folder


@pytest.mark.slow
def test_a_folder_vanishes_and_comes_back(record: Record, tmp_path: Path) -> None:
    record("demo")
    run = tmp_path / "demo"

    async def play(pilot: Pilot[None]) -> None:
        await ready(pilot)
        os.rename(run, tmp_path / ".away")
        await pilot.press("2")
        await until(pilot, lambda: "is not there any more" in shown(pilot, "#notes-text"))
        assert "UNKNOWN" in screen_text(pilot)
        await walk(pilot)
        await pilot.press("p")
        await until(pilot, lambda: told(pilot))
        os.rename(tmp_path / ".away", run)
        append(metrics(run), row(1251))
        await until(pilot, lambda: steps(pilot) == [1250, 1251])
        await pilot.press("2")
        await until(pilot, lambda: "is not there" not in shown(pilot, "#notes-text"))
        assert "TRAINING" in screen_text(pilot)

    drive(opened(run), play, SIZE)


def test_the_folder_of_all_runs_vanishes_or_cannot_be_read(record: Record, tmp_path: Path) -> None:
    record("demo")
    runs = tmp_path / "checkpoints"
    runs.mkdir()
    os.rename(tmp_path / "demo", runs / "demo")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "demo" in screen_text(pilot))
        os.rename(runs, tmp_path / "away")
        await until(pilot, lambda: "There are no runs" in screen_text(pilot))
        runs.symlink_to(runs)  # a loop: no folder can be read there
        await until(pilot, lambda: "symbolic links" in " ".join(screen_text(pilot).split()))
        runs.unlink()
        os.rename(tmp_path / "away", runs)
        await until(pilot, lambda: "training" in screen_text(pilot))

    drive(MonitorApp(runs), play, SIZE)


def test_texts_of_a_folder_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "checkpoints"
    runs.symlink_to(runs)
    for flag in ("--once", "--json"):
        assert main([flag, "--checkpoints", str(runs)]) == 1
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert f"{runs} cannot be read" in said.err
    assert "symbolic links" in next(Follower(runs, None).look(0.0))
    assert parting_line(runs, None) == ""


@contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """This process may read the folder and write nothing in it, also if it is root's."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.slow
def test_a_read_only_folder_can_be_watched_but_not_asked(record: Record, tmp_path: Path) -> None:
    record("demo")
    folder = Path(tempfile.mkdtemp())  # pytest's are for one user only
    folder.chmod(0o755)
    shutil.copytree(tmp_path / "demo", folder / "demo")

    async def play(pilot: Pilot[None]) -> None:
        await ready(pilot)
        await walk(pilot)  # whatever is imported late is imported now
        with without_rights(folder / "demo"):
            await looks_again(pilot)
            await pilot.press("p")
            await until(pilot, lambda: "cannot be written (Permission denied)" in told(pilot))
            await pilot.press("6")
            pilot.app.screen.query_one(CheckpointsPane).take_focus()
            await pilot.press("k")
            await until(pilot, lambda: "Permission denied: '" in told(pilot))  # names the file
            assert "TRAINING" in screen_text(pilot)
            as_text(folder / "demo")

    try:
        drive(opened(folder / "demo"), play, SIZE)
    finally:
        shutil.rmtree(folder)
