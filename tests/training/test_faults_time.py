"""What happens to a run whose clocks jump, or that is asked to end at a bad moment."""

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tinychat.config import Settings
from tinychat.config.load import Resolved
from tinychat.runs import (
    RunReader,
    RunWriter,
    Status,
    list_checkpoints,
    process_identity,
    send_command,
)
from tinychat.training import requests
from tinychat.training.gaps import Clocks, held_up_seconds

from .conftest import DiskOf, digests
from .rows import events, train_rows, until_alive

Train = Callable[..., Path]
Spawn = Callable[..., "subprocess.Popen[str]"]
QUIET = ("--eval.every-steps=none", "--sample.every-steps=none")


@pytest.mark.slow
def test_a_process_that_was_stopped_tells_of_the_gap(
    train: Train, spawn: Spawn, tmp_path: Path
) -> None:
    flags = ("--max-steps=500", *QUIET)
    reference = train("reference", *flags)
    process = spawn("train", "held", *flags)
    run = tmp_path / "held"
    until_alive(process, lambda: len(train_rows(run)) > 40)
    process.send_signal(signal.SIGSTOP)
    time.sleep(2.0)  # what is tested is that this very time is told, and not counted
    process.send_signal(signal.SIGCONT)
    assert process.wait(120) == 0
    told = [row["message"] for row in events(run, "gap")]
    held = [float(re.search(r"held up for ([0-9.]+) s", each)[1]) for each in told]  # type: ignore[index]
    assert 2.0 <= max(held) < 30.0, "other programs may have held it up too, not as long"
    assert max(row["step_seconds"] for row in train_rows(run)[5:]) < 2.0
    assert digests(run, 500) == digests(reference, 500)


def test_what_clocks_tell() -> None:
    now = Clocks()
    assert not now.look()
    now.awake += 60  # it stood still for a minute
    assert now.look() == ["the machine slept for 60 s; that time is not counted"]
    now.wall += 86_400
    (told,) = now.look()
    assert told.startswith("the clock was set back by 86,400 s")
    assert not now.look()


def test_a_long_step_among_short_ones_was_held_up() -> None:
    assert held_up_seconds(5.0, [0.1] * 20) == pytest.approx(4.9)
    assert held_up_seconds(0.9, [0.01] * 20) == 0.0, "too short to be told"
    assert held_up_seconds(12.0, [5.0] * 20) == 0.0, "merely slow"
    assert held_up_seconds(100.0, [0.1]) == 0.0, "nobody knows what is usual"


@pytest.mark.parametrize("seconds", [-86_400.0, 86_400.0])
def test_a_clock_that_is_set_refuses_no_stop(
    seconds: float, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train("set", "--max-steps=1", *QUIET)
    found = Resolved(Settings(), {})
    asked = requests.RunRequests(run, requests.StopSignals(), found, lambda _: None)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + seconds)
    send_command(run, "stop", by="test")
    assert asked.asked_to_end() == 1
    commands, refused = asked.poll()
    assert ([command.command for command in commands], refused) == (["stop"], [])
    assert asked.asked_to_end() == 0


# --- signals


@pytest.mark.slow
def test_an_evaluation_that_a_signal_cut_short_is_done_at_the_next_start(
    train: Train, spawn: Spawn, resume: Train, tmp_path: Path
) -> None:
    flags = ("--max-steps=8", "--eval.every-steps=4", "--sample.every-steps=none",
             "--micro-batch-size=1")  # fmt: skip
    reference = train("reference", *flags)
    process = spawn("train", "ended", *flags)
    run = tmp_path / "ended"
    until_alive(
        process, lambda: (s := RunReader(run).status) is not None and s.state == "evaluating"
    )
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    status = RunReader(run).status
    assert status is not None
    assert status.state == "stopped"
    assert list_checkpoints(run)[-1] == status.step == train_rows(run)[-1]["step"]
    resume("ended")
    assert digests(run, 8) == digests(reference, 8)
    evaluated = [row for row in RunReader(run).rows("metrics") if row["kind"] == "eval"]
    assert [row["step"] for row in evaluated] == [4, 8]


def test_that_there_is_no_room_at_all_can_still_be_seen(disk_of: DiskOf) -> None:
    folder = disk_of("1m")
    writer = RunWriter(folder / "demo")
    writer.create_run()
    known: dict[str, Any] = {"max_steps": 9, "time": 1.0, "next_beat_by": 2.0}
    saving = Status(state="saving", step=7, **known, **process_identity())
    writer.status(saving)
    with open(folder / "ballast", "wb", buffering=0) as ballast, suppress(OSError):
        while ballast.write(bytes(4096)):
            pass
    assert shutil.disk_usage(folder).free == 0
    told = "the disk refuses: no room"
    writer.status(replace(saving, state="paused", message=told))
    status = RunReader(folder / "demo").status
    assert status is not None
    assert (status.state, status.step, status.message) == ("paused", 7, told)
    writer.status(replace(saving, step=8))
    status = RunReader(folder / "demo").status
    assert status is not None
    assert (status.state, status.step, status.message) == ("saving", 8, "")
