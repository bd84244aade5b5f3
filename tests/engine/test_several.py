"""Several answers to one prompt."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tinychat.config import RuntimeSettings
from tinychat.engine import (
    Engine,
    OpenedModel,
    Sampling,
    Several,
    Shelf,
    with_seeds,
)
from tinychat.errors import ConversationError, EngineBusyError, SettingsError

RULES = Sampling(max_new_tokens=6, seed=7)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(batch_rows=4) as engine:
        yield engine


@pytest.fixture(scope="module")
def talk(trained_runs: Path) -> OpenedModel:
    return Shelf(trained_runs, RuntimeSettings(dtype="fp32", threads=1)).open("talk")


def whole(several: Several) -> list[str]:
    """The answers, once all are over."""
    while several.take(None):
        pass
    return several.texts


def test_several_answers_have_a_seed_each(engine: Engine, talk: OpenedModel) -> None:
    rules = with_seeds(RULES, 4)
    assert [each.seed for each in rules] == [7, 8, 9, 10]
    several = Several(engine, talk, "My name is Mia.", rules, system="Be kind.")
    texts = whole(several)
    kept = several.kept()
    assert [each.text for each in kept] == texts
    assert [each.seed for each in kept] == [7, 8, 9, 10]
    assert {each.system for each in kept} == {"Be kind."}
    assert several.messages[0] == {"role": "system", "content": "Be kind."}
    again = Several(engine, talk, "My name is Mia.", rules, system="Be kind.")
    assert whole(again) == texts


def test_answers_that_would_be_the_same_are_made_to_differ(
    engine: Engine, talk: OpenedModel
) -> None:
    sure = with_seeds(Sampling(max_new_tokens=6, temperature=0.001, seed=7), 4)
    assert len(set(whole(Several(engine, talk, "My name is Mia.", sure)))) == 1
    several = Several(engine, talk, "My name is Mia.", sure, differ=True)
    texts = whole(several)
    assert len(set(texts)) == 4
    kept = several.kept()
    assert [each.text for each in kept] == texts
    first, *others = kept
    assert not first.begin
    for each in others:  # as it was but for one token, and on from there
        begin = list(each.prompt_ids[len(first.prompt_ids) :])
        assert each.text.startswith(each.begin)
        assert each.begin
        assert begin[-1] != list(first.answer_ids)[len(begin) - 1]
    again = Several(engine, talk, "My name is Mia.", sure, differ=True)
    assert whole(again) == texts


def test_where_all_said_nothing_they_are_asked_more_freely(
    engine: Engine, trained_runs: Path
) -> None:
    story = Shelf(trained_runs, RuntimeSettings(dtype="fp32", threads=1)).open("story")
    rules = with_seeds(Sampling(max_new_tokens=4, seed=12), 4)
    prompt = "Tom saw 83 apples and went home."  # which is a whole document
    plain = whole(Several(engine, story, prompt, rules))
    several = Several(engine, story, prompt, rules, differ=True)
    texts = whole(several)
    assert plain.count("") > 1
    assert texts.count("") < plain.count("")
    for answer, sampling in zip(several.kept(), several.rules, strict=True):
        assert answer.settings["temperature"] == sampling.temperature >= 0.8


def test_a_cancelled_answer_is_not_made_anew(engine: Engine, talk: OpenedModel) -> None:
    long = Sampling(max_new_tokens=10**6, temperature=0.001, repetition_guard=False)
    several = Several(engine, talk, "Hi", with_seeds(long, 2), differ=True)
    several.take(None)
    several.cancel()
    whole(several)
    assert {each.finish_reason for each in several.kept()} == {"cancelled"}


def test_a_model_of_texts_gets_the_prompt_alone(engine: Engine, trained_runs: Path) -> None:
    story = Shelf(trained_runs, RuntimeSettings(dtype="fp32", threads=1)).open("story")
    several = Several(engine, story, "Anna saw", with_seeds(RULES, 2), system="Be kind.")
    whole(several)
    assert several.messages == [{"role": "user", "content": "Anna saw"}]
    assert {each.mode for each in several.kept()} == {"text"}


def test_a_prompt_that_does_not_fit_is_told_and_one_that_cannot_be_kept_is_refused(
    engine: Engine, talk: OpenedModel
) -> None:
    rules = with_seeds(RULES, 2)
    long = Several(engine, talk, "I like cats. " * 200, rules)
    whole(long)
    assert long.dropped_tokens > 0
    with pytest.raises(ConversationError, match="The prompt has 200,001 characters"):
        Several(engine, talk, "x" * 200_001, rules)
    assert not engine.running, "before anything is answered"
    assert not engine.waiting


def test_where_chance_has_no_say_there_is_nothing_to_choose() -> None:
    with pytest.raises(SettingsError, match="raise it"):
        with_seeds(Sampling(temperature=0), 4)
    assert [each.seed for each in with_seeds(Sampling(seed=2**63 - 1), 2)] == [2**63 - 1, 0]


def test_a_full_queue_leaves_none_on_its_way(talk: OpenedModel) -> None:
    with Engine(batch_rows=1, max_waiting=2) as engine:
        long = with_seeds(Sampling(max_new_tokens=10**6, repetition_guard=False), 4)
        with pytest.raises(EngineBusyError):
            Several(engine, talk, "Hi", long)
        while engine.running or engine.waiting:  # it would go on for hours
            pass
