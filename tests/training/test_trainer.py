"""Training for real: what changes the weights, what must not, and what is said about it."""

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tinychat.cli.app import run as tinychat
from tinychat.runs import (
    RunPaths,
    RunReader,
    list_checkpoints,
    pin,
    send_command,
    unpin,
    wait_for_ack,
)
from tinychat.runs.layout import RESUME_FILES
from tinychat.training.recorder import FIRST_STEP_SECONDS, PATIENCE_SECONDS
from tinychat.training.trainer import Trainer

from .conftest import digests, poison

Train = Callable[..., Path]


def losses(run: Path) -> dict[int, float]:
    return {
        row["step"]: row["train_loss"]
        for row in RunReader(run).rows("metrics")
        if row["kind"] == "train"
    }


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    path = RunPaths(run).checkpoint(step) / "model.safetensors"
    return safetensors.torch.load(path.read_bytes())


def test_a_run_learns_and_leaves_everything_behind(train: Train) -> None:
    run = train("learns", "--max-steps=120", "--eval.every-steps=60", "--sample.every-steps=50")
    reader = RunReader(run)
    found = losses(run)
    assert list(found) == list(range(1, 121))
    assert found[1] == pytest.approx(math.log(300), abs=0.4), "fresh weights know nothing"
    assert found[120] < 2.0
    evals = [row for row in reader.rows("metrics") if row["kind"] == "eval"]
    assert [row["step"] for row in evals] == [60, 120]
    assert evals[1]["bits_per_byte"] < evals[0]["bits_per_byte"]
    samples = list(reader.rows("samples"))
    assert {row["step"] for row in samples} == {50, 100}
    assert len(samples) == 20
    status = reader.status
    assert status is not None
    assert (status.state, status.step, status.max_steps) == ("finished", 120, 120)
    silence = status.next_beat_by - status.time
    assert PATIENCE_SECONDS <= silence < FIRST_STEP_SECONDS, "how long steps take is known by then"
    assert reader.best is not None
    assert reader.best.step == 120
    assert reader.run.parameters["total"] == sum(t.numel() for t in weights(run, 120).values())
    assert (run / "tokenizer.json").read_bytes() == (
        RunPaths(run).checkpoint(120) / "tokenizer.json"
    ).read_bytes()


@pytest.mark.parametrize("form", ["text", pytest.param("chat", marks=pytest.mark.slow)])
def test_cutting_a_step_into_micro_batches_changes_nothing(
    form: str, train: Train, chat_corpus: Path
) -> None:
    """1 x 32 and 4 x 8: loss to 1e-5, weights to 1e-4 over 50 AdamW steps."""
    data = chat_corpus if form == "chat" else None
    common = (
        "--max-steps=50", "--batch-size=32", "--sample.every-steps=none", "--dtype=fp32",
        "--optim.optimizer=adamw", "--optim.learning-rate=2e-3",
    )  # fmt: skip
    whole = train("whole", *common, data=data)
    parts = train("parts", *common, "--micro-batch-size=8", data=data)
    uneven = train("uneven", *common, "--micro-batch-size=11", data=data)
    for other in (parts, uneven):
        for step, loss in losses(whole).items():
            assert losses(other)[step] == pytest.approx(loss, abs=1e-5)
        for name, tensor in weights(whole, 50).items():
            assert (weights(other, 50)[name] - tensor).abs().max() < 1e-4


@pytest.mark.slow
def test_looking_at_a_run_changes_no_bit_of_it(train: Train) -> None:
    common = ("--max-steps=40", "--model.dropout=0.2", "--micro-batch-size=4")
    quiet = train(
        "quiet", *common, "--eval.every-steps=none", "--sample.every-steps=none",
        "--checkpoint.every-steps=none", "--log.every-steps=40",
    )  # fmt: skip
    loud = train(
        "loud", *common, "--eval.every-steps=3", "--sample.every-steps=2",
        "--checkpoint.every-steps=7", "--sample.temperature=1.3",
    )  # fmt: skip
    assert digests(quiet, 40) == digests(loud, 40)


def test_dropout_and_batches_follow_the_seed(train: Train) -> None:
    common = ("--max-steps=12", "--model.dropout=0.2")
    first, again, other = (
        train("first", *common), train("again", *common), train("other", *common, "--seed=7")
    )  # fmt: skip
    assert digests(first, 12) == digests(again, 12)
    assert digests(first, 12) != digests(other, 12)


def test_gradient_checkpointing_trains_the_same_model(train: Train) -> None:
    plain = train("plain", "--max-steps=20", "--model.dropout=0.1", "--dtype=fp32")
    frugal = train("frugal", "--max-steps=20", "--model.dropout=0.1",
                   "--runtime.gradient-checkpointing", "--dtype=fp32")  # fmt: skip
    for name, tensor in weights(plain, 20).items():
        assert (weights(frugal, 20)[name] - tensor).abs().max() < 1e-5


def test_muon_learns_and_resumes_bit_for_bit(train: Train, resume: Train) -> None:
    flags = ("--optim.optimizer=muon", "--model.dropout=0.1", "--optim.warmup-steps=5")
    flags += ("--optim.decay-share=0.5",)
    straight = train("straight", "--max-steps=40", *flags)
    assert losses(straight)[40] < 0.5 * losses(straight)[1]
    run = train("extended", "--max-steps=30", *flags)
    resume("extended", "--max-steps=40")
    assert RunReader(run).attempts()[-1][1].from_step == 15
    assert digests(run, 40) == digests(straight, 40)
    again = train("again", "--max-steps=40", *flags)
    assert digests(again, 40) == digests(straight, 40)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_learns_and_stores_fp32(dtype: str, train: Train, resume: Train) -> None:
    run = train("half", "--max-steps=60", f"--dtype={dtype}")
    assert losses(run)[60] < 0.6 * losses(run)[1]
    assert {t.dtype for t in weights(run, 60).values()} == {torch.float32}
    _, attempt = RunReader(run).attempts()[0]
    assert attempt.dtype == dtype
    resume("half", "--max-steps=70")
    assert RunReader(run).attempts()[-1][1].dtype == dtype, "the choice is repeated"


def test_a_step_that_is_not_finite_is_skipped_and_counted(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, steps={5, 6})
    run = train("skips", "--max-steps=12")
    rows = [row for row in RunReader(run).rows("metrics") if row["kind"] == "train"]
    assert [row["step"] for row in rows if "train_loss" in row.get("nonfinite", ())] == [5, 6]
    state = json.loads((RunPaths(run).checkpoint(12) / "state.json").read_text(encoding="utf-8"))
    assert state["skipped_steps"] == 2
    assert all(torch.isfinite(t).all() for t in weights(run, 12).values())
    skipped = [row for row in RunReader(run).rows("events") if row["kind"] == "skipped"]
    assert [row["step"] for row in skipped] == [5, 6]


@pytest.mark.slow
def test_a_jump_of_the_loss_becomes_an_event(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, steps={150}, factor=30.0)
    run = train("spikes", "--max-steps=152", "--eval.every-steps=none", "--sample.every-steps=none")
    alerts = [row for row in RunReader(run).rows("events") if row["kind"] == "alert"]
    spikes = [row for row in alerts if row["about"] == "spike"]
    assert [row["step"] for row in spikes] == [150]
    assert "the loss jumped to" in spikes[0]["message"]


def test_pinned_checkpoints_outlive_the_others_whole(train: Train, resume: Train) -> None:
    keep = ("--checkpoint.keep-last=2", "--checkpoint.milestones=0", "--checkpoint.every-steps=5",
            "--eval.every-steps=none", "--sample.every-steps=none",
            "--optim.schedule=cosine")  # fmt: skip
    run = train("pins", "--max-steps=10", *keep)
    assert list_checkpoints(run) == [5, 10]
    pin(run, 5)
    resume("pins", "--max-steps=30")
    assert list_checkpoints(run) == [5, 25, 30]
    assert set(RESUME_FILES) <= {file.name for file in RunPaths(run).checkpoint(5).iterdir()}
    unpin(run, 5)
    resume("pins", "--max-steps=35")
    assert list_checkpoints(run) == [30, 35]


def test_commands_are_obeyed_acknowledged_and_change_no_bit(
    spawn: Callable[..., object], train: Train, tmp_path: Path
) -> None:
    flags = ("--max-steps=120", "--model.dropout=0.1", "--checkpoint.every-steps=none")
    reference = train("reference", *flags)
    process = spawn("train", "steered", *flags)
    run = tmp_path / "steered"
    _until(lambda: list_checkpoints(run))

    def ask(command: str, **args: object) -> dict[str, object]:
        row = wait_for_ack(run, send_command(run, command, args, by="test"), 60)
        assert row is not None, command
        return dict(row)

    paused = ask("pause")
    assert (paused["kind"], paused["by"]) == ("command_applied", "test")
    step = paused["step"]
    assert isinstance(step, int)
    _until(lambda: (status := RunReader(run).status) and status.state == "paused")
    assert ask("checkpoint")["step"] == step, "nothing moves while it is paused"
    assert step in list_checkpoints(run)
    assert ask("sample", prompt="the cat")["kind"] == "command_applied"
    assert [r["prompt"] for r in RunReader(run).rows("samples") if r["step"] == step][
        -1
    ] == "the cat"
    assert ask("evaluate")["kind"] == "command_applied"
    assert ask("set", setting="sample.every_steps", value=100)["kind"] == "command_applied"
    refused = ask("set", setting="optim.learning_rate", value=1.0)
    assert refused["kind"] == "command_refused"
    assert "cannot change" in str(refused["message"])
    assert refused["by"] == "test"
    (run / "control" / "0-junk.json").write_text("{", encoding="utf-8")
    assert ask("resume")["kind"] == "command_applied"
    assert process.wait(120) == 0  # type: ignore[attr-defined]
    assert any(
        r["kind"] == "command_refused" and not r["id"] for r in RunReader(run).rows("events")
    )
    assert digests(run, 120) == digests(reference, 120)
    saved = json.loads((run / "settings.json").read_text(encoding="utf-8"))
    assert saved["settings"]["sample"]["every_steps"] == 100
    assert saved["sources"]["sample.every_steps"] == "control"


@pytest.mark.slow
def test_stop_saves_unless_told_not_to(
    spawn: Callable[..., object], resume: Train, tmp_path: Path
) -> None:
    for save in (True, False):
        name = f"stopped-{save}"
        process = spawn("train", name, "--max-steps=100000", "--checkpoint.every-steps=none")
        run = tmp_path / name
        _until(lambda run=run: losses(run) if RunReader(run).attempts() else None)
        send_command(run, "stop", {"save": save}, by="test")
        assert process.wait(60) == 0  # type: ignore[attr-defined]
        status = RunReader(run).status
        assert status is not None
        assert status.state == "stopped"
        assert (status.step in list_checkpoints(run)) is save


def test_a_signal_after_the_last_step_leaves_a_run_finished(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = Trainer.do_what_is_due

    def then_a_signal(trainer: Trainer) -> None:
        due(trainer)
        if trainer.progress.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Trainer, "do_what_is_due", then_a_signal)
    run = train("late", "--max-steps=5")
    status = RunReader(run).status
    assert status is not None
    assert (status.state, list_checkpoints(run)[-1]) == ("finished", 5)


def _until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait for a condition, with a generous end."""
    deadline = time.monotonic() + seconds
    tick = threading.Event()
    while not _holds(condition):
        assert time.monotonic() < deadline, "the condition never came true"
        tick.wait(0.02)


def _holds(condition: Callable[[], object]) -> bool:
    try:
        return bool(condition())
    except (OSError, ValueError):
        return False


def test_a_run_from_another_run_starts_with_its_weights(train: Train, tmp_path: Path) -> None:
    parent = train("parent", "--max-steps=60")
    child = train("child", "--max-steps=5", f"--init-from={parent}")
    start = weights(child, 0)
    best = RunReader(parent).best
    assert best is not None
    for name, tensor in weights(parent, best.step).items():
        assert torch.equal(start[name], tensor)
    assert losses(child)[1] < 0.6 * losses(parent)[1]
    assert RunReader(child).run.parent
    assert tinychat(["train", "--name", "other", "--checkpoints", str(tmp_path), "--max-steps=5",
                     f"--init-from={parent}", "--model.n-layer=3"]) == 2  # fmt: skip
