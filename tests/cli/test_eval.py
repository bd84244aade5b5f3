"""`eval`: the numbers of the training again, numbers on other text, and answers that are right."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import tiny, write_corpora
from tinychat.cli.examination import chunks, examine, is_right, scores
from tinychat.cli.output import Waiting
from tinychat.config import RuntimeSettings
from tinychat.config.load import read_preset, resolve
from tinychat.engine import Shelf, TextModel
from tinychat.model import Decoder, Runtime
from tinychat.runs import RunReader
from tinychat.text import Message, train_bpe
from tinychat.text.smalltalk import (
    KINDS_APART,
    Question,
    held_out_questions,
    training_conversations,
)

from .conftest import Tinychat

Copy = Callable[[str], Path]


@pytest.mark.parametrize("name", ["talk", "story"])
def test_it_measures_what_the_training_measured(
    name: str, tinychat: Tinychat, trained_runs: Path
) -> None:
    found = tinychat("eval", name, "--checkpoints", trained_runs, "--json").json
    row = RunReader(trained_runs / name).last("metrics", "eval")
    assert row is not None
    assert (found["run"], found["step"]) == (name, 20)
    assert found["val_loss"] == pytest.approx(row["val_loss"], abs=1e-5)
    assert found["bits_per_byte"] == pytest.approx(row["bits_per_byte"], abs=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(found["val_loss"]))
    assert "answers_right" not in found
    words = tinychat("eval", name, "--checkpoints", trained_runs).out
    assert f"{found['val_loss']:.4f} nats per token" in words


@pytest.mark.parametrize("text", ["A short text.", "Tom saw the moon. " * 200])
def test_text_of_any_length_is_measured_whole(
    text: str, tinychat: Tinychat, trained_runs: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.txt"
    file.write_text(text, encoding="utf-8")
    for name in ("talk", "story"):
        found = tinychat("eval", name, "--data", file, "--checkpoints", trained_runs, "--json").json
        assert found["target_bytes"] == len(text.encode())
        assert found["val_loss"] > 0
        assert found["data"] == str(file)


def test_conversations_count_only_their_answers(
    tinychat: Tinychat, trained_runs: Path, tmp_path: Path
) -> None:
    talks, _ = write_corpora(tmp_path)
    found = tinychat("eval", "talk", "--data", talks, "--checkpoints", trained_runs, "--json").json
    half = talks.stat().st_size / 2
    assert 0 < found["target_bytes"] < half


def test_int8_is_measured_beside_it(tinychat: Tinychat, trained_runs: Path) -> None:
    words = ["eval", "story", "--checkpoints", trained_runs]
    plain = tinychat(*words, "--json").json
    found = tinychat(*words, "--json", "--int8").json
    eight = found.pop("int8")
    assert found == plain
    assert eight["val_loss"] == pytest.approx(plain["val_loss"] + eight["worse"])
    assert 0 < abs(eight["worse"]) < 0.05
    assert f"in int8      {eight['val_loss']:.4f}" in tinychat(*words, "--int8").out


def test_changed_data_is_refused(tinychat: Tinychat, tmp_path: Path) -> None:
    _, story = write_corpora(tmp_path)
    words = ["--name", "r", "--data", story, "--checkpoints", tmp_path / "runs"]
    assert tinychat("train", *words, *tiny(max_steps=1)).code == 0
    story.write_text(story.read_text(encoding="utf-8") + " more", encoding="utf-8")
    found = tinychat("eval", "r", "--checkpoints", tmp_path / "runs")
    assert (found.code, found.out) == (2, "")
    assert "has changed since" in found.err
    story.unlink()
    found = tinychat("eval", "r", "--checkpoints", tmp_path / "runs")
    assert (found.code, found.out) == (2, "")
    assert str(story) in found.err


def test_kinds_apart_are_counted_apart() -> None:
    asked = list(held_out_questions())
    right = [q for q in asked if q.kind in ("sum", "unseen_sum")]
    found = scores(asked, right)
    apart = sum(q.kind in KINDS_APART for q in asked)
    assert found["asked"] == len(asked) - apart
    assert found["right"] == sum(q.kind == "sum" for q in asked)
    assert found["share"] == found["right"] / found["asked"]
    assert found["unseen_sums"]["share"] == 1
    assert found["unseen_counting"]["right"] == 0
    assert set(found["kinds"]) == {q.kind for q in asked} - set(KINDS_APART)
    assert found["kinds"]["sum"]["share"] == 1


def test_right_is_to_the_letter() -> None:
    question = Question("sum", (Message("user", "What is 3 + 4?"),), ("7", "It is 7."))
    assert is_right(" It is 7.\n", question)
    assert not is_right("It is 7", question)
    assert not is_right("It is 7. ok", question)


def test_every_question_asked_is_answered_greedily(trained_runs: Path) -> None:
    model = Shelf(trained_runs, RuntimeSettings(threads=1)).open("talk")
    questions = held_out_questions()[::100]
    with Waiting() as waiting:
        first, second = (examine(model, waiting, questions) for _ in range(2))
    assert first == second
    asked = first["asked"] + sum(first[key]["asked"] for key in ("unseen_sums", "unseen_counting"))
    assert asked == len(questions)


@pytest.mark.slow
def test_questions_are_asked_whole() -> None:
    """The demo's context holds each talk and room for its answer; but for a story or two."""
    settings = resolve(read_preset("demo")).settings
    talks = [m.content for talk in training_conversations() for m in talk.messages]
    tokenizer = train_bpe(talks, settings.tokenizer.vocab_size)
    decoder = Decoder(replace(settings.model, n_layer=1), tokenizer.vocab_size)
    text = TextModel(decoder, tokenizer, Runtime("cpu", "fp32", 1))
    asked, cut = list(held_out_questions()), 0
    for chunk, room in chunks(asked, tokenizer):
        cut += sum(text.fit(question.messages, room).dropped_turns > 0 for question in chunk)
        asked = [question for question in asked if question not in chunk]
    assert not asked, "each is asked"
    assert cut <= 2


@pytest.mark.slow
def test_the_built_in_corpus_is_examined(tinychat: Tinychat, tmp_path: Path) -> None:
    words = ["--name", "r", "--checkpoints", tmp_path]
    assert tinychat("train", *words, *tiny(model__context_length=128)).code == 0
    found = tinychat("eval", "r", "--checkpoints", tmp_path, "--json").json["answers_right"]
    assert found["asked"] > 1000
    assert 0 <= found["share"] < 0.2
    assert set(found) == {"share", "right", "asked", "unseen_sums", "unseen_counting", "kinds"}
