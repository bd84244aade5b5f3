"""The conversations on disk: list, search, rename, delete, and documents to take away.

Which one is open is the chat's to know: this panel asks it to open another. A document is handed to
the page's own script, which saves it: there is no route that gives out files.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from tinychat.conversations import Summary, export_name, to_json, to_markdown
from tinychat.errors import ConversationError, TinychatError
from tinychat.words import age, count
from tinychat_ui.chat_tab import QUIET, ChatTab
from tinychat_ui.context import PageContext
from tinychat_ui.theme import script

_LISTED = 200
_FOUND = 50
_DOCUMENT_CHARACTERS = 20_000_000  # what a page can take in one piece

View = dict[str, Any]


@dataclass(eq=False)
class Listing:
    """What one browser tab looks for and has done; kept on the server, changed in place."""

    words: str = ""
    deleted: tuple[str, str] | None = None  # id and title of what can be brought back
    notice: str = ""


def build_conversations(context: PageContext, chat: ChatTab) -> None:
    """The panel, drawn where this is called."""
    listing = gr.State(Listing())
    panel = gr.HTML(
        value={},  # type: ignore[arg-type]
        html_template="",
        js_on_load=script("talks"),  # its events: 'find' 'do'
        elem_id="talks",
    )

    def found(listing: Listing, current: str | None, event: gr.EventData) -> View:
        words = (event._data or {}).get("words")
        listing.words = words if isinstance(words, str) else ""
        listing.notice = ""
        return view(context, listing, current)

    def done(listing: Listing, current: str | None, event: gr.EventData) -> list[Any]:
        request, document = act(context, listing, current, event._data or {})
        shown = view(context, listing, current) | {"document": document}
        return [shown, gr.skip() if request is None else request]

    def refreshed(listing: Listing, current: str | None) -> View:
        return view(context, listing, current)

    looking = [listing, chat.conversation]
    panel.find(found, looking, panel, **QUIET)
    panel.do(done, looking, [panel, chat.request], **QUIET)
    gr.on([chat.changed.change, chat.conversation.change], refreshed, looking, panel, **QUIET)


def act(
    context: PageContext, listing: Listing, current: str | None, asked: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, dict[str, str] | None]:
    """Do what was pressed. Returns what to ask the chat for, and a document to save, if any."""
    do, id = asked.get("do"), str(asked.get("id"))
    listing.notice = ""
    try:
        if do == "new":
            return _request("open", None), None
        if do == "open":
            return _request("open", context.conversations.open(id).id), None
        if do == "rename":
            context.conversations.open(id).rename(str(asked.get("title") or ""))
            return _request("reload", id), None
        if do == "delete":
            listing.deleted = (id, context.conversations.title_of(id))
            context.conversations.delete(id)
            return (_request("open", None) if id == current else None), None
        if do == "restore" and listing.deleted is not None:
            context.conversations.restore(listing.deleted[0])
            id, listing.deleted = listing.deleted[0], None
            return _request("open", id), None
        if do in ("markdown", "json"):
            return None, document(context, id, do)
    except TinychatError as error:
        listing.notice = context.told(error)
    return None, None


def document(context: PageContext, id: str, form: str) -> dict[str, str]:
    """A conversation to save: the chosen branch as Markdown, or everything as JSON."""
    conversation = context.conversations.open(id)
    is_json = form == "json"
    text = to_json(conversation) if is_json else to_markdown(conversation)
    if len(text) > _DOCUMENT_CHARACTERS:
        raise ConversationError(
            f"This conversation is too long for the browser ({len(text):,} characters); its file "
            f"is {context.checkpoints / '.chats' / 'conversations' / id}.jsonl."
        )
    return {
        "name": export_name(conversation, "json" if is_json else "md"),
        "type": "application/json" if is_json else "text/markdown",
        "text": text,
        "n": str(time.time_ns()),  # one download each
    }


def view(context: PageContext, listing: Listing, current: str | None) -> View:
    """What the panel shows: all conversations, or those with the words that are looked for."""
    rows: list[dict[str, Any]] = []
    hidden, notice = 0, listing.notice
    try:
        if listing.words.strip():
            for hit in context.conversations.search(listing.words, most=_FOUND):
                rows.append(_row(context, hit.summary, current) | {"excerpt": hit.excerpt})
        else:
            summaries = context.conversations.summaries()
            hidden = max(0, len(summaries) - _LISTED)
            rows = [_row(context, summary, current) for summary in summaries[:_LISTED]]
    except TinychatError as error:
        notice = context.told(error)
    nothing = "No conversation has these words." if listing.words.strip() else ""
    return {
        "rows": rows,
        "words": listing.words,
        "more": f"{count(hidden, 'older one')}: search to find them." if hidden else "",
        "nothing": "" if rows else nothing,
        "deleted": listing.deleted[1] if listing.deleted else "",
        "notice": notice,
    }


def _row(context: PageContext, summary: Summary, current: str | None) -> dict[str, Any]:
    return {
        "id": summary.id,
        "title": summary.title,
        "about": context.told(summary.problem)
        or f"{_ago(summary.time)} · {count(summary.messages, 'message')}",
        "current": summary.id == current,
        "broken": bool(summary.problem),
    }


def _ago(moment: float) -> str:
    seconds = time.time() - moment
    return "just now" if seconds < 60 else f"{age(seconds)} ago"


def _request(do: str, conversation: str | None) -> dict[str, Any]:
    return {"do": do, "conversation": conversation, "n": time.time_ns()}
