"""Whatever was said, undone, accepted, repeated or torn, in any order: all readers agree."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinychat.conversations import Answer, Feedback, examples_of, read_feedback, unused_of
from tinychat.errors import ConversationError

MakeAnswer = Callable[..., Answer]

GARBAGE = (
    st.binary(max_size=30)
    | st.sampled_from(
        [
            b"\0" * 100,
            b"[" * 3000,
            b'{"format":1,"undo":[[[[]]]]}',
            b'{"format":1,"review":7}',
            b'{"format":1,"kind":"thumb","answers":[{"mode":[]}]}',
            b'{"format":1,"kind":' + b"[" * 900 + b"]" * 900 + b"}",
            b'{"format":1,"kind":"rewrite","text":"\\ud800"}',
            b'{"format":1,"kind":"thumb","time":1e999,"id":"x","verdict":"up"}',
        ]
    )
).filter(lambda line: b'"format":2' not in line)
SOME = st.integers(0, 5)
ACTS = st.one_of(
    st.tuples(st.just("thumb"), st.integers(0, 3), st.booleans()),
    st.tuples(st.sampled_from(["rewrite", "pick"]), SOME, st.booleans()),
    st.tuples(st.sampled_from(["undo", "review", "again", "cut", "delete"]), SOME, st.just(True)),
    st.tuples(st.just("write"), GARBAGE, st.booleans()),
)


@pytest.fixture(scope="module")
def prompt() -> list[dict[str, str]]:
    return [{"role": "user", "content": "Hi"}]


@settings(deadline=None, max_examples=150)
@given(acts=st.lists(ACTS, max_size=12))
def test_all_readers_agree_whatever_happened(prompt: list[dict[str, str]], acts: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, ".chats", "feedback.jsonl")
        feedback = Feedback(Path(folder))
        for act in acts:
            _do(feedback, path, prompt, *act)
            views = [feedback, Feedback(Path(folder))]
            told = [[(mark.id, mark.reviewed) for mark in view.marks()] for view in views]
            assert told[0] == told[1]
            told.append([(entry.id, entry.reviewed) for entry in feedback.entries()])
            assert told[0] == told[2]
            if not path.exists():
                assert told[0] == []
                continue
            judged = read_feedback([Path(folder)])
            assert [each.source for each in judged.judged] == [id for id, ok in told[0] if ok]
            assert [each.source for each in judged.waiting] == [id for id, ok in told[0] if not ok]
            assert str(judged.counts) == str(feedback.counts(reviewed=True))
            for method in ("auto", "sft", "dpo", "kto", "orpo"):
                used = {each.source for each in examples_of(judged, method)}
                unused = sum(each.count for each in unused_of(judged, method).values())
                assert len(used) + unused == len(judged.judged)


def _do(feedback: Feedback, path: Path, prompt: list, act: str, what: object, flag: bool) -> None:
    answer = Answer(
        text=f"{act} {what}", prompt_ids=[], answer_ids=[], run="r", step=1, settings={}, seed=1,
        finish_reason="end" if flag else "length",
    )  # fmt: skip
    ids = [mark.id for mark in feedback.marks()]
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    if act == "thumb":
        node = {"conversation": "c", "node": str(what)} if what else {}
        feedback.thumb("up", prompt, answer, reviewed=flag, **node)  # pyright: ignore
    elif act == "rewrite":
        feedback.rewrite(prompt, answer, "better", reviewed=flag)
    elif act == "pick":
        feedback.pick(prompt, [answer, answer], 0, reviewed=flag)
    elif act == "undo" and isinstance(what, int) and what < len(ids):
        feedback.undo(ids[what])
    elif act == "review" and isinstance(what, int) and what < len(ids):
        with suppress(ConversationError):  # it was, or needs none
            feedback.review(ids[what])
    elif act == "again" and isinstance(what, int):
        _append(path, lines[what % len(lines)] + b"\n")
    elif act == "cut" and isinstance(what, int):
        _append(path, lines[what % len(lines)][: 40 * what])
    elif act == "write" and isinstance(what, bytes):
        _append(path, what + (b"\n" if flag else b""))
    elif act == "delete":
        path.unlink(missing_ok=True)


def _append(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    with open(path, "ab") as file:
        file.write(data)
