"""`tinychat-monitor --plain`: lines that an ear or a script can follow."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tinychat.runs import AttemptRecord, RunWriter, Status
from tinychat_monitor.plain import SECONDS_BETWEEN_LINES, Follower

from .test_monitor_once import environment, monitor

Record = Callable[..., RunWriter]
Train = Callable[..., None]
MakeStatus = Callable[..., Status]


def look(follower: Follower, now: float) -> list[str]:
    """The new lines, each without its time of day."""
    lines = list(follower.look(now))
    assert all(line.isprintable() for line in lines)
    return [line.partition(" ")[2] for line in lines]


def test_one_run_to_its_end(
    record: Record, train: Train, status: MakeStatus, hostile: str, tmp_path: Path
) -> None:
    writer = record("demo")
    follower = Follower(tmp_path, tmp_path / "demo")
    assert look(follower, 0.0) == [
        "demo: training at step 1,250 of 5,000 (25%), train loss 1.842, val loss 1.750, "
        "51.2k tokens/s, 1 h 1 min left"
    ]
    train(writer, 1300, 1.5)
    writer.status(status("evaluating", 1300))
    assert look(follower, 1.0) == []  # seen as the same, and it is not time yet
    writer.eval_row(step=1300, val_loss=1.25, bits_per_byte=0.9)
    writer.event_row("warning", step=1300, message=hostile)
    event, evaluated = look(follower, 2.0)
    assert event.startswith("demo: warning: [@click=app.quit]press[/]")
    assert evaluated == (
        "demo: evaluated: val loss 1.250 nats per token at step 1,300, 0.900 bits per byte"
    )
    (minute,) = look(follower, SECONDS_BETWEEN_LINES)
    assert minute.startswith("demo: evaluating at step 1,300 of 5,000 (26%), train loss 1.500")
    assert look(follower, SECONDS_BETWEEN_LINES + 1) == []
    writer.status(status("paused", 1300))
    (paused,) = look(follower, SECONDS_BETWEEN_LINES + 2)
    assert paused.startswith("demo: paused at step 1,300")
    assert not follower.over
    writer.status(status("stopped", 1300))
    (stopped,) = look(follower, SECONDS_BETWEEN_LINES + 3)
    assert stopped == "demo: stopped at step 1,300 of 5,000 (26%), train loss 1.500, val loss 1.250"
    assert follower.over


def test_a_crash_is_told_with_the_log(record: Record, status: MakeStatus, tmp_path: Path) -> None:
    writer = record("demo")
    follower = Follower(tmp_path, tmp_path / "demo")
    look(follower, 0.0)
    writer.log_line("out of luck \x1b[2J")
    writer.status(status("training", 1300, pid=2**22 + 1))
    crashed, *log = list(follower.look(1.0))
    assert f"Process {2**22 + 1} is gone" in crashed
    assert log[-1] == "  log: out of luck ␛[2J"
    assert follower.over


def test_a_run_that_goes_on_is_followed_into_its_new_attempt(
    record: Record, tmp_path: Path
) -> None:
    writer = record("demo")
    follower = Follower(tmp_path, tmp_path / "demo")
    look(follower, 0.0)
    writer.close()
    again = RunWriter(tmp_path / "demo")
    again.begin_attempt(
        AttemptRecord(from_step=1000, reason="resume", started_at="2026", host="here")
    )
    again.event_row("resume", step=1000, message="resumed from step 1000")
    assert look(follower, 1.0) == ["demo: resume: resumed from step 1000"]


def test_torn_lines_and_replaced_files_repeat_nothing(record: Record, tmp_path: Path) -> None:
    writer = record("demo")
    follower = Follower(tmp_path, tmp_path / "demo")
    look(follower, 0.0)
    events = writer.paths.attempt(1).events
    row = json.dumps({"kind": "note", "step": 1, "message": "one"}) + "\n"
    with events.open("a", encoding="utf-8") as file:
        file.write("\0\0\n[1]\n" + row[:10])
    assert look(follower, 1.0) == []
    with events.open("a", encoding="utf-8") as file:
        file.write(row[10:])
    assert look(follower, 2.0) == ["demo: note: one"]
    copy = tmp_path / "copy"
    copy.write_text(row.replace("one", "two") * 9, encoding="utf-8")
    copy.replace(events)
    assert look(follower, 3.0) == []
    with events.open("a", encoding="utf-8") as file:
        file.write(row.replace("one", "three"))
    assert look(follower, 4.0) == ["demo: note: three"]


def test_all_runs_and_those_that_come(
    record: Record, train: Train, status: MakeStatus, tmp_path: Path
) -> None:
    record("old", "finished", 5000)
    writer = record("demo")
    follower = Follower(tmp_path, None)
    first, *told = list(follower.look(0.0))
    assert first.endswith("2 runs, 1 live")
    assert [line.split()[1] for line in told] == ["demo:"]  # old had ended before
    third = record("third")
    third.event_row("start", step=0, message="50 steps from fresh weights")
    lines = look(follower, 1.0)
    assert "third: start: 50 steps from fresh weights" in lines
    assert lines[-1].startswith("third: training at step 1,250")
    writer.status(status("failed", 1300, message="no memory"))
    assert look(follower, 2.0)[0].endswith("no memory")
    assert not follower.over


def test_as_a_script_calls_it(record: Record, tmp_path: Path) -> None:
    record("demo", "finished", 5000)
    done = monitor("demo", "--plain", "--ascii", "--checkpoints", tmp_path)
    assert done.stdout.count("\n") == 1
    assert "demo: finished at step 5,000 of 5,000 (100%)" in done.stdout
    record("live")
    command = [sys.executable, "-m", "tinychat_monitor", "live", "--plain"]
    process = subprocess.Popen(
        [*command, "--checkpoints", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(), text=True, encoding="utf-8",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ours may ignore it
    )  # fmt: skip
    assert process.stdout is not None
    assert "live: training" in process.stdout.readline()
    os.kill(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0
