import re
import subprocess
import sys
from collections import Counter
from itertools import product

import pytest

from tinychat.text import Conversation, encode_conversations, train_bpe
from tinychat.text.smalltalk import (
    DEMO_TALK,
    KINDS_APART,
    SAMPLE_PROMPTS,
    Question,
    held_out_questions,
    training_conversations,
    validation_conversations,
)
from tinychat.text.smalltalk.memory import TOPICS, may_meet
from tinychat.text.smalltalk.skill import bare, held_out
from tinychat.text.smalltalk.stories import FINDS, HEROES, PLACES
from tinychat.text.smalltalk.talks import all_skills

WITH_CONTEXT = ("memory", "naming")  # kinds that only a whole talk can answer


@pytest.fixture(scope="module")
def training() -> list[Conversation]:
    return list(training_conversations())


@pytest.fixture(scope="module")
def validation() -> list[Conversation]:
    return list(validation_conversations())


@pytest.fixture(scope="module")
def seen(training: list[Conversation], validation: list[Conversation]) -> list[Conversation]:
    return training + validation


@pytest.fixture(scope="module")
def asked(seen: list[Conversation]) -> set[str]:
    """Every user turn of training and validation, bare of case and punctuation."""
    return {bare(text) for talk in seen for text in said(talk, "user")}


def said(talk: Conversation | Question, role: str) -> list[str]:
    return [message.content for message in talk.messages if message.role == role]


def about_me(question: Question) -> bool:
    return question.kind == "story" and " about me " in question.messages[-1].content


def told(talk: Conversation | Question) -> dict[str, list[str]]:
    """What the assistant was told of each topic, read from its replies."""
    found: dict[str, list[str]] = {}
    for answer in said(talk, "assistant"):
        for name, topic in TOPICS.items():
            before, after = map(re.escape, topic.reply.split("{value}"))
            for match in re.finditer(rf"{before}([^!.?]+?){after}", answer):
                found.setdefault(name, []).append(match[1])
    return found


# --- the talks --------------------------------------------------------------------------------


def test_the_corpus_has_a_size_that_suits_three_minutes(
    training: list[Conversation], validation: list[Conversation]
) -> None:
    assert 6_000 <= len(training) <= 20_000
    assert 200 <= len(validation) <= 600
    assert sum(len(m.content) for talk in training for m in talk.messages) < 3_000_000


def test_talks_alternate_and_end_with_an_answer(seen: list[Conversation]) -> None:
    for talk in seen:
        roles = [message.role for message in talk.messages]
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert turns
        assert all(message.content.strip() == message.content for message in talk.messages)
        assert all(message.content for message in talk.messages)
        assert not any(brace in m.content for m in talk.messages for brace in "{}")


def test_every_talk_fits_the_window_of_the_demo(training: list[Conversation]) -> None:
    tokenizer = train_bpe((m.content for talk in training for m in talk.messages), 1024)
    longest = max(len(ids) for ids, _ in encode_conversations(tokenizer, training))
    assert 110 < longest <= 128


def test_no_talk_of_validation_is_in_training(
    training: list[Conversation], validation: list[Conversation]
) -> None:
    assert not set(training) & set(validation)


@pytest.mark.slow
def test_another_process_makes_the_same(training: list[Conversation]) -> None:
    program = """if True:
        import hashlib
        from tinychat.text.smalltalk import *
        made = (list(training_conversations()), list(validation_conversations()))
        print(hashlib.sha256(repr((*made, held_out_questions())).encode()).hexdigest())
    """
    runs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert len(runs[0]) > 60
    assert runs[0] == runs[1]


# --- the examination --------------------------------------------------------------------------


def test_there_are_several_thousand_questions_of_every_kind() -> None:
    kinds = Counter(question.kind for question in held_out_questions())
    assert sum(kinds.values()) >= 3_000
    assert set(kinds) == {skill.kind for skill in all_skills()} | set(WITH_CONTEXT)
    assert set(KINDS_APART) < set(kinds)
    assert min(kinds.values()) >= 60
    for question in held_out_questions():
        assert question.messages[-1].role == "user"
        assert question.answers
        assert all(answer and "{" not in answer for answer in question.answers)


def test_no_question_is_asked_twice() -> None:
    assert len(set(held_out_questions())) == len(held_out_questions())


def test_no_held_out_question_was_ever_asked(asked: set[str]) -> None:
    for question in held_out_questions():
        if question.kind not in WITH_CONTEXT and not about_me(question):
            assert bare(question.messages[-1].content) not in asked


def test_no_name_meets_what_the_examination_tells_with_it(seen: list[Conversation]) -> None:
    def pairs(talk: Conversation | Question) -> set[tuple[str, str]]:
        facts = told(talk)
        names = facts.pop("name", [])
        asked = " ".join(said(talk, "user")).lower()
        places = [place for place in PLACES if f" about me {place}" in asked]
        return set(product(names, sum(facts.values(), places)))

    met = set().union(*map(pairs, seen))
    questions = [q for q in held_out_questions() if q.kind == "memory" or about_me(q)]
    assert len(questions) > 300
    for question in questions:
        (pair,) = pairs(question)
        assert pair not in met
        assert not may_meet(*pair)


def test_no_assistant_is_asked_for_its_name_as_in_the_examination(
    seen: list[Conversation],
) -> None:
    def key(talk: Conversation | Question, text: str) -> tuple[str, str]:
        return talk.messages[0].content.rstrip(".").split(", ")[0].split()[-1], bare(text)

    known = {
        key(talk, text)
        for talk in seen
        if talk.messages[0].role == "system"
        for text in said(talk, "user")
    }
    questions = [question for question in held_out_questions() if question.kind == "naming"]
    assert not {key(question, question.messages[-1].content) for question in questions} & known


def test_every_fact_and_every_wording_of_the_examination_is_taught(asked: set[str]) -> None:
    for skill in all_skills():
        if skill.taught:
            texts = [[bare(w.format_map(f.slots)) for w in skill.wordings] for f in skill.facts]
            assert all(asked.intersection(row) for row in texts)
            assert all(asked.intersection(column) for column in zip(*texts, strict=True))


def test_no_two_skills_disagree() -> None:
    answers: dict[str, set[tuple[str, ...]]] = {}
    for skill in all_skills():
        for fact in skill.facts:
            for wording in skill.wordings:
                text = bare(wording.format_map(fact.slots))
                answers.setdefault(text, set()).add(fact.answers)
    assert not {text: found for text, found in answers.items() if len(found) > 1}


def test_unseen_numbers_are_unseen_in_every_wording(seen: list[Conversation]) -> None:
    added: set[frozenset[str]] = set()
    counted: set[tuple[str, str]] = set()
    for talk in seen:
        for answer in said(talk, "assistant"):
            if match := re.fullmatch(r"(\d+) \+ (\d+) = \d+\.", answer):
                added.add(frozenset(match.groups()))
            elif re.fullmatch(r"[\d, ]+\.", answer):
                numbers = re.findall(r"\d+", answer)
                counted.add((numbers[0], numbers[-1]))
    for question in held_out_questions():
        a, b, *_ = (*re.findall(r"\d+", question.messages[-1].content), "", "")
        if question.kind == "unseen_sum":
            assert frozenset((a, b)) not in added
        elif question.kind == "unseen_counting":
            assert (a, b) not in counted
        elif question.kind == "sum":
            assert frozenset((a, b)) in added


def test_some_held_out_stories_join_what_never_met(asked: set[str]) -> None:
    pattern = re.compile(
        rf"an? ({'|'.join(HEROES)}) (?:and |who finds )?({'|'.join((*PLACES, *FINDS))})"
    )
    met = {match.groups() for text in asked if (match := pattern.search(text))}
    unseen = 0
    for question in held_out_questions():
        match = pattern.search(bare(question.messages[-1].content))
        if question.kind == "story" and match and held_out("story", *match.groups()):
            assert match.groups() not in met
            unseen += 1
    assert unseen > 200


# --- right answers ----------------------------------------------------------------------------


def test_sums_are_right(seen: list[Conversation]) -> None:
    answers = [a for talk in seen for a in said(talk, "assistant")]
    answers += [a for question in held_out_questions() for a in question.answers]
    sums = [match for a in answers if (match := re.fullmatch(r"(\d+) \+ (\d+) = (\d+)\.", a))]
    assert len(sums) > 1_000
    assert all(int(a) + int(b) == int(c) for a, b, c in (match.groups() for match in sums))


def test_counting_is_right() -> None:
    for question in held_out_questions():
        if question.kind == "unseen_counting":
            a, b = map(int, re.findall(r"\d+", question.messages[-1].content))
            numbers = list(map(int, re.findall(r"\d+", question.answers[0])))
            step = 1 if a < b else -1
            assert numbers == list(range(a, b + step, step))


def test_remembered_things_are_the_told_ones() -> None:
    for question in held_out_questions():
        if question.kind == "memory":
            assert any(value in question.answers[0] for (value,) in told(question).values())


# --- to show off with -------------------------------------------------------------------------


def test_the_shown_prompts_are_taught(training: list[Conversation]) -> None:
    taught = {text for talk in training for text in said(talk, "user")}
    assert len(SAMPLE_PROMPTS) == 10
    assert set(SAMPLE_PROMPTS) <= taught
    assert set(DEMO_TALK) <= taught
