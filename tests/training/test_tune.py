"""`tinychat tune`: an ordinary run that learns from judgements, and its parent stays as it is."""

import json
import shutil
from pathlib import Path

import pytest

from tinychat.cli.app import run as tinychat
from tinychat.runs import RunPaths, RunReader, list_checkpoints

from .conftest import digests
from .tuning import digest_of, judge, tune

SHORT = ("--max-steps=9", "--eval.every-steps=3", "--checkpoint.every-steps=3")


@pytest.fixture
def checkpoints(trained_runs: Path, tmp_path: Path) -> Path:
    """A folder of runs with one that talks, and judgements of what it said."""
    shutil.copytree(trained_runs / "talk", tmp_path / "talk")
    judge(tmp_path)
    return tmp_path


def rows(run: Path, kind: str) -> list[dict[str, float]]:
    return [row for row in RunReader(run).rows("metrics") if row["kind"] == kind]


def test_a_run_of_its_own_learns_from_every_kind_and_the_parent_is_as_it_was(
    checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = digest_of(checkpoints / "talk")
    tune(checkpoints, "talk", *SHORT)
    run = checkpoints / "talk-tuned"
    assert digest_of(checkpoints / "talk") == before
    record = RunReader(run).run
    assert record.tune is not None
    assert (record.tune.picks, record.tune.thumbs, record.tune.rewrites) == (20, 4, 2)
    assert (record.tune.dpo, record.tune.kto, record.tune.sft) == (40, 4, 2)
    assert record.parent == str(RunPaths(checkpoints / "talk").checkpoint(20))
    assert [row["step"] for row in rows(run, "eval")] == [0, 3, 6, 9], "the start is looked at too"
    for row in rows(run, "eval"):
        assert {"val_loss", "preference_loss", "preference_accuracy", "reward_margin"} <= set(row)
    assert all("reward_margin" in row for row in rows(run, "train"))
    status = RunReader(run).status
    assert status is not None
    assert status.state == "finished"
    assert status.best is not None
    assert status.best.step > 0
    told = capsys.readouterr().out
    assert "20 picks, 4 thumbs, 2 rewrites" in told
    tune(checkpoints, "talk", *SHORT)
    again = checkpoints / "talk-tuned-2"
    assert digests(again, 9) == digests(run, 9), "the same judgements teach the same"


def test_what_a_plan_says_is_what_a_run_has(
    checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = digest_of(checkpoints / "talk")
    capsys.readouterr()
    tune(checkpoints, "talk", "--dry-run", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["run"] == "talk-tuned"
    assert told["folder"] == str(checkpoints / "talk-tuned")
    assert told["parent"] == "talk@20"
    assert told["seconds"] > 0
    assert told["disk_bytes"] > 0
    assert not (checkpoints / "talk-tuned").exists()
    tune(checkpoints, "talk")
    run = RunReader(checkpoints / "talk-tuned")
    record = run.run.tune
    assert record is not None
    kinds = ("picks", "thumbs", "rewrites", "sft", "dpo", "kto", "orpo", "held_out", "left_out")
    assert {name: getattr(record, name) for name in kinds} == told["examples"]
    assert list_checkpoints(run.paths.root)[-1] == told["steps"]
    assert run.settings["settings"]["batch_size"] == told["batch_size"]
    assert digest_of(checkpoints / "talk") == before


def test_it_goes_on_bit_for_bit_without_its_parent_and_without_the_feedback(
    checkpoints: Path,
) -> None:
    tune(checkpoints, "talk", "--name=whole", *SHORT)
    tune(checkpoints, "talk", "--name=part", *SHORT)
    run = checkpoints / "part"
    for step in (6, 9):
        shutil.rmtree(RunPaths(run).checkpoint(step))
    shutil.rmtree(checkpoints / "talk")
    shutil.rmtree(checkpoints / ".chats")
    assert tinychat(["resume", "part", "--checkpoints", str(checkpoints)]) == 0
    assert RunReader(run).attempts()[-1][1].from_step == 3
    assert digests(run, 9) == digests(checkpoints / "whole", 9)


def test_its_steps_can_be_computed_again(
    checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune(checkpoints, "talk", *SHORT)
    capsys.readouterr()
    words = ["verify", "talk-tuned", "--steps", "0:9", "--json"]
    assert tinychat([*words, "--checkpoints", str(checkpoints)]) == 0
    told = json.loads(capsys.readouterr().out)
    again = told["recomputed"]
    assert (again["from_step"], again["to_step"], again["rows_compared"]) == (0, 9, 9)
    assert again["checkpoints_compared"] == [0, 3, 6, 9]
    assert again["differences"] == again["other_facts"] == []
