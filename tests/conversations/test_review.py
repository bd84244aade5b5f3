"""What came from another machine waits until it is reviewed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.conversations import Answer, Feedback, read_feedback
from tinychat.errors import ConversationError

MakeAnswer = Callable[..., Answer]
HI = [{"role": "user", "content": "Hi"}]


def test_a_visitors_judgement_counts_apart_until_it_is_accepted(
    feedback: Feedback, checkpoints: Path, make_answer: MakeAnswer
) -> None:
    visitors = feedback.rewrite(HI, make_answer(), "theirs", reviewed=False)
    feedback.rewrite(HI, make_answer(), "mine")
    before = (checkpoints / ".chats" / "feedback.jsonl").read_bytes()
    assert [mark.reviewed for mark in feedback.marks()] == [False, True]
    assert feedback.counts().rewrites == 2
    assert (feedback.counts(reviewed=True).rewrites, feedback.counts(reviewed=False).rewrites) == (
        1,
        1,
    )
    feedback.review(visitors)
    assert (checkpoints / ".chats" / "feedback.jsonl").read_bytes().startswith(before)
    for view in (feedback, Feedback(checkpoints)):
        assert [mark.reviewed for mark in view.marks()] == [True, True]
        assert [entry.reviewed for entry in view.entries()] == [True, True]
        assert view.counts(reviewed=False).rewrites == 0
        assert view.skipped == 0
    judged = read_feedback([checkpoints])
    assert [each.rewrite and each.rewrite.text for each in judged.judged] == ["theirs", "mine"]
    assert (judged.left_out, judged.waiting) == ({}, ())


def test_what_was_accepted_can_still_be_undone_and_what_is_undone_not_accepted(
    feedback: Feedback, checkpoints: Path, make_answer: MakeAnswer
) -> None:
    visitors = feedback.thumb("up", HI, make_answer(), reviewed=False)
    feedback.review(visitors)
    with pytest.raises(ConversationError, match="reviewed already"):
        feedback.review(visitors)
    feedback.undo(visitors)
    assert feedback.marks() == []
    assert {
        reason: each.count for reason, each in read_feedback([checkpoints]).left_out.items()
    } == {"undone": 1}
    for id in (visitors, "never"):
        with pytest.raises(ConversationError, match="counts no more"):
            feedback.review(id)
    mine = feedback.thumb("up", HI, make_answer())
    with pytest.raises(ConversationError, match="reviewed already"):
        feedback.review(mine)


def test_a_visitors_thumb_takes_the_place_of_mine_only_when_it_is_accepted(
    feedback: Feedback, checkpoints: Path, make_answer: MakeAnswer
) -> None:
    def thumb(verdict: str, reviewed: bool) -> str:
        return feedback.thumb(
            verdict,  # pyright: ignore
            HI,
            make_answer(),
            conversation="c",
            node="n",
            reviewed=reviewed,
        )

    def learnt() -> list[str | None]:
        return [each.verdict for each in read_feedback([checkpoints]).judged]

    def marked() -> list[tuple[str | None, bool]]:
        return [(mark.verdict, mark.reviewed) for mark in feedback.marks("c")]

    thumb("up", True)
    thumb("up", False)
    theirs = thumb("down", False)
    assert marked() == [("up", True), ("down", False)]
    assert learnt() == ["up"]
    feedback.review(theirs)
    assert marked() == [("down", True)]
    assert learnt() == ["down"]
    thumb("up", True)
    assert marked() == [("up", True)]
    assert learnt() == ["up"]
