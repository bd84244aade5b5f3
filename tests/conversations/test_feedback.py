"""Judgements of answers: complete enough to teach from, undone without rewriting."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.conversations import Answer, Feedback
from tinychat.errors import ConversationError

MakeAnswer = Callable[..., Answer]
PROMPT = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi\0\n😀"})


def test_every_judgement_comes_back_complete(
    feedback: Feedback, checkpoints: Path, make_answer: MakeAnswer
) -> None:
    four = [make_answer(f"answer {seed}", seed=seed) for seed in range(4)]
    ids = [
        feedback.thumb("down", PROMPT, four[0], reason="repeats", conversation="c", node="n"),
        feedback.rewrite(PROMPT, four[1], "What I meant.", reviewed=False),
        feedback.pick(PROMPT, four, 2),
    ]
    thumb, rewrite, pick = Feedback(checkpoints).entries()
    assert [entry.id for entry in (thumb, rewrite, pick)] == ids
    assert [entry.kind for entry in (thumb, rewrite, pick)] == ["thumb", "rewrite", "pick"]
    assert all(entry.prompt == PROMPT for entry in (thumb, rewrite, pick))
    assert (thumb.verdict, thumb.reason, thumb.conversation) == ("down", "repeats", "c")
    assert thumb.answers[0].to_row() == four[0].to_row()
    assert (rewrite.text, rewrite.reviewed) == ("What I meant.", False)
    assert pick.chosen == 2
    assert [answer.to_row() for answer in pick.answers] == [answer.to_row() for answer in four]
    assert str(feedback.counts()) == "1 pick, 1 thumb, 1 rewrite"


def test_undoing_appends_and_never_rewrites(
    feedback: Feedback, checkpoints: Path, make_answer: MakeAnswer
) -> None:
    path = checkpoints / ".chats" / "feedback.jsonl"
    first = feedback.rewrite(PROMPT, make_answer(), "one")
    last = feedback.rewrite(PROMPT, make_answer(), "two")
    before = path.read_bytes()
    feedback.undo(last)
    assert path.read_bytes().startswith(before)
    assert [entry.text for entry in Feedback(checkpoints).entries()] == ["one"]
    with pytest.raises(ConversationError, match="undone already"):
        feedback.undo(last)
    with pytest.raises(ConversationError, match="not there"):
        feedback.undo("never")
    feedback.undo(first)
    assert str(feedback.counts()) == "0 picks, 0 thumbs, 0 rewrites"


def test_the_last_thumb_for_a_message_counts_and_undo_brings_the_earlier_back(
    feedback: Feedback, make_answer: MakeAnswer
) -> None:
    def thumb(verdict: str, node: str) -> str:
        return feedback.thumb(verdict, PROMPT, make_answer(), conversation="c", node=node)  # pyright: ignore

    thumb("up", "n1")
    other = thumb("up", "n2")
    again = thumb("down", "n1")
    assert [entry.id for entry in feedback.entries()] == [other, again]
    assert feedback.counts().thumbs == 2
    assert [mark.verdict for mark in feedback.marks("c")] == ["up", "down"]
    feedback.undo(again)
    thumbs = {mark.node: mark.verdict for mark in feedback.marks("c")}
    assert thumbs == {"n1": "up", "n2": "up"}
    assert feedback.marks("another") == []


def test_thumbs_outside_of_conversations_stand_each_for_itself(
    feedback: Feedback, make_answer: MakeAnswer
) -> None:
    for _ in range(3):
        feedback.thumb("up", PROMPT, make_answer())
    assert feedback.counts().thumbs == 3


def test_what_makes_no_sense_is_refused_and_leaves_no_file(
    feedback: Feedback, checkpoints: Path, make_answer: MakeAnswer
) -> None:
    answer, half = make_answer(), [{"role": "user", "content": "\ud800"}]
    for act in (
        lambda: feedback.thumb("sideways", PROMPT, answer),  # pyright: ignore
        lambda: feedback.thumb("up", PROMPT, answer, reason="wrong"),
        lambda: feedback.thumb("down", PROMPT, answer, reason="ugly"),  # pyright: ignore
        lambda: feedback.thumb("up", [{"role": "tool", "content": ""}], answer),
        lambda: feedback.thumb("up", half, answer),
        lambda: feedback.rewrite(PROMPT, answer, " \n"),
        lambda: feedback.rewrite(PROMPT, answer, "\udfff"),
        lambda: feedback.pick(PROMPT, [answer], 0),
        lambda: feedback.pick(PROMPT, [answer, answer], 2),
        lambda: feedback.pick(PROMPT, [answer, answer], -1),
        lambda: feedback.pick(PROMPT, [answer, make_answer("\ud800")], 0),
    ):
        with pytest.raises(ConversationError):
            act()
    assert not checkpoints.exists()


def test_lines_that_are_no_judgements_are_passed_over_and_counted(
    feedback: Feedback, checkpoints: Path, make_answer: MakeAnswer
) -> None:
    feedback.pick(PROMPT, [make_answer(), make_answer()], 1)
    path = checkpoints / ".chats" / "feedback.jsonl"
    good = path.read_bytes()
    bad = [
        good.replace(b'"chosen":1', b'"chosen":2').replace(b'"chosen": 1', b'"chosen": 2'),
        good.replace(b'"pick"', b'"thumb"'),
        good.replace(b'"pick"', b'"rewrite"'),
        good.replace(b"[0,", b"[-1,").replace(b"[0, ", b"[-1, "),
        good[:50] + b"\n",
    ]
    assert all(line != good for line in bad)
    path.write_bytes(b"".join(bad) + good)
    again = Feedback(checkpoints)
    assert again.counts().picks == 1
    assert len(again.entries()) == 1
    assert again.skipped == len(bad)
