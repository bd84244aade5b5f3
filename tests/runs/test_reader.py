"""Reading a run: the logical log over attempts, and files that are hurt."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinychat.errors import FormatError, RunError
from tinychat.runs import (
    AttemptRecord,
    BestCheckpoint,
    RunReader,
    RunRecord,
    RunWriter,
    Status,
    list_runs,
)

Begin = Callable[[int], int]
Train = Callable[..., None]


def logged(run: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["train_loss"]) for row in RunReader(run).rows("metrics")]


def test_a_later_attempt_masks_what_it_does_again(run: Path, begin: Begin, train: Train) -> None:
    for attempt, (start, end) in enumerate([(0, 10), (8, 15), (4, 12), (12, 14)]):
        begin(start)
        for step in range(start + 1, end + 1):
            train(step, loss=float(attempt))
    expected = [(step, 0.0) for step in range(1, 5)]
    expected += [(step, 2.0) for step in range(5, 13)]
    expected += [(step, 3.0) for step in (13, 14)]
    assert logged(run) == expected
    reader = RunReader(run)
    assert len(list(reader.history("metrics"))) == 10 + 7 + 8 + 2
    assert list(reader.rows_backwards("metrics")) == list(reader.rows("metrics"))[::-1]


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50
)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=8))
def test_each_step_counts_once_whatever_was_resumed(
    tmp_path_factory: pytest.TempPathFactory, stretches: list[tuple[int, int]]
) -> None:
    writer = RunWriter(tmp_path_factory.mktemp("runs") / "demo")
    writer.create_run()
    weights: list[tuple[int, float]] = []  # what the weights really went through
    for number, (back, forward) in enumerate(stretches):
        start = max(0, len(weights) - back)
        weights = weights[:start]
        writer.begin_attempt(
            AttemptRecord(from_step=start, reason="resume", started_at="", host="here")
        )
        for step in range(start + 1, start + 1 + forward):
            weights.append((step, float(number)))
            writer.train_row(
                step=step,
                train_loss=float(number),
                learning_rate=0.0,
                grad_norm=0.0,
                tokens_seen=0,
                tokens_per_second=0.0,
                step_seconds=0.0,
            )
    writer.close()
    assert logged(writer.paths.root) == weights


def test_torn_anywhere_each_whole_line_is_read(run: Path, begin: Begin, train: Train) -> None:
    begin(0)
    for step in range(1, 41):
        train(step)
    path = RunReader(run).paths.attempt(1).metrics
    whole = path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == 10]
    chance = random.Random(3)
    for cut in [0, 1, len(whole), *(chance.randrange(len(whole)) for _ in range(300))]:
        path.write_bytes(whole[:cut])
        full = sum(end - 1 <= cut for end in ends)  # a line that lacks but its newline is whole
        expected = list(range(1, full + 1))
        reader = RunReader(run)
        assert [row["step"] for row in reader.rows("metrics")] == expected
        assert [row["step"] for row in reader.rows_backwards("metrics")] == expected[::-1]


def test_rubbish_between_lines_is_passed_over(run: Path, begin: Begin, train: Train) -> None:
    begin(0)
    train(1)
    path = RunReader(run).paths.attempt(1).metrics
    with path.open("ab") as file:
        file.write(
            b"\0" * 4096 + b'{"step": 2}\n\xff\xfe\n[1]\n7\nnull\n{"step": \n' + b"[" * 99_999
        )
        file.write(b'\n{"step": 3, "x": NaN}\n\n\r\n{"step": 4, "kind": "unheard of"}\n')
    rows = list(RunReader(run).rows("metrics"))
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[2]["x"] is None
    assert [row["step"] for row in RunReader(run).rows_backwards("metrics")] == [4, 3, 2, 1]


def test_the_newest_row_is_found_from_the_end(run: Path, begin: Begin, train: Train) -> None:
    begin(0)
    for step in range(1, 3000):  # several blocks long
        train(step)
    reader = RunReader(run)
    assert [row["step"] for row in reader.rows_backwards("metrics")] == list(range(2999, 0, -1))
    last = reader.last("metrics", "train")
    assert last is not None
    assert last["step"] == 2999
    assert reader.last("metrics", "eval") is None
    begin(1000)
    last = reader.last("metrics")
    assert last is not None
    assert last["step"] == 1000


def test_events_are_masked_in_the_log_but_not_in_history(
    run: Path, writer: RunWriter, begin: Begin
) -> None:
    begin(0)
    writer.event_row("alert", step=9, message="loss is not a number")
    writer.event_row("start", step=None, message="begun")
    begin(5)
    reader = RunReader(run)
    assert [row["kind"] for row in reader.rows("events")] == ["start"]
    assert [row["kind"] for row in reader.history("events")] == ["alert", "start"]


def test_the_log_tail_runs_over_attempts(run: Path, writer: RunWriter, begin: Begin) -> None:
    for number in range(2):
        begin(0)
        for line in range(3):
            writer.log_line(f"attempt {number} line {line} é \ud800")
    tail = RunReader(run).log_tail(4)
    assert [line[:16] for line in tail] == [
        "attempt 0 line 2",
        "attempt 1 line 0",
        "attempt 1 line 1",
        "attempt 1 line 2",
    ]
    assert tail[0].endswith("é \\ud800")
    assert len(RunReader(run).log_tail(99)) == 6
    assert RunReader(run).log_tail(0) == []


def test_best_is_as_told_or_else_as_logged(
    run: Path,
    writer: RunWriter,
    begin: Begin,
    publish: Callable[..., Path],
    make_status: Callable[..., Status],
) -> None:
    reader = RunReader(run)
    assert (reader.best, reader.latest, reader.status) == (None, None, None)
    begin(0)
    for step, loss in ((10, 2.0), (20, 1.5), (30, 1.0), (40, float("nan"))):
        writer.eval_row(step=step, val_loss=loss)
    for step in (10, 20, 40):
        publish(step)
    assert reader.best == BestCheckpoint(step=20, val_loss=1.5)  # 30 is not there
    assert reader.latest == 40
    told = BestCheckpoint(step=10, val_loss=0.5)
    writer.status(make_status(best=told))
    assert reader.best == told


def test_hurt_and_newer_files_say_so(run: Path, writer: RunWriter) -> None:
    reader = RunReader(run)
    for text in ("", "{", "[]", '{"format": 1}', '{"format": 1, "id": 7}', '{"id": "x"}'):
        writer.paths.run_json.write_text(text, encoding="utf-8")
        with pytest.raises(RunError, match=r"run\.json is damaged"):
            _ = reader.run
    writer.paths.status_json.write_text('{"format": 1, "state": "dreaming"}', encoding="utf-8")
    assert reader.status is None
    for path in (writer.paths.run_json, writer.paths.status_json):
        path.write_text('{"format": 2, "shape": "unknown"}', encoding="utf-8")
    for look in (lambda: reader.run, lambda: reader.status):
        with pytest.raises(FormatError, match="please update tinychat"):
            look()
    writer.paths.settings_json.unlink()
    with pytest.raises(RunError, match=r"settings\.json cannot be read"):
        _ = reader.settings


def test_unknown_keys_are_ignored(run: Path, writer: RunWriter) -> None:
    values = json.loads(writer.paths.run_json.read_text(encoding="utf-8"))
    text = json.dumps(values | {"mood": "good"})
    writer.paths.run_json.write_text(text, encoding="utf-8")
    assert RunReader(run).run.id == "1"


def test_runs_are_listed_newest_first(tmp_path: Path) -> None:
    for name, day in (("a", 1), ("b", 3), ("c", 2), ("hurt", 9)):
        writer = RunWriter(tmp_path / name)
        writer.create_run()
        created_at = f"2026-01-0{day}T00:00:00+00:00"
        writer.write_run(RunRecord(id=name, created_at=created_at, version="0.1"))
    (tmp_path / "hurt" / "run.json").write_text("{", encoding="utf-8")
    (tmp_path / "no run").mkdir()
    (tmp_path / "README.md").write_text("", encoding="utf-8")
    assert [reader.name for reader in list_runs(tmp_path)] == ["b", "c", "a", "hurt"]
    assert list_runs(tmp_path / "nowhere") == []


def test_an_attempt_folder_without_record_never_began(run: Path, begin: Begin) -> None:
    begin(0)
    (run / "attempts" / "0002").mkdir()
    (run / "attempts" / "notes").mkdir()
    assert [number for number, _ in RunReader(run).attempts()] == [1]
    assert begin(0) == 3
