"""Records, rows and texts that are not what they should be: passed over, told, and harmless."""

import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.apps.monitor.driving import drive, screen_text, shown, until
from tests.apps.monitor.hurt import (
    CHART_KEYS,
    DEEP,
    PANES,
    SIZE,
    append,
    as_text,
    harmless,
    looks_again,
    metrics,
    opened,
    ready,
    walk,
)
from tinychat.runs import RunWriter
from tinychat.runs.records import encode_row
from tinychat_monitor.app import MonitorApp
from tinychat_monitor.screens.runs import RunsScreen
from tinychat_monitor.widgets.samples import sample_text

Record = Callable[..., RunWriter]
Hurt = Callable[[Path], None]

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


@pytest.mark.parametrize(
    "name",
    ["run.json", *(pytest.param(name, marks=pytest.mark.slow) for name in
                   ("status.json", "attempts/0001/attempt.json"))],
)  # fmt: skip
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


@pytest.mark.slow
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
