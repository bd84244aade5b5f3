"""Runs in a few numbers: read when something changed, judged always, whatever stands in files."""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tinychat.runs import (
    STATES,
    AttemptRecord,
    BestCheckpoint,
    RunRecord,
    RunWriter,
    Status,
    process_identity,
)
from tinychat.watch.lines import COLUMNS, cells, facts, run_sentence, state_line
from tinychat.watch.overview import Watch
from tinychat.watch.states import ENDED, LIVE, LOOKS, NOT_GOING_ON, look_of, state_word
from tinychat.words import to_ascii

MakeRun = Callable[..., RunWriter]


@pytest.fixture
def make(tmp_path: Path) -> MakeRun:
    """Record a run of that name that reported at step 0; later ones are newer."""
    made = 0

    def make(name: str, state: str = "training", **changes: Any) -> RunWriter:
        nonlocal made
        made += 1
        writer = RunWriter(tmp_path / name)
        writer.create_run()
        created_at = f"2026-01-{made:02d}T00:00:00+00:00"
        parameters = {"total": 7_000_000}
        writer.write_run(
            RunRecord(id=name, created_at=created_at, version="0.1", parameters=parameters)
        )
        begin(writer, 0)
        writer.status(status(state, **changes))
        return writer

    return make


def status(state: Any, **changes: Any) -> Status:
    now = time.time()
    told: dict[str, Any] = {"step": 0, "max_steps": 1000, "time": now, "next_beat_by": now + 600}
    return Status(state=state, **{**process_identity(), **told, **changes})


def begin(writer: RunWriter, from_step: int) -> None:
    writer.begin_attempt(
        AttemptRecord(from_step=from_step, reason="new", started_at="2026", host="here")
    )


def train(writer: RunWriter, step: int, loss: float) -> None:
    writer.train_row(
        step=step, train_loss=loss, learning_rate=3e-4, grad_norm=0.5, tokens_seen=step * 100,
        tokens_per_second=51234.0, step_seconds=0.1,
    )  # fmt: skip


def metrics(writer: RunWriter, attempt: int = 1) -> Path:
    return writer.paths.attempt(attempt).metrics


OPENED: list[str] = []
COUNTING = False


def note_open(event: str, arguments: tuple[Any, ...]) -> None:
    if COUNTING and event == "open":
        OPENED.append(str(arguments[0]))


@contextmanager
def opened_in(folder: Path) -> Iterator[list[str]]:
    """The files below a folder that are opened meanwhile, as the interpreter itself reports."""
    global COUNTING
    if not OPENED:
        sys.addaudithook(note_open)
    OPENED[:] = [""]
    found: list[str] = []
    COUNTING = True
    try:
        yield found
    finally:
        COUNTING = False
        found += [path for path in OPENED if path.startswith(str(folder))]


def test_every_state_can_be_shown() -> None:
    assert {*STATES, "crashed", "stalled", "other host", "unknown"} == LOOKS.keys()
    assert LIVE | NOT_GOING_ON | {"stalled"} == LOOKS.keys()
    assert not LIVE & NOT_GOING_ON
    assert ENDED < NOT_GOING_ON
    assert state_word("training") == "● training"
    for look in LOOKS.values():
        assert len(look.glyph) == 1
        assert (to_ascii(look.glyph) == "?") == (look.glyph == "?")
    assert look_of("dreaming") == LOOKS["unknown"]


def test_newest_first_with_their_numbers(make: MakeRun, tmp_path: Path) -> None:
    make("old", "finished", step=1000)
    writer = make("new", step=300, eta_seconds=60.0, best=BestCheckpoint(step=200, val_loss=1.5))
    writer.eval_row(step=200, val_loss=1.5, bits_per_byte=1.01)
    train(writer, 300, 1.84249)
    new, old = Watch(tmp_path).look()
    assert (new.name, old.name) == ("new", "old")
    assert (new.state, new.step, new.max_steps, new.eta_seconds) == ("training", 300, 1000, 60.0)
    assert (new.number("train_loss"), new.number("val_loss")) == (1.84249, 1.5)
    assert new.number("nothing") is None
    assert (new.loss_word("train_loss"), old.loss_word("train_loss")) == ("1.842", "–")
    assert new.parameters == 7_000_000
    assert cells(new)[:7] == ("new", "● training", "300/1,000", "1.842", "1.500", "51.2k", "1m00s")
    assert len(cells(new)) == len(COLUMNS)
    assert state_line(new).startswith("● training   step 300/1,000 (30%)   ETA 1m00s   last beat")
    assert ("val loss", "1.500 nats per token at step 200, 1.010 bits per byte") in facts(new)
    assert old.eta_seconds is None
    document = new.to_json()
    assert json.loads(json.dumps(document)) == document
    assert document["best"] == {"step": 200, "val_loss": 1.5}


def test_nothing_is_opened_while_nothing_changes(make: MakeRun, tmp_path: Path) -> None:
    writers = [make(f"run-{i}") for i in range(3)]
    for writer in writers:
        train(writer, 1, 2.0)
    watch = Watch(tmp_path)
    with opened_in(tmp_path) as opened:
        first = watch.look()
    assert len(opened) >= 9
    with opened_in(tmp_path) as opened:
        second = watch.look()
    assert opened == []
    assert [each.train for each in second] == [each.train for each in first]
    train(writers[1], 2, 1.5)
    with opened_in(tmp_path) as opened:
        _, changed, _ = watch.look()
    assert changed.number("train_loss") == 1.5
    assert {Path(path).relative_to(tmp_path).parts[0] for path in opened} == {"run-1"}


def test_a_long_log_is_not_read_again(make: MakeRun, tmp_path: Path) -> None:
    writer = make("demo")
    writer.eval_row(step=1, val_loss=3.0)
    lines = [
        json.dumps({"kind": "train", "step": step, "train_loss": 2.0, "pad": "x" * 400}) + "\n"
        for step in range(20_000)
    ]
    with metrics(writer).open("a", encoding="utf-8") as file:
        file.writelines(lines)
    watch = Watch(tmp_path)
    (seen,) = watch.look()
    assert seen.number("train_loss") == 2.0
    assert seen.eval is None  # too far back to be looked for
    metrics_size = metrics(writer).stat().st_size
    with metrics(writer).open("r+b") as file:  # what was read is not read again
        file.write(b"\0" * (metrics_size - 5000))
    writer.eval_row(step=20_000, val_loss=1.25)
    train(writer, 20_001, 1.5)
    (seen,) = watch.look()
    assert (seen.number("train_loss"), seen.number("val_loss")) == (1.5, 1.25)
    train(writer, 20_002, 1.0)
    (seen,) = watch.look()
    assert (seen.number("train_loss"), seen.number("val_loss")) == (1.0, 1.25)
    assert seen.recent[0] == 2.0
    assert len(seen.recent) == 32


def test_a_new_attempt_masks_what_it_leaves_behind(make: MakeRun, tmp_path: Path) -> None:
    writer = make("demo")
    for step in range(1, 5):
        train(writer, step, 10.0 - step)
    writer.eval_row(step=4, val_loss=6.5)
    watch = Watch(tmp_path)
    assert watch.look()[0].number("val_loss") == 6.5
    writer.close()
    again = RunWriter(tmp_path / "demo")
    begin(again, 2)
    (seen,) = watch.look()
    assert (seen.number("train_loss"), seen.number("val_loss")) == (8.0, None)
    train(again, 3, 7.5)
    (seen,) = watch.look()
    assert seen.number("train_loss") == 7.5
    assert seen.recent == (9.0, 8.0, 7.5)


def test_a_replaced_log_is_read_anew(make: MakeRun, tmp_path: Path) -> None:
    writer = make("demo")
    train(writer, 1, 2.0)
    watch = Watch(tmp_path)
    watch.look()
    row = json.dumps({"kind": "train", "step": 9, "train_loss": 9.0})
    copy = tmp_path / "copy"
    copy.write_text(f"{row}\n" * 50, encoding="utf-8")
    copy.replace(metrics(writer))
    (seen,) = watch.look()
    assert seen.recent == (9.0,) * 32
    metrics(writer).write_text(row.replace("9.0", "1.0") + "\n", encoding="utf-8")
    assert watch.look()[0].recent == (1.0,)


def test_the_state_is_judged_though_no_file_changes(make: MakeRun, tmp_path: Path) -> None:
    make("gone", pid=2**22 + 1, eta_seconds=50.0)
    make("late", time=0.0, next_beat_by=1.0)
    make("far", host="elsewhere", next_beat_by=1.0)
    make("paused", "paused", eta_seconds=50.0)
    seen = {each.name: each for each in Watch(tmp_path).look()}
    assert {name: each.state for name, each in seen.items()} == {
        "gone": "crashed", "late": "stalled", "far": "other host", "paused": "paused",
    }  # fmt: skip
    assert "is gone" in seen["gone"].reason
    assert seen["gone"].eta_seconds is None
    assert seen["paused"].eta_seconds == 50.0
    assert run_sentence(seen["gone"]).startswith("crashed at step 0 of 1,000 (0%). Process")


@pytest.mark.parametrize(
    "line",
    [
        b"\0\0\0", b"[[[[", b"{}", b"\xff\xfe", b'{"kind": [], "step": {}}',
        b'{"kind": "train", "train_loss": NaN, "step": 1e999}',
        b'{"kind": "train", "train_loss": true, "step": null, "nonfinite": 3}',
        b'{"kind": "train", "train_loss": 1' + b"0" * 400 + b', "step": 1' + b"0" * 400 + b"}",
        b'{"kind": "eval", "val_loss": "x", "bits_per_byte": 1e999, "nonfinite": [null, {}]}',
        b'{"kind": "train", "train_loss": null, "nonfinite": ["train_loss"], "step": "1"}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("followed", [False, True])
def test_odd_rows_raise_nothing(make: MakeRun, tmp_path: Path, line: bytes, followed: bool) -> None:
    writer = make("demo")
    watch = Watch(tmp_path)
    if followed:
        watch.look()
    with metrics(writer).open("ab") as file:
        file.write(line + b"\n")
    (seen,) = watch.look()
    assert seen.state == "training"
    assert (seen.loss_word("train_loss") == "NaN/∞") == (b'["train_loss"]' in line)
    assert len(cells(seen)) == len(COLUMNS)
    facts(seen), run_sentence(seen), state_line(seen)
    json.dumps(seen.to_json(), allow_nan=False)


def test_hurt_runs_hide_no_other(make: MakeRun, tmp_path: Path) -> None:
    names = ("newer", "hurt", "silent", "good")
    writers = {name: make(name) for name in names}
    (tmp_path / "newer" / "run.json").write_text('{"format": 9}', encoding="utf-8")
    (tmp_path / "hurt" / "status.json").write_text("{", encoding="utf-8")
    (tmp_path / "silent" / "status.json").unlink()
    watch = Watch(tmp_path)
    seen = {each.name: each for each in watch.look()}
    assert list(seen) == ["good", "silent", "hurt", "newer"]
    assert seen["good"].state == "training"
    assert {seen[name].state for name in names[:3]} == {"unknown"}
    assert "please update tinychat" in seen["newer"].reason
    assert seen["silent"].reason == "It has not reported yet."
    writers["silent"].status(status("training"))
    assert {each.name: each.state for each in watch.look()}["silent"] == "training"


def test_a_run_that_vanishes(make: MakeRun, tmp_path: Path) -> None:
    make("demo")
    watch = Watch(tmp_path)
    run = tmp_path / "demo"
    assert watch.look_at(run).state == "training"
    run.rename(tmp_path.parent / f"{tmp_path.name}-away")
    assert watch.look() == []
    gone = watch.look_at(run)
    assert gone.state == "unknown"
    assert "run.json" in gone.reason
    (tmp_path.parent / f"{tmp_path.name}-away").rename(run)
    assert watch.look_at(run).state == "training"


def test_what_stands_in_names_and_reasons_is_inert(make: MakeRun, tmp_path: Path) -> None:
    make("a\x1b]0;owned\x07 \u202e", message="\x1b[2J")
    (seen,) = Watch(tmp_path).look()
    for text in (*cells(seen), run_sentence(seen), state_line(seen)):
        assert not set(text) & set("\x1b\x07\u202e")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs another user")
def test_one_folder_that_is_closed_to_us_hides_no_other_run(make: MakeRun) -> None:
    folder = Path(tempfile.mkdtemp())  # pytest's are for one user only
    try:
        for name in ("mine", "theirs"):
            shutil.copytree(make(name).paths.root, folder / name)
        folder.chmod(0o755)
        (folder / "mine").chmod(0o755)
        (folder / "theirs").chmod(0o700)
        os.seteuid(65534)
        try:
            assert [run.name for run in Watch(folder).look()] == ["mine"]
        finally:
            os.seteuid(0)
    finally:
        shutil.rmtree(folder)


def test_a_run_that_watches_old_data_tells_how_far_it_is_from_its_start(
    make: MakeRun, tmp_path: Path
) -> None:
    writer = make("salty", "training", step=20)
    writer.eval_row(step=0, val_loss=4.0, replay_val_loss=1.0)
    watch = Watch(tmp_path)
    assert watch.look_at(tmp_path / "salty").old_val_loss_rise == 0.0
    for step in range(1, 6000):  # beyond what is read backwards
        train(writer, step, 2.0)
    writer.eval_row(step=6000, val_loss=2.0, replay_val_loss=1.25)
    for seen in (watch.look_at(tmp_path / "salty"), Watch(tmp_path).look_at(tmp_path / "salty")):
        assert seen.old_val_loss_rise == 0.25
        told = dict(facts(seen))
        assert told["val loss"] == "2.000 nats per token at step 6,000"
        words = "val loss 1.250 nats per token at step 6,000, +0.250 since the start"
        assert told["old data"] == words
        assert "val loss on the old data 1.250" in run_sentence(seen)
        document = seen.to_json()
        assert (document["replay_val_loss"], document["old_val_loss_rise"]) == (1.25, 0.25)
        assert document["preference_loss"] is None


def test_preference_tuning_tells_of_preferences(make: MakeRun, tmp_path: Path) -> None:
    writer = make("loved", "training", step=20)
    writer.eval_row(
        step=0, val_loss=1.5, preference_loss=0.693, preference_accuracy=0.0, reward_margin=0.0
    )
    writer.eval_row(
        step=20, val_loss=1.53, preference_loss=0.4, preference_accuracy=0.875, reward_margin=1.25
    )
    seen = Watch(tmp_path).look_at(tmp_path / "loved")
    told = dict(facts(seen))
    assert told["val loss"].endswith("at step 20, +0.030 since the start")
    words = "loss 0.400, accuracy 88%, reward margin +1.25, on those held out"
    assert told["preferences"] == words
    assert "old data" not in told
    assert "reward margin +1.25" in run_sentence(seen)
    document = seen.to_json()
    assert (document["preference_accuracy"], document["reward_margin"]) == (0.875, 1.25)


def test_an_ordinary_run_tells_nothing_of_that(make: MakeRun, tmp_path: Path) -> None:
    writer = make("plain", "training", step=20)
    writer.eval_row(step=10, val_loss=2.0)
    writer.eval_row(step=20, val_loss=3.0)
    seen = Watch(tmp_path).look_at(tmp_path / "plain")
    assert seen.old_val_loss_rise is None
    assert {"old data", "preferences"} & dict(facts(seen)).keys() == set()
    assert "since" not in dict(facts(seen))["val loss"]
