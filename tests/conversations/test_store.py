"""The list of conversations: found again after a restart, searched, deleted without loss."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.conversations import Answer, Conversations, Feedback, Votes
from tinychat.errors import ConversationError


def say(store: Conversations, *texts: str) -> str:
    conversation = store.create()
    for text in texts:
        conversation.add("user", text, parent=conversation.leaf)
    return conversation.id


def titles(store: Conversations) -> list[str]:
    return [summary.title for summary in store.summaries()]


def test_a_look_into_an_empty_folder_makes_nothing(checkpoints: Path) -> None:
    assert Conversations(checkpoints).summaries() == []
    assert Conversations(checkpoints).search("x") == []
    assert Feedback(checkpoints).entries() == []
    assert str(Feedback(checkpoints).counts()) == "0 picks, 0 thumbs, 0 rewrites"
    assert Votes(checkpoints).tallies() == {}
    assert not checkpoints.exists()


def test_the_last_changed_comes_first_also_after_a_restart(
    store: Conversations, checkpoints: Path
) -> None:
    first, second = say(store, "first"), say(store, "second", "with an answer")
    store.create()  # nothing said: nothing to list
    assert titles(store) == ["second", "first"]
    store.open(first).add("user", "more", parent=store.open(first).leaf)
    assert titles(store) == ["first", "second"]
    store.open(second).rename("renamed")
    assert titles(store) == titles(Conversations(checkpoints)) == ["renamed", "first"]
    assert [summary.messages for summary in store.summaries()] == [2, 2]


def test_two_windows_see_what_the_other_adds(store: Conversations, checkpoints: Path) -> None:
    id = say(store, "here")
    elsewhere = Conversations(checkpoints)
    elsewhere.open(id).add("assistant", "from there", parent=elsewhere.open(id).leaf)
    assert [node.text for node in store.open(id).branch()] == ["here", "from there"]


def test_deleting_moves_aside_and_can_be_undone(store: Conversations, checkpoints: Path) -> None:
    id = say(store, "precious")
    opened = store.open(id)
    store.delete(id)
    assert titles(store) == []
    with pytest.raises(ConversationError, match="no such conversation"):
        store.open(id)
    with pytest.raises(ConversationError, match="deleted meanwhile"):
        opened.add("user", "into the void", parent=opened.leaf)
    assert not (checkpoints / ".chats" / "conversations" / f"{id}.jsonl").exists()
    assert "precious" in (checkpoints / ".chats" / "deleted" / f"{id}.jsonl").read_text()
    store.restore(id)
    assert titles(store) == ["precious"]
    with pytest.raises(ConversationError, match="no deleted"):
        store.restore(id)


def test_deleting_never_overwrites_what_was_deleted_before(
    store: Conversations, checkpoints: Path
) -> None:
    id = say(store, "one")
    path = checkpoints / ".chats" / "conversations" / f"{id}.jsonl"
    copy = path.read_bytes()
    store.delete(id)
    path.write_bytes(copy + b"\n")  # as a backup brings it back
    with pytest.raises(ConversationError, match="there already"):
        store.restore(id)
    store.delete(id)
    assert len(list((checkpoints / ".chats" / "deleted").iterdir())) == 2


@pytest.mark.parametrize(
    "id",
    [
        "",
        "secret",
        ".",
        "..",
        "../feedback",
        "0" * 16,
        "0" * 15,
        "A" * 16,
        "0" * 16 + "\n",
        "\0",
        "a/b",
    ],
)
def test_only_a_name_from_the_listing_opens_a_file(
    store: Conversations, checkpoints: Path, id: str
) -> None:
    say(store, "x")
    outside = checkpoints / ".chats" / "conversations" / "secret.jsonl"
    outside.write_text("")
    for act in (store.open, store.delete, store.restore):
        with pytest.raises(ConversationError):
            act(id)
    assert outside.exists()


def test_a_link_or_a_pipe_in_the_folder_is_not_followed(
    store: Conversations, checkpoints: Path, tmp_path: Path
) -> None:
    say(store, "good")
    secret = tmp_path / "secret"
    secret.write_text('{"format":1,"kind":"title","title":"secret","time":1}\n')
    folder = checkpoints / ".chats" / "conversations"
    (folder / f"{'a' * 16}.jsonl").symlink_to(secret)
    os.mkfifo(folder / f"{'b' * 16}.jsonl")
    summaries = store.summaries()
    assert {summary.title for summary in summaries} == {"good", "Cannot be read"}
    assert all(summary.problem for summary in summaries if summary.title != "good")
    for id in ("a" * 16, "b" * 16):
        with pytest.raises(ConversationError):
            store.open(id)
    assert [hit.summary.title for hit in store.search("good")] == ["good"]


def test_search_finds_every_word_in_any_case_in_titles_and_messages(store: Conversations) -> None:
    dragon = say(store, "Tell me of a DRAGON", "It lived in Straße 7.\nGreen it was.")
    say(store, "Tell me of a cat", "It was green.")
    renamed = say(store, "x")
    store.open(renamed).rename("My dragon talk")

    assert [hit.summary.id for hit in store.search("dragon")] == [renamed, dragon]
    assert [hit.summary.id for hit in store.search("STRASSE green")] == [dragon]
    assert len(store.search("tell")) == 2
    assert len(store.search("tell", most=1)) == 1
    assert store.search("dragon cat") == []
    assert store.search("  ") == []
    hit = store.search("green dragon")[0]
    assert hit.node == store.open(dragon).branch()[0].id
    assert "DRAGON" in hit.excerpt
    assert store.search("talk")[0].node is None


def test_an_excerpt_shows_the_word_and_nothing_that_hides(store: Conversations) -> None:
    say(store, "before " * 100 + "\u202eneedle\x1b" + " after" * 100)
    excerpt = store.search("needle")[0].excerpt
    assert "<U+202E>needle␛" in excerpt
    assert excerpt.startswith("…")
    assert excerpt.endswith("…")


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no such modes")
def test_nobody_else_may_read_it(
    store: Conversations,
    feedback: Feedback,
    checkpoints: Path,
    make_answer: Callable[..., Answer],
) -> None:
    before = os.umask(0)
    try:
        store.delete(say(store, "a"))
        say(store, "b")
        feedback.thumb("up", [], make_answer())
    finally:
        os.umask(before)
    chats = checkpoints / ".chats"
    for path in (chats, *chats.rglob("*")):
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_more_conversations_than_are_kept_open(store: Conversations) -> None:
    ids = [say(store, f"talk {i}") for i in range(20)]
    for i, id in enumerate(ids):
        conversation = store.open(id)
        conversation.add("assistant", f"answer {i}", parent=conversation.leaf)
    assert [store.open(id).branch()[-1].text for id in ids] == [f"answer {i}" for i in range(20)]


def test_a_conversation_of_ten_thousand_turns(
    store: Conversations, checkpoints: Path, make_answer: Callable[..., Answer]
) -> None:
    """One that would take minutes if any turn cost a walk to the beginning."""
    conversation = store.create()
    path = checkpoints / ".chats" / "conversations" / f"{conversation.id}.jsonl"
    conversation.add("user", "turn 0", parent=None)
    conversation.add("assistant", "turn 1", parent=conversation.leaf, answer=make_answer())
    head, node = path.read_text().splitlines()[0], path.read_text().splitlines()[-1]
    lines, parent = [head], "null"
    for turn in range(10_000):
        row = node.replace(conversation.nodes()[1].id, f"{turn:012x}")
        lines.append(row.replace(f'"{conversation.nodes()[0].id}"', parent))
        parent = f'"{turn:012x}"'
    path.write_text("\n".join(lines) + "\n")
    assert [summary.messages for summary in store.summaries()] == [10_000]
    again = Conversations(checkpoints).open(conversation.id)
    assert len(again.branch()) == len(again) == 10_000
    last = again.add("user", "and on", parent=again.leaf)
    assert again.branch()[-1] == last
