"""Before a run: --dry-run starts nothing, and --init-from takes a parent's shape along."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import tiny, write_corpora
from tinychat.cli.facts import CURVE_COLUMNS, facts_of_rate
from tinychat.cli.parent import parent_layer
from tinychat.config.load import read_preset, resolve, setting_names
from tinychat.errors import SettingsError
from tinychat.runs import RunPaths, RunReader

from .conftest import Tinychat


def test_a_dry_run_shows_everything_and_starts_nothing(tinychat: Tinychat, tmp_path: Path) -> None:
    found = tinychat("train", "--dry-run", "--checkpoints", tmp_path / "runs", "--seed", 7)
    assert (found.code, found.err) == (0, "")
    assert not (tmp_path / "runs").exists()
    lines = found.out.splitlines()
    for name in setting_names():
        assert any(line.split()[:1] == [name.rpartition(".")[2]] for line in lines), name
    assert any(line.split() == ["seed", "7", "command", "line"] for line in lines)
    assert any(line.split() == ["n_embd", "192", "preset", "demo"] for line in lines)
    assert "2,164,672" in found.out
    assert "over 1,400 steps" in found.out
    assert "nothing was started" in found.out


@pytest.mark.parametrize(
    "flags", [["--max-epochs", "2"], ["--tokenizer.kind", "char"], ["--eval.every-steps", "none"]]
)
def test_a_dry_run_says_what_is_not_known_yet(tinychat: Tinychat, flags: list[str]) -> None:
    assert tinychat("train", "--dry-run", *flags).code == 0


@pytest.mark.slow
def test_a_vocabulary_before_its_text_is_read_is_told_as_a_plan_tells_it(
    tinychat: Tinychat, tmp_path: Path
) -> None:
    """The same size in the same words; the true one once the text was read."""
    words = ["--preset", "tinygpt-char-6m", "--checkpoints", tmp_path, *tiny(micro_batch_size=4)]
    words = [word for word in words if "vocab-size" not in str(word)]
    guess = "5,006 tokens (a guess: it will be 262 and one for each character of the corpus)"
    dry, planned = tinychat("train", "--dry-run", *words), tinychat("plan", *words)
    assert (dry.code, planned.code) == (0, 0), dry.err + planned.err
    assert guess in dry.out
    assert guess in planned.out
    text = write_corpora(tmp_path)[1]
    characters = len(set(text.read_text().replace("\n<|endoftext|>\n", "")))
    read = tinychat("plan", *words, "--data", text)
    assert f"the vocabulary of {262 + characters} tokens (embedding" in read.out


def test_a_dry_run_refuses_as_a_start_would(tinychat: Tinychat) -> None:
    found = tinychat("train", "--dry-run", "--model.mlp", "gelu")
    assert (found.code, found.out) == (2, "")
    assert "layout" in found.err


def test_the_curve_shows_warmup_peak_and_floor() -> None:
    settings = resolve(read_preset("demo")).settings
    (_, told), (_, curve) = facts_of_rate(settings, settings.max_steps)
    assert told == "warmup-stable-decay, peak 0.02, floor 1e-05, over 1,400 steps"
    assert len(curve) == CURVE_COLUMNS
    assert curve[0] == curve[-1] == "▁"
    top = curve.index("█")
    assert list(curve[top:]) == sorted(curve[top:], reverse=True), "from its peak it only goes down"
    assert dict(facts_of_rate(settings, 1))[""] == "█"
    endless = replace(settings, max_steps=None, max_epochs=3)
    assert next(facts_of_rate(endless, None))[1].endswith("over 3 epochs")


def test_a_parent_gives_its_shape(trained_runs: Path) -> None:
    layer, folder = parent_layer("talk", trained_runs, {"model.dropout": "0.3"})
    assert folder == RunPaths(trained_runs / "talk").checkpoint(20)
    assert layer.source == "checkpoint talk@20"
    resolved = resolve(read_preset("demo"), layer)
    assert resolved.settings.model.n_embd == 32
    assert resolved.settings.tokenizer.vocab_size == 300
    assert resolved.sources["model.n_embd"] == "checkpoint talk@20"
    assert parent_layer("talk@10", trained_runs, {})[0].source == "checkpoint talk@10"


@pytest.mark.parametrize(
    "flags",
    [
        {"model.n_layer": "1", "model.qk_norm": "True", "model.norm": "rms"},
        {"model.n_kv_head": "none", "model.rope_theta": "1e4", "tokenizer.vocab_size": "300"},
        {"optim.learning_rate": "1", "model.dropout": "0.5"},
    ],
)
def test_flags_that_agree_are_welcome(flags: dict[str, str], trained_runs: Path) -> None:
    parent_layer("talk", trained_runs, flags)


def test_every_contradiction_is_told(trained_runs: Path) -> None:
    flags = {"model.n_layer": "2", "model.norm": "layer", "model.bias": "true",
             "tokenizer.kind": "char", "batch_size": "4"}  # fmt: skip
    with pytest.raises(SettingsError) as caught:
        parent_layer("talk", trained_runs, flags)
    assert len(caught.value.problems) == 4
    assert "model.n_layer is 1 in talk@20" in caught.value.problems[0]


def test_a_run_grows_from_another(tinychat: Tinychat, trained_runs: Path, tmp_path: Path) -> None:
    _, story = write_corpora(tmp_path)
    parent = RunPaths(trained_runs / "story").checkpoint(20)
    found = tinychat(
        "train", "--init-from", trained_runs / "story", "--data", story, "--name", "child",
        "--checkpoints", tmp_path, "--max-steps", 2, "--batch-size", 4, "--eval.every-steps", 1,
        "--model.dropout", 0.1, "--runtime.threads", 1, "--sample.every-steps", "none",
        "--optim.learning-rate", 5e-3,
    )  # fmt: skip
    assert found.code == 0, found.err
    child = RunReader(tmp_path / "child")
    assert child.run.parent == str(parent)
    assert child.settings["settings"]["model"]["dropout"] == 0.1
    assert child.settings["sources"]["model.n_embd"] == "checkpoint story@20"
    before = RunReader(trained_runs / "story").last("metrics", "eval")
    after = child.last("metrics", "eval")
    assert before is not None
    assert after is not None
    assert after["val_loss"] < before["val_loss"] + 0.5, "it began where its parent ended"
    assert "story@20" in tinychat("show", "child", "--checkpoints", tmp_path).out
