"""From what a person types to a run or a checkpoint."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinychat.errors import NoCheckpointError, RunNotFoundError
from tinychat.runs import (
    RunWriter,
    checkpoint_name,
    checkpoint_step,
    default_checkpoints,
    find_run,
)


@settings(deadline=None)
@given(st.integers(0, 10**12))
def test_a_step_and_its_name_are_one(step: int) -> None:
    assert checkpoint_step(checkpoint_name(step)) == step


@settings(deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_names_sort_as_steps_do(a: int, b: int) -> None:
    if max(a, b) < 10**8:
        assert (a < b) == (checkpoint_name(a) < checkpoint_name(b))


@pytest.mark.parametrize(
    "name", ["step-1", "step-000000001", "step--0000001", "step-٠٠٠٠٠٠٠١", "xstep-00000001", ""]
)
def test_no_other_name_is_a_checkpoint(name: str) -> None:
    assert checkpoint_step(name) is None


def test_every_way_to_name_a_run(
    run: Path,
    writer: RunWriter,
    begin: Callable[[int], int],
    publish: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin(0)
    for step, loss in ((1, 1.0), (300, 2.0)):
        publish(step)
        writer.eval_row(step=step, val_loss=loss)
    checkpoints = run.parent
    for text in ("demo", str(run), f"{run}/", run):
        assert find_run(text, checkpoints) == (run, None)
    assert find_run(run / "step-00000300", checkpoints) == (run, 300)
    for which, step in (("latest", 300), ("best", 1), ("300", 300), ("00000300", 300)):
        assert find_run(f"demo@{which}", checkpoints) == (run, step)
        assert find_run(f"{run}@{which}", Path("nowhere")) == (run, step)
    monkeypatch.chdir(checkpoints)
    assert find_run("demo/step-00000001", Path("nowhere")) == (run, 1)
    monkeypatch.chdir(run)
    assert find_run("step-00000001", checkpoints) == (run, 1)


def test_what_is_not_there_is_said_in_one_sentence(run: Path, publish: Callable[..., Path]) -> None:
    checkpoints = run.parent
    with pytest.raises(NoCheckpointError):
        find_run("demo@latest", checkpoints)
    publish(7)
    for text, sentence in (
        ("dem", "did you mean demo"),
        ("xyz", "there are: demo"),
        ("xyz@best", "there are: demo"),
        ("", "there are: demo"),
        ("demo@8", "it has 7, and the words best and latest"),
        ("demo@worst", "best and latest"),
        ("demo@best", "not been evaluated"),
        (str(run / "step-00000008"), "No run or checkpoint"),
        (str(run / "control"), "is a folder, but neither a run"),
    ):
        with pytest.raises(RunNotFoundError, match=sentence):
            find_run(text, checkpoints)
    with pytest.raises(RunNotFoundError, match="holds no runs yet"):
        find_run("demo", checkpoints / "nowhere")


def test_runs_are_born_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINYCHAT_CHECKPOINTS", raising=False)
    assert default_checkpoints() == Path("checkpoints")
    monkeypatch.setenv("TINYCHAT_CHECKPOINTS", "/elsewhere")
    assert default_checkpoints() == Path("/elsewhere")
