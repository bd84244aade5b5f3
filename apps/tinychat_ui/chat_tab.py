"""The Chat tab: one component with conversation and message box, and what its events do.

The component's events: "ask" starts an answer and streams it, "halt" stops it, "act" is all that
is done at once, "open" tells which conversation the page's address names.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from tinychat.errors import ConversationError, TinychatError
from tinychat_ui import feedback
from tinychat_ui.answers import ask, stop
from tinychat_ui.context import PageContext
from tinychat_ui.controls import SamplingControls
from tinychat_ui.picker import pick_last
from tinychat_ui.session import Session
from tinychat_ui.theme import component
from tinychat_ui.transcript import View, opened, view

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""For every event: no public API, no spinner over our own drawing."""

_ASKING = ("send", "edit", "again", "continue", "fork")


@dataclass(frozen=True)
class ChatTab:
    """The component, and what other parts of the page may listen to or ask for."""

    component: gr.HTML
    session: gr.State
    conversation: gr.State  # str | None: the id of the open conversation
    changed: gr.State  # another value whenever the conversation on disk has changed
    selected: gr.State  # (conversation, answer) | None: what to look inside
    request: gr.State  # of others: {"do": "open" | "fork" | "reload", ..., "n": anything}


def build_chat(context: PageContext, session: gr.State, controls: SamplingControls) -> ChatTab:
    """The tab, drawn where this is called. What it shows comes from `transcript.view`."""
    chat = ChatTab(
        component=component("chat", elem_id="tc-talk"),  # its events: ask, halt, act, open
        session=session,
        conversation=gr.State(None),
        changed=gr.State(None),
        selected=gr.State(None),
        request=gr.State(None),
    )
    _connect(context, chat, controls)
    return chat


def _connect(context: PageContext, chat: ChatTab, controls: SamplingControls) -> None:
    def asked(session: Session, values: Any, event: gr.EventData) -> Iterator[View]:
        yield from told(session, ask(context, session, event._data or {}, [values]))

    def requested(request: Any, session: Session, values: Any) -> Iterator[Any]:
        request = request if isinstance(request, Mapping) else {}
        if request.get("do") in _ASKING and not session.asking:
            session.conversation = request.get("conversation") or session.conversation
            yield from told(session, ask(context, session, request, [values]))
            return
        late = request.get("n", 0) < session.asked_at  # the person has asked something since
        if request.get("do") == "open" and not session.asking and not late:
            session.conversation = request.get("conversation")
            if (conversation := opened(context, session)) is not None:
                pick_last(context, session, conversation)
        yield gr.skip() if session.asking else tell(session, view(context, session))

    def acted(session: Session, event: gr.EventData) -> list[Any]:
        if session.asking:
            return [gr.skip(), gr.skip()]
        data = event._data or {}
        selected = gr.skip()
        notice = ""
        try:
            if data.get("do") == "inside" and session.conversation:
                selected = (session.conversation, str(data.get("id")))
            else:
                notice = act(context, session, data)
        except TinychatError as error:
            notice = context.told(error)
        return [tell(session, view(context, session, notice=notice)), selected]

    def halted(session: Session) -> Any:
        stop(session)
        return gr.skip() if session.asking else tell(session, view(context, session))

    def opened_by_address(session: Session, event: gr.EventData) -> Any:
        if not session.asking:
            adopt(context, session, (event._data or {}).get("conversation"))
        return gr.skip() if session.asking else tell(session, view(context, session))

    def settled(session: Session) -> list[Any]:
        conversation = opened(context, session)
        last = conversation.branch()[-1:] if conversation else []
        selected = [(session.conversation, node.id) for node in last if node.answer is not None]
        return [session.conversation, time.time_ns(), selected[0] if selected else None]

    streams: dict[str, Any] = {**QUIET, "concurrency_limit": None}
    after = [chat.conversation, chat.changed, chat.selected]
    asking = [chat.session, controls.component]
    part = chat.component
    part.ask(asked, asking, part, **streams).then(settled, chat.session, after, **QUIET)
    chat.request.change(
        requested, [chat.request, *asking], part, **streams
    ).then(settled, chat.session, after, **QUIET)  # fmt: skip
    part.act(acted, chat.session, [part, chat.selected], trigger_mode="multiple", **QUIET).then(
        lambda session: [session.conversation, time.time_ns()],
        chat.session,
        [chat.conversation, chat.changed],
        **QUIET,
    )
    part.halt(halted, chat.session, part, queue=False, **QUIET)
    part.open(opened_by_address, chat.session, part, **QUIET).then(
        settled, chat.session, after, **QUIET
    )


def act(context: PageContext, session: Session, data: Mapping[str, Any]) -> str:
    """Do what needs no model; returns a sentence to show, or nothing."""
    do, id = str(data.get("do")), str(data.get("id"))
    if do == "new":
        session.conversation = None
        return ""
    conversation = opened(context, session)
    if conversation is None:
        raise ConversationError("That conversation is not here any more.")
    if do == "choose":
        conversation.choose(id)
        return ""
    if do in feedback.ACTIONS:
        return feedback.act(context, conversation.id, id, do, dict(data)) or ""
    raise ConversationError(f"The page cannot do {do[:40]!r}.")


def adopt(context: PageContext, session: Session, wanted: Any) -> None:
    """Show the conversation of the page's address if it is there, else a new one."""
    session.conversation = wanted if isinstance(wanted, str) else None
    opened(context, session)


def tell(session: Session, shown: View) -> View:
    """Remember what the browser is shown, so that it is not sent again."""
    session.told["chat"] = shown
    return shown


def told(session: Session, views: Iterator[View]) -> Iterator[View]:
    """`tell` for each."""
    for shown in views:
        yield tell(session, shown)
