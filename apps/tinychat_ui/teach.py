"""The Teach tab: pick one of four answers in a row, look through all that was said about answers,
and make a better model of it."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from tinychat.errors import TinychatError
from tinychat.words import number
from tinychat_ui import pick, review
from tinychat_ui.chat_tab import QUIET, ChatTab
from tinychat_ui.context import PageContext
from tinychat_ui.controls import SamplingControls
from tinychat_ui.pick import Picking
from tinychat_ui.review import Reviewing
from tinychat_ui.session import Session, made_at
from tinychat_ui.theme import component


def build_teach(context: PageContext, chat: ChatTab, controls: SamplingControls) -> None:
    """The tab, drawn where this is called. Model, settings and system text are the rail's."""
    picking, reviewing = gr.State(Picking()), gr.State(Reviewing())
    counts = component("teach", elem_id="teach-counts")  # its event: 'look'
    with gr.Tabs(elem_id="teach-parts"):
        with gr.Tab("Pick"):
            # its events: 'ask' 'halt' 'pick' 'better' 'undo'
            four = component("pick", pick.view(Picking()), elem_id="teach-four")
        with gr.Tab("Review"):
            said = component("review", elem_id="teach-said")  # its event: 'act'

    def asked(
        picking: Picking, session: Session, rail: Any, event: gr.EventData
    ) -> Iterator[dict[str, Any]]:
        text = (event._data or {}).get("text")
        for _ in pick.ask_four(context, picking, session.model, text, [rail]):
            yield pick.view(picking)

    def halted(picking: Picking) -> None:
        picking.stop()

    def picked(picking: Picking, reviewing: Reviewing, event: gr.EventData) -> list[Any]:
        pick.pick(context, picking, (event._data or {}).get("number"))
        return [pick.view(picking), *looked(reviewing)]

    def bettered(picking: Picking, reviewing: Reviewing, event: gr.EventData) -> list[Any]:
        data = event._data or {}
        pick.write_better(context, picking, data.get("number"), data.get("text"))
        return [pick.view(picking), *looked(reviewing)]

    def undone(picking: Picking, reviewing: Reviewing) -> list[Any]:
        pick.undo(context, picking)
        return [pick.view(picking), *looked(reviewing)]

    def looked(reviewing: Reviewing) -> list[Any]:
        return [review.view(context, reviewing), _counts(context)]

    def reviewed(picking: Picking, reviewing: Reviewing, event: gr.EventData) -> list[Any]:
        review.act(context, reviewing, dict(event._data or {}))
        pick.forget(context, picking)
        return [pick.view(picking), *looked(reviewing)]

    both, news = [picking, reviewing], [said, counts]
    asking = [picking, chat.session, controls.component]
    four.ask(asked, asking, four, concurrency_limit=None, **QUIET)
    four.halt(halted, picking, queue=False, **QUIET)
    four.pick(picked, both, [four, *news], **QUIET)
    four.better(bettered, both, [four, *news], **QUIET)
    four.undo(undone, both, [four, *news], **QUIET)
    said.act(reviewed, both, [four, *news], trigger_mode="multiple", **QUIET)
    counts.look(looked, reviewing, news, **QUIET)
    chat.changed.change(looked, reviewing, news, **QUIET)


def _counts(context: PageContext) -> dict[str, Any]:
    """How much there is to learn from, and how much of visitors waits for a review."""
    try:
        waiting = context.feedback.counts(reviewed=False).total if context.local else 0
        counts = context.feedback.counts(reviewed=True if context.local else None)
    except TinychatError:  # the list tells
        return {"n": made_at()}
    told = f"{number(waiting)} of visitors to review" if waiting else ""
    return {"n": made_at(), "counts": str(counts), "waiting": told}
