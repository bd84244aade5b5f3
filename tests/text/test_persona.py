"""The built-in persona: small, seeded, consistent, and its examination is about what it teaches."""

from collections import Counter
from pathlib import Path

import pytest

from tinychat.config import DataSettings, TokenizerSettings
from tinychat.errors import NoDataError
from tinychat.text import Corpus, data_names, encode_conversations, prepare, train_bpe
from tinychat.text.smalltalk import (
    PERSONA,
    PERSONA_KINDS,
    PERSONA_PROMPTS,
    held_out_questions,
    persona_questions,
    persona_training_conversations,
    persona_validation_conversations,
    training_conversations,
)
from tinychat.text.smalltalk.skill import bare

TRAIN, VALID = tuple(persona_training_conversations()), tuple(persona_validation_conversations())
TURNS = [
    (turn.content, answer.content)
    for talk in (*TRAIN, *VALID)
    for turn, answer in zip(talk.messages[::2], talk.messages[1::2], strict=True)
]


def test_it_is_small_always_the_same_and_its_sides_share_no_talk() -> None:
    assert 500 < len(TRAIN) < 1_500
    assert 30 < len(VALID) < len(TRAIN) / 5
    assert not set(TRAIN) & set(VALID)
    assert tuple(persona_training_conversations()) == TRAIN


def test_talks_alternate_and_fit_the_demos_context() -> None:
    for talk in (*TRAIN, *VALID):
        roles = [message.role for message in talk.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
    texts = [message.content for talk in training_conversations() for message in talk.messages]
    tokenizer = train_bpe(texts[::4], 1024)
    for ids, _ in encode_conversations(tokenizer, (*TRAIN, *VALID)):
        assert len(ids) <= 128


def test_a_question_has_one_answer_and_the_old_name_is_never_its_own() -> None:
    answers: dict[str, set[str]] = {}
    for turn, answer in TURNS:
        answers.setdefault(bare(turn), set()).add(answer)
        assert "tinychat" not in answer
    of_character = {t for q in persona_questions() for t in q.answers}
    for turn, found in answers.items():
        if found & of_character:
            assert len(found) == 1, turn


def test_the_examination_asks_for_name_and_manner_as_no_talk_does() -> None:
    asked = persona_questions()
    assert len(asked) > 200
    assert {question.kind for question in asked} == set(PERSONA_KINDS)
    assert min(Counter(question.kind for question in asked).values()) > 50
    taught = {bare(turn) for turn, _ in TURNS}
    for question in asked:
        assert question.messages[-1].role == "user"
        assert bare(question.messages[-1].content) not in taught
    said = {answer for _, answer in TURNS}
    assert all(answer in said for question in asked for answer in question.answers)
    assert any(PERSONA in answer for question in asked for answer in question.answers)
    assert len({len(question.messages) for question in asked}) > 1, "also in the middle of a talk"


def test_who_learnt_the_small_talk_alone_answers_nothing_of_it_right() -> None:
    old = {answer for question in held_out_questions() for answer in question.answers}
    assert not old & {answer for question in persona_questions() for answer in question.answers}


@pytest.mark.parametrize("prompt", PERSONA_PROMPTS)
def test_prompts_to_show_off_with_are_taught_here_or_in_the_small_talk(prompt: str) -> None:
    taught = {turn for turn, _ in TURNS}
    assert prompt in taught or any(
        prompt == message.content for talk in training_conversations() for message in talk.messages
    )


def test_built_in_corpora_have_names(tmp_path: Path) -> None:
    def scan(*paths: str) -> Corpus:
        return Corpus.scan(DataSettings(paths=paths))

    assert scan("builtin:smalltalk").fingerprint == scan().fingerprint
    persona = scan("builtin:persona")
    assert persona.fingerprint != scan().fingerprint
    assert [file.side for file in persona.files] == ["train", "valid"]
    assert scan("builtin:persona", "builtin:persona").fingerprint == persona.fingerprint
    with pytest.raises(NoDataError, match="builtin:smalltalk and builtin:persona"):
        scan("builtin:nobody")
    assert data_names(()) == ("the built-in small talk",)
    assert data_names(("builtin:persona", "/a/b.txt")) == ("the built-in persona", "b.txt")


def test_one_of_them_may_stand_beside_files(tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    lines = [f'{{"instruction": "Say {i}", "response": "{i}"}}' for i in range(20)]
    own.write_text("\n".join(lines), encoding="utf-8")
    data = DataSettings(paths=(str(own), "builtin:persona"))
    found = prepare(data, TokenizerSettings(vocab_size=300), seed=0, cache=tmp_path / "cache")
    assert found.summary.train.documents + found.summary.valid.documents == 20 + len(TRAIN + VALID)
    assert found.summary.valid.documents > len(VALID)
