"""Family trees of real runs: pretrained, fine-tuned, tuned; and they outlive their forebears."""

import json
import shutil
from pathlib import Path

import pytest

from tinychat.cli.app import run as tinychat
from tinychat.runs import RunPaths, RunReader, ancestry_of

from .tuning import judge, tune

LENGTH = ("--max-steps=4", "--eval.every-steps=2", "--checkpoint.every-steps=2")


@pytest.fixture
def checkpoints(trained_runs: Path, tmp_path: Path) -> Path:
    """A folder of runs with one that talks, and judgements of what it said."""
    shutil.copytree(trained_runs / "talk", tmp_path / "talk")
    judge(tmp_path, picks=6, thumbs=2, rewrites=1)
    return tmp_path


@pytest.fixture
def persona(tmp_path: Path) -> Path:
    path = tmp_path / "persona.jsonl"
    rows = [{"instruction": f"Who are you, {i}?", "response": f"I am Salt {i}."} for i in range(30)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def fine_tune(checkpoints: Path, name: str, *flags: str) -> Path:
    words = ["train", "--preset", "chat", "--name", name, "--checkpoints", str(checkpoints)]
    words += ["--runtime.threads=1", "--runtime.autotune=false", *LENGTH]
    assert tinychat([*words, *flags]) == 0
    return checkpoints / name


def test_three_generations_are_told_when_the_elder_ones_are_gone(
    checkpoints: Path, persona: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fine_tune(checkpoints, "salty", "--init-from=talk", f"--data={persona}", "--replay.share=0.25")
    tune(checkpoints, "salty@2", *LENGTH, "--name=loved")
    for each in ("talk", "salty"):
        shutil.rmtree(checkpoints / each)
    run = checkpoints / "loved"
    talk, salty, loved = ancestry_of(RunPaths(run).checkpoint(4))
    assert RunReader(run).run.ancestry == (talk, salty)
    assert (talk.run, talk.kind, talk.step) == ("talk", "pretraining", 20)
    assert (salty.run, salty.kind, salty.step, salty.steps) == (
        "salty", "supervised fine-tuning", 2, 4,
    )  # fmt: skip
    assert salty.data == ("persona.jsonl",)
    assert (salty.old_data, salty.old_data_share) == (talk.data, 0.25)
    assert salty.old_val_loss_before is not None
    assert salty.old_val_loss_after not in (None, salty.old_val_loss_before)
    assert (loved.kind, loved.picks, loved.thumbs, loved.rewrites) == ("preference tuning", 6, 2, 1)
    rows = {r["step"]: r["val_loss"] for r in RunReader(run).rows("metrics") if r["kind"] == "eval"}
    assert loved.old_data == ("persona.jsonl", "talks.jsonl"), "all that was learnt before"
    assert (loved.old_val_loss_before, loved.old_val_loss_after) == (rows[0], rows[4])
    page = (RunPaths(run).checkpoint(4) / "README.md").read_text(encoding="utf-8")
    assert "## Where it comes from" in page
    assert "| `salty@2` | fine-tuned on `persona.jsonl`, 25% of each step from" in page
    (line,) = (line for line in page.splitlines() if line.startswith("| `loved@4` |"))
    assert "tuned on 6 picks, 2 thumbs, 1 rewrite by `auto`, " in line
    rise = rows[4] - rows[0]
    assert f"val_loss on the old data {rows[0]:.4f} -> {rows[4]:.4f} ({rise:+.4f})" in line
    capsys.readouterr()
    assert tinychat(["show", "loved", "--checkpoints", str(checkpoints), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["ancestry"]
    assert [each["run"] for each in told] == ["talk", "salty", "loved"]
    assert told[2]["told"].startswith("tuned on 6 picks, 2 thumbs, 1 rewrite by auto")
    assert tinychat(["show", "loved", "--checkpoints", str(checkpoints)]) == 0
    assert "family tree" in capsys.readouterr().out


def test_a_parent_of_before_there_were_trees_is_told_by_its_records(
    checkpoints: Path, persona: Path
) -> None:
    for folder in (checkpoints / "talk").glob("step-*"):
        document = json.loads((folder / "tinychat.json").read_text(encoding="utf-8"))
        del document["ancestry"]
        (folder / "tinychat.json").write_text(json.dumps(document), encoding="utf-8")
    found = ancestry_of(RunPaths(checkpoints / "talk").checkpoint(20))
    (talk,) = found
    assert (talk.kind, talk.step, talk.steps) == ("pretraining", 20, 20)
    assert talk.data
    assert talk.val_loss is not None


def test_a_resumed_run_tells_the_same_tree(checkpoints: Path, persona: Path) -> None:
    run = fine_tune(checkpoints, "salty", "--init-from=talk", f"--data={persona}")
    before = ancestry_of(RunPaths(run).checkpoint(4))
    shutil.rmtree(checkpoints / "talk")
    words = ["resume", "salty", "--max-steps=6", "--checkpoint.every-steps=1"]
    assert tinychat([*words, "--checkpoints", str(checkpoints)]) == 0
    after = ancestry_of(RunPaths(run).checkpoint(6))
    assert after[:-1] == before[:-1]
    assert (after[-1].step, after[-1].steps) == (6, 6)
    assert after[-1].old_val_loss_before == before[-1].old_val_loss_before
    between = ancestry_of(RunPaths(run).checkpoint(5))[-1]
    assert between.val_loss == before[-1].val_loss, "as it was evaluated last"
