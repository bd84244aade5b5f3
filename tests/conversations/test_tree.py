"""The tree of a conversation: what was said is never overwritten, and all of it comes back."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.conversations import Answer, Conversation, Conversations
from tinychat.errors import ConversationError

MakeAnswer = Callable[..., Answer]


def texts(conversation: Conversation) -> list[str]:
    return [node.text for node in conversation.branch()]


def reopened(checkpoints: Path, id: str) -> Conversation:
    """As another process sees it."""
    return Conversations(checkpoints).open(id)


def test_an_answer_comes_back_with_everything_it_takes_to_repeat_it(
    store: Conversations, checkpoints: Path, make_answer: MakeAnswer
) -> None:
    answer = make_answer(
        "Once upon a time.", system="Be brief.", begin="Once", mode="text", step=None
    )
    conversation = store.create()
    asked = conversation.add("user", "Tell me.", parent=None)
    conversation.add("assistant", answer.text, parent=asked.id, answer=answer)

    question, told = reopened(checkpoints, conversation.id).branch()
    assert (question.role, question.text, question.answer) == ("user", "Tell me.", None)
    assert told.answer is not None
    assert told.answer.to_row() == answer.to_row()
    assert list(told.answer.answer_ids) == [72, 101, 65535, 70000]
    assert told.time >= question.time > 0


def test_regenerating_keeps_the_earlier_answer_and_its_continuation(
    store: Conversations, checkpoints: Path, make_answer: MakeAnswer
) -> None:
    conversation = store.create()
    asked = conversation.add("user", "q", parent=None)
    first = conversation.add("assistant", "a1", parent=asked.id, answer=make_answer("a1"))
    conversation.add("user", "more", parent=first.id)
    second = conversation.add("assistant", "a2", parent=asked.id, answer=make_answer("a2"))

    assert texts(conversation) == ["q", "a2"]
    assert conversation.versions(second.id) == [first, second]
    conversation.choose(first.id)
    assert texts(conversation) == ["q", "a1", "more"]
    assert texts(reopened(checkpoints, conversation.id)) == ["q", "a1", "more"]


def test_editing_a_first_message_adds_another_beginning(store: Conversations) -> None:
    conversation = store.create()
    first = conversation.add("user", "first try", parent=None)
    conversation.add("assistant", "what?", parent=first.id)
    edited = conversation.add("user", "the", parent=first.parent)
    assert texts(conversation) == ["the"]
    assert [node.text for node in conversation.versions(first.id)] == ["first try", "the"]
    assert conversation.messages(conversation.leaf) == [{"role": "user", "content": "the"}]
    assert edited.parent is None


def test_choosing_a_message_that_is_shown_changes_nothing(
    store: Conversations, checkpoints: Path
) -> None:
    conversation = store.create()
    first = conversation.add("user", "q", parent=None)
    last = conversation.add("assistant", "a", parent=first.id)
    before = file_of(checkpoints, conversation.id).read_bytes()
    conversation.choose(first.id)
    assert conversation.leaf == last.id
    assert file_of(checkpoints, conversation.id).read_bytes() == before


def test_the_title_is_the_first_words_until_it_is_renamed(
    store: Conversations, checkpoints: Path
) -> None:
    conversation = store.create()
    assert conversation.title == "New conversation"
    conversation.add("user", "  Why is\nthe sky blue, " + "and so far away " * 9, parent=None)
    assert conversation.title.startswith("Why is the sky blue, and so far")
    assert conversation.title.endswith("…")
    assert len(conversation.title) <= 60
    conversation.rename(" The \u202esky\n")
    assert conversation.title == "The <U+202E>sky"
    assert reopened(checkpoints, conversation.id).title == conversation.title
    with pytest.raises(ConversationError, match="at least one word"):
        conversation.rename(" \n")


def test_any_text_comes_back_as_it_was(
    store: Conversations, checkpoints: Path, strange_texts: tuple[str, ...]
) -> None:
    conversation = store.create()
    for text in strange_texts:
        conversation.add("user", text, parent=conversation.leaf)
    again = reopened(checkpoints, conversation.id)
    assert texts(again) == list(strange_texts)
    assert again.skipped == 0


@pytest.mark.parametrize(
    ("text", "said"), [("half \ud83d a smile", "place 6"), ("x" * 200_001, "200,000 is the most")]
)
def test_a_text_that_no_file_can_carry_is_refused_and_leaves_no_trace(
    store: Conversations, checkpoints: Path, make_answer: MakeAnswer, text: str, said: str
) -> None:
    conversation = store.create()
    before = file_of(checkpoints, conversation.id).read_bytes()
    with pytest.raises(ConversationError, match=said):
        conversation.add("user", text, parent=None)
    with pytest.raises(ConversationError, match=said):
        conversation.add("assistant", "fine", parent=None, answer=make_answer(begin=text))
    with pytest.raises(ConversationError):
        conversation.rename(text)
    assert file_of(checkpoints, conversation.id).read_bytes() == before


def test_what_could_not_be_read_again_is_not_acknowledged(
    store: Conversations, make_answer: MakeAnswer
) -> None:
    conversation = store.create()
    for answer in (make_answer(seed=2**70), make_answer(settings={"note": "\udc00"})):
        with pytest.raises(ConversationError, match="cannot be kept"):
            conversation.add("assistant", answer.text, parent=None, answer=answer)
    assert conversation.leaf is None


def test_a_number_that_is_not_finite_does_not_lose_the_answer(
    store: Conversations, checkpoints: Path, make_answer: MakeAnswer
) -> None:
    answer = make_answer(stats={"seconds": float("inf")})
    conversation = store.create()
    conversation.add("assistant", answer.text, parent=None, answer=answer)
    kept = reopened(checkpoints, conversation.id).branch()[0].answer
    assert kept is not None
    assert kept.stats == {"seconds": None}


def test_unknown_messages_are_refused_in_a_sentence(store: Conversations) -> None:
    conversation = store.create()
    conversation.add("user", "q", parent=None)
    for act in (
        lambda: conversation.add("user", "x", parent="0" * 12),
        lambda: conversation.choose("../../etc"),
        lambda: conversation.versions("nothing"),
        lambda: conversation.branch("nothing"),
    ):
        with pytest.raises(ConversationError, match="not in the conversation"):
            act()


@pytest.mark.parametrize("seed", range(5))
def test_random_walks_come_back_as_they_were(
    store: Conversations, checkpoints: Path, make_answer: MakeAnswer, seed: int
) -> None:
    """Against a plain model of the tree: after anything at all, disk and memory agree."""
    chance = random.Random(seed)
    conversation = store.create()
    parents: dict[str, str | None] = {}
    went: dict[str | None, str] = {}

    def go(node: str) -> str:
        at: str | None = node
        while at is not None:
            went[parents[at]] = at
            at = parents[at]
        while node in went:
            node = went[node]
        return node

    leaf: str | None = None
    for turn in range(120):
        known = [*parents]
        what = chance.random()
        if known and what < 0.3:
            node = chance.choice(known)
            conversation.choose(node)
            on_branch = node in {each.id for each in conversation.branch(leaf)}
            leaf = leaf if on_branch else go(node)
        else:
            parent = leaf if what < 0.7 or not known else chance.choice([None, *known])
            role = chance.choice(["user", "assistant"])
            answer = make_answer(f"text {turn}") if role == "assistant" else None
            added = conversation.add(role, f"text {turn}", parent=parent, answer=answer)
            parents[added.id] = parent
            leaf = go(added.id)
        assert conversation.leaf == leaf
    again = reopened(checkpoints, conversation.id)
    assert again.leaf == leaf
    assert {node.id: node.parent for node in again.nodes()} == parents
    assert again.nodes() == conversation.nodes()
    assert [node.id for node in again.branch()] == [node.id for node in conversation.branch()]


def file_of(checkpoints: Path, id: str) -> Path:
    return checkpoints / ".chats" / "conversations" / f"{id}.jsonl"
