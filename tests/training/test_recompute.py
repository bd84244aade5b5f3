"""Computing steps again over what happens to real runs: breaks, extensions, children, new data."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.errors import SettingsError
from tinychat.runs import RunReader, list_checkpoints
from tinychat.training import Recomputation, recompute

from .conftest import digests, poison

Train = Callable[..., Path]


def again(run: Path, first: int = 0, last: int | None = None) -> Recomputation:
    return recompute(run, first, last, lambda *_: None)


def test_each_attempt_is_computed_under_its_own_facts(train: Train, resume: Train) -> None:
    """Threads, precision, micro-batch and length change on the way; every bit comes out again."""
    run = train(
        "broken", "--max-steps=8", "--checkpoint.every-steps=4", "--model.dropout=0.1",
        "--dtype=fp32", "--optim.schedule=cosine",
    )  # fmt: skip
    resume("broken", "--max-steps=12", "--runtime.threads=2")
    resume("broken", "--max-steps=16", "--dtype=bf16", "--micro-batch-size=4", "--rewarm")
    result = again(run)
    assert (result.stopped, result.differences, result.other_facts) == ("", [], [])
    assert (result.from_step, result.to_step, result.rows_compared) == (0, 16, 16)
    assert result.checkpoints_compared == [0, 4, 8, 12, 16]
    part = again(run, 13, 15)
    assert (part.from_step, part.to_step, part.differences) == (12, 15, [])


def test_a_roll_back_is_computed_again_at_half_the_rate(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as bad:
        poison(bad, steps={8, 9, 10})
        run = train("rolled", "--max-steps=14", "--checkpoint.every-steps=5")
    assert [each.rate_factor for _, each in RunReader(run).attempts()] == [1.0, 0.5]
    result = again(run)
    assert (result.stopped, result.differences) == ("", [])
    assert (result.rows_compared, result.checkpoints_compared) == (14, [0, 5, 7, 10, 14])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_roll_back_to_the_first_weights_keeps_nothing_of_what_failed(
    optimizer: str, train: Train, resume: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--checkpoint.every-steps=5", "--checkpoint.keep-last=9")
    with monkeypatch.context() as bad:
        poison(bad, steps={2, 3, 4})
        run = train("first", "--max-steps=10", f"--optim.optimizer={optimizer}", *flags)
    assert RunReader(run).attempts()[-1][1].from_step == 0
    result = again(run)
    assert (result.stopped, result.differences) == ("", [])
    assert {5, 10} <= set(result.checkpoints_compared)
    reference = digests(run, 10)
    resume("first", "--from=0")  # as if it had been killed before its next checkpoint
    assert digests(run, 10) == reference
    assert RunReader(run).lineage == "bit-exact until step 0 (step 0: rate_factor 1 -> 0.5)"


def test_the_checkpoints_of_an_old_end_are_not_compared(train: Train, resume: Train) -> None:
    schedule = (
        "--optim.decay-share=0.5",
        "--optim.warmup-steps=2",
        "--checkpoint.every-steps=none",
    )
    run = train("grown", "--max-steps=20", *schedule)
    resume("grown", "--max-steps=30")
    assert RunReader(run).attempts()[-1][1].from_step == 10
    assert 20 in list_checkpoints(run), "the old end stays to look at"
    result = again(run)
    assert (result.stopped, result.differences) == ("", [])
    assert result.to_step == 30
    assert 20 not in result.checkpoints_compared
    assert {10, 30} <= set(result.checkpoints_compared)


def test_a_child_begins_with_the_weights_it_was_given(train: Train) -> None:
    parent = train("parent", "--max-steps=4")
    child = train("child", "--max-steps=6", "--checkpoint.every-steps=2", f"--init-from={parent}")
    shutil.rmtree(parent)
    result = again(child)
    assert (result.from_step, result.rows_compared, result.differences) == (0, 6, [])


def test_steps_on_other_data_are_not_computed_again(
    train: Train, resume: Train, corpus: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.txt"
    own.write_bytes(corpus.read_bytes())
    flags = ("--optim.schedule=cosine", "--checkpoint.every-steps=3")
    run = train("own", "--max-steps=6", *flags, data=own)
    own.write_bytes(corpus.read_bytes().replace(b"cat", b"cow"))
    resume("own", "--max-steps=9", "--accept-new-data")
    result = again(run)
    assert result.to_step == 0
    assert "steps 1 to 6 were done on other data" in result.stopped
    result = again(run, 6)
    assert (result.stopped, result.differences) == ("", [])
    assert (result.from_step, result.to_step) == (6, 9)
    own.unlink()
    assert again(run, 6).stopped


def test_steps_that_are_not_there_are_refused(train: Train) -> None:
    run = train("short", "--max-steps=4", "--log.every-steps=3")
    with pytest.raises(SettingsError, match="has done 4 steps"):
        again(run, 0, 5)
    with pytest.raises(SettingsError, match="must be before"):
        again(run, 4)
    result = again(run, 0, 4)
    assert (result.rows_compared, result.checkpoints_compared) == (1, [0, 2, 4])
