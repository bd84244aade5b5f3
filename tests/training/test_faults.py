"""What happens to a run whose numbers go bad, and whose evaluation fails."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinychat.model import is_out_of_memory
from tinychat.runs import (
    RunPaths,
    RunReader,
    list_checkpoints,
)
from tinychat.training import evaluator, updates

from .conftest import digests, poison
from .rows import events, train_rows

Train = Callable[..., Path]
QUIET = ("--eval.every-steps=none", "--sample.every-steps=none")


def test_bad_steps_in_a_row_roll_the_run_back_to_half_the_rate(
    train: Train, resume: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, steps={8, 9, 10})
    flags = ("--optim.warmup-steps=1", "--optim.schedule=cosine", *QUIET)
    run = train("poisoned", "--max-steps=20", "--checkpoint.every-steps=5", *flags)
    rows = train_rows(run)
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert not any("nonfinite" in row for row in rows), "the bad steps were done again"
    (event,) = events(run, "roll_back")
    assert "3 steps in a row had no finite loss or gradient up to step 10" in event["message"]
    _, attempt = RunReader(run).attempts()[-1]
    assert (attempt.from_step, attempt.rate_factor, attempt.resume_class) == (5, 0.5, "B")
    plain = {row["step"]: row for row in train_rows(train("plain", "--max-steps=20", *flags))}
    for row in rows:
        factor = 1.0 if row["step"] <= 5 else 0.5
        assert row["learning_rate"] == pytest.approx(factor * plain[row["step"]]["learning_rate"])
    resume("poisoned", "--max-steps=25")
    _, attempt = RunReader(run).attempts()[-1]
    assert attempt.rate_factor == 0.5, "a resume goes on with it"
    card = json.loads((RunPaths(run).checkpoint(25) / "tinychat.json").read_text("utf-8"))
    assert "step 5: rate_factor 1 -> 0.5" in card["lineage"]


def test_a_recipe_that_never_becomes_finite_ends_with_a_sentence(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    poison(monkeypatch, steps=range(4, 100))
    run = train("fails", "--max-steps=50", *QUIET, exit_code=1)
    assert "start again with a lower optim.learning_rate" in capsys.readouterr().err
    assert [a.rate_factor for _, a in RunReader(run).attempts()] == [1.0, 0.5, 0.25, 0.125]
    status = RunReader(run).status
    assert status is not None
    assert status.state == "failed"
    assert list_checkpoints(run) == [0], "nothing of it was published"


def test_a_roll_back_passes_checkpoints_among_bad_steps_by(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, steps={9, 10, 11})
    flags = ("--checkpoint.every-steps=5", "--checkpoint.keep-last=9", *QUIET)
    flags = ("--optim.schedule=cosine", *flags)
    run = train("among", "--max-steps=16", *flags)
    assert list_checkpoints(run) == [0, 5, 10, 15, 16]
    (event,) = events(run, "roll_back")
    assert "back to step 5" in event["message"]
    assert [row["step"] for row in train_rows(run)] == list(range(1, 17))
    state = json.loads((RunPaths(run).checkpoint(10) / "state.json").read_bytes())
    assert state["bad_steps_in_a_row"] == 0, "saved after it was done again"


def test_a_checkpoint_that_is_due_among_bad_steps_comes_after_them(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, steps={4, 5})
    flags = ("--eval.every-steps=5", "--sample.every-steps=none", "--optim.schedule=cosine")
    run = train("owed", "--max-steps=8", "--checkpoint.every-steps=5", *flags)
    assert list_checkpoints(run) == [0, 6, 8]
    assert events(run, "roll_back") == []
    best = RunReader(run).best
    assert best is not None
    assert best.step == 8, "what was evaluated at step 5 is not there"


# --- good weights whose evaluation fails


def test_a_validation_file_that_is_cut_costs_no_step(
    train: Train, resume: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flags = ("--max-steps=12", "--checkpoint.every-steps=none", "--eval.every-steps=7",
             "--sample.every-steps=none", "--optim.schedule=cosine")  # fmt: skip
    reference = train("reference", *flags)
    real = evaluator.evaluate

    def cut(*args: Any) -> object:
        (tokens,) = (tmp_path / ".cache").glob("*/valid.bin")
        os.truncate(tokens, 10)
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(evaluator, "evaluate", cut)
        run = train("cut", *flags, exit_code=1)
    assert list_checkpoints(run) == [0, 7]
    resume("cut")
    assert digests(run, 12) == digests(reference, 12)


@pytest.mark.parametrize("where", ["evaluate", "update"])
def test_weights_are_kept_when_not_one_row_fits(
    where: str, train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = updates.Updates.gradients

    def without_memory(*args: Any) -> Any:
        if where == "evaluate" or args[0].progress.step == 4:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")
        return real(*args)

    if where == "evaluate":
        monkeypatch.setattr(evaluator, "evaluate", without_memory)
    else:
        monkeypatch.setattr(updates.Updates, "gradients", without_memory)
    run = train("tight", "--max-steps=9", "--checkpoint.every-steps=none", "--eval.every-steps=4",
                "--sample.every-steps=none", exit_code=1)  # fmt: skip
    assert "with one row at a time" in capsys.readouterr().err
    assert list_checkpoints(run)[-1] == 4


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_BAD_PARAM"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_how_devices_say_that_memory_ran_out(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) is is_one


def test_what_gives_no_equal_bits_is_told_in_a_sentence(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("some_cuda does not have a deterministic implementation, but you set")

    monkeypatch.setattr(updates.Updates, "gradients", refuse)
    train("unequal", "--max-steps=2", *QUIET, exit_code=1)
    told = capsys.readouterr().err
    assert "resume with --runtime.compile=false" in told
    assert "Traceback" not in told
