"""What docs/conversations.md shows is what is read, and what is written has the same keys."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinychat.conversations import (
    FORMS,
    Answer,
    Conversations,
    Feedback,
    Side,
    Teaching,
    Votes,
    read_feedback,
    to_trl,
)

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "conversations.md"


def shape(value: Any) -> Any:
    """The keys of a row, at every depth but within settings and stats."""
    if isinstance(value, dict):
        free = ("settings", "stats")
        return {key: None if key in free else shape(each) for key, each in value.items()}
    return [shape(each) for each in value] if isinstance(value, list) and value else None


def shapes(path: Path) -> list[str]:
    """Those of all lines of a file, without the ids of tokens."""
    found = (json.dumps(shape(json.loads(line)), sort_keys=True) for line in path.open())
    return sorted({re.sub(r'("\w+_ids": )\[[null, ]*\]', r"\1[]", line) for line in found})


def test_the_examples_are_read_and_have_the_keys_that_are_written(
    tmp_path: Path, make_answer: Callable[..., Answer]
) -> None:
    blocks = re.findall(r"```jsonl\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    shown, written = tmp_path / "shown", tmp_path / "written"
    id = json.loads(blocks[0].splitlines()[0])["id"]
    names = [f"conversations/{id}.jsonl", "feedback.jsonl", "votes.jsonl", "teaching.jsonl"]
    for name, block in zip(names, blocks, strict=True):
        path = shown / ".chats" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block, encoding="utf-8")
    conversation = Conversations(shown).open(id)
    assert [node.text for node in conversation.branch()] == ["Hello!", "Hi."]
    assert (conversation.title, conversation.skipped) == ("A greeting", 0)
    assert [entry.verdict for entry in Feedback(shown).entries()] == ["down"]
    assert Votes(shown).tally("demo@300", "demo@100").a_wins == 1
    assert [each.label for each in Teaching(shown).decisions()] == ["demo-tuned@40"]
    skipped = (each(shown).skipped for each in (Feedback, Votes, Teaching))
    assert sum(skipped) == 0

    ours, answer = Conversations(written).create(), make_answer()
    asked = ours.add("user", "q", parent=None)
    first = ours.add("assistant", "a", parent=asked.id, answer=answer)
    ours.add("user", "more", parent=None)
    ours.rename("t")
    ours.choose(first.id)
    feedback, side = Feedback(written), Side(label="x", settings={})
    prompt = [{"role": "user", "content": "q"}]
    feedback.thumb("up", prompt, answer)
    feedback.undo(feedback.rewrite(prompt, answer, "better", reviewed=False))
    feedback.review(feedback.rewrite(prompt, answer, "better", reviewed=False))
    Votes(written).add("tie", prompt="q", seed=1, a=side, b=side, blind=False)
    Teaching(written).accept("y", 1, "x")
    for name, mine in zip(names, [f"conversations/{ours.id}.jsonl", *names[1:]], strict=True):
        assert shapes(shown / ".chats" / name) == shapes(written / ".chats" / mine)


def test_the_forms_of_others_are_read_as_the_page_says(tmp_path: Path) -> None:
    page = (DOCS / "feedback.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```jsonl\n(.*?)```", page, re.DOTALL)
    shown = tmp_path / "shown.jsonl"
    shown.write_text(block, encoding="utf-8")
    judged = read_feedback([shown])
    assert judged.left_out == {}
    assert [each.kind for each in judged.judged] == ["pick", "pick", "thumb", "rewrite", "pick"]
    assert judged.judged[0].replies == judged.judged[1].replies
    assert [isinstance(each.prompt, str) for each in judged.judged] == [False] * 4 + [True]
    for form in FORMS:
        assert f"--form {form}\n" in page
        for row in to_trl(judged, form):  # pyright: ignore[reportArgumentType]
            assert all(f"`{name}`" in page for name in row if name.endswith("_ended"))
