"""`tinychat plan`: a real measurement, and nothing left behind."""

import json
from pathlib import Path

import pytest

from tests.conftest import tiny, write_corpora
from tinychat.cli.app import run as tinychat
from tinychat.runs import list_runs

# what is looked at does not depend on how fast a step is
SOON = ("--runtime.autotune=false", "--runtime.threads=1", "--sample.max-new-tokens=1")


def planned(
    capsys: pytest.CaptureFixture[str], folder: Path, *words: str, exit_code: int = 0
) -> str:
    capsys.readouterr()
    assert tinychat(["plan", "--checkpoints", str(folder), *words]) == exit_code
    out, err = capsys.readouterr()
    return err if exit_code else out


def test_a_plan_holds_what_the_run_then_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talks, _ = write_corpora(tmp_path)
    words = ["--data", str(talks), *tiny()]
    told = json.loads(planned(capsys, tmp_path / "runs", *words, "--json"))
    assert list_runs(tmp_path / "runs") == []
    assert not [p.name for p in (tmp_path / "runs").glob(".probe*")]
    assert (
        tinychat(["train", "--name", "one", "--checkpoints", str(tmp_path / "runs"), *words]) == 0
    )
    born = json.loads((tmp_path / "runs/one/run.json").read_bytes())
    assert told["parameters"]["total"] == born["parameters"]["total"]
    assert told["max_steps"] == 20
    assert told["epochs"] == pytest.approx(20 * 4 / told["data"]["rows_per_epoch"])
    assert told["measured"]["evaluate_seconds"] > 0
    assert told["duration"]["low"] < told["duration"]["total"] < told["duration"]["high"]
    assert told["memory"]["fits"] is True
    assert told["timeline"][-1]["step"] == 20


@pytest.mark.slow
def test_without_data_the_preset_s_vocabulary_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--preset", "dolly-7m", "--model.context-length", "16", "--model.n-layer", "1"]
    flags += ["--batch-size=1", "--micro-batch-size=1", *SOON]
    told = planned(capsys, tmp_path, *flags)
    assert "the vocabulary of 50,257 tokens" in told
    assert "10 epochs of data that nobody has seen" in told
    assert "nothing was started" in told


def test_a_source_s_claims_stand_beside_the_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [
        "--model.context-length=32", "--model.n-layer=1", "--model.n-embd=32", "--model.n-head=1",
        "--micro-batch-size=1", "--batch-size=1", *SOON,
    ]  # fmt: skip
    told = planned(capsys, tmp_path, "--preset", "vidya-33m", *small)
    assert "said  about 25M parameters" in told
    assert "true  33,477,504 parameters" in told, "whatever was changed in the preset"


def test_a_model_that_cannot_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    huge = ["--preset", "60m", "--model.n-embd", "65536", "--model.n-head", "64"]
    told = planned(capsys, tmp_path, *huge, exit_code=2)
    assert "the model does not fit into memory" in told


def test_a_vocabulary_on_the_hub_is_not_fetched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talks, _ = write_corpora(tmp_path)
    words = ["--preset", "dolly-7m", "--data", str(talks), "--checkpoints", str(tmp_path)]
    assert tinychat(["train", *words]) == 2
    told = capsys.readouterr().err
    assert "nothing is downloaded unasked" in told
    assert "--tokenizer trained for one of 50,257 tokens" in told
    assert tinychat(["train", *words, "--tokenizer", "trained", "--dry-run"]) == 0
