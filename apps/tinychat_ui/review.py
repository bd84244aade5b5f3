"""All that was said about answers: filtered, taken back, and what visitors said accepted or not.

Whoever looks on from another machine sees how much there is, and judges nothing that others said.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, get_args

from tinychat.conversations import Entry, Mark, verdict_words
from tinychat.conversations.feedback import Kind
from tinychat.errors import ConversationError, TinychatError
from tinychat.words import count, moment
from tinychat_ui.context import PageContext
from tinychat_ui.session import made_at

_LISTED = 100  # judgements that are shown at once

KINDS: tuple[str, ...] = get_args(Kind)
ALL = "all"


@dataclass(eq=False)
class Reviewing:
    """What one browser tab looks at and has done; kept on the server, changed in place."""

    kind: str = ALL
    most: int = _LISTED
    deleted: Entry | None = None  # what can be put back
    notice: str = ""


def act(context: PageContext, reviewing: Reviewing, asked: dict[str, Any]) -> None:
    """Do what was pressed; what there is to say about it is in `reviewing.notice`."""
    do, id = asked.get("do"), asked.get("id")
    if do == "filter" and asked.get("kind") in (ALL, *KINDS):
        reviewing.kind, reviewing.most = str(asked["kind"]), _LISTED
    if do == "more":
        reviewing.most += _LISTED
    if do not in ("last", "delete", "restore", "accept", "accept all", "delete all"):
        return
    reviewing.notice = ""
    try:
        if not context.local:
            raise ConversationError("Only whoever is at the machine itself reviews judgements.")
        reviewing.notice = _done(context, reviewing, str(do), id)
    except TinychatError as error:
        reviewing.notice = context.told(error)


def _done(context: PageContext, reviewing: Reviewing, do: str, id: Any) -> str:
    feedback = context.feedback
    waiting = [mark.id for mark in feedback.marks() if not mark.reviewed]
    if do == "accept":
        feedback.review(str(id))
        return "Accepted: it is learnt from."
    if do == "accept all":
        for each in waiting:
            feedback.review(each)
        return f"Accepted {count(len(waiting), 'judgement')}."
    if do == "delete all":
        for each in waiting:
            feedback.undo(each)
        return f"Deleted {count(len(waiting), 'judgement')} of visitors."
    if do == "restore":
        return _restore(context, reviewing)
    if do == "last":
        own = [mark.id for mark in feedback.marks() if mark.reviewed]
        if not own:
            return "There is nothing to take back."
        id = own[-1]
    entry = next((each for each in feedback.entries() if each.id == id), None)
    feedback.undo(str(id))
    reviewing.deleted = entry
    return "Deleted: it is not learnt from."


def _restore(context: PageContext, reviewing: Reviewing) -> str:
    """Say once more what was deleted."""
    entry, feedback = reviewing.deleted, context.feedback
    if entry is None:
        return ""
    where: dict[str, Any] = {
        "conversation": entry.conversation,
        "node": entry.node,
        "reviewed": entry.reviewed,
    }
    if entry.kind == "thumb" and entry.verdict:
        feedback.thumb(entry.verdict, entry.prompt, entry.answers[0], reason=entry.reason, **where)
    elif entry.kind == "rewrite":
        feedback.rewrite(entry.prompt, entry.answers[0], entry.text or "", **where)
    else:
        feedback.pick(entry.prompt, entry.answers, entry.chosen or 0, **where)
    reviewing.deleted = None
    return "It is back, as the newest."


def view(context: PageContext, reviewing: Reviewing) -> dict[str, Any]:
    """What the list shows: the newest first, what waits for a review apart."""
    try:
        said = context.feedback.marks()
    except TinychatError as error:
        return {"n": made_at(), "notice": context.told(error), "local": context.local}
    if not context.local:
        return {"n": made_at(), "local": False}
    ours = [mark for mark in reversed(said) if mark.reviewed]
    waiting = [mark for mark in reversed(said) if not mark.reviewed]
    kinds = Counter(mark.kind for mark in ours)
    wanted = [mark for mark in ours if reviewing.kind in (ALL, mark.kind)]
    return {
        "n": made_at(),
        "local": True,
        "kind": reviewing.kind,
        "kinds": {ALL: len(ours), **{kind: kinds[kind] for kind in KINDS}},
        "entries": [_line(mark) for mark in wanted[: reviewing.most]],
        "hidden": max(0, len(wanted) - reviewing.most),
        "waiting": [_line(mark) for mark in waiting[:_LISTED]],
        "waiting_words": f"{count(len(waiting), 'judgement')} of visitors" if waiting else "",
        "file": context.told(context.feedback.path),
        "unread": _unread(context.feedback.skipped),
        "can_restore": reviewing.deleted is not None,
        "notice": reviewing.notice,
    }


def _unread(lines: int) -> str:
    """Of lines that are no judgements as the page writes them; some may be TRL's."""
    are = "is" if lines == 1 else "are"
    told = f"{count(lines, 'line')} of it {are} not shown here: tinychat feedback tells more."
    return told if lines else ""


def _line(mark: Mark) -> dict[str, Any]:
    told = verdict_words(mark.kind, mark.verdict, mark.chosen, mark.of, mark.reason)
    return {
        "id": mark.id,
        "verdict": told,
        "when": moment(mark.time),
        "model": mark.model,
        "asked": mark.asked,
        "said": mark.said,
    }
