"""What visitors say and what the person at the machine says never get into each other's way."""

from pathlib import Path
from typing import Any

import pytest

from tests.apps.ui.conftest import OpenContext
from tests.apps.ui.test_feedback import answered
from tinychat.conversations import Conversation, read_feedback
from tinychat.errors import ConversationError
from tinychat_ui.context import PageContext
from tinychat_ui.feedback import Given, act, marks
from tinychat_ui.review import Reviewing
from tinychat_ui.review import act as review

Talk = tuple[Conversation, str]


@pytest.fixture
def owner(page_context: OpenContext, tmp_path: Path) -> PageContext:
    return page_context(tmp_path)


@pytest.fixture
def visitor(owner: PageContext) -> PageContext:
    told: dict[str, Any] = {**vars(owner), "local": False}
    return PageContext(**told)


@pytest.fixture
def talk(owner: PageContext) -> Talk:
    return answered(owner)


def learnt(context: PageContext) -> list[str | None]:
    return [each.verdict for each in read_feedback([context.checkpoints]).judged]


def test_a_visitor_presses_the_same_thumb_and_takes_nothing_of_mine_back(
    owner: PageContext, visitor: PageContext, talk: Talk
) -> None:
    conversation, node = talk
    act(owner, conversation.id, node, "up", {})
    for _ in range(2):  # pressed, and taken back
        act(visitor, conversation.id, node, "up", {})
        assert learnt(owner) == ["up"]
        assert marks(owner, conversation.id) == {node: Given("up")}
    assert marks(visitor, conversation.id) == {}
    act(visitor, conversation.id, node, "down", {})
    assert marks(visitor, conversation.id) == {node: Given("down")}
    assert marks(owner, conversation.id) == {node: Given("up")}
    assert learnt(owner) == ["up"]


def test_a_visitor_reviews_nothing_and_takes_no_accepted_one_back(
    owner: PageContext, visitor: PageContext, talk: Talk
) -> None:
    conversation, node = talk
    act(owner, conversation.id, node, "up", {})
    (mine,) = owner.feedback.marks()
    for do in ("last", "delete", "delete all"):
        review(visitor, Reviewing(), {"do": do, "id": mine.id})
    assert learnt(owner) == ["up"]
    act(visitor, conversation.id, node, "down", {})
    theirs = owner.feedback.marks()[-1].id
    owner.feedback.review(theirs)
    with pytest.raises(ConversationError, match="whoever sits at the machine"):
        visitor.feedback.undo(theirs, by_visitor=True)
    assert learnt(owner) == ["down"]
    review(owner, Reviewing(), {"do": "delete", "id": theirs})
    assert learnt(owner) == ["up"]


def test_my_thumb_is_kept_where_a_visitor_has_pressed_the_same_one(
    owner: PageContext, visitor: PageContext, talk: Talk
) -> None:
    conversation, node = talk
    act(visitor, conversation.id, node, "up", {})
    assert marks(owner, conversation.id) == {}
    act(owner, conversation.id, node, "up", {})
    assert learnt(owner) == ["up"]
    act(visitor, conversation.id, node, "down", {})
    review(owner, Reviewing(), {"do": "last"})  # mine, though theirs is newer
    assert learnt(owner) == []
    assert [mark.reviewed for mark in owner.feedback.marks()] == [False]
