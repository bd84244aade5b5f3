"""Weights & Biases offline and TensorBoard get every row, read back by their own readers; and
whatever happens to them, no bit of the run changes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conftest import until
from tinychat.runs import RunReader
from tinychat.training import trackers
from tinychat.training.trackers import Numbers, Subject

from .conftest import digests

Train = Callable[..., Path]
Spawn = Callable[..., "subprocess.Popen[str]"]
QUIET = ("--eval.every-steps=6", "--sample.every-steps=6", "--sample.max-new-tokens=4")


def rows(run: Path, kind: str) -> dict[int, dict[str, object]]:
    return {row["step"]: row for row in RunReader(run).rows("metrics") if row["kind"] == kind}


def warnings(run: Path) -> list[str]:
    return [r["message"] for r in RunReader(run).rows("events") if r["kind"] == "warning"]


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


class Breaking:
    """A tracker that fails at its third row."""

    def __init__(self, subject: Subject) -> None:
        self.left = 2

    def numbers(self, step: int, values: Numbers) -> None:
        self.left -= 1
        if self.left < 0:
            raise SystemExit("its service went away")

    def text(self, step: int, name: str, text: str) -> None: ...

    def close(self) -> None: ...


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


@pytest.mark.slow
def test_killing_wandb_changes_no_bit(train: Train, spawn: Spawn, tmp_path: Path) -> None:
    flags = ("--max-steps=600", "--model.dropout=0.1", "--sample.every-steps=none")
    reference = train("reference", *flags)
    process = spawn("train", "killed", *flags, "--log.trackers=wandb")
    run = tmp_path / "killed"
    until(lambda: process.poll() is not None or (run.exists() and len(rows(run, "train")) > 20))
    service = [c for c in psutil.Process(process.pid).children() if "wandb" in c.name()]
    assert service
    for each in service:
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
