"""An answer that is kept while it grows: cut off until it is whole, always one message."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.conversations import CUT_OFF, Answer, Conversations
from tinychat.errors import ConversationError

MakeAnswer = Callable[..., Answer]


def test_what_was_cut_off_is_there_for_whoever_reads_the_folder(
    store: Conversations, checkpoints: Path, make_answer: MakeAnswer
) -> None:
    talk = store.create()
    asked = talk.add("user", "Hi", parent=None)
    talk.add(
        "assistant",
        "Hello th",
        parent=asked.id,
        answer=make_answer("Hello th", finish_reason=CUT_OFF),
    )
    (_, node) = Conversations(checkpoints).open(talk.id).branch()
    assert node.text == "Hello th"
    assert node.answer is not None
    assert node.answer.finish_reason == CUT_OFF


def test_the_whole_answer_takes_the_place_of_its_beginning(
    store: Conversations, checkpoints: Path, make_answer: MakeAnswer
) -> None:
    talk = store.create()
    asked = talk.add("user", "Hi", parent=None)
    cut = make_answer("Hello th", finish_reason=CUT_OFF)
    begun = talk.add("assistant", "Hello th", parent=asked.id, answer=cut)
    after = talk.add("user", "And?", parent=begun.id)  # by another tab, meanwhile
    assert talk.branch()[1].text == "Hello th"
    whole = talk.add("assistant", "Hello.", parent=asked.id, answer=make_answer(), of=begun.id)
    for each in (talk, Conversations(checkpoints).open(talk.id)):
        assert whole.id == begun.id
        assert [node.text for node in each.branch()] == ["Hi", "Hello.", "And?"]
        assert each.leaf == after.id
        assert len(each.versions(begun.id)) == 1
        assert each.skipped == 0


def test_what_is_whole_is_never_replaced(store: Conversations, make_answer: MakeAnswer) -> None:
    talk = store.create()
    asked = talk.add("user", "Hi", parent=None)
    whole = talk.add("assistant", "Hello.", parent=asked.id, answer=make_answer("Hello."))
    with pytest.raises(ConversationError, match="is whole"):
        talk.add("assistant", "No.", parent=asked.id, answer=make_answer("No."), of=whole.id)
    with pytest.raises(ConversationError, match="is whole"):
        talk.add("user", "No.", parent=None, of=asked.id)
    assert [node.text for node in talk.branch()] == ["Hi", "Hello."]
    assert talk.skipped == 0
