"""Thumbs and better answers: as functions, then in a browser."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.apps.ui.conftest import OpenContext, Page, Server, ask, wait_for
from tests.apps.ui.tabs import open_review
from tests.conftest import until
from tinychat.conversations import Answer, Conversation
from tinychat.errors import ConversationError
from tinychat_ui.context import PageContext
from tinychat_ui.feedback import Given, act, marks


@pytest.fixture
def kept(page_context: OpenContext, tmp_path: Path) -> PageContext:
    """No model at all: what was said once can be judged without one."""
    return page_context(tmp_path)


def answered(context: PageContext, **changes: Any) -> tuple[Conversation, str]:
    """A conversation of two turns, and the id of its last answer."""
    conversation = context.conversations.create()
    for asked, said in (("Hi", "Hello."), ("Sing", "La la la")):
        told: dict[str, Any] = {
            "prompt_ids": [1, 2], "answer_ids": [3], "run": "demo", "step": 5, "seed": 1,
            "settings": {"top_k": 40}, "finish_reason": "end", "system": "Be kind.",
        }  # fmt: skip
        answer = Answer(text=said, **(told | changes))
        node = conversation.add("user", asked, parent=conversation.leaf)
        conversation.add("assistant", said, parent=node.id, answer=answer)
    assert conversation.leaf is not None
    return conversation, conversation.leaf


def test_a_thumb_is_kept_with_the_whole_prompt_and_taken_back_by_pressing_again(
    kept: PageContext,
) -> None:
    conversation, node = answered(kept)
    assert act(kept, conversation.id, node, "up", {}) == "Kept: 0 picks, 1 thumb, 0 rewrites."
    (entry,) = kept.feedback.entries()
    assert [turn["content"] for turn in entry.prompt] == ["Be kind.", "Hi", "Hello.", "Sing"]
    assert (entry.verdict, entry.node, entry.reviewed) == ("up", node, True)
    assert entry.answers[0].to_row() == conversation.node(node).answer.to_row()  # pyright: ignore
    assert marks(kept, conversation.id) == {node: Given("up")}
    act(kept, conversation.id, node, "up", {})
    assert marks(kept, conversation.id) == {}


def test_a_thumb_down_may_have_a_reason(kept: PageContext) -> None:
    conversation, node = answered(kept)
    act(kept, conversation.id, node, "up", {})
    act(kept, conversation.id, node, "down", {})
    assert marks(kept, conversation.id) == {node: Given("down")}
    act(kept, conversation.id, node, "reason", {"reason": "off topic"})
    assert marks(kept, conversation.id) == {node: Given("down", "off topic")}
    assert kept.feedback.counts().thumbs == 1
    act(kept, conversation.id, node, "down", {})
    act(kept, conversation.id, node, "down", {"reason": "not asked for"})
    with pytest.raises(ConversationError, match="repeats, off topic"):
        act(kept, conversation.id, node, "reason", {"reason": "ugly"})


def test_a_thumb_that_is_taken_back_brings_no_older_one_back(kept: PageContext) -> None:
    conversation, node = answered(kept)
    act(kept, conversation.id, node, "up", {})
    act(kept, conversation.id, node, "down", {})
    act(kept, conversation.id, node, "reason", {"reason": "wrong"})
    assert act(kept, conversation.id, node, "down", {}) == "The thumb is taken back."
    assert marks(kept, conversation.id) == {}
    assert kept.feedback.counts().thumbs == 0


def test_a_thumb_of_a_continued_text_has_that_text_alone_as_its_prompt(kept: PageContext) -> None:
    conversation, node = answered(kept, mode="text", system="")
    act(kept, conversation.id, node, "up", {})
    assert kept.feedback.entries()[0].prompt == ({"role": "user", "content": "Sing"},)


def test_what_comes_from_elsewhere_is_kept_as_not_reviewed(kept: PageContext) -> None:
    conversation, node = answered(kept)
    from_elsewhere = PageContext(**{**vars(kept), "local": False})
    act(from_elsewhere, conversation.id, node, "up", {})
    assert not kept.feedback.entries()[0].reviewed


def test_a_better_answer_is_kept_and_becomes_a_version_of_its_own(kept: PageContext) -> None:
    conversation, node = answered(kept)
    act(kept, conversation.id, node, "rewrite", {"text": "Do re mi"})
    (entry,) = kept.feedback.entries()
    assert (entry.kind, entry.text, entry.answers[0].text) == ("rewrite", "Do re mi", "La la la")
    again = kept.conversations.open(conversation.id)
    assert [each.text for each in again.versions(node)] == ["La la la", "Do re mi"]
    assert again.branch()[-1].answer is None
    assert marks(kept, conversation.id) == {node: Given(None, None, True)}
    # what a person wrote has no thumb, but can be written once more
    own = again.branch()[-1].id
    with pytest.raises(ConversationError, match="Only what a model said"):
        act(kept, conversation.id, own, "up", {})
    act(kept, conversation.id, own, "rewrite", {"text": "Do re mi fa"})
    entry = kept.feedback.entries()[-1]
    assert (entry.text, entry.answers[0].text) == ("Do re mi fa", "La la la")


@pytest.mark.parametrize("text", ["", " \n", None, 7, "half \ud83d"])
def test_a_better_answer_needs_words(kept: PageContext, text: Any) -> None:
    conversation, node = answered(kept)
    with pytest.raises(ConversationError):
        act(kept, conversation.id, node, "rewrite", {"text": text})
    assert (
        act(kept, conversation.id, node, "rewrite", {"text": "La la la"}) == "Nothing was changed."
    )
    assert kept.feedback.counts().rewrites == 0
    assert len(kept.conversations.open(conversation.id)) == 4


# --- in a browser ---


def entries(server: Server) -> list[dict[str, Any]]:
    path = server.checkpoints / ".chats" / "feedback.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_thumbs_reasons_and_better_answers_reach_the_disk(server: Server, page: Page) -> None:
    before = len(entries(server))
    said = ask(page, "My name is Mia.")
    page.get_by_role("button", name="Bad answer").click()
    page.get_by_role("button", name="wrong", exact=True).click()
    until(lambda: len(entries(server)) == before + 2)
    line = entries(server)[-1]
    assert (line["verdict"], line["reason"], line["reviewed"]) == ("down", "wrong", True)
    assert line["prompt"][-1] == {"role": "user", "content": "My name is Mia."}
    assert line["answers"][0]["text"] == said
    assert line["answers"][0]["prompt_ids"]
    assert line["answers"][0]["settings"]["temperature"] == 0.8
    wait_for(page, "document.querySelector('[aria-label=\"Bad answer\"]').ariaPressed === 'true'")

    page.get_by_role("button", name="Rewrite the answer").click()
    field = page.get_by_role("textbox", name="Better answer")
    assert field.input_value() == said
    field.fill("Welcome, Mia!")
    page.get_by_role("button", name="Keep as better answer").click()
    page.locator(".tc-assistant .tc-body", has_text="Welcome, Mia!").wait_for()
    until(lambda: entries(server)[-1].get("text") == "Welcome, Mia!")
    page.locator(".tc-versions", has_text="2/2").wait_for()
    assert page.get_by_role("button", name="Good answer").count() == 0  # it is the person's own
    page.get_by_role("button", name="Earlier version").click()
    page.locator(".tc-assistant .tc-body", has_text=said).wait_for()

    open_review(page)
    judged = page.locator(".review-list li", has_text="My name is Mia.")
    judged.filter(has_text="thumb down, wrong").wait_for()
    judged.filter(has_text="Welcome, Mia!").wait_for()
