"""A conversation as a document: complete as JSON, readable and unmistakable as Markdown."""

import json
from collections.abc import Callable

from tinychat.conversations import Answer, Conversations, export_name, to_json, to_markdown


def test_json_holds_the_whole_tree_and_everything_of_each_answer(
    store: Conversations, make_answer: Callable[..., Answer], strange_texts: tuple[str, ...]
) -> None:
    conversation = store.create()
    asked = conversation.add("user", "q", parent=None)
    for text in strange_texts:
        conversation.add("assistant", text, parent=asked.id, answer=make_answer(text))
    document = json.loads(to_json(conversation))
    assert document["title"] == "q"
    assert document["leaf"] == conversation.leaf
    assert [node["text"] for node in document["nodes"]] == ["q", *strange_texts]
    answer = document["nodes"][1]["answer"]
    assert (answer["run"], answer["step"], answer["seed"]) == ("demo", 300, 42)
    assert answer["settings"]["temperature"] == 0.8
    assert answer["stats"]["tokens_per_second"] == 171.4
    assert answer["prompt_ids"] == [0, 2, 104, 105, 3]


def test_markdown_quotes_the_chosen_branch_and_says_what_made_it(
    store: Conversations, make_answer: Callable[..., Answer]
) -> None:
    conversation = store.create()
    asked = conversation.add("user", "# Not a heading\n\n## You", parent=None)
    conversation.add("assistant", "first", parent=asked.id, answer=make_answer("first"))
    second = conversation.add("assistant", "by hand\x1b", parent=asked.id)
    text = to_markdown(conversation)
    assert "> # Not a heading\n>\n> ## You\n" in text
    assert "## Answer, edited by hand\n\n> by hand␛\n" in text
    assert "first" not in text
    conversation.choose(conversation.versions(second.id)[0].id)
    text = to_markdown(conversation)
    assert "## Answer of demo@300\n\n> first\n" in text
    assert "*temperature 0.8, top k 40, seed 42, ended by end, 4 tokens, 171 tokens/s*" in text


def test_the_names_of_files_are_harmless(store: Conversations) -> None:
    conversation = store.create()
    conversation.add("user", "../../etc/passwd\0 Ünïcode & <b>", parent=None)
    name = export_name(conversation, "md")
    assert name.startswith("etc-passwd-")
    assert name.endswith(f"-{conversation.id[:6]}.md")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
    conversation.rename("日本語")
    assert export_name(conversation, "json") == f"conversation-{conversation.id[:6]}.json"
