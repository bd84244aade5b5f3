"""A conversation as a document to take away: Markdown to read, JSON with everything."""

import json
import re
from typing import Any

from tinychat.conversations.answers import Answer
from tinychat.conversations.tree import Conversation, Node
from tinychat.words import inert, moment

_SPEAKERS = {"user": "You", "assistant": "Answer", "system": "System"}
_NAME_CHARACTERS = 50


def to_markdown(conversation: Conversation, leaf: str | None = None) -> str:
    """One branch, the chosen one unless `leaf` names another.

    Every text is a quotation, so that nothing in it is mistaken for a part of the document.
    """
    parts = [f"# {conversation.title}", f"tinychat, {moment(conversation.time)}"]
    for node in conversation.branch(leaf):
        speaker = _SPEAKERS[node.role]
        if node.answer is not None:
            speaker += f" of {node.answer.label}"
        elif node.role == "assistant":
            speaker += ", edited by hand"
        lines = inert(node.text, keep="\n\t").split("\n")
        parts += [f"## {speaker}", "\n".join(f"> {line}".rstrip() for line in lines)]
        if node.answer is not None:
            parts.append(inert(_details(node.answer)))
    return "\n\n".join(parts) + "\n"


def to_json(conversation: Conversation) -> str:
    """The whole tree, one message a line, with run, step, settings, seed, ids and timings."""
    head = {
        "format": 1,
        "title": conversation.title,
        "id": conversation.id,
        "leaf": conversation.leaf,
    }
    nodes = ",\n  ".join(_one_line(_node(node)) for node in conversation.nodes())
    return f'{_one_line(head)[:-1]}, "nodes": [\n  {nodes}\n]}}\n'


def export_name(conversation: Conversation, ending: str) -> str:
    """A file's name made from the title: ASCII letters, digits and hyphens, then the ending."""
    words = re.findall(r"[a-z0-9]+", conversation.title.lower())
    name = "-".join(words)[:_NAME_CHARACTERS].strip("-")
    return f"{name or 'conversation'}-{conversation.id[:6]}.{ending}"


def _node(node: Node) -> dict[str, Any]:
    row: dict[str, Any] = {"id": node.id, "parent": node.parent, "role": node.role}
    row |= {"time": node.time, "text": node.text}
    if node.answer is not None:
        row["answer"] = {k: v for k, v in node.answer.to_row().items() if k != "text"}
    return row


def _one_line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _details(answer: Answer) -> str:
    """What decided the answer and how it went, in one line."""
    settings = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in answer.settings.items()
        if type(value) in (int, float) and name != "seed"
    ]
    told = [*settings, f"seed {answer.seed}", f"ended by {answer.finish_reason}"]
    speed = answer.stats.get("tokens_per_second")
    told.append(f"{len(answer.answer_ids)} tokens")
    if isinstance(speed, int | float):
        told.append(f"{speed:.0f} tokens/s")
    return f"*{', '.join(told)}*"
