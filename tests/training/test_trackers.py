"""Weights & Biases offline and TensorBoard get every row, read back by their own readers; and
whatever happens to them, no bit of the run changes."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conftest import until
from tinychat.errors import TrainingError
from tinychat.runs import RunReader
from tinychat.training import trackers
from tinychat.training.guards import roll_back
from tinychat.training.trackers import Numbers, Subject
from tinychat.training.trainer import Trainer

from .conftest import digests

Train = Callable[..., Path]
Spawn = Callable[..., "subprocess.Popen[str]"]
QUIET = ("--eval.every-steps=6", "--sample.every-steps=6", "--sample.max-new-tokens=4")


def rows(run: Path, kind: str) -> dict[int, dict[str, object]]:
    return {row["step"]: row for row in RunReader(run).rows("metrics") if row["kind"] == kind}


def warnings(run: Path) -> list[str]:
    return [r["message"] for r in RunReader(run).rows("events") if r["kind"] == "warning"]


def board(run: Path, name: str) -> list[tuple[int, float]]:
    """What TensorBoard shows of one quantity: (step, value)."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run / "trackers" / "tensorboard"), size_guidance={"scalars": 0})
    found.Reload()
    return [(each.step, each.value) for each in found.Scalars(name)]


def services(process: "subprocess.Popen[str]", run: Path) -> list[psutil.Process]:
    """wandb's own processes, once the run is on its way."""
    until(lambda: process.poll() is not None or (run.exists() and len(rows(run, "train")) > 20))
    found = [c for c in psutil.Process(process.pid).children() if "wandb" in c.name()]
    assert found
    return found


def test_tensorboard_holds_every_row_of_every_attempt(train: Train, resume: Train) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train("board", "--max-steps=12", *QUIET, "--log.trackers=tensorboard")
    resume("board", "--max-steps=18")
    found = EventAccumulator(str(run / "trackers" / "tensorboard"), size_guidance={"scalars": 0})
    found.Reload()
    for name, kind in (("train_loss", "train"), ("learning_rate", "train"), ("val_loss", "eval")):
        told = {each.step: each.value for each in found.Scalars(name)}
        known = {step: row[name] for step, row in rows(run, kind).items()}
        assert told == pytest.approx(known)
    assert set(rows(run, "train")) == set(range(1, 19))
    assert "samples/text_summary" in found.Tags()["tensors"]


@pytest.mark.slow
def test_wandb_offline_holds_every_row(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = train("wandb", "--max-steps=12", *QUIET, "--log.trackers=wandb")
    (file,) = run.glob("trackers/wandb/offline-run-*/run-*.wandb")
    wandb = Path(sys.executable).with_name("wandb")
    done = subprocess.run(
        [str(wandb), "leet", "inspect", "--json", str(file)], capture_output=True, text=True
    )
    told: dict[str, dict[int, float]] = {"train_loss": {}, "val_loss": {}}
    for row in map(json.loads, done.stdout.splitlines()):
        values = row.get("history", {}).get("item", {})
        for name in told:
            if name in values:
                told[name][int(values["step"])] = float(values[name])
    for name, kind in (("train_loss", "train"), ("val_loss", "eval")):
        known = {step: row[name] for step, row in rows(run, kind).items()}
        assert told[name] == pytest.approx(known)
    assert not warnings(run)


class Silent:
    """A tracker that does nothing."""

    def __init__(self, subject: Subject) -> None:
        self.run = subject.run

    def numbers(self, step: int, values: Numbers) -> None: ...
    def text(self, step: int, name: str, text: str) -> None: ...
    def begin_stretch(self, step: int) -> None: ...
    def close(self) -> None: ...


class Breaking(Silent):
    """A tracker that fails at its third row."""

    left = 2

    def numbers(self, step: int, values: Numbers) -> None:
        self.left -= 1
        if self.left < 0:
            raise SystemExit("its service went away")


def test_a_tracker_that_breaks_changes_no_bit(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--max-steps=12", "--model.dropout=0.1", *QUIET)
    reference = train("reference", *flags)
    monkeypatch.setitem(trackers.MAKERS, "tensorboard", Breaking)  # type: ignore[arg-type]
    run = train("broken", *flags, "--log.trackers=tensorboard")
    (told,) = warnings(run)
    assert "tensorboard follows the run no longer: SystemExit: its service went away" in told
    assert digests(run, 12) == digests(reference, 12)


class Hanging(Silent):
    """A tracker whose end never comes; somebody presses Ctrl+C meanwhile."""

    pressed = False

    def close(self) -> None:
        status = RunReader(self.run).status
        if status and status.state == "finished" and self.pressed:
            os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait()


class Pressed(Hanging):
    pressed = True


def test_trackers_that_hang_are_waited_for_together(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "CLOSING_SECONDS", 0.5)
    for name in trackers.MAKERS:
        monkeypatch.setitem(trackers.MAKERS, name, Hanging)  # type: ignore[arg-type]
    run = train("hangs", "--max-steps=2", *QUIET, "--log.trackers", "tensorboard", "wandb")
    told = warnings(run)
    assert len(told) == 2
    assert all("it had not written everything after 0.5 s" in each for each in told)


def test_a_signal_ends_the_wait_for_a_tracker(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And by then the run says that it is finished, so that a third one spoils nothing."""
    monkeypatch.setattr(trackers, "CLOSING_SECONDS", 3600.0)
    monkeypatch.setitem(trackers.MAKERS, "tensorboard", Pressed)  # type: ignore[arg-type]
    run = train("pressed", "--max-steps=2", *QUIET, "--log.trackers=tensorboard")
    (told,) = warnings(run)
    assert "it was not waited for" in told
    status = RunReader(run).status
    assert status
    assert status.state == "finished"


def test_a_run_that_fails_closes_its_trackers(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise TrainingError("the evaluation broke")

    monkeypatch.setattr("tinychat.training.evaluator.evaluate", broken)
    run = train("fails", "--max-steps=12", *QUIET, "--log.trackers=tensorboard", exit_code=1)
    told = board(run, "train_loss")
    assert [step for step, _ in told] == list(range(1, 7))


def test_a_roll_back_shows_its_steps_once(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those done anew are what TensorBoard shows."""
    real = Trainer.do_what_is_due

    def rolling_back_once(self: Trainer) -> None:
        if self.progress.step == 8 and self.facts.rate_factor == 1:
            roll_back(self, "it was asked to")
        else:
            real(self)

    monkeypatch.setattr(Trainer, "do_what_is_due", rolling_back_once)
    flags = ("--max-steps=12", "--checkpoint.every-steps=5", "--log.trackers=tensorboard")
    run = train("rolled", *flags, *QUIET)
    assert [r["kind"] for r in RunReader(run).rows("events")].count("roll_back") == 1
    known = {step: row["train_loss"] for step, row in rows(run, "train").items()}
    told = board(run, "train_loss")
    assert [step for step, _ in told] == list(range(1, 13))
    assert dict(told) == pytest.approx(known)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="there is no such signal")
def test_a_wandb_that_hangs_holds_up_nothing_but_the_end(
    train: Train, spawn: Spawn, tmp_path: Path
) -> None:
    flags = ("--max-steps=600", "--model.dropout=0.1", "--sample.every-steps=none")
    reference = train("reference", *flags)
    process = spawn("train", "stopped", *flags, "--log.trackers=wandb")
    run = tmp_path / "stopped"
    for each in services(process, run):
        each.suspend()
    _, problems = process.communicate(timeout=120)
    assert process.returncode == 0, problems
    assert "Traceback" not in problems
    (told,) = warnings(run)
    assert "it had not written everything after 30 s" in told
    assert digests(run, 600) == digests(reference, 600)


@pytest.mark.slow
def test_killing_wandb_changes_no_bit(train: Train, spawn: Spawn, tmp_path: Path) -> None:
    flags = ("--max-steps=600", "--model.dropout=0.1", "--sample.every-steps=none")
    reference = train("reference", *flags)
    process = spawn("train", "killed", *flags, "--log.trackers=wandb")
    run = tmp_path / "killed"
    for each in services(process, run):
        each.kill()
    _, problems = process.communicate(timeout=300)
    assert process.returncode == 0, problems
    assert digests(run, 600) == digests(reference, 600)


def test_a_tracker_that_is_not_installed_is_told_before_the_start(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(trackers.PACKAGES, "wandb", "no_such_package")
    train("without", "--max-steps=2", "--log.trackers=wandb", exit_code=2)
    assert "wandb is not installed; `pip install 'tinychat[trackers]'`" in capsys.readouterr().err
