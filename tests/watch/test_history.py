"""A run's logs followed while they grow: the logical log, whatever happens to the files."""

import json
import math
import os
import random
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinychat.runs import AttemptRecord, RunReader, RunWriter
from tinychat.watch import history as history_module
from tinychat.watch.curves import curve
from tinychat.watch.history import History


def new_run(path: Path) -> RunWriter:
    writer = RunWriter(path)
    writer.create_run()
    return writer


def begin(writer: RunWriter, step: int, started_at: str = "") -> None:
    record = AttemptRecord(from_step=step, reason="resume", started_at=started_at, host="here")
    writer.begin_attempt(record)


def train(writer: RunWriter, step: int, loss: float = 1.0, **more: Any) -> None:
    row: dict[str, Any] = {
        "step": step,
        "time": 1000.0 + step,
        "train_loss": loss,
        "learning_rate": 1e-3,
        "grad_norm": 0.5,
        "tokens_seen": step * 64,
        "tokens_per_second": 9.0,
        "step_seconds": 0.1,
    }
    writer.train_row(**row | more)


def sample(writer: RunWriter, step: int, text: str = "x") -> None:
    writer.sample_row(step=step, time=5.0, prompt="p", text=text, settings={}, seed=1)


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    writer = new_run(tmp_path / "runs" / "demo")
    begin(writer, 0)
    return writer


def read_all(history: History) -> History:
    while history.follow():
        pass
    assert history.share == 1.0
    return history


def losses(history: History) -> list[tuple[int, float]]:
    column = history.train.columns.get("train_loss")  # none of a history without rows
    steps, values = history.train.steps, [] if column is None else column.values
    return list(zip(steps, values, strict=True))


def test_all_that_is_logged_is_there(writer: RunWriter) -> None:
    for step in range(1, 5):
        train(writer, step, loss=5.0 - step, memory_bytes=10**9)
    writer.eval_row(step=4, time=1005.0, val_loss=1.5, bits_per_byte=1.0, eval_seconds=2.0)
    sample(writer, 2, "a")
    sample(writer, 4, "b")
    sample(writer, 4, "c")
    writer.event_row("checkpoint_saved", step=4, message="saved", size_bytes=7)
    history = read_all(History(writer.paths.root))
    assert losses(history) == [(1, 4.0), (2, 3.0), (3, 2.0), (4, 1.0)]
    assert list(history.train.tokens) == [64.0, 128.0, 192.0, 256.0]
    assert list(history.train.times) == [0.0, 1.0, 2.0, 3.0]
    assert history.train.columns["memory_bytes"].values[3] == 1e9
    assert list(history.evals.steps) == [4]
    assert list(history.evals.tokens) == [256.0]
    assert list(history.evals.times) == [4.0]
    assert history.evals.columns["val_loss"].values[0] == 1.5
    rounds = [(each.step, [row["text"] for row in each.samples]) for each in history.samples]
    assert rounds == [(2, ["a"]), (4, ["b", "c"])]
    assert [(row["kind"], row["size_bytes"]) for row in history.events] == [("checkpoint_saved", 7)]
    assert [number for number, _ in history.attempts] == [1]
    assert (history.problem, history.skipped, history.skipped_where) == ("", 0, "")


def test_following_costs_no_reading_when_nothing_is_new(writer: RunWriter) -> None:
    train(writer, 1)
    history = read_all(History(writer.paths.root))
    version = history.version
    assert not history.follow()
    assert history.version == version
    train(writer, 2)
    assert history.follow()
    assert history.version > version
    assert losses(history)[-1] == (2, 1.0)


def test_a_new_attempt_drops_what_the_old_one_did_beyond_it(writer: RunWriter) -> None:
    for step in range(1, 11):
        train(writer, step)
        sample(writer, step)
        writer.event_row("noted", step=step, message="")
    writer.eval_row(step=5, val_loss=2.0)
    writer.eval_row(step=10, val_loss=1.0)
    history = read_all(History(writer.paths.root))
    history.train.ema("train_loss", 0.9)
    begin(writer, 5)
    read_all(history)
    assert losses(history)[-1] == (5, 1.0)
    assert list(history.evals.steps) == [5]
    assert [each.step for each in history.samples] == [1, 2, 3, 4, 5]
    assert len(history.events) == 10  # what happened has happened
    train(writer, 6, loss=7.0)
    read_all(history)
    assert losses(history)[-2:] == [(5, 1.0), (6, 7.0)]
    assert len(history.train.ema("train_loss", 0.9)) == 6


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 40)), min_size=1, max_size=6),
    st.integers(0, 2**32),
)
def test_followed_or_read_at_the_end_it_is_the_logical_log(
    tmp_path_factory: pytest.TempPathFactory, stretches: list[tuple[int, int]], seed: int
) -> None:
    chance = random.Random(seed)
    writer = new_run(tmp_path_factory.mktemp("runs") / "demo")
    followed = History(writer.paths.root)
    step = 0
    for number, (back, forward) in enumerate(stretches):
        step = max(0, step - back)
        begin(writer, step)
        for _ in range(forward):
            step += 1
            train(writer, step, loss=chance.choice([float(number), math.nan, math.inf]))
            if chance.random() < 0.2:
                writer.eval_row(step=step, time=1000.0 + step, val_loss=float(number))
                sample(writer, step)
            if chance.random() < 0.1:
                followed.follow(0.0)
    read_all(followed)
    reader = RunReader(writer.paths.root)
    rows = [row for row in reader.rows("metrics") if row["kind"] == "train"]
    evals = [row for row in reader.rows("metrics") if row["kind"] == "eval"]
    for history in (followed, read_all(History(writer.paths.root))):
        told = [(step, None if math.isnan(loss) else loss) for step, loss in losses(history)]
        assert told == [(row["step"], row["train_loss"]) for row in rows]
        nonfinite = [index for index, row in enumerate(rows) if "nonfinite" in row]
        column = history.train.columns.get("train_loss")
        assert ([] if column is None else list(column.nonfinite)) == nonfinite
        assert list(history.evals.steps) == [row["step"] for row in evals]
        assert list(history.evals.tokens) == [row["step"] * 64.0 for row in evals]
        samples = [row for each in history.samples for row in each.samples]
        assert samples == list(reader.rows("samples"))
        times = [row["time"] for row in reader.history("metrics")][:1]
        assert list(history.train.times) == [row["time"] - times[0] for row in rows]


def test_rows_that_cannot_be_used_are_passed_over_and_counted(writer: RunWriter) -> None:
    train(writer, 3, loss=3.0)
    bad: list[Any] = [
        {"kind": "train", "step": 2, "train_loss": 2.0},  # it goes back
        {"kind": "train", "step": "4"},
        {"kind": "train", "step": True},
        {"kind": "train", "step": 10**30},
        {"kind": "train", "step": -1},
        {"kind": "train"},
        [],
        None,
    ]
    odd: list[Any] = [
        {"kind": "train", "step": 5, "train_loss": "1", "time": "x", "tokens_seen": [1]},
        {"kind": "train", "step": 6, "train_loss": {}, "tokens_seen": 10**400, "time": 1e999},
        {"kind": "train", "step": 7, "train_loss": 10**400},
        {"kind": ["train"], "step": 8},
        {"kind": "a later kind", "step": "?"},
    ]
    path = writer.paths.attempt(1).metrics
    with path.open("ab") as file:
        for row in bad + odd:
            file.write(json.dumps(row).encode() + b"\n")
    train(writer, 9, loss=9.0)
    history = read_all(History(writer.paths.root))
    assert list(history.train.steps) == [3, 5, 6, 7, 9]
    known = [(step, loss) for step, loss in losses(history) if loss == loss]
    assert known == [(3, 3.0), (9, 9.0)]
    assert list(history.train.tokens) == [192, 192, 192, 192, 576]
    assert history.skipped == len(bad)
    assert history.skipped_where == "metrics.jsonl of attempt 1"


@pytest.mark.parametrize("seed", range(5))
def test_garbage_in_every_file_raises_nothing(writer: RunWriter, seed: int) -> None:
    chance = random.Random(seed)
    row = b'{"kind": "train", "step": 1, "time": 1, "text": "x", "train_loss": 1.0}\n'
    for path in writer.paths.attempt(1).root.glob("*.jsonl"):
        data = bytearray(row * 200 + chance.randbytes(3000) + b"\0" * 500 + row * 200)
        for _ in range(60):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(bytes(data))
    history = read_all(History(writer.paths.root))
    assert len(history.train) > 100
    assert history.skipped > 0
    assert history.skipped_where


def test_a_replaced_log_is_read_anew(writer: RunWriter, tmp_path: Path) -> None:
    for step in range(1, 100):
        train(writer, step, loss=1.0)
    writer.event_row("noted", step=1, message="")
    history = read_all(History(writer.paths.root))
    other = new_run(tmp_path / "other")
    begin(other, 0)
    for step in range(1, 50):
        train(other, step, loss=2.0, time=500.0 + step)
    other.paths.attempt(1).metrics.replace(writer.paths.attempt(1).metrics)
    read_all(history)
    assert losses(history) == [(step, 2.0) for step in range(1, 50)]
    assert list(history.train.times[:3]) == [0.0, 1.0, 2.0]
    assert len(history.events) == 1


def test_an_older_attempt_that_changes_is_read_anew(writer: RunWriter) -> None:
    train(writer, 1)
    begin(writer, 4)
    train(writer, 5)
    history = read_all(History(writer.paths.root))
    path = writer.paths.attempt(1).metrics
    path.write_bytes(path.read_bytes() + path.read_bytes().replace(b'"step": 1', b'"step": 3'))
    read_all(history)
    assert list(history.train.steps) == [1, 3, 5]
    os.utime(path)  # the same content with a new time is no change
    version = history.version
    history.follow()
    assert history.version == version


def test_the_last_line_of_an_attempt_that_is_over_waits_for_nothing(writer: RunWriter) -> None:
    train(writer, 1)
    path = writer.paths.attempt(1).metrics
    path.write_bytes(path.read_bytes()[:-1])  # its newline never came
    history = read_all(History(writer.paths.root))
    assert len(history.train) == 0
    begin(writer, 1)
    train(writer, 2)
    read_all(history)
    assert list(history.train.steps) == [1, 2]


def test_a_run_that_goes_away_is_remembered_and_found_again(writer: RunWriter) -> None:
    train(writer, 1)
    run = writer.paths.root
    history = read_all(History(run))
    away = run.rename(run.parent / "away")
    assert history.follow()
    assert str(run) in history.problem
    assert losses(history) == [(1, 1.0)]
    assert not history.follow()
    away.rename(run)
    train(writer, 2)
    read_all(history)
    assert history.problem == ""
    assert losses(history) == [(1, 1.0), (2, 1.0)]


def test_another_run_of_the_same_name_takes_its_place(writer: RunWriter) -> None:
    for step in (0, 3, 5):
        begin(writer, step)
        train(writer, step + 1)
    run = writer.paths.root
    history = read_all(History(run))
    writer.close()
    shutil.rmtree(run)
    history.follow()
    writer = new_run(run)
    begin(writer, 0, started_at="later")
    for step in range(1, 9):
        train(writer, step, loss=8.0)
    read_all(history)
    assert losses(history) == [(step, 8.0) for step in range(1, 9)]
    assert len(history.attempts) == 1


def test_a_folder_that_is_no_run_yet(tmp_path: Path) -> None:
    history = History(tmp_path / "later")
    history.follow()
    assert "is not there" in history.problem
    writer = new_run(tmp_path / "later")
    begin(writer, 0)
    train(writer, 1)
    assert losses(read_all(history)) == [(1, 1.0)]
    assert history.problem == ""


def test_an_attempt_of_a_newer_tinychat_is_told(writer: RunWriter) -> None:
    train(writer, 1)
    folder = writer.paths.attempt(2).root
    folder.mkdir()
    (folder / "attempt.json").write_text('{"format": 99}')
    (writer.paths.attempts / "0003").mkdir()
    (writer.paths.attempts / "0003" / "attempt.json").write_text("{torn")
    history = read_all(History(writer.paths.root))
    assert "newer tinychat" in history.problem
    assert losses(history) == [(1, 1.0)]


def test_a_log_that_cannot_be_read_is_told(writer: RunWriter) -> None:
    train(writer, 1)
    path = writer.paths.attempt(1).metrics
    aside = path.rename(path.with_name("aside"))
    path.mkdir()
    history = History(writer.paths.root)
    history.follow()
    assert f"{path} is not a file" in history.problem
    assert history.share == 1.0  # or a screen would wait for the rest for ever
    path.rmdir()
    aside.rename(path)
    assert losses(read_all(history)) == [(1, 1.0)]
    assert history.problem == ""


def test_a_log_that_goes_away_while_it_is_read_leaves_nothing_to_wait_for(
    writer: RunWriter,
) -> None:
    path = writer.paths.attempt(1).metrics
    rows = ({"kind": "train", "step": step, "train_loss": 1.0} for step in range(1, 50_001))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    history = History(writer.paths.root)
    history.follow(0.0)
    assert history.share < 1.0
    path.unlink()
    history.follow()
    assert "not there any more" in history.problem
    assert history.share == 1.0


def test_old_samples_and_events_are_let_go_by_whole_rounds(
    writer: RunWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "MAX_SAMPLES", 10)
    monkeypatch.setattr(history_module, "MAX_EVENTS", 4)
    for step in range(1, 6):
        for _ in range(4):
            sample(writer, step)
        writer.event_row("noted", step=step, message="")
    history = read_all(History(writer.paths.root))
    assert [(each.step, len(each.samples)) for each in history.samples] == [(4, 4), (5, 4)]
    assert history.samples_dropped == 12
    assert [row["step"] for row in history.events] == [2, 3, 4, 5]


def test_long_and_hostile_texts_are_kept_as_they_are_but_cut(writer: RunWriter) -> None:
    hostile = "[/red]\x1b]0;x\x07\u202e"
    sample(writer, 1, hostile)
    sample(writer, 2, "x" * 5_000_000)
    history = read_all(History(writer.paths.root))
    assert history.samples[0].samples[0]["text"] == hostile
    assert len(history.samples[1].samples[0]["text"]) == history_module.MAX_TEXT


def test_slices_add_up_and_share_grows(writer: RunWriter) -> None:
    rows = [{"kind": "train", "step": step, "train_loss": 1.0} for step in range(1, 50_001)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    writer.paths.attempt(1).metrics.write_text(lines)
    history, shares = History(writer.paths.root), []
    while history.follow(0.0):
        shares.append(history.share)
    assert len(shares) > 5
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert list(history.train.steps) == list(range(1, 50_001))


def test_curves_are_drawn_while_the_log_is_written_and_followed(writer: RunWriter) -> None:
    history = History(writer.paths.root)
    written, problems = threading.Event(), []

    def write() -> None:
        for step in range(1, 3001):
            train(writer, step, loss=float(step % 7))
            if step % 1000 == 0:
                begin(writer, step - 100)
                for again in range(step - 99, step + 1):
                    train(writer, again)
        written.set()

    def follow() -> None:
        while not written.is_set() or history.share < 1 or history.follow():
            history.follow(0.001)

    def draw() -> None:
        while not written.is_set():
            with history.lock:
                drawn = curve(history.train, "train_loss", columns=80, ema=0.9)
                sizes = {len(history.train), len(history.train.times)}
                sizes |= {len(each) for each in history.train.columns.values()}
                if len(sizes) != 1 or drawn.xs != sorted(drawn.xs):
                    problems.append(sizes)

    threads = [threading.Thread(target=each) for each in (write, follow, draw)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    read_all(history)
    assert problems == []
    assert list(history.train.steps) == list(range(1, 3001))
