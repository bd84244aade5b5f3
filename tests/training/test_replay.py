"""Old data in a run that starts from other weights: its rows, its evaluation, and where it ends."""

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import until
from tinychat.config import DataSettings, TokenizerSettings
from tinychat.runs import RunPaths, RunReader, list_checkpoints
from tinychat.text import OldData, Prepared, Tokenizer, prepare, train_tokenizer
from tinychat.text.corpus import Corpus
from tinychat.text.split import survey
from tinychat.training import batch_at, make_rows, recompute
from tinychat.training.batches import Replay

from .conftest import SHAPE, digests
from .rows import events, losses

Train = Callable[..., Path]
VOCABULARY = "--tokenizer.vocab-size=270"  # the sums have enough words for so many
FINE_TUNE = ("--max-steps=20", "--eval.every-steps=5", "--checkpoint.every-steps=5")


@pytest.fixture(scope="session")
def persona(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Who somebody is, in a few dozen ways."""
    path = tmp_path_factory.mktemp("persona") / "persona.jsonl"
    rows = [
        {"instruction": f"{word} {question}?", "response": f"I am Salt, {word.lower()}."}
        for word in ("Say", "Tell", "Hey", "Now", "So", "Well", "And", "Oh")
        for question in ("who are you", "what is your name", "who is there", "what are you")
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.fixture
def train(train: Train) -> Train:
    """As elsewhere, with a vocabulary that parents and children share."""

    def start(name: str, *flags: str, **more: Any) -> Path:
        return train(name, VOCABULARY, *flags, **more)

    return start


@pytest.fixture
def parent(train: Train, chat_corpus: Path) -> Path:
    """A run that has learnt sums."""
    return train("parent", "--max-steps=30", "--eval.every-steps=30", data=chat_corpus)


def prepared(path: Path, tokenizer: Tokenizer, cache: Path) -> Prepared:
    return prepare(DataSettings(paths=(str(path),)), tokenizer, seed=0, cache=cache)


def evaluations(run: Path) -> list[dict[str, float]]:
    return [row for row in RunReader(run).rows("metrics") if row["kind"] == "eval"]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5])
def test_old_rows_have_their_share_and_every_row_its_turn(
    share: float, persona: Path, chat_corpus: Path, tmp_path: Path
) -> None:
    data = DataSettings(paths=(str(chat_corpus),))
    corpus = Corpus.scan(data)
    settings = TokenizerSettings(vocab_size=300)
    tokenizer = train_tokenizer(corpus, survey(corpus, data, seed=0), settings, seed=0)
    own, old = (prepared(path, tokenizer, tmp_path / "cache") for path in (persona, chat_corpus))
    own_rows, old_rows = (make_rows(each.train, "chat", 32) for each in (own, old))
    replay = Replay(old_rows, share)
    steps, size = own_rows.count * 2, 8
    batches = [batch_at(own_rows, 7, step, size, replay) for step in range(steps)]
    assert all(len(batch.ids) == size for batch in batches)
    n_old = [replay.rows_before(step, size) for step in range(steps + 1)]
    counts = [b - a for a, b in itertools.pairwise(n_old)]
    assert n_old[-1] == round(share * steps * size)
    assert max(counts) - min(counts) <= 1
    # each stream goes through all its rows before any comes again
    plain = [batch_at(own_rows, 7, step, 1) for step in range(own_rows.count)]
    seen = [
        tuple(row.tolist())
        for batch, count in zip(batches, counts, strict=True)
        for row in batch.ids[: size - count]
    ][: own_rows.count]
    assert seen == [tuple(batch.ids[0].tolist()) for batch in plain]
    again = batch_at(own_rows, 7, 3, size, replay)
    assert torch.equal(again.ids, batches[3].ids)
    other = batch_at(own_rows, 8, 3, size, replay)
    assert not torch.equal(other.ids[-1:], batches[3].ids[-1:]) or counts[3] == 0


def test_a_fine_tune_learns_its_own_and_keeps_the_old(
    parent: Path, train: Train, persona: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--init-from=parent@30", *FINE_TUNE)
    run = train("child", *flags, "--replay.share=0.5", data=persona)
    bare = train("bare", *flags, "--replay.max-val-loss-rise=99", data=persona)
    of_parent = evaluations(parent)[-1]["val_loss"]
    found, without = evaluations(run), evaluations(bare)
    assert [row["step"] for row in found] == [0, 5, 10, 15, 20]
    # what the parent kept for validation is what the child is measured on
    assert found[0]["replay_val_loss"] == pytest.approx(of_parent, abs=1e-6)
    assert found[-1]["val_loss"] < found[0]["val_loss"] - 0.3
    assert found[-1]["replay_val_loss"] < without[-1]["replay_val_loss"] - 0.1
    told = capsys.readouterr().out
    assert "replay_val_loss" in told
    assert "50% of each step's rows are old data" in told
    record = RunReader(run).run
    assert record.replay is not None
    assert record.replay.fingerprint == RunReader(parent).data_fingerprint


def test_without_old_data_nothing_of_it_is_measured(train: Train, persona: Path) -> None:
    run = train("plain", "--max-steps=4", "--eval.every-steps=2", data=persona)
    assert all("replay_val_loss" not in row for row in evaluations(run))
    assert [row["step"] for row in evaluations(run)] == [2, 4]
    assert RunReader(run).run.replay is None


def test_micro_batches_change_nothing(parent: Path, train: Train, persona: Path) -> None:
    flags = ("--init-from=parent@30", "--max-steps=12", "--replay.share=0.3", "--dtype=fp32")
    whole = train("whole", *flags, data=persona)
    cut = train("cut", *flags, "--micro-batch-size=3", data=persona)
    for (step, a), (_, b) in zip(losses(whole), losses(cut), strict=True):
        # a model that has learnt has gradients so small that AdamW makes rounding seen
        assert a == pytest.approx(b, abs=1e-5 if step == 1 else 1e-3), step


@pytest.mark.slow
def test_a_killed_fine_tune_goes_on_bit_for_bit_without_its_parent(
    parent: Path,
    train: Train,
    resume: Train,
    persona: Path,
    tmp_path: Path,
) -> None:
    flags = (
        "--init-from=parent@30", "--max-steps=80", "--checkpoint.every-steps=10",
        "--eval.every-steps=20", "--replay.share=0.3", "--model.dropout=0.1",
    )  # fmt: skip
    reference = train("reference", *flags, data=persona)
    run = tmp_path / "killed"
    shape = [word for word in SHAPE if "vocab-size" not in word]
    words = [sys.executable, "-m", "tinychat", "train", "--name=killed", f"--data={persona}"]
    words += [f"--checkpoints={tmp_path}", *shape, VOCABULARY, *flags]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: run.exists() and 20 in list_checkpoints(run))
        finally:
            process.kill()
    shutil.rmtree(parent)
    resume("killed")
    assert digests(run, 80) == digests(reference, 80)
    assert losses(run) == losses(reference)
    assert evaluations(run) == [
        {**row, "time": there["time"], "eval_seconds": there["eval_seconds"]}
        for row, there in zip(evaluations(reference), evaluations(run), strict=True)
    ]
    again = recompute(run, 0, None, lambda *_: None)
    assert (again.stopped, again.differences) == ("", [])
    assert again.rows_compared == 80


def test_a_run_ends_itself_when_too_much_is_forgotten(
    parent: Path,
    train: Train,
    resume: Train,
    persona: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = train(
        "forgetful", "--init-from=parent@30", "--max-steps=400", "--eval.every-steps=4",
        "--checkpoint.every-steps=100", "--replay.max-val-loss-rise=0.05",
        "--optim.learning-rate=1e-2", data=persona,
    )  # fmt: skip
    status = RunReader(run).status
    assert status is not None
    assert (status.state, status.latest) == ("finished", status.step)
    assert status.step < 400
    (told,) = events(run, "forgetting")
    assert "val_loss on the old data has risen" in told["message"]
    assert status.message == told["message"], "screens show it"
    start, *later = evaluations(run)
    limit = start["replay_val_loss"] + 0.05
    assert later[-1]["replay_val_loss"] > limit
    assert all(row["replay_val_loss"] <= limit for row in later[:-1])
    assert status.best is not None
    assert status.best.step < status.step
    assert status.best.step in list_checkpoints(run)
    # who resumes is told again, and nothing is learnt; with more allowed it goes on
    before = digests(run, status.step)
    resume("forgetful")
    assert digests(run, status.step) == before
    assert len(events(run, "forgetting")) == 2
    resume("forgetful", "--replay.max-val-loss-rise=none", f"--max-steps={status.step + 4}")
    assert RunReader(run).attempts()[-1][1].resume_class == "B"
    assert losses(run)[-1][0] == status.step + 4


def test_old_data_that_is_gone_or_another_is_refused_in_a_sentence(
    train: Train,
    resume: Train,
    chat_corpus: Path,
    persona: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = tmp_path / "sums.jsonl"
    own.write_bytes(chat_corpus.read_bytes())
    train("parent", "--max-steps=4", data=own)
    flags = ("--init-from=parent", "--max-steps=4", "--replay.share=0.5")
    train("child", *flags, data=persona)
    moved = tmp_path / "elsewhere.jsonl"
    own.rename(moved)
    capsys.readouterr()
    resume("child", "--max-steps=6", exit_code=1)
    told = capsys.readouterr().err
    assert "old data" in told
    assert "--replay.paths" in told
    train("orphan", *flags, data=persona, exit_code=1)
    assert "--replay.paths" in capsys.readouterr().err
    assert not (tmp_path / "orphan").exists()
    resume("child", "--max-steps=6", f"--replay.paths={moved}")
    train("orphan", *flags, f"--replay.paths={moved}", data=persona)
    moved.write_bytes(chat_corpus.read_bytes().replace(b"14", b"41", 1))
    resume("child", "--max-steps=8", exit_code=2)
    assert "old data of child has changed" in capsys.readouterr().err
    resume("child", "--max-steps=8", "--accept-new-data")
    attempt = RunReader(tmp_path / "child").attempts()[-1][1]
    assert attempt.resume_class == "C"
    assert "replay_fingerprint" in attempt.reason


def test_a_parent_that_tells_nothing_of_its_data_needs_it_named(
    parent: Path, train: Train, persona: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (parent / "settings.json").unlink()
    flags = ("--init-from=parent@30", "--max-steps=4", "--replay.share=0.5")
    capsys.readouterr()
    train("child", *flags, data=persona, exit_code=2)
    assert "what parent@30 learnt from is not told here" in capsys.readouterr().err


def test_a_grandchild_mixes_in_all_that_was_learnt_before(
    parent: Path, train: Train, persona: Path, chat_corpus: Path
) -> None:
    flags = ("--max-steps=4", "--replay.share=0.5")
    train("child", "--init-from=parent@30", *flags, data=persona)
    run = train("grandchild", "--init-from=child", *flags, data=persona)
    paths = RunReader(run).settings["settings"]["replay"]["paths"]
    assert paths == [str(persona), str(chat_corpus)]


def test_text_may_come_with_talks(train: Train, persona: Path, corpus: Path) -> None:
    train("pretrained", "--max-steps=8", "--data.loss=all", data=corpus)
    flags = (*FINE_TUNE, "--replay.share=0.3")
    run = train("chatty", "--init-from=pretrained", *flags, data=persona)
    assert evaluations(run)[-1]["replay_val_loss"] > 0
    # one corpus holds texts or talks, so what comes after keeps to the talks
    child = train("chattier", "--init-from=chatty", *flags, data=persona)
    assert RunReader(child).settings["settings"]["replay"]["paths"] == [str(persona)]


def test_how_old_data_is_read_is_kept(tmp_path: Path) -> None:
    old = OldData(DataSettings(paths=("x",), loss="all", user_field="q", assistant_field="a"), 3)
    back = OldData.from_json(json.loads(json.dumps(old.to_json())), 3)
    assert back == OldData(DataSettings(loss="all", user_field="q", assistant_field="a"), 3)


def test_a_checkpoint_outside_its_run_is_no_riddle(
    parent: Path, train: Train, persona: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "alone" / RunPaths(parent).checkpoint(30).name
    shutil.copytree(RunPaths(parent).checkpoint(30), alone)
    flags = (f"--init-from={alone}", "--max-steps=4", "--replay.share=0.5")
    capsys.readouterr()
    train("child", *flags, data=persona, exit_code=2)
    assert "--replay.paths" in capsys.readouterr().err
