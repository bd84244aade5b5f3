"""Judgements are read on from where the last look ended, also by the list of all of them."""

from collections.abc import Callable
from pathlib import Path

from tinychat.conversations import Answer, Feedback

MakeAnswer = Callable[..., Answer]
PROMPT = [{"role": "user", "content": "Hi " * 200}]


def test_a_look_reads_only_what_was_added(
    feedback: Feedback, checkpoints: Path, make_answer: MakeAnswer
) -> None:
    first = feedback.thumb("up", PROMPT, make_answer())
    assert [mark.id for mark in feedback.marks()] == [first]
    path = checkpoints / ".chats" / "feedback.jsonl"
    with path.open("r+b") as file:  # nobody may read more than the end of this part again
        file.write(b"#" * (path.stat().st_size - 256))
    second = feedback.thumb("down", PROMPT, make_answer("Bye."), reason="wrong")
    assert [mark.id for mark in feedback.marks()] == [first, second]
    feedback.undo(second)
    assert [mark.id for mark in feedback.marks()] == [first]


def test_a_mark_says_enough_for_a_list_and_no_more(
    feedback: Feedback, make_answer: MakeAnswer
) -> None:
    feedback.pick(PROMPT, [make_answer("one"), make_answer("two " * 100)], 1, reviewed=False)
    (mark,) = feedback.marks()
    assert (mark.kind, mark.chosen, mark.of, mark.model) == ("pick", 1, 2, "demo@300")
    assert mark.said.startswith("two two")
    assert mark.asked.startswith("Hi Hi")
    assert len(mark.said) == len(mark.asked) == 160
    assert not mark.reviewed
