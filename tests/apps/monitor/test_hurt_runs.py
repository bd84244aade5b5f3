"""Whatever stands in a run's folder: the screens and texts go on, and say what they passed over."""

import json
import math
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.apps.monitor.driving import drive, screen_text, shown, told, until
from tinychat.runs import RunWriter, Status
from tinychat.runs.records import encode_row
from tinychat.words import is_harmless
from tinychat_monitor.__main__ import main
from tinychat_monitor.app import MonitorApp
from tinychat_monitor.once import report
from tinychat_monitor.parting import parting_line
from tinychat_monitor.plain import Follower
from tinychat_monitor.screens.run import RunScreen
from tinychat_monitor.screens.runs import RunsScreen
from tinychat_monitor.widgets.checkpoints import CheckpointsPane
from tinychat_monitor.widgets.samples import sample_text

Record = Callable[..., RunWriter]
Train = Callable[..., None]
MakeStatus = Callable[..., Status]
Hurt = Callable[[Path], None]

SIZE = (120, 40)
PANES = "123456"
# Every view of the charts, and back to the first.
CHART_KEYS = (*"xytetteyx", "plus", "minus", "z", "z", "left_square_bracket", "0", "i", "left",
              "right", "i", "v", "f", "space", "space")  # fmt: skip

DEEP = b"[" * 200_000
GARBAGE = (
    b"", b"\xff{", b"[]", b"null", b"\0" * 4096, b'{"format": 1}', DEEP, b'{"format": ' + DEEP,
    b'{"format": 1, "format": 2}', b'{"format": true, "step": 1e999}',
    b'{"format": 1, "state": "training", "step": 1' + b"0" * 400
    + b', "time": 1' + b"0" * 400 + b"}",
)  # fmt: skip
# What may stand where a number, a text or a folder is expected.
WRONG: tuple[Any, ...] = (
    None, True, "", "x" * 3000, "[/oops] \x1b[2J \ud800", -1, 10**400, 1e308, -1e308, 2**63, [], {},
    [1, [2, {"a": None}]], {"step": 1}, float("nan"), float("inf"),
)  # fmt: skip


def metrics(run: Path) -> Path:
    return run / "attempts" / "0001" / "metrics.jsonl"


def append(path: Path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def row(step: int, **more: Any) -> bytes:
    return encode_row({"kind": "train", "step": step, "train_loss": 1.25, **more}) + b"\n"


def opened(path: Path) -> MonitorApp:
    return MonitorApp(path.parent, path)


def steps(pilot: Pilot[None]) -> list[int]:
    """The steps of the train rows that the screen has read."""
    screen = pilot.app.screen
    if not isinstance(screen, RunScreen) or screen.seen is None:
        return []
    with screen.seen.history.lock:
        return list(screen.seen.history.train.steps)


async def ready(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: steps(pilot))


async def walk(pilot: Pilot[None]) -> None:
    """Look at everything that the run screen has."""
    for pane in PANES:
        await pilot.press(pane, "down", "up", "end", "home")
    await pilot.press("tab", *CHART_KEYS)


async def looks_again(pilot: Pilot[None]) -> None:
    """Wait until the files have been looked at twice more."""
    for _ in range(2):
        screen = pilot.app.screen
        assert isinstance(screen, RunScreen)
        before = screen.seen
        await until(pilot, lambda screen=screen, before=before: screen.seen is not before)


def as_text(run: Path) -> str:
    """What the texts for scripts say; that each can be made, and read."""
    for where in (run, None):
        json.loads(report(run.parent, where, as_json=True))
        follower = Follower(run.parent, where)
        lines = [*follower.look(0.0), *follower.look(100.0)]
        assert lines
        assert harmless("\n".join(lines))
    texts = [report(run.parent, where, as_json=False) for where in (run, None)]
    assert all(map(harmless, texts))
    assert all(report(run.parent, where, as_json=False, ascii=True).isascii() for where in (run,))
    return "\n".join([*texts, *lines])


def harmless(text: str) -> bool:
    return all(sign == "\n" or is_harmless(sign) for sign in text)


# --- the log of numbers


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


# --- the records


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["run.json", "status.json", "settings.json", "attempts/0001/attempt.json"]
)
def test_garbage_in_a_record(record: Record, name: str, tmp_path: Path) -> None:
    record("demo")
    run = tmp_path / "demo"
    (run / "settings.json").write_text('{"settings": {"seed": 1}, "sources": 5}')

    async def play(pilot: Pilot[None]) -> None:
        await ready(pilot)
        for garbage in GARBAGE:
            (run / name).write_bytes(garbage)
            await looks_again(pilot)
            await pilot.press(*PANES)
        if name in ("run.json", "status.json"):
            assert "UNKNOWN" in screen_text(pilot)
            await pilot.press("2")
            assert f"{run / name} is damaged" in shown(pilot, "#notes-text")
        if name == "settings.json":
            await pilot.press("5")
            assert shown(pilot, "#setting-help") == "its settings cannot be read"

    drive(opened(run), play, SIZE)
    for garbage in GARBAGE:
        (run / name).write_bytes(garbage)
        as_text(run)


@pytest.mark.parametrize("name", ["run.json", "status.json", "attempts/0001/attempt.json"])
def test_a_newer_format_is_told(record: Record, name: str, tmp_path: Path) -> None:
    record("demo")
    run = tmp_path / "demo"

    async def play(pilot: Pilot[None]) -> None:
        await ready(pilot)
        (run / name).write_text('{"format": 9}')
        await pilot.press("2")
        await until(pilot, lambda: "please update tinychat" in shown(pilot, "#notes-text"))
        await walk(pilot)

    drive(opened(run), play, SIZE)
    said = as_text(run)
    assert "please update tinychat" in said or name.endswith("attempt.json")


def _wrong_rows(*keys: str, **given: Any) -> bytes:
    """For each key a row with each wrong value, and one without it."""
    rows = [{**given, key: value} for key in keys for value in WRONG]
    rows += [{key: value for key, value in given.items() if key != left} for left in given]
    return b"".join(encode_row(each) + b"\n" for each in rows)


def _hurt_metrics(run: Path) -> None:
    numbers = ("step", "time", "train_loss", "val_loss", "tokens_seen", "learning_rate",
               "grad_norm", "tokens_per_second", "step_seconds", "memory_bytes", "bits_per_byte",
               "nonfinite", "kind")  # fmt: skip
    for kind in ("train", "eval"):
        given = {"kind": kind, "step": 2000, "time": 1.0, "train_loss": 1.0, "val_loss": 1.0}
        append(metrics(run), _wrong_rows(*numbers, **given))


def _hurt_events(run: Path) -> None:
    keys = ("kind", "step", "time", "message", "id", "command", "by")
    path = metrics(run).with_name("events.jsonl")
    for kind in ("alert", "checkpoint_saved", "command_applied", "resume", "skipped"):
        append(path, _wrong_rows(*keys, kind=kind, step=10, time=1.0, message="m"))


def _hurt_samples(run: Path) -> None:
    path = metrics(run).with_name("samples.jsonl")
    given = {"step": 2000, "time": 1.0, "prompt": "p", "text": "t", "settings": {}, "seed": 1}
    append(path, _wrong_rows(*given, **given))


def _hurt_log(run: Path) -> None:
    path = metrics(run).with_name("train.log")
    append(path, bytes(range(256)) * 500 + b"\n" + b"long " * 200_000 + "\u202e\n".encode())


def _hurt_status(run: Path) -> None:
    status = json.loads((run / "status.json").read_bytes())
    status |= {"step": 2**62, "max_steps": -5, "tokens_seen": -1, "time": 1e300,
               "eta_seconds": math.inf,
               "message": "[/oops]\x1b[2J", "pid": 2**62, "latest": -7,
               "best": {"step": 2**62, "val_loss": 1e308}}  # fmt: skip
    (run / "status.json").write_text(json.dumps(status).replace("Infinity", "1e999"))


def _hurt_settings(run: Path) -> None:
    values = {f"s{number}": value for number, value in enumerate(WRONG)}
    document = {"format": 1, "settings": values | {"model": values, "[/x]\x1b": "[/oops]\x1b"}}
    (run / "settings.json").write_bytes(encode_row(document | {"sources": {"s1": [], "s2": 5}}))


def _hurt_folders(run: Path) -> None:
    (run / "step-00001300").write_text("a file")
    (run / "step-00001400").mkdir()
    (run / "pins").write_text("a file")
    shutil.rmtree(run / "control", ignore_errors=True)
    (run / "control").write_text("a file")
    (run / "attempts" / "0002").write_text("a file")
    (run / "attempts" / "0003" / "metrics.jsonl").mkdir(parents=True)
    shutil.copy(metrics(run).with_name("attempt.json"), run / "attempts" / "0003")


HURTS: dict[str, Hurt] = {
    "metrics": _hurt_metrics,
    "events": _hurt_events,
    "samples": _hurt_samples,
    "log": _hurt_log,
    "status": _hurt_status,
    "settings": _hurt_settings,
    "folders": _hurt_folders,
}


def test_rows_nested_so_deep_that_hardly_anything_reads_them(
    record: Record, tmp_path: Path
) -> None:
    record("demo")
    run = tmp_path / "demo"
    deep = b"[" * 900 + b"]" * 900
    row = b'{"kind": "train", "step": 1300, "time": 1.0, "train_loss": 1.0, "message": %b, '
    row += b'"prompt": %b, "text": %b}\n'
    for name in ("metrics", "events", "samples"):
        append(metrics(run).with_name(f"{name}.jsonl"), row % (deep, deep, deep))

    async def play(pilot: Pilot[None]) -> None:
        await ready(pilot)
        await walk(pilot)

    drive(opened(run), play, SIZE)
    as_text(run)


@pytest.mark.slow
@pytest.mark.parametrize("name", HURTS)
def test_wrong_values(record: Record, name: str, tmp_path: Path) -> None:
    record("demo")
    run = tmp_path / "demo"

    async def play(pilot: Pilot[None]) -> None:
        await ready(pilot)
        HURTS[name](run)
        await looks_again(pilot)
        await walk(pilot)
        await pilot.press("p")
        assert harmless(screen_text(pilot))

    drive(opened(run), play, SIZE)
    as_text(run)


@pytest.mark.slow
def test_all_of_them_in_one_list(record: Record, tmp_path: Path) -> None:
    for name, hurt in HURTS.items():
        record(name)
        hurt(tmp_path / name)
    record("newer")
    (tmp_path / "newer" / "run.json").write_text('{"format": 9}')

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "newer" in screen_text(pilot))
        for name in [*HURTS, "newer"]:
            await until(pilot, lambda name=name: name in screen_text(pilot))
        for _ in HURTS:  # as many as can be compared
            await pilot.press("space")  # marks it, and on to the next
            await until(pilot, lambda: shown(pilot, "#reason"))
        assert harmless(screen_text(pilot))
        await pilot.press("o")
        await until(pilot, lambda: not isinstance(pilot.app.screen, RunsScreen))
        await pilot.press(*CHART_KEYS)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))

    drive(MonitorApp(tmp_path), play, SIZE)


# --- what a model says

HOSTILE = (
    "\x1b]0;owned\x07", "\x1b[2J\x1b[H", "\x9b31m", "[@click=app.quit]press[/]", "[/oops]", "[bold",
    "\\[", "\u202e", "\u2066", "\ud800", "\0", "\r\n", "\t", "\u200d\u0301\u0301", "\U000e0041",
    "你好", "🙂", "a word ", "\n\n", "﷽", "x" * 90,
)  # fmt: skip


def hostile_texts(count: int) -> list[str]:
    """So many different ones, each again and again the same."""
    chance = random.Random("hostile")
    return ["".join(chance.choices(HOSTILE, k=1 + number % 30)) for number in range(count)]


@pytest.mark.slow
def test_ten_thousand_hostile_samples(record: Record, tmp_path: Path) -> None:
    writer = record("demo")
    texts = hostile_texts(10_000)
    texts[-1] = "[/oops]\x1b[31m" * 80_000  # a line of a megabyte
    texts[-4] = "\x1b" * 1_000_000
    for number, text in enumerate(texts):
        writer.sample_row(
            step=1300 + number // 4, prompt=texts[number % 4], text=text, settings={}, seed=number
        )

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "round 2,501/2,501" in shown(pilot, "#sample-place"))
        assert "␛" * 4000 in shown(pilot, "#sample-now")
        await pilot.press("left")
        assert "[/oops]␛[31m" in shown(pilot, "#sample-now")
        for _ in range(30):
            await pilot.press("right", "up")
            assert harmless(screen_text(pilot))
        await pilot.press("home", "end", *PANES)
        assert harmless(pilot.app.export_screenshot())
        await pilot.press("q")

    drive(opened(tmp_path / "demo"), play, SIZE)
    for text in texts:
        assert harmless(sample_text({"text": text}))
    assert "[/oops]␛[31m" in as_text(tmp_path / "demo")
