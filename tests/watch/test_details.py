"""All that the run screen shows of a run, whole, hurt or gone."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinychat.config.load import Layer, resolve
from tinychat.runs import (
    AttemptRecord,
    BestCheckpoint,
    RunRecord,
    RunWriter,
    Status,
    pin,
    process_identity,
    publish_checkpoint,
    unpin,
)
from tinychat.watch.details import LOG_LINES, RunLook, RunWatch

HOSTILE = "\x1b]0;owned\x07 [/oops] \u202e"


def status(**changes: Any) -> Status:
    now = time.time()
    told: dict[str, Any] = {
        "state": "training", "step": 20, "max_steps": 100, "time": now, "next_beat_by": now + 600,
        "best": BestCheckpoint(step=10, val_loss=2.5), "latest": 20,
    }  # fmt: skip
    return Status(**{**process_identity(), **told, **changes})


def publish(run: Path, step: int, *, whole: bool = True) -> None:
    files = {"model.safetensors": b"m" * 1000}
    if whole:
        files |= {"optimizer.safetensors": b"o" * 2000, "state.json": b"{}"}
    publish_checkpoint(run, step, files)


def begin(writer: RunWriter, from_step: int) -> None:
    writer.begin_attempt(
        AttemptRecord(from_step=from_step, reason="new", started_at="2026", host="here")
    )


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    """A run that trains: 20 steps, two evaluations, three checkpoints."""
    writer = RunWriter(tmp_path / "demo")
    writer.create_run()
    layers = (Layer("preset demo", {"max_steps": 100}), Layer("command line", {"seed": 7}))
    writer.write_settings(resolve(*layers).to_json())
    writer.write_run(RunRecord(id="1", created_at="2026-01-01T00:00:00+00:00", version="0.1"))
    begin(writer, 0)
    for step in range(1, 21):
        writer.train_row(
            step=step,
            train_loss=3.0,
            learning_rate=1e-3,
            grad_norm=0.5,
            tokens_seen=step * 100,
            tokens_per_second=1000.0,
            step_seconds=0.1,
        )
        if step % 10 == 0:
            writer.eval_row(step=step, val_loss=2.0 + step / 20)
    publish(writer.paths.root, 0, whole=False)
    publish(writer.paths.root, 10)
    publish(writer.paths.root, 20)
    writer.log_line(f"step 20: saved {HOSTILE}")
    writer.status(status())
    return writer


def look(writer: RunWriter) -> RunLook:
    return RunWatch(writer.paths.root).look()


def test_checkpoints_say_what_they_are(writer: RunWriter) -> None:
    pin(writer.paths.root, 0)
    lines = look(writer).checkpoints
    assert [line.step for line in lines] == [0, 10, 20]
    assert [line.weights_only for line in lines] == [True, False, False]
    assert [line.is_best for line in lines] == [False, True, False]
    assert [line.is_latest for line in lines] == [False, False, True]
    assert [line.is_pinned for line in lines] == [True, False, False]
    assert [line.val_loss for line in lines] == [None, 2.5, 3.0]
    on_disk = sum(f.stat().st_size for f in (writer.paths.root / "step-00000010").iterdir())
    assert lines[1].size_bytes == on_disk > 3000
    assert abs((lines[1].saved_at or 0) - time.time()) < 600


def test_settings_have_source_and_help(writer: RunWriter) -> None:
    told = look(writer)
    lines = {line.name: line for line in told.settings}
    assert (lines["seed"].value, lines["seed"].source) == ("7", "command line")
    assert (lines["max_steps"].value, lines["max_steps"].source) == ("100", "preset demo")
    assert lines["sample.prompts"].value == "none"
    assert lines["model.tied_head"].value == "true"
    assert lines["optim.learning_rate"].source == "default"
    assert lines["optim.learning_rate"].help == "Peak learning rate of AdamW."
    assert all(line.help for line in told.settings)
    assert told.plan is not None
    assert told.plan.seed == 7


def test_a_quick_look_leaves_the_settings_for_the_next_one(writer: RunWriter) -> None:
    watch = RunWatch(writer.paths.root)
    quick = watch.look(quick=True)
    assert (quick.overview.step, quick.settings, quick.plan) == (20, [], None)
    assert watch.look().plan is not None


def test_what_is_new_is_seen_and_what_is_not_is_not_read_again(writer: RunWriter) -> None:
    run = writer.paths.root
    watch = RunWatch(run)
    first, second = watch.look(), watch.look()
    for name in ("settings", "log", "plan"):
        assert getattr(first, name) is getattr(second, name), name
    writer.log_line("step 21: sampling")
    unknown = json.loads((run / "settings.json").read_text())
    unknown["settings"]["seed"] = 8
    writer.write_settings(unknown)
    publish(run, 30)
    pin(run, 30)
    shutil.rmtree(run / "step-00000010")
    writer.status(status(state="paused", step=21, latest=30))
    third = watch.look()
    assert third.log[-1] == "step 21: sampling"
    assert third.plan is not None
    assert third.plan.seed == 8
    assert [(line.step, line.is_pinned) for line in third.checkpoints] == [
        (0, False), (20, False), (30, True),
    ]  # fmt: skip
    assert third.overview.state == "paused"
    unpin(run, 30)
    assert not watch.look().checkpoints[-1].is_pinned


def test_a_checkpoint_that_was_thinned_is_looked_into_again(writer: RunWriter) -> None:
    watch = RunWatch(writer.paths.root)
    before = watch.look().checkpoints[1]
    publish(writer.paths.root, 10, whole=False)
    after = watch.look().checkpoints[1]
    assert after.weights_only
    assert after.size_bytes < before.size_bytes


def test_the_log_is_the_last_lines_of_all_attempts_made_harmless(writer: RunWriter) -> None:
    begin(writer, 20)
    for number in range(LOG_LINES - 1):
        writer.log_line(f"line {number} {HOSTILE}")
    log = look(writer).log
    assert len(log) == LOG_LINES
    assert log[0].startswith("step 20: saved")
    assert log[-1].startswith(f"line {LOG_LINES - 2} ")
    assert not any(sign in line for line in log for sign in "\x1b\x07\u202e")


def test_a_line_without_end_is_bounded(writer: RunWriter) -> None:
    writer.log_line("x" * 3_000_000)
    assert max(map(len, look(writer).log)) <= 2000
    writer.log_line("after")
    assert look(writer).log[-1] == "after"


def break_settings(run: Path) -> None:
    (run / "settings.json").write_text('{"settings": {"model": 3, "seed": [1, {"a": 2}]}}')


def future(run: Path) -> None:
    document = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(document | {"format": 99}))


def vanish(run: Path) -> None:
    shutil.rmtree(run)


def garbage(run: Path) -> None:
    for file in [path for path in run.rglob("*") if path.is_file()]:
        file.write_bytes(b"\0\xff{[" * 100)


def files_for_folders(run: Path) -> None:
    for folder in ("attempts", "pins", "control"):
        shutil.rmtree(run / folder, ignore_errors=True)
        (run / folder).write_text("")


def shut(run: Path) -> None:
    for folder in (run / "attempts", run / "step-00000010", run):
        folder.chmod(0)


@pytest.mark.parametrize(
    ("hurt", "told"),
    [
        (break_settings, ""),
        (future, "newer tinychat"),
        (vanish, "cannot be read"),
        (garbage, "damaged"),
        (files_for_folders, ""),
        pytest.param(
            shut,
            "",
            marks=pytest.mark.skipif(
                sys.platform == "win32" or os.geteuid() == 0, reason="root reads everything"
            ),
        ),
    ],
)
@pytest.mark.parametrize("is_known", [False, True])
def test_a_hurt_run_never_raises(
    writer: RunWriter, hurt: Callable[[Path], None], told: str, is_known: bool
) -> None:
    watch = RunWatch(writer.paths.root)
    if is_known:
        watch.look()
    hurt(writer.paths.root)
    try:
        seen = watch.look()
    finally:
        if writer.paths.root.exists():
            writer.paths.root.chmod(0o700)
            for folder in writer.paths.root.glob("*/"):
                folder.chmod(0o700)
    assert told in seen.overview.reason
    assert seen.plan is None or hurt not in (break_settings, vanish, garbage)


def test_a_run_that_is_not_there_yet_appears(writer: RunWriter, tmp_path: Path) -> None:
    watch = RunWatch(tmp_path / "later")
    assert watch.look().overview.state == "unknown"
    shutil.copytree(writer.paths.root, tmp_path / "later")
    seen = watch.look()
    assert seen.overview.state == "training"
    assert seen.overview.step == 20
    assert len(seen.history.train) == 20
    assert seen.settings
