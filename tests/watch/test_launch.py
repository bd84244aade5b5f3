"""Starting trainers that outlive us, with real processes; and ending only the right one."""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import until
from tinychat.errors import RunError
from tinychat.runs import RunReader, Status, process_identity, send_command, true_state
from tinychat.watch.launch import (
    Launched,
    end_process,
    launch,
    resume_arguments,
    train_arguments,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sessions are POSIX's")

TINY = (
    "--model.n-layer=1", "--model.n-head=1", "--model.n-embd=16", "--model.context-length=16",
    "--tokenizer.vocab-size=270", "--batch-size=2", "--runtime.threads=1",
    "--runtime.autotune=false",
    "--sample.every-steps=none", "--eval.every-steps=none", "--max-steps=1000000",
)  # fmt: skip
CHILD = """
import json, sys
from tinychat.runs import process_identity
print(json.dumps(process_identity()), flush=True)
sys.stdin.read()
"""


def status(identity: Any, **changes: Any) -> Status:
    told = {"state": "training", "step": 1, "max_steps": 2, "time": 0.0, "next_beat_by": 0.0}
    return Status(**{**identity, **told, **changes})


@pytest.fixture
def child() -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """A process with its identity; it ends when it is told to."""
    import json

    process = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process, json.loads(process.stdout.readline())
    process.kill()
    process.communicate()


def test_words_of_a_start() -> None:
    words = train_arguments("demo", Path("-b.txt"), "mine", Path("/runs"), ["--seed=1"])
    assert words == [
        "train", "--preset=demo", "--data=-b.txt", "--name=mine",
        "--checkpoints=/runs", "--seed=1",
    ]  # fmt: skip
    assert train_arguments(None, "", None, Path("/runs")) == ["train", "--checkpoints=/runs"]
    assert resume_arguments(Path("/runs/mine")) == ["resume", "/runs/mine"]


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    data = str(tmp_path / "missing\x1b[31m.txt")
    started = launch(train_arguments("demo", data, "mine", tmp_path), tmp_path)
    assert until(lambda: started.ended() is not None)
    assert started.ended() != 0
    assert started.log == tmp_path / ".launch" / "mine.log"
    assert "neither a file nor a folder" in started.said()
    assert "Traceback" not in started.said()
    assert "\x1b" not in started.said()
    again = launch(["train", "--name=mine", "--nonsense=1"], tmp_path)
    assert until(lambda: again.ended() is not None)
    assert "nonsense" in again.said()
    assert "missing" not in again.said(), "what an earlier start said is not told again"
    assert "neither a file nor a folder" in again.log.read_text()


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        launch(["train", "--name=mine"], tmp_path / "file")


def test_said_is_bounded_and_survives_a_missing_log(tmp_path: Path) -> None:
    started = launch(["runs", f"--checkpoints={tmp_path}"], tmp_path)
    assert until(lambda: started.ended() is not None)
    with open(started.log, "a") as log:
        log.write("x" * 100_000 + "\nthe end")
    assert len(started.said()) < 10_000
    assert started.said().endswith("the end")
    started.log.unlink()
    assert "cannot be read" in started.said()


PARENT = """
import sys
from pathlib import Path
from tinychat.watch.launch import launch
started = launch(sys.argv[2:], Path(sys.argv[1]))
print(started.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_a_trainer_outlives_the_screen_that_started_it(tmp_path: Path) -> None:
    data = tmp_path / "text.txt"
    data.write_text("\n".join(f"The cat saw {n} boats." for n in range(2000)))
    words = train_arguments("demo", data, "mine", tmp_path, TINY)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # as a terminal would
    )
    assert parent.stdout is not None
    trainer = psutil.Process(int(parent.stdout.readline()))
    try:
        reader = RunReader(tmp_path / "mine")
        until(lambda: reader.status and reader.status.step > 2)
        assert os.getsid(trainer.pid) == trainer.pid != os.getsid(parent.pid)
        os.killpg(parent.pid, signal.SIGKILL)
        parent.communicate()
        seen = reader.status
        assert seen is not None
        until(lambda: reader.status and reader.status.step > seen.step)
        assert true_state(seen).state == "training"
        send_command(tmp_path / "mine", "stop", by="test")
        until(lambda: reader.status and reader.status.state == "stopped")
        until(lambda: not trainer.is_running() or trainer.status() == psutil.STATUS_ZOMBIE)
    finally:
        if trainer.is_running():
            trainer.kill()


@pytest.mark.slow
def test_resume_goes_on_and_a_signal_saves_and_stops_it(tmp_path: Path) -> None:
    data = tmp_path / "text.txt"
    data.write_text("\n".join(f"The cat saw {n} boats." for n in range(2000)))
    short = [each for each in TINY if "max-steps" not in each]
    first = launch(
        train_arguments("demo", data, "mine", tmp_path, [*short, "--max-steps=3"]), tmp_path
    )
    assert until(lambda: first.ended() is not None)
    assert first.ended() == 0, first.said()
    more = [*resume_arguments(tmp_path / "mine"), "--max-steps=1000000"]
    second: Launched = launch(more, tmp_path)
    assert second.log == first.log
    reader = RunReader(tmp_path / "mine")
    seen = until(lambda: reader.status if reader.status and reader.status.step > 5 else None)
    assert seen.pid == second.pid
    end_process(seen, signal.SIGTERM)
    assert until(lambda: second.ended() is not None)
    assert reader.status is not None
    assert reader.status.state == "stopped"


def test_only_the_process_that_is_meant_is_ended(child: tuple[Any, Any]) -> None:
    process, identity = child
    true = status(identity)
    started = identity["process_start_time"]
    strangers = [
        dataclasses.replace(true, process_start_time=started - 1),
        dataclasses.replace(true, process_start_time=None),
        dataclasses.replace(true, boot_id="another"),
        dataclasses.replace(true, host="elsewhere"),
        dataclasses.replace(true, pid=os.getpid()),
        *(dataclasses.replace(true, pid=odd) for odd in (0, -1, -process.pid, 2**40, 2**62)),
    ]
    for each in strangers:
        with pytest.raises(RunError, match="left alone"):
            end_process(each, signal.SIGKILL)
    assert process.poll() is None
    end_process(true, signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    with pytest.raises(RunError, match="left alone"):
        end_process(true, signal.SIGKILL)
    assert status(process_identity()).pid == os.getpid()
