"""Time travel: the same prompt and seed, asked of every step of a run that is kept.

Steps are opened one after another, each on a shelf of its own that is given up before the next, so
a long run takes no more memory than two of its checkpoints.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from tinychat.engine import Sampling, Shelf
from tinychat.errors import SettingsError, TinychatError
from tinychat.runs import checkpoint_label
from tinychat.words import count, loss, number
from tinychat_ui.asking import Asking, Growing, ask, follow, question_of
from tinychat_ui.chat_tab import QUIET
from tinychat_ui.context import PageContext, Stop
from tinychat_ui.controls import SamplingControls, sampling_of, system_of
from tinychat_ui.picker import Picker
from tinychat_ui.theme import script

INTRO = (
    "Watch a model learn: every kept step of a run answers the same prompt, with the same seed and "
    "the sampling settings of this page."
)


@dataclass(eq=False)
class Row:
    """What one step says, or why it says nothing."""

    stop: Stop
    state: str = "waiting"  # waiting, loading, answering, done, failed
    answer: Growing | None = None
    trouble: str = ""

    def view(self) -> dict[str, Any]:
        """As the browser draws it."""
        stop, answer = self.stop, self.answer
        marks = (("best", stop.is_best), ("newest", stop.is_latest))
        val_loss = "not evaluated" if stop.val_loss is None else f"val loss {loss(stop.val_loss)}"
        return {
            "step": number(stop.step),
            "val_loss": val_loss,
            "marks": [word for word, there in marks if there],
            "state": self.state,
            "text": answer.text if answer else "",
            "facts": answer.facts if answer else "",
            "trouble": self.trouble,
        }


@dataclass(eq=False)
class Journey:
    """The journey of one browser tab, kept on the server and changed in place."""

    asking: Asking = field(default_factory=Asking)
    rows: list[Row] = field(default_factory=list)
    notice: str = ""
    offered: list[str] = field(default_factory=list)  # runs that can be chosen


def build_travel(context: PageContext, picker: Picker, controls: SamplingControls) -> None:
    """The tab. Settings, seed and system text are those of the rail."""
    journey = gr.State(Journey())
    gr.HTML(f'<p class="travel-intro">{INTRO}</p>', apply_default_css=False)
    run = gr.Dropdown(_runs(context), value=None, label="Run", elem_id="travel-run")
    prompt = gr.Textbox(
        label="Prompt for all steps",
        lines=2,
        max_lines=8,
        max_length=8000,
        elem_id="travel-prompt",
    )
    with gr.Row(elem_classes="travel-go"):
        go = gr.Button("Travel", variant="primary", elem_id="travel-ask")
        stop = gr.Button("Stop", interactive=False, elem_id="travel-stop")
    stops = gr.HTML(
        value=view(Journey()),  # type: ignore[arg-type]
        html_template="",
        js_on_load=script("travel"),
        elem_id="travel-stops",
    )

    def asked(journey: Journey, run: Any, text: Any, *rail: Any) -> Iterator[list[Any]]:
        for _ in travel(context, journey, run, text, rail):
            busy = journey.asking.busy
            update = [gr.update(interactive=not busy), gr.update(interactive=busy)]
            yield [view(journey), *update]

    def halted(journey: Journey) -> None:
        journey.asking.stop()

    def offered(journey: Journey, now: Any, current: str | None) -> Any:
        names = _runs(context)
        if names == journey.offered and now in names:
            return gr.skip()  # what is being typed to find one stays
        journey.offered = names
        standard = (current or "").rpartition("@")[0]
        value = now if now in names else standard if standard in names else None
        return gr.update(choices=names, value=value)

    inputs = [journey, run, prompt, *controls.inputs]
    gr.on(
        [go.click, prompt.submit], asked, inputs, [stops, go, stop], concurrency_limit=None, **QUIET
    )
    stop.click(halted, journey, concurrency_limit=None, **QUIET)
    for trigger in (picker.current.change, run.focus):
        trigger(offered, [journey, run, picker.current], run, **QUIET)


def travel(
    context: PageContext, journey: Journey, run: Any, text: Any, rail: Sequence[Any]
) -> Iterator[None]:
    """Ask every kept step of a run, oldest first. Yields whenever there is more to show; a step
    that cannot answer says why in its row."""
    if not journey.asking.begin():
        return
    try:
        journey.rows, journey.notice = [], ""
        if run not in _runs(context):
            raise SettingsError("Choose a run first.")
        question, system = question_of(text, context), system_of(rail)
        # one seed for all, also where none is locked
        sampling = sampling_of(rail, most_new_tokens=context.limits.new_tokens)
        journey.rows = [Row(stop) for stop in context.runs.stops(run)]
        if not journey.rows:
            raise SettingsError(f"The run {run} has no checkpoint yet; its first comes at step 0.")
        journey.notice = f"Seed {sampling.seed}, the same for all steps."
        for row in journey.rows:
            if journey.asking.stopped:
                break
            label = checkpoint_label(run, row.stop.step)
            yield from _visit(context, journey, row, label, question, system, sampling)
    except TinychatError as error:
        journey.notice = context.told(error)
    finally:
        left = sum(row.state == "waiting" for row in journey.rows)
        if journey.asking.stopped and left:
            journey.notice = f"Stopped by you; {count(left, 'step')} not asked."
        journey.asking.over()
    yield


def _visit(
    context: PageContext,
    journey: Journey,
    row: Row,
    name: str,
    question: str,
    system: str,
    sampling: Sampling,
) -> Iterator[None]:
    """One step: open it, ask it, give it up again."""
    row.state = "loading"
    yield
    news = threading.Event()
    try:
        shelf = context.shelf
        model = Shelf(shelf.checkpoints, shelf.settings, most=1, int8=shelf.int8).open(name)
        if journey.asking.stopped:
            row.state = "waiting"
            return
        answer = ask(context, model, question, sampling, system, news=news)
    except TinychatError as error:
        row.state, row.trouble = "failed", context.told(error)
        yield
        return
    row.state, row.answer = "answering", journey.asking.add(answer)
    yield from follow([row.answer], news)
    row.trouble = row.answer.trouble
    row.state = "failed" if row.trouble else "done"
    yield


def view(journey: Journey) -> dict[str, Any]:
    """What the tab shows."""
    return {
        "rows": [row.view() for row in journey.rows],
        "busy": journey.asking.busy,
        "notice": journey.notice,
    }


def _runs(context: PageContext) -> list[str]:
    return [run.name for run in context.runs.look()]
