"""A fine-tune by the chat preset, as a person starts it, and what `eval` tells of it."""

import json
import shutil
from pathlib import Path

import pytest

from tinychat.runs import RunPaths, RunReader
from tinychat.text.smalltalk import persona_questions

from .conftest import Tinychat

SHORT = ("--max-steps=3", "--eval.every-steps=3", "--runtime.threads=1", "--sample.every-steps=3")
SKILLS = ("sum", "memory", "naming", "opposite", "story")  # all but greetings and who it is


def test_the_chat_preset_is_for_a_model_that_has_learnt(tinychat: Tinychat, tmp_path: Path) -> None:
    words = ["train", "--preset", "chat", "--data", "builtin:persona", "--checkpoints", tmp_path]
    found = tinychat(*words)
    assert found.code == 2
    assert "name it by init_from" in found.err
    assert not list(tmp_path.iterdir())


def test_a_persona_is_taught_to_any_model_that_talks(
    tinychat: Tinychat, trained_runs: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained_runs / "talk", tmp_path / "talk")
    words = ["--preset", "chat", "--data", "builtin:persona", "--checkpoints", tmp_path]
    words += ["--init-from", "talk", *SHORT]
    plan = tinychat("plan", *words, "--json").json
    assert plan["settings"]["replay"]["paths"][0].endswith("talks.jsonl")
    assert plan["measured"]["evaluate_seconds"] > 0
    moments = plan["timeline"]
    assert moments[-1]["evaluations"] == 2, "the start is evaluated too"
    share, rows = plan["settings"]["replay"]["share"], plan["data"]["rows_per_epoch"]
    assert plan["epochs"] == pytest.approx(3 * 16 * (1 - share) / rows)
    assert tinychat("train", *words, "--name", "salty").code == 0
    run = tmp_path / "salty"
    assert RunReader(run).settings["settings"]["data"]["paths"] == ["builtin:persona"]
    found = tinychat("eval", "salty@latest", "--checkpoints", tmp_path, "--json").json
    row = RunReader(run).last("metrics", "eval")
    assert row is not None
    assert found["replay_val_loss"] == pytest.approx(row["replay_val_loss"], rel=0.02)
    character = found["answers_in_character"]
    assert character["asked"] == len(persona_questions())
    assert set(character["kinds"]) == {"name", "manner"}
    assert "answers_right" not in found, "it never learnt the small talk"
    told = tinychat("eval", "salty@latest", "--checkpoints", tmp_path).out
    assert "on the old data" in told
    assert "answers in character" in told
    samples = [row["prompt"] for row in RunReader(run).rows("samples")]
    assert "Are you tinychat?" in samples


def test_a_text_model_that_learnt_to_talk_is_a_chat_model(
    tinychat: Tinychat, trained_runs: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained_runs / "story", tmp_path / "story")
    words = ["--preset", "chat", "--data", "builtin:persona", "--checkpoints", tmp_path, *SHORT]
    assert tinychat("train", "--name", "talks", "--init-from", "story", *words).code == 0
    for run, kind in (("story", "base"), ("talks", "chat")):
        folder = RunPaths(tmp_path / run).checkpoint(RunReader(tmp_path / run).latest or 0)
        card = json.loads((folder / "tinychat.json").read_text(encoding="utf-8"))
        assert card["kind"] == kind


def test_old_data_that_is_gone_costs_eval_only_that_number(
    tinychat: Tinychat, trained_runs: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained_runs / "talk", tmp_path / "talk")
    old = tmp_path / "old.jsonl"
    old.write_bytes((trained_runs.parent / "talks.jsonl").read_bytes())
    words = ["--name", "salty", "--init-from", "talk", "--preset", "chat", "--replay.paths", old]
    words += ["--data", "builtin:persona", "--checkpoints", tmp_path, *SHORT]
    assert tinychat("train", *words).code == 0
    old.unlink()
    found = tinychat("eval", "salty", "--checkpoints", tmp_path, "--json")
    assert found.code == 0
    assert found.json["replay_val_loss"] is None
    assert "--replay.paths" in found.err


def test_the_persona_can_be_looked_at_like_any_data(tinychat: Tinychat) -> None:
    found = tinychat("data", "builtin:persona", "--json").json
    assert (found["form"], found["bad_records"]) == ("chat", 0)


@pytest.mark.slow
def test_the_demo_becomes_somebody_else_and_keeps_its_skills(
    tinychat: Tinychat, trained_demo: Path, tmp_path: Path
) -> None:
    place = ["--checkpoints", tmp_path, "--runtime.threads=2", "--runtime.autotune=false"]
    shutil.copytree(trained_demo.parent, tmp_path / "demo")
    words = ["--init-from", "demo", "--preset", "chat", "--data", "builtin:persona"]
    assert tinychat("train", "--name", "salty", *words, *place).code == 0
    before, after = (
        tinychat("eval", run, "--checkpoints", tmp_path, "--json").json for run in ("demo", "salty")
    )
    assert after["answers_in_character"]["share"] >= 0.95
    for kind in SKILLS:
        kept = after["answers_right"]["kinds"][kind]["share"]
        assert kept > before["answers_right"]["kinds"][kind]["share"] - 0.05, kind
    sums = [each["answers_right"]["unseen_sums"]["share"] for each in (before, after)]
    assert sums[1] > sums[0] - 0.05
