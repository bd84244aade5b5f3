"""The Teach tab: pick one of four answers, and look through all that was said about answers."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from tinychat_ui.chat_tab import QUIET, ChatTab
from tinychat_ui.context import PageContext
from tinychat_ui.controls import SamplingControls
from tinychat_ui.feedback import review, take_back
from tinychat_ui.pick import Picking, ask_four, pick, view, write_better
from tinychat_ui.session import Session
from tinychat_ui.theme import script

INTRO = (
    "What you say about answers is kept here, to teach a model from later. Thumbs and better "
    "answers are given below each answer in the Chat tab. Here one prompt is answered four times: "
    "say which answer is best."
)


def build_teach(context: PageContext, chat: ChatTab, controls: SamplingControls) -> None:
    """The tab, drawn where this is called. Model, settings and system text are the rail's."""
    picking = gr.State(Picking())
    gr.HTML(f'<p class="teach-intro">{INTRO}</p>', apply_default_css=False)
    prompt = gr.Textbox(
        label="Prompt for four answers",
        lines=2,
        max_lines=8,
        max_length=8000,
        elem_id="teach-prompt",
    )
    with gr.Row(elem_classes="teach-go"):
        go = gr.Button("Ask four times", variant="primary", elem_id="teach-ask")
        stop = gr.Button("Stop", interactive=False, elem_id="teach-stop")
    four = gr.HTML(
        value=view(Picking()),  # type: ignore[arg-type]
        html_template="",
        js_on_load=script("pick"),  # its events: 'pick' 'better'
        elem_id="teach-four",
    )
    said = gr.HTML(
        value={},  # type: ignore[arg-type]
        html_template="",
        js_on_load=script("teach"),  # its events: 'look' 'undo'
        elem_id="teach-said",
    )

    def asked(picking: Picking, session: Session, text: Any, *rail: Any) -> Iterator[list[Any]]:
        for _ in ask_four(context, picking, session.model, text, rail):
            busy = picking.asking.busy
            update = [gr.update(interactive=not busy), gr.update(interactive=busy)]
            yield [view(picking), *update]

    def halted(picking: Picking) -> None:
        picking.asking.stop()

    def picked(picking: Picking, event: gr.EventData) -> list[dict[str, Any]]:
        pick(context, picking, (event._data or {}).get("number"))
        return [view(picking), review(context)]

    def bettered(picking: Picking, event: gr.EventData) -> list[dict[str, Any]]:
        write_better(context, picking, (event._data or {}).get("text"))
        return [view(picking), review(context)]

    def looked() -> dict[str, Any]:
        return review(context)

    def undone(picking: Picking, event: gr.EventData) -> list[Any]:
        id = (event._data or {}).get("id")
        notice = take_back(context, id)
        if picking.kept is not None and picking.kept not in _kept(context):
            picking.kept = picking.chosen = None  # it can be picked again
            picking.notice = ""
        return [view(picking), review(context, notice)]

    inputs = [picking, chat.session, prompt, *controls.inputs]
    gr.on(
        [go.click, prompt.submit], asked, inputs, [four, go, stop], concurrency_limit=None, **QUIET
    )
    stop.click(halted, picking, queue=False, **QUIET)
    four.pick(picked, picking, [four, said], **QUIET)
    four.better(bettered, picking, [four, said], **QUIET)
    said.look(looked, None, said, **QUIET)
    said.undo(undone, picking, [four, said], **QUIET)
    chat.changed.change(looked, None, said, **QUIET)


def _kept(context: PageContext) -> set[str]:
    return {mark.id for mark in context.feedback.marks()}
