"""A conversation as the page shows it: one JSON value, made anew for each change.

Text stays text here; the browser puts it in as such. Nothing of it is ever HTML.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinychat.conversations import CUT_OFF, FAILED, Answer, Conversation, Node
from tinychat.errors import TinychatError
from tinychat.runs import default_checkpoints
from tinychat.words import count, number
from tinychat_ui.context import PageContext
from tinychat_ui.feedback import Given, marks
from tinychat_ui.session import Session, made_at

View = dict[str, Any]

REASONS: Mapping[str, str] = {
    "end": "stopped: end token",
    "length": "stopped: longest answer reached",
    "context": "stopped: context full",
    "stop": "stopped: stop text",
    "repetition": "stopped: it repeated itself",
    "deadline": "stopped: it took too long",
    "cancelled": "stopped by you",
    CUT_OFF: "cut off: the page or server went away",
    FAILED: "cut off: it failed",
}
_ANNOUNCED = 300  # characters of a finished answer that a screen reader is told


@dataclass(frozen=True)
class Live:
    """An answer on its way."""

    question: Node
    text: str = ""
    model: str = ""
    stats: Mapping[str, Any] | None = None
    waiting: str = ""  # what it waits for, before its first word
    is_begun: bool = False  # it goes on with something that was there


def opened(context: PageContext, session: Session) -> Conversation | None:
    """The conversation that a tab shows; none for a new one, or if it is gone meanwhile."""
    if session.conversation is None:
        return None
    try:
        return context.conversations.open(session.conversation)
    except TinychatError:
        session.conversation = None
        return None


def view(
    context: PageContext,
    session: Session,
    *,
    live: Live | None = None,
    notice: str = "",
    give_back: str = "",
) -> View:
    """All that the Chat tab shows. `give_back` is text that belongs into the box again."""
    made = made_at()
    conversation = opened(context, session)
    about = session.about
    nodes = conversation.branch(live.question.id if live else None) if conversation else []
    stats = (live.stats or {}) if live else _stats_of(nodes)
    seen_from = _first_seen(nodes, stats)
    shown = nodes[-context.limits.shown_turns :]
    given = marks(context, conversation.id) if conversation else {}
    turns = [
        _turn(conversation, node, given.get(node.id, Given()), dropped=place < seen_from)
        for place, node in enumerate(nodes[-len(shown) :], len(nodes) - len(shown))
        if conversation is not None and node.role != "system"
    ]
    if live is not None:
        turns.append(_live_turn(live))
    elif turns and turns[-1]["role"] == "user":
        turns[-1]["unanswered"] = True
    hidden = len(nodes) - len(shown)
    base, name = about is not None and not about.is_chat, context.shown(session.model or "")
    return {
        "n": made,
        "conversation": session.conversation,
        "title": conversation.title if conversation and nodes else "",
        "turns": turns,
        "hidden_turns": f"{count(hidden, 'earlier message')} on disk, not shown" if hidden else "",
        "busy": session.asking,
        "closed": about is None,
        "notice": notice or _dropped_words(stats),
        "give_back": give_back,
        "announce": _announcement(turns),
        "placeholder": "Begin a text" if base else "Message",
        "hint": f"{name} has learnt texts, not conversations: it goes on with what you write."
        if base else "",
        "empty": None if turns else _welcome(context, session),
    }  # fmt: skip


def stats_words(
    stats: Mapping[str, Any], reason: str | None = None, *, is_begun: bool = False
) -> str:
    """The line under an answer: 184 tokens · 171 tokens/s · first 12 ms · …"""
    told = [count(stats.get("new_tokens", 0), "token") + (" in this piece" if is_begun else "")]
    if (speed := stats.get("tokens_per_second")) is not None:
        told.append(f"{speed:,.0f} tokens/s" if speed >= 10 else f"{speed:.1f} tokens/s")
    if (at_once := stats.get("tokens_per_pass") or 1) >= 1.1:
        told.append(f"{at_once:.1f} tokens a pass")
    if (first := stats.get("first_token_seconds")) is not None:
        told.append(f"first {first * 1000:,.0f} ms" if first < 10 else f"first {first:,.0f} s")
    if reason is not None:
        told.append(REASONS.get(reason, reason))
    if (length := stats.get("context_length")) is not None:
        told.append(f"context {number(min(stats['context_used'], length))}/{number(length)}")
    return " · ".join(told)


def _turn(conversation: Conversation, node: Node, given: Given, *, dropped: bool) -> dict[str, Any]:
    turn: dict[str, Any] = {
        "id": node.id,
        "role": node.role,
        "text": node.text,
        "versions": [each.id for each in conversation.versions(node.id)],
        "dropped": dropped,
    }
    if node.answer is None:
        return turn
    answer = node.answer
    turn |= {
        "model": answer.label,
        "stats": stats_words(answer.stats, answer.finish_reason, is_begun=bool(answer.begin)),
        "seed": answer.seed,
        "mark": given.thumb,
        "ask_reason": given.thumb == "down" and given.reason is None,
        "remark": _remark(answer),
        "looped": answer.finish_reason == "repetition",
    }
    return turn


def _live_turn(live: Live) -> dict[str, Any]:
    stats = live.stats if live.text else None
    return {
        "id": "live",
        "role": "assistant",
        "live": True,
        "text": live.text,
        "versions": [],
        "model": live.model,
        "stats": stats_words(stats, is_begun=live.is_begun) if stats else "",
        "waiting": live.waiting,
    }


def _remark(answer: Answer) -> str:
    if answer.finish_reason == "repetition":
        return "The model went round in circles, so the answer was ended."
    if not answer.text:
        return "The model had nothing to say: it ended at once."
    return ""


def _stats_of(nodes: Sequence[Node]) -> Mapping[str, Any]:
    """Of the newest answer."""
    answers = (node.answer for node in reversed(nodes) if node.answer is not None)
    return next((answer.stats for answer in answers), {})


def _first_seen(nodes: Sequence[Node], stats: Mapping[str, Any]) -> int:
    """The place of the first message that the newest answer's model still saw."""
    dropped = stats.get("dropped_turns", 0)
    if not dropped:
        return 0
    asked = [place for place, node in enumerate(nodes) if node.role == "user"]
    return asked[min(dropped, len(asked) - 1)] if asked else 0


def _dropped_words(stats: Mapping[str, Any]) -> str:
    turns, tokens = stats.get("dropped_turns", 0), stats.get("dropped_tokens", 0)
    if not tokens:
        return ""
    what = f"the {turns} oldest turns" if turns > 1 else "the oldest turn"
    what = what if turns else f"the first {count(tokens, 'token')}"
    return f"Not all of it fits the context: the model no longer sees {what}."


def _train_command(context: PageContext) -> str:
    """What a person types to get a model that this page will find."""
    here = context.checkpoints
    known = not context.local or here.absolute() == default_checkpoints().absolute()
    return "tinychat train" if known else f"tinychat train --checkpoints {shlex.quote(str(here))}"


def _announcement(turns: Sequence[Mapping[str, Any]]) -> str:
    if not turns or turns[-1]["role"] != "assistant":
        return ""
    return f"{turns[-1].get('model', 'you')}: {turns[-1]['text'][:_ANNOUNCED]}"


def _welcome(context: PageContext, session: Session) -> dict[str, Any]:
    """What stands where the conversation will be."""
    about, name = session.about, context.shown(session.model or "")
    if about is None and session.loading is None and not context.runs.look():
        return {
            "title": "There is no model to talk to yet",
            "lines": ["This makes a small one on this machine, in a few minutes:"],
            "command": _train_command(context),
            "after": "The page looks for it every two seconds and comes alive by itself.",
        }
    if about is None:
        return {"title": "One moment", "lines": ["The model is being opened."]}
    if not about.is_chat:
        return {"title": f"Continue a text with {name}", "lines": []}
    return {
        "title": f"Talk with {name}",
        "lines": [],
        "prompts": list(about.prompts),
    }
