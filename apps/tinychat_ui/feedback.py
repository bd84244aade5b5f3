"""Judging answers: what the buttons below them do.

Whatever is said becomes a line of `feedback.jsonl`, complete enough to teach from. Nothing is
taught by saying it: training is a command of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from tinychat.conversations import Answer, Conversation, DownReason, Mark, Node
from tinychat.conversations.feedback import Thumb
from tinychat.errors import ConversationError, TinychatError
from tinychat_ui.context import PageContext

ACTIONS = ("up", "down", "reason", "rewrite")
"""What `act` can do."""


@dataclass(frozen=True)
class Given:
    """What a person has said about one answer."""

    thumb: Thumb | None = None
    reason: DownReason | None = None
    rewritten: bool = False


def act(
    context: PageContext, conversation_id: str, node_id: str, do: str, data: Mapping[str, Any]
) -> str | None:
    """Take a judgement of one answer; returns what to tell the person, if anything.

    "up" and "down" take a thumb back where it is given already; "reason" says why it is down
    (`data["reason"]`); "rewrite" keeps `data["text"]` and puts it beside the answer. Raises
    ConversationError if it cannot be kept.
    """
    conversation = context.conversations.open(conversation_id)
    node = conversation.node(node_id)
    if do == "rewrite":
        return _rewrite(context, conversation, node, data.get("text"))
    if node.answer is None:
        raise ConversationError("Only what a model said can have a thumb.")
    given = _thumb(context, conversation.id, node.id)
    if do in get_args(Thumb) and given is not None and given.verdict == do:
        while given is not None:  # an older one would count again
            context.feedback.undo(given.id, by_visitor=not context.local)
            given = _thumb(context, conversation.id, node.id)
        return "The thumb is taken back."
    reason = data.get("reason") if do == "reason" else None
    context.feedback.thumb(
        "up" if do == "up" else "down",
        prompt_of(conversation, node, node.answer),
        node.answer,
        reason=reason,
        conversation=conversation.id,
        node=node.id,
        reviewed=context.local,
    )
    return None if do == "down" else f"Kept: {context.feedback.counts()}."


def _thumb(context: PageContext, conversation_id: str, node_id: str) -> Mark | None:
    """The newest thumb of an answer that was not taken back: of whoever is here, or of visitors."""
    found = [
        mark
        for mark in context.feedback.marks(conversation_id)
        if mark.kind == "thumb" and mark.node == node_id and mark.reviewed == context.local
    ]
    return found[-1] if found else None


def marks(context: PageContext, conversation_id: str) -> dict[str, Given]:
    """What was said about the answers of a conversation, by message: what counts, or to a visitor
    what waits. Nothing if it cannot be read, which the Teach tab tells."""
    found: dict[str, Given] = {}
    try:
        said = context.feedback.marks(conversation_id)
    except TinychatError:
        return found
    for mark in said:
        if mark.reviewed != context.local:
            continue
        now = found.get(mark.node, Given())
        if mark.kind == "thumb":
            found[mark.node] = Given(mark.verdict, mark.reason, now.rewritten)
        elif mark.kind == "rewrite":
            found[mark.node] = Given(now.thumb, now.reason, True)
    return found


def prompt_of(conversation: Conversation, node: Node, answer: Answer) -> list[dict[str, str]]:
    """The messages that an answer was made to: those before it, and the system message in force.
    Of a text that was continued, the text alone."""
    if answer.mode == "text":
        return conversation.messages(node.parent)[-1:] if node.parent else []
    before = conversation.messages(node.parent) if node.parent else []
    before = [message for message in before if message["role"] != "system"]
    return [{"role": "system", "content": answer.system}, *before] if answer.system else before


def _rewrite(context: PageContext, conversation: Conversation, node: Node, text: Any) -> str:
    if node.role != "assistant":
        raise ConversationError("Only an answer can be written better.")
    if not isinstance(text, str) or not text.strip():
        raise ConversationError("The better answer is empty; please write one.")
    if text == node.text:
        return "Nothing was changed."
    made = [each for each in conversation.versions(node.id) if each.answer is not None]
    of = node if node.answer is not None else made[-1] if made else None
    if of is not None and of.answer is not None:
        context.feedback.rewrite(
            prompt_of(conversation, of, of.answer),
            of.answer,
            text,
            conversation=conversation.id,
            node=of.id,
            reviewed=context.local,
        )
    conversation.add("assistant", text, parent=node.parent)
    return f"Kept: {context.feedback.counts()}."
