"""What each judgement teaches by each method, and that nothing is left out without a count."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.conversations import (
    EMPTY,
    Answer,
    Example,
    Feedback,
    Judgements,
    Method,
    Reply,
    examples_from_bytes,
    examples_of,
    examples_to_bytes,
    for_chat,
    read_feedback,
    unused_of,
)
from tinychat.errors import ConversationError

MakeAnswer = Callable[..., Answer]
PROMPT = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi\0\n😀"})

Told = tuple[str, str | None, str | None]


@pytest.fixture
def judged(feedback: Feedback, checkpoints: Path, make_answer: MakeAnswer) -> Judgements:
    """One judgement of each sort: a pick of four with two equal answers, a rewrite, two thumbs."""
    four = [make_answer(text) for text in ("a", "b", "b", "c")]
    feedback.pick(PROMPT, four, 0)
    feedback.rewrite(PROMPT, make_answer("old"), "new")
    feedback.thumb("up", PROMPT, make_answer("good"))
    feedback.thumb("down", PROMPT, make_answer("bad"))
    return read_feedback([checkpoints])


def told(examples: list[Example]) -> list[Told]:
    return [
        (each.objective, each.chosen and each.chosen.text, each.rejected and each.rejected.text)
        for each in examples
    ]


PAIRS = [("a", "b"), ("a", "c")]
UNPAIRED = [
    *(("a", None), (None, "b"), (None, "c")),
    *(("new", None), (None, "old"), ("good", None), (None, "bad")),
]


@pytest.mark.parametrize(
    ("method", "expected", "unused"),
    [
        (
            "auto",
            [*(("dpo", *pair) for pair in PAIRS), ("sft", "new", None),
             ("kto", "good", None), ("kto", None, "bad")],
            {},
        ),
        (
            "sft",
            [("sft", "a", None), ("sft", "new", None), ("sft", "good", None)],
            {"thumb down, where only good answers are learnt": 1},
        ),
        (
            "dpo",
            [("dpo", *pair) for pair in [*PAIRS, ("new", "old")]],
            {"no second answer to compare with": 2},
        ),
        (
            "orpo",
            [("orpo", *pair) for pair in [*PAIRS, ("new", "old")]],
            {"no second answer to compare with": 2},
        ),
        ("kto", [("kto", *each) for each in UNPAIRED], {}),
    ],
)  # fmt: skip
def test_what_a_method_learns_and_what_it_cannot_use(
    judged: Judgements, method: Method, expected: list[Told], unused: dict[str, int]
) -> None:
    assert str(judged.counts) == "1 pick, 2 thumbs, 1 rewrite"
    assert told(examples_of(judged, method)) == expected
    assert all(each.prompt == PROMPT for each in examples_of(judged, method))
    left_out = unused_of(judged, method)
    assert {reason: each.count for reason, each in left_out.items()} == unused
    used = {each.source for each in examples_of(judged, method)}
    assert len(used) + sum(unused.values()) == len(judged.judged)


def test_equal_answers_make_no_pair_and_are_counted(
    feedback: Feedback, checkpoints: Path, make_answer: MakeAnswer
) -> None:
    feedback.pick(PROMPT, [make_answer("same"), make_answer("same", seed=2)], 1)
    judged = read_feedback([checkpoints])
    for method in ("auto", "dpo", "orpo", "kto"):
        assert examples_of(judged, method) == []
        assert unused_of(judged, method)["equal answers"].count == 1
    assert told(examples_of(judged, "sft")) == [("sft", "same", None)]


@pytest.mark.parametrize(
    ("reason", "text", "expected"),
    [
        ("end", "Yes.\ufffd", Reply("Yes.\ufffd", True)),
        ("length", "Yes, and", Reply("Yes, and", False)),
        ("context", "Yes\ufffd\ufffd", Reply("Yes", False)),
        ("stop", "Yes", Reply("Yes", False)),
        ("cut off", "Yes", Reply("Yes", False)),
        ("failed", "Yes", Reply("Yes", False)),
    ],
)
def test_only_an_answer_that_the_model_ended_itself_has_an_end_to_learn(
    feedback: Feedback, checkpoints: Path, make_answer: MakeAnswer,
    reason: str, text: str, expected: Reply,
) -> None:  # fmt: skip
    feedback.thumb("up", PROMPT, make_answer(text, finish_reason=reason))
    feedback.rewrite(PROMPT, make_answer(text, finish_reason=reason), "Better")
    good, better = examples_of(read_feedback([checkpoints]), "auto")
    assert good.chosen == expected
    assert better.chosen == Reply("Better", True)


def test_an_answer_that_was_cut_off_before_its_first_word_teaches_nothing(
    feedback: Feedback, checkpoints: Path, make_answer: MakeAnswer
) -> None:
    nothing = make_answer("", finish_reason="length")
    feedback.thumb("up", PROMPT, nothing)
    feedback.pick(PROMPT, [make_answer("a"), nothing], 0)
    feedback.thumb("up", PROMPT, make_answer("", finish_reason="end"))  # its end is something
    judged = read_feedback([checkpoints])
    assert told(examples_of(judged, "auto")) == [("kto", "", None)]
    assert unused_of(judged, "auto")["empty answer"].count == 2


def test_a_text_that_was_continued_is_a_text_to_learn_from(
    feedback: Feedback, checkpoints: Path, make_answer: MakeAnswer
) -> None:
    prompt = [{"role": "user", "content": "Once upon <|end|>"}]
    answer = make_answer(" a time", mode="text", begin=" a", finish_reason="length")
    feedback.thumb("up", prompt, answer)
    feedback.thumb("up", [], answer)
    first, second = examples_of(read_feedback([checkpoints]), "auto")
    assert (first.prompt, first.chosen) == ("Once upon <|end|>", Reply(" a time", False))
    assert second.prompt == ""


def test_an_empty_answer_to_an_empty_question_teaches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    nobody = [{"role": "user", "content": " "}]
    rows = [
        {"prompt": "", "chosen": "", "rejected": "no"},
        {"prompt": nobody, "chosen": "", "rejected": "no"},
        {"prompt": nobody, "completion": "", "label": False},
        {"prompt": "", "completion": ""},
        {"prompt": "", "completion": "Once"},  # as a text begins
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    judged = read_feedback([path])
    assert told(examples_of(judged, "auto")) == [("sft", "Once", None)]
    assert unused_of(judged, "auto")[EMPTY].places == tuple(f"pairs.jsonl:{n}" for n in range(1, 5))


def test_plain_texts_are_questions_and_answers_to_a_model_that_chats(
    feedback: Feedback, checkpoints: Path, tmp_path: Path, make_answer: MakeAnswer
) -> None:
    path = tmp_path / "plain.jsonl"
    rows = [
        {"prompt": "What is it? ", "chosen": " A cat.", "rejected": " a"},
        {"prompt": "Hi", "completion": "Hello!\n"},
        {"prompt": "Hi", "completion": "no", "completion_ended": False, "label": False},
        {"chosen": "The sky is blue.", "rejected": "The sky is red."},
        {"prompt": [{"role": "user", "content": "Hi "}], "completion": " Hello"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    feedback.thumb("up", [{"role": "user", "content": "Once"}], make_answer(" upon", mode="text"))
    judged = read_feedback([path, checkpoints])
    assert [each.is_plain for each in judged.judged] == [True, True, True, False, False, False]
    examples = examples_of(for_chat(judged), "auto")
    assert [each.prompt for each in examples] == [
        *(({"role": "user", "content": text},) for text in ("What is it?", "Hi", "Hi")),
        "The sky is",  # there is no telling where an answer begins
        ({"role": "user", "content": "Hi "},),
        "Once",  # it was a text, and was judged as one
    ]
    assert examples[0].rejected == Reply("a")
    assert [each.chosen and each.chosen.text for each in examples] == [
        *("A cat.", "Hello!", None, " blue.", " Hello", " upon"),
    ]
    assert examples[2].rejected == Reply("no", False)
    assert told(examples_of(judged, "auto"))[0] == ("dpo", " A cat.", " a")


def test_examples_are_written_and_read_alike(
    judged: Judgements, strange_texts: tuple[str, ...]
) -> None:
    examples = examples_of(judged, "auto")
    examples += [
        Example(
            objective="dpo",
            prompt=text,
            chosen=Reply(text, False),
            rejected=Reply(text + "!"),
            source=text,
        )
        for text in strange_texts
    ]
    data = examples_to_bytes(examples)
    assert examples_from_bytes(data) == examples
    assert examples_to_bytes(examples_from_bytes(data)) == data
    assert len(data.splitlines()) == len(examples)
    assert examples_from_bytes(b"") == []


def test_a_copy_that_is_damaged_is_refused_with_its_line(judged: Judgements) -> None:
    data = examples_to_bytes(examples_of(judged, "auto"))
    first = data.splitlines(keepends=True)[0]
    for bad in (
        data[:-1],
        data + b"\n",
        data.replace(b'"objective":"kto"', b'"objective":"ktO"', 1),
        data.replace(b'"objective":"kto"', b'"objective":"dpo"', 1),
        data.replace(b'"objective":"sft"', b'"objective":"dpo"'),
        data.replace(b'"ended":true', b'"ended":1', 1),
        data.replace(b'"ended":true', b'"ended": true', 1),
        data.replace(b'"source"', b'"sauce"', 1),
        first.replace(b"}\n", b',"more":1}\n'),
        b"[" * 5000 + b"\n",
        b"\xff\n",
    ):
        assert bad != data
        with pytest.raises(ConversationError, match=r"examples\.jsonl is damaged in line \d") as e:
            examples_from_bytes(bad)
        assert len(str(e.value).splitlines()) == 1
    half = Example(objective="sft", prompt="x", chosen=Reply("\ud800"), rejected=None, source="s")
    with pytest.raises(ConversationError):
        examples_to_bytes([half])
