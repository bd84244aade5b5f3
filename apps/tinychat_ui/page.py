"""The page: its parts put together, the clock that keeps it true, and its place in the server."""

from collections.abc import Iterator, Mapping
from typing import Any

import gradio as gr
from fastapi import FastAPI

from tinychat_ui import compare, conversations_panel, inside, teach, travel
from tinychat_ui.about import build_about
from tinychat_ui.chat_tab import QUIET, ChatTab, build_chat
from tinychat_ui.context import PageContext
from tinychat_ui.controls import build_sampling
from tinychat_ui.picker import Picker, build_picker, follow, head_view, pick, picker_view
from tinychat_ui.session import Session
from tinychat_ui.theme import STYLES, component, theme
from tinychat_ui.transcript import view

_TICK_SECONDS = 2.0
_AGAIN_SECONDS = 5.0


def build_page(context: PageContext) -> gr.Blocks:
    """The whole page over a folder of runs."""
    with gr.Blocks(title="tinychat", analytics_enabled=False, fill_width=True) as page:
        session = gr.State(Session())
        top = component("head", elem_id="tc-head")
        with gr.Row(elem_id="tc-body"):
            with gr.Column(elem_id="tc-rail", min_width=0) as rail:
                picker = build_picker(context)
                controls = build_sampling()
            with gr.Column(elem_id="tc-main", min_width=0), gr.Tabs(elem_id="tc-tabs"):
                with gr.Tab("Chat", elem_id="tc-chat-tab"), gr.Row(elem_id="tc-chat-row"):
                    with gr.Column(elem_id="tc-chat-column", min_width=0):
                        chat = build_chat(context, session, controls)
                    with gr.Column(elem_id="tc-inside", min_width=0):
                        inside.build_inside(context, chat)
                with gr.Tab("Teach"):
                    teach.build_teach(context, chat, picker, controls)
                with gr.Tab("Compare"):
                    compare.build_compare(context, picker, controls)
                with gr.Tab("Time travel"):
                    travel.build_travel(context, picker, controls)
                with gr.Tab("API & about"):
                    build_about(page)
            with rail:
                conversations_panel.build_conversations(context, chat)
        _keep_true(context, picker, chat, top)
    # api_open would let a request go past the queue
    page.queue(max_size=64, default_concurrency_limit=None, api_open=False)
    return page


def mount_page(app: FastAPI, page: gr.Blocks, host: str, port: int) -> FastAPI:
    """The page at "/" of an app that has routes of its own."""
    return gr.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=host,
        server_port=port,
        footer_links=[],
        run_history=False,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        allowed_paths=[],
        show_error=False,  # our own sentences are shown by our own components
        max_file_size="1kb",
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        theme=theme(),
        css_paths=list(STYLES),
    )


def _keep_true(context: PageContext, picker: Picker, chat: ChatTab, top: gr.HTML) -> None:
    """Every two seconds, and at each choice: the model that ought to answer, and what is said."""
    outputs = [picker.component, top, chat.component, picker.current]

    def news(session: Session) -> list[Any]:
        """What of the page has changed since it was last sent."""
        shown = {"picker": picker_view(context, session), "head": head_view(session)}
        if not session.asking:
            shown["chat"] = view(context, session)
        told = session.told
        sent = [_changed(told, name, shown) for name in ("picker", "head", "chat")]
        return [*sent, session.model]

    def learns(session: Session) -> bool:
        """Whether it takes a step at each judgement: whoever judges knows that."""
        overview = context.runs.overview(session.run) if session.run else None
        return overview is not None and overview.follows

    def look(session: Session, chosen: bool = False) -> Iterator[list[Any]]:
        before = session.model
        for name in follow(context, session):
            if name is not None and before is not None and not chosen and not learns(session):
                gr.Info(f"{name} answers now", duration=4)
            yield news(session)
        yield news(session)

    def choose(session: Session, event: gr.EventData) -> Iterator[list[Any]]:
        pick(context, session, event._data or {})
        yield from look(session, chosen=True)

    def choose_wanted(session: Session, wanted: Any) -> Iterator[list[Any]]:
        pick(context, session, wanted if isinstance(wanted, Mapping) else {})
        yield from look(session, chosen=True)

    quiet = {**QUIET, "concurrency_limit": None}
    clock = gr.Timer(_TICK_SECONDS)
    clock.tick(look, chat.session, outputs, **quiet)
    chat.conversation.change(look, chat.session, outputs, **quiet)  # its model may be another one
    picker.wanted.change(choose_wanted, [chat.session, picker.wanted], outputs, **quiet)
    picker.component.pick(choose, chat.session, outputs, trigger_mode="multiple", **quiet)


def _changed(told: dict[str, Any], name: str, shown: Mapping[str, Any]) -> Any:
    """The view if it is not what was sent last, or if that was a while ago: it may be lost."""
    if name not in shown:
        return gr.skip()
    before, now = told.get(name, {"n": 0}), shown[name]
    if {**before, "n": 0} == {**now, "n": 0} and now["n"] - before["n"] < _AGAIN_SECONDS * 1e6:
        return gr.skip()
    told[name] = now
    return now
