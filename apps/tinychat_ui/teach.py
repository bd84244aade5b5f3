"""The Teach tab: pick one of four answers in a row, look through all that was said about answers,
and make a better model of it."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from tinychat_ui.chat_tab import QUIET, ChatTab
from tinychat_ui.context import PageContext
from tinychat_ui.controls import SamplingControls
from tinychat_ui.feedback import review, take_back
from tinychat_ui.pick import Picking, ask_four, forget, pick, undo, view, write_better
from tinychat_ui.session import Session
from tinychat_ui.theme import component


def build_teach(context: PageContext, chat: ChatTab, controls: SamplingControls) -> None:
    """The tab, drawn where this is called. Model, settings and system text are the rail's."""
    picking = gr.State(Picking())
    counts = component("teach", elem_id="teach-counts")  # its event: 'look'
    with gr.Tabs(elem_id="teach-parts"):
        with gr.Tab("Pick"):
            # its events: 'ask' 'halt' 'pick' 'better' 'undo'
            four = component("pick", view(Picking()), elem_id="teach-four")
        with gr.Tab("Review"):
            said = component("review", elem_id="teach-said")  # its events: 'look' 'undo'

    def asked(
        picking: Picking, session: Session, rail: Any, event: gr.EventData
    ) -> Iterator[dict[str, Any]]:
        text = (event._data or {}).get("text")
        for _ in ask_four(context, picking, session.model, text, [rail]):
            yield view(picking)

    def halted(picking: Picking) -> None:
        picking.asking.stop()

    def picked(picking: Picking, event: gr.EventData) -> list[dict[str, Any]]:
        pick(context, picking, (event._data or {}).get("number"))
        return [view(picking), *looked()]

    def bettered(picking: Picking, event: gr.EventData) -> list[dict[str, Any]]:
        data = event._data or {}
        write_better(context, picking, data.get("number"), data.get("text"))
        return [view(picking), *looked()]

    def undone(picking: Picking) -> list[dict[str, Any]]:
        undo(context, picking)
        return [view(picking), *looked()]

    def looked() -> list[dict[str, Any]]:
        shown = review(context)
        return [shown, shown]

    def taken_back(picking: Picking, event: gr.EventData) -> list[dict[str, Any]]:
        notice = take_back(context, (event._data or {}).get("id"))
        forget(picking, {mark.id for mark in context.feedback.marks()})
        shown = review(context, notice)
        return [view(picking), shown, shown]

    news = [said, counts]
    asking = [picking, chat.session, controls.component]
    four.ask(asked, asking, four, concurrency_limit=None, **QUIET)
    four.halt(halted, picking, queue=False, **QUIET)
    four.pick(picked, picking, [four, *news], **QUIET)
    four.better(bettered, picking, [four, *news], **QUIET)
    four.undo(undone, picking, [four, *news], **QUIET)
    said.look(looked, None, news, **QUIET)
    counts.look(looked, None, news, **QUIET)
    said.undo(taken_back, picking, [four, *news], **QUIET)
    chat.changed.change(looked, None, news, **QUIET)
