"""`tinychat tune`: an ordinary run that learns from judgements, and its parent stays as it is."""

import json
import shutil
from pathlib import Path

import pytest

from tinychat.cli.app import run as tinychat
from tinychat.config.load import from_json
from tinychat.conversations import Reply, examples_from_bytes
from tinychat.errors import SettingsError
from tinychat.model import load_model
from tinychat.runs import RunLock, RunPaths, RunReader, list_checkpoints
from tinychat.training import Plan, train
from tinychat.training.team import Alone

from .conftest import digests
from .tuning import asked, digest_of, judge, likelihoods, said, tune

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
    RunPaths(run).status_json.unlink()
    assert RunReader(run).best == status.best, "the rows say the same"
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
    assert told["examples"].pop("places") == {}
    assert told["run"] == "talk-tuned"
    assert told["folder"] == str(checkpoints / "talk-tuned")
    assert told["parent"] == "talk@20"
    assert told["seconds"] > 0
    assert told["disk_bytes"] > 0
    assert not (checkpoints / "talk-tuned").exists()
    tune(checkpoints, "talk")
    said = capsys.readouterr().out
    assert "best preference_loss" in said
    assert said.count("step 0: checkpoint saved") == 1
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
    assert told["ok"]
    for name in ("examples.jsonl", "reference.json"):
        path = checkpoints / "talk-tuned" / name
        path.write_bytes(path.read_bytes()[:-9])
        assert tinychat(["verify", "talk-tuned", "--checkpoints", str(checkpoints)]) == 1
        assert f"{name} is damaged" in capsys.readouterr().err


def test_forgetting_ends_the_run_and_the_best_lies_within_the_limit(
    checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--optim.learning-rate=0.05", "--replay.share=0", "--replay.max-val-loss-rise=0.1")
    tune(checkpoints, "talk", "--max-steps=60", "--eval.every-steps=2", *flags)
    run = RunReader(checkpoints / "talk-tuned")
    status = run.status
    assert status is not None
    assert status.state == "finished"
    assert 0 < status.step < 60
    evaluated = {row["step"]: row["val_loss"] for row in rows(run.paths.root, "eval")}
    assert evaluated[status.step] > evaluated[0] + 0.1
    assert status.best is not None
    assert evaluated[status.best.step] <= evaluated[0] + 0.1
    assert [row["step"] for row in run.rows("events") if row["kind"] == "forgetting"]
    assert "max_val_loss_rise" in capsys.readouterr().out
    assert tinychat(["resume", "talk-tuned", "--checkpoints", str(checkpoints)]) == 0
    again = run.status
    assert again is not None
    assert again.step == status.step, "it has ended, until more is allowed"


def test_one_pair_said_again_and_again_is_learnt(checkpoints: Path) -> None:
    """Of two answers the less likely one is chosen; afterwards it is the likelier one."""
    folder = checkpoints / "talk"
    before = load_model(RunPaths(folder).checkpoint(20))
    replies = ["Hello Mia! I like boats too, 7 of them.", "the moon"]
    values = likelihoods(before, "My name is Mia.", replies)
    worse, better = sorted(replies, key=lambda each: values[replies.index(each)])
    pair = {"prompt": asked("My name is Mia."), "chosen": said(worse), "rejected": said(better)}
    file = checkpoints / "pair.jsonl"
    file.write_text(json.dumps(pair) + "\n", encoding="utf-8")
    tune(
        checkpoints, "talk", f"--feedback={file}", "--max-steps=80", "--replay.share=0",
        "--optim.learning-rate=1e-2", "--replay.max-val-loss-rise=none", "--batch-size=2",
    )  # fmt: skip
    run = checkpoints / "talk-tuned"
    margins = [row["reward_margin"] for row in rows(run, "train")]
    assert margins[-1] > margins[len(margins) // 2] > margins[0] + 0.1
    after = load_model(RunPaths(run).checkpoint(80))
    chosen, rejected = likelihoods(after, "My name is Mia.", [worse, better])
    assert chosen > rejected


def test_files_of_trl_are_feedback_too(
    checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(checkpoints / ".chats")
    pairs, rated = checkpoints / "pairs.jsonl", checkpoints / "rated.jsonl"
    lines = [
        {"prompt": asked(f"hi {i}"), "chosen": said(f"yes {i}"), "rejected": said("no")}
        for i in range(7)
    ]
    pairs.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    lines = [
        {"prompt": asked(f"ho {i}"), "completion": said(f"so {i}"), "label": bool(i % 2)}
        for i in range(5)
    ]
    rated.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    plain = checkpoints / "plain.jsonl"
    plain.write_text(json.dumps({"prompt": "Who?", "completion": " I"}) + "\n", encoding="utf-8")
    files = (str(pairs), str(rated), str(plain))
    capsys.readouterr()
    tune(checkpoints, "talk", "--feedback", *files, "--max-steps=2")
    assert "1 judgement (plain.jsonl:1) of plain texts" in capsys.readouterr().out
    reader = RunReader(checkpoints / "talk-tuned")
    record = reader.run.tune
    assert record is not None
    assert (record.dpo, record.kto, record.sft) == (7, 5, 1)
    assert (record.picks, record.thumbs, record.rewrites) == (7, 5, 1)
    examples = examples_from_bytes(reader.paths.examples_jsonl.read_bytes())
    (own,) = (each for each in examples if each.objective == "sft")
    assert (own.prompt, own.chosen) == (tuple(asked("Who?")), Reply("I"))
    tune(checkpoints, "talk", "--feedback", str(pairs), "--method=orpo", "--max-steps=2")
    record = RunReader(checkpoints / "talk-tuned-2").run.tune
    assert record is not None
    assert (record.method, record.orpo, record.dpo) == ("orpo", 7, 0)


def test_torn_and_hostile_lines_are_left_out_and_told(
    checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = checkpoints / ".chats" / "feedback.jsonl"
    whole = file.read_bytes()
    visitor = json.loads(whole.splitlines()[0])
    visitor |= {"id": "visitor", "reviewed": False}
    evil = b'{"kind": "pick", "prompt": ' + b"[" * 5000 + b"\n" + b"\xff\xfe\x00\n" + whole[:99]
    file.write_bytes(whole + json.dumps(visitor).encode() + b"\n" + evil)
    tune(checkpoints, "talk", "--max-steps=2")
    run = RunReader(checkpoints / "talk-tuned")
    record = run.run.tune
    assert record is not None
    assert (record.picks, record.thumbs, record.rewrites) == (20, 4, 2)
    assert record.left_out["not reviewed"] == 1
    assert sum(record.left_out.values()) == 4
    assert "1 not reviewed" in capsys.readouterr().out
    assert b"visitor" not in run.paths.examples_jsonl.read_bytes()


def test_a_file_of_settings_names_other_data(checkpoints: Path, tmp_path: Path) -> None:
    lines = [{"messages": [*asked(f"hi {i}"), *said(f"yes {i}")]} for i in range(60)]
    talks, settings = tmp_path / "other.jsonl", tmp_path / "settings.toml"
    talks.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    settings.write_text(f"seed = 3\n[data]\npaths = [{str(talks)!r}]\n", encoding="utf-8")
    tune(checkpoints, "talk", "--config", str(settings), "--max-steps=1")
    found = RunReader(checkpoints / "talk-tuned").settings["settings"]
    assert (found["data"]["paths"], found["seed"]) == ([str(talks)], 3)


def test_what_cannot_be_learnt_is_refused_before_anything_is_made(
    checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*flags: str, code: int = 2) -> str:
        capsys.readouterr()
        tune(checkpoints, "talk", *flags, exit_code=code)
        told = capsys.readouterr().err
        assert "Traceback" not in told
        assert not (checkpoints / "talk-tuned").exists()
        return told

    assert "is not there" in refused("--feedback=nowhere.jsonl")
    assert "seed is 0 in talk" in refused("--seed=3")
    settings = checkpoints / "settings.toml"
    settings.write_text("seed = 3\n")
    assert "seed is 0 in talk" in refused("--config", str(settings)), "it is not passed over"
    assert "n_layer" in refused("--model.n-layer=9")
    empty = checkpoints / "empty.jsonl"
    empty.write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "b"}) + "\n")
    assert "pick, rewrite or rate" in refused(f"--feedback={empty}")
    assert "pick, rewrite or rate" in refused(f"--feedback={empty}", "--dry-run")


def test_several_processes_are_refused(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Two(Alone):
        size = 2

    tune(checkpoints, "talk", *SHORT)
    run = checkpoints / "talk-tuned"
    plan = Plan(run, from_json(RunReader(run).settings))
    with RunLock(run) as lock, pytest.raises(SettingsError, match="without torchrun"):
        train(plan, lock, lambda event: None, team=Two())
    told = {
        "TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_RESTART_COUNT": "0", "RANK": "0",
        "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2",
    }  # fmt: skip
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    words = ["tune", "talk", "--checkpoints", str(checkpoints)]
    assert tinychat(words) == 2
    assert not (checkpoints / "talk-tuned-2").exists()


@pytest.mark.parametrize("lost", ["gone", "changed"])
def test_a_lost_reference_is_computed_again(checkpoints: Path, lost: str) -> None:
    tune(checkpoints, "talk", "--name=whole", *SHORT)
    run = checkpoints / "whole"
    before, step = digests(run, 9), RunPaths(run).checkpoint(9)
    file = RunPaths(run).reference_json
    kept = file.read_bytes()
    shutil.rmtree(step)
    if lost == "gone":
        file.unlink()
    else:
        file.write_bytes(kept.replace(b"-1", b"-2"))
    assert tinychat(["resume", "whole", "--checkpoints", str(checkpoints)]) == 0
    assert digests(run, 9) == before
    assert file.read_bytes() == kept, "and kept again"


def test_a_lost_reference_that_would_be_another_one_is_refused(
    checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune(checkpoints, "talk", "--dtype=fp32", *SHORT)
    run = checkpoints / "talk-tuned"
    RunPaths(run).reference_json.unlink()
    shutil.rmtree(RunPaths(run).checkpoint(9))
    words = ["resume", "talk-tuned", "--checkpoints", str(checkpoints)]
    assert tinychat([*words, "--dtype=bf16"]) == 1
    assert "as this machine computes now (cpu bf16" in capsys.readouterr().err
    assert not RunPaths(run).reference_json.exists()
    assert tinychat(words) == 0, "as it began, it goes on"


def test_examples_that_somebody_changed_are_refused(
    checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune(checkpoints, "talk", *SHORT)
    file = RunPaths(checkpoints / "talk-tuned").examples_jsonl
    file.write_bytes(file.read_bytes().replace(b"the moon", b"the soon"))
    capsys.readouterr()
    words = ["resume", "talk-tuned", "--max-steps=12", "--checkpoints", str(checkpoints)]
    assert tinychat(words) == 1
    assert "is not what the run began with" in capsys.readouterr().err


def test_a_second_copy_goes_on_by_itself(
    checkpoints: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    tune(checkpoints, "talk", "--mirror", str(other), *SHORT)
    run = checkpoints / "talk-tuned"
    expected = digests(run, 9)
    shutil.rmtree(run)
    shutil.rmtree(RunPaths(other / "talk-tuned").checkpoint(9))
    assert tinychat(["resume", "talk-tuned", "--checkpoints", str(other)]) == 0
    assert digests(other / "talk-tuned", 9) == expected
