"""What goes out in TRL's forms comes back as the same examples."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinychat.conversations import (
    FORMS,
    Answer,
    Example,
    Feedback,
    Form,
    Judgement,
    Judgements,
    Reply,
    examples_of,
    method_of,
    read_feedback,
    to_trl,
    trl_to_bytes,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["<|end|>", "\0", "\u2028", '"}\n{', "\ufffd"]
)
REPLIES = st.builds(Reply, TEXTS, st.booleans())
TURNS = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(["user", "assistant", "system"]),
    TEXTS,
)
HI = [{"role": "user", "content": "Hi"}]
PROMPTS = TEXTS | st.lists(TURNS, max_size=4).map(tuple)


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@st.composite
def judgements(draw: st.DrawFn) -> Judgement:
    kind = draw(st.sampled_from(["pick", "rewrite", "thumb"]))
    count = {"pick": (2, 4), "rewrite": (0, 2), "thumb": (1, 1)}[kind]
    replies = tuple(draw(st.lists(REPLIES, min_size=count[0], max_size=count[1])))
    return Judgement(
        source="s",
        kind=kind,
        prompt=draw(PROMPTS),
        replies=replies,
        verdict=draw(st.sampled_from(["up", "down"])) if kind == "thumb" else None,
        chosen=draw(st.integers(0, len(replies) - 1)) if kind == "pick" else None,
        rewrite=draw(REPLIES) if kind == "rewrite" else None,
    )


def without_source(examples: list[Example]) -> list[Example]:
    return [replace(each, source="") for each in examples]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(given=st.lists(judgements(), max_size=5), form=st.sampled_from(FORMS))
def test_what_goes_out_comes_back_as_the_same_examples(
    tmp_path: Path, given: list[Judgement], form: Form
) -> None:
    path = tmp_path / "out.jsonl"
    sent = Judgements(judged=tuple(given))
    for texts in (False, True):
        rows = to_trl(sent, form, texts=texts)
        path.write_bytes(trl_to_bytes(rows))
        back = read_feedback([path])
        assert back.left_out == {}
        expected = [
            each
            for each in examples_of(sent, method_of(form))
            if isinstance(each.prompt, str) == texts
        ]
        assert without_source(examples_of(back, method_of(form))) == without_source(expected)


@pytest.fixture
def given_all(feedback: Feedback, checkpoints: Path, make_answer: Callable[..., Answer]) -> Any:
    hi = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    feedback.pick(hi, [make_answer(text) for text in "abc"], 1)
    feedback.rewrite(hi, make_answer("old", finish_reason="length"), "new")
    feedback.thumb("down", hi, make_answer("bad"))
    feedback.thumb("up", hi[1:], make_answer("a text", mode="text"))
    return read_feedback([checkpoints])


def test_the_columns_are_those_of_trl_and_say_nothing_of_who_and_where(
    given_all: Judgements,
) -> None:
    columns = {
        "preference": {"prompt", "chosen", "rejected", "chosen_ended", "rejected_ended"},
        "unpaired": {"prompt", "completion", "label", "completion_ended"},
        "prompt-completion": {"prompt", "completion", "completion_ended"},
    }
    sources = [each.source for each in given_all.judged]
    for form in FORMS:
        rows = to_trl(given_all, form)  # pyright: ignore[reportArgumentType]
        assert rows
        assert all(set(row) == columns[form] for row in rows)
        assert not any(source in json.dumps(rows) for source in sources)
    first = to_trl(given_all, "preference")[0]
    assert first["prompt"][-1] == {"role": "user", "content": "Hi"}
    assert first["chosen"] == [{"role": "assistant", "content": "b"}]
    assert first["rejected"] == [{"role": "assistant", "content": "a"}]
    assert to_trl(given_all, "unpaired", texts=True) == [
        {"prompt": "Hi", "completion": "a text", "label": True, "completion_ended": True}
    ]


def test_a_file_of_them_is_a_table_with_one_type_a_column(
    given_all: Judgements, tmp_path: Path
) -> None:
    """`datasets` reads JSON lines by this very function."""
    table = pytest.importorskip("pyarrow.json")
    for form in FORMS:
        rows = to_trl(given_all, form)  # pyright: ignore[reportArgumentType]
        path = tmp_path / f"{form}.jsonl"
        path.write_bytes(trl_to_bytes(rows))
        read = table.read_json(str(path))
        assert read.num_rows == len(rows)
        assert set(read.column_names) == set(rows[0])
        assert read.to_pylist() == rows


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("The sky is blue.", "The sky is green."),
        ("The sky is blue.", "The sky was green."),
        *(
            (talk + answer("a"), talk + answer("b"))
            for talk in (HI, HI + answer("Hello") + HI, [{"role": "system", "content": "x"}, *HI])
        ),
    ],
)
def test_the_implicit_prompt_is_the_one_that_trl_finds(
    tmp_path: Path, chosen: Any, rejected: Any
) -> None:
    theirs = pytest.importorskip("trl.data_utils").extract_prompt(
        {"chosen": chosen, "rejected": rejected}
    )
    path = tmp_path / "pair.jsonl"
    path.write_bytes(trl_to_bytes([{"chosen": chosen, "rejected": rejected}]))
    (pair,) = read_feedback([path]).judged
    if isinstance(chosen, str):
        ours = [pair.prompt, *(each.text for each in pair.replies)]
    else:
        ours = [list(pair.prompt), *(answer(each.text) for each in pair.replies)]
    assert ours == [theirs["prompt"], theirs["chosen"], theirs["rejected"]]
