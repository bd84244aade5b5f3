"""`tinychat runs --prune`: shows, asks, frees, and leaves alone what is in use."""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import tiny
from tinychat.runs import RunLock, RunPaths, list_checkpoints, size_of

from .conftest import Result, Tinychat


@pytest.fixture
def runs(trained_runs: Path, tmp_path: Path) -> Path:
    """Copies of two real runs and their cache; one of them has what a crash leaves."""
    folder = shutil.copytree(trained_runs, tmp_path / "checkpoints")
    paths = RunPaths(folder / "talk")
    shutil.copytree(paths.checkpoint(20), paths.root / ".tmp-step-00000030-aa")
    shutil.copytree(paths.checkpoint(20), paths.root / "bad-step-00000020-1")
    return folder


@pytest.fixture
def prune(tinychat: Tinychat, runs: Path) -> Callable[..., Result]:
    return lambda *words: tinychat("runs", "--prune", *words, "--checkpoints", runs)


def bytes_of(folder: Path) -> int:
    return size_of(folder, without=("lock",))


def test_it_shows_first_and_frees_exactly_that(prune: Callable[..., Result], runs: Path) -> None:
    before = bytes_of(runs)
    shown = prune()
    assert shown.code == 0
    assert ".tmp-step-00000030-aa" in shown.out
    assert "left by an interrupted save" in shown.out
    assert "bad-step" not in shown.out
    assert "nothing was freed; --yes frees it" in shown.out
    assert bytes_of(runs) == before
    told = prune("--json").json
    assert told["freed_bytes"] == 0
    assert [(run["name"], len(run["items"])) for run in told["runs"]] == [("talk", 1)]
    done = prune("--json", "--yes").json
    assert done["freed_bytes"] == done["size_bytes"] == told["size_bytes"]
    assert before - bytes_of(runs) == told["size_bytes"]
    assert "nothing to free" in prune().out
    damaged = prune("--damaged", "--yes")
    assert "bad-step-00000020-1" in damaged.out
    assert "freed" in damaged.out
    assert not (runs / "talk" / "bad-step-00000020-1").exists()


def test_a_stricter_rule_of_the_run_is_carried_out(
    prune: Callable[..., Result], runs: Path, tinychat: Tinychat
) -> None:
    words = ("resume", "story", "--checkpoints", runs, "--checkpoint.milestones", 0)
    assert tinychat(*words).code == 0  # all steps are done, so nothing is saved and thinned
    assert list_checkpoints(runs / "story") == [0, 10, 20]
    shown = prune("story")
    assert "step-00000000" in shown.out
    assert "talk" not in shown.out
    assert "freed" in prune("story", "--yes").out
    assert list_checkpoints(runs / "story") == [10, 20]
    assert tinychat("verify", "story", "--checkpoints", runs).code == 0


def test_a_run_that_is_trained_is_passed_over(prune: Callable[..., Result], runs: Path) -> None:
    before = bytes_of(runs / "talk")
    with RunLock(runs / "talk"):
        found = prune("--yes")
    assert found.code == 0
    assert "talk is being trained, so it is passed over" in found.err
    assert bytes_of(runs / "talk") == before


def test_a_corpus_that_no_run_refers_to_goes_and_can_be_made_again(
    prune: Callable[..., Result], runs: Path, tinychat: Tinychat
) -> None:
    shutil.rmtree(runs / "story")
    caches = len(os.listdir(runs / ".cache"))
    before = bytes_of(runs)
    shown = prune("talk")
    assert "a prepared corpus" not in shown.out
    found = prune("--json", "--yes").json
    (cache,) = found["caches"]
    assert before - bytes_of(runs) == found["freed_bytes"]
    assert not Path(cache["path"]).exists()
    assert len(os.listdir(runs / ".cache")) == caches - 1
    story = runs.parent.parent / "story.txt"
    story.write_text("\n<|endoftext|>\n".join(f"Mia saw {n} cats." for n in range(100)))
    assert (
        tinychat("train", "--name=again", "--data", story, "--checkpoints", runs, *tiny()).code == 0
    )


def test_while_a_run_begins_the_cache_is_left_alone(
    prune: Callable[..., Result], runs: Path
) -> None:
    shutil.rmtree(runs / "story")
    (runs / "newborn").mkdir()
    with RunLock(runs / "newborn"):
        found = prune("--yes")
    assert "the cache is passed over" in found.err
    assert "a prepared corpus" not in found.out
    (runs / "talk" / "run.json").write_bytes(b"")
    assert "the cache is passed over" in prune("--yes").err


def test_a_corpus_that_a_run_came_to_need_while_it_was_asked_stays(
    prune: Callable[..., Result], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinychat.cli import prune as pruning

    shutil.move(runs / "story", runs.parent / "story")
    caches = sorted(os.listdir(runs / ".cache"))
    real = pruning._free

    def begin_first(*args: object) -> int:
        shutil.move(runs.parent / "story", runs / "story")
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(pruning, "_free", begin_first)
    assert "a prepared corpus" in prune("--yes").out
    assert sorted(os.listdir(runs / ".cache")) == caches


def test_what_the_disk_refuses_keeps_nothing_else_from_going(
    prune: Callable[..., Result], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinychat.cli import prune as pruning

    def refuse(cache: object) -> None:
        raise PermissionError(1, "Operation not permitted", str(cache))

    shutil.rmtree(runs / "story")
    monkeypatch.setattr(pruning, "remove_cache", refuse)
    found = prune("--yes")
    assert found.code == 0
    assert "could not be freed" in found.err
    assert not (runs / "talk" / ".tmp-step-00000030-aa").exists()
    monkeypatch.undo()
    shutil.copytree(runs / "talk", runs / "again")
    shutil.copytree(RunPaths(runs / "talk").checkpoint(20), runs / "talk" / ".tmp-step-00000031-a")
    shutil.copytree(RunPaths(runs / "talk").checkpoint(20), runs / "again" / ".tmp-step-00000031-a")
    real = pruning.clean_up

    def refuse_one(cleanup: pruning.Cleanup, *rest: object) -> tuple[int, list[str]]:
        if cleanup.run.name == "again":
            raise PermissionError(1, "Operation not permitted")
        return real(cleanup, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(pruning, "clean_up", refuse_one)
    assert "again could not be freed" in prune("--yes").err
    assert not (runs / "talk" / ".tmp-step-00000031-a").exists()


class Person(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "goes"), [("y\n", True), ("\n", False), ("", False)])
def test_at_a_terminal_it_asks(
    answer: str,
    goes: bool,
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tinychat.cli.app import run

    screen = Person()
    monkeypatch.setattr("sys.stdin", Person(answer))
    monkeypatch.setattr("sys.stdout", screen)
    assert run(["runs", "--prune", "--checkpoints", str(runs)]) == 0
    assert "[y/N]" in screen.getvalue()
    assert (runs / "talk" / ".tmp-step-00000030-aa").exists() is not goes


def test_what_cannot_be_meant_is_refused(
    prune: Callable[..., Result], tinychat: Tinychat, runs: Path
) -> None:
    for words in (("--yes",), ("--damaged",), ("talk",)):
        found = tinychat("runs", *words, "--checkpoints", runs)
        assert found.code == 2
        assert "needs --prune" in found.err
    assert prune("nobody").code == 2
    found = prune("talk@20")
    assert (found.code, "needs the run" in found.err) == (2, True)
