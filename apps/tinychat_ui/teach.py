"""The Teach tab: pick one of four answers in a row, look through all that was said about answers,
and make a better model of it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from tinychat.conversations import not_learnt_yet
from tinychat.errors import TinychatError
from tinychat.words import number
from tinychat_ui import live, pick, review, training, training_view, trial
from tinychat_ui.chat_tab import QUIET, ChatTab
from tinychat_ui.context import PageContext
from tinychat_ui.controls import SamplingControls
from tinychat_ui.live import Learner
from tinychat_ui.pick import Picking
from tinychat_ui.picker import Picker
from tinychat_ui.review import Reviewing
from tinychat_ui.session import Session, made_at
from tinychat_ui.theme import component
from tinychat_ui.training import Trainee
from tinychat_ui.trial import Trial

_SWIFT: dict[str, Any] = {**QUIET, "trigger_mode": "multiple"}
"""For what keys do: "once" would pass over a key while the last event is being taken leave of."""
_STREAMS: dict[str, Any] = {**_SWIFT, "concurrency_limit": None}


@dataclass(frozen=True)
class _Teach:
    """The tab's components, and what belongs to one browser tab."""

    chat: ChatTab
    picker: Picker
    controls: SamplingControls
    counts: gr.HTML
    four: gr.HTML
    said: gr.HTML
    train: gr.HTML
    trial: gr.HTML
    live: gr.HTML
    picking: gr.State
    reviewing: gr.State


def build_teach(
    context: PageContext, chat: ChatTab, picker: Picker, controls: SamplingControls
) -> None:
    """The tab, drawn where this is called. Model, settings and system text are the rail's."""
    states = {"picking": gr.State(Picking()), "reviewing": gr.State(Reviewing())}
    counts = component("teach", elem_id="teach-counts")  # its events: look, tick
    with gr.Tabs(elem_id="teach-parts"):
        with gr.Tab("Pick"):
            # its events: ask, halt, judge
            four = component(
                "pick",
                value=pick.view(Picking()),
                elem_id="teach-four",
                suggests=context.local,
            )
            alive = component("live", elem_id="teach-live")  # its event: act
        with gr.Tab("Review"):
            said = component("review", elem_id="teach-said")  # its event: act
        with gr.Tab("Train"):
            train = component("train", elem_id="teach-train")  # its events: act, compare
            # its events: next, vote, undo, act, halt
            panes = component("compare", "trial", elem_id="teach-trial")
    tab = _Teach(chat, picker, controls, counts, four, said, train, panes, alive, **states)
    _connect_picking(context, tab)
    _connect_training(context, tab)
    _connect_live(context, tab)


def _connect_picking(context: PageContext, tab: _Teach) -> None:
    def asked(
        picking: Picking, session: Session, rail: Any, event: gr.EventData
    ) -> Iterator[dict[str, Any]]:
        text = (event._data or {}).get("text")
        for _ in pick.ask_four(context, picking, session.model, text, [rail]):
            yield pick.view(picking)

    def halted(picking: Picking) -> None:
        picking.stop()

    def looked(reviewing: Reviewing, session: Session) -> list[Any]:
        return [review.view(context, reviewing), _counts(context, session)]

    def judged(
        picking: Picking, reviewing: Reviewing, session: Session, event: gr.EventData
    ) -> list[Any]:
        data = dict(event._data or {})
        if data.get("do") == "undo":
            pick.undo(context, picking)
        elif data.get("do") == "better":
            pick.write_better(context, picking, data.get("number"), data.get("text"))
        else:
            pick.pick(context, picking, data.get("number"))
        return [pick.view(picking), *looked(reviewing, session)]

    def reviewed(
        picking: Picking, reviewing: Reviewing, session: Session, event: gr.EventData
    ) -> list[Any]:
        review.act(context, reviewing, dict(event._data or {}))
        pick.forget(context, picking)
        return [pick.view(picking), *looked(reviewing, session)]

    four, said, session = tab.four, tab.said, tab.chat.session
    looking, news = [tab.reviewing, session], [said, tab.counts]
    judging, shown = [tab.picking, *looking], [four, *news]
    four.ask(asked, [tab.picking, session, tab.controls.component], four, **_STREAMS)
    four.halt(halted, tab.picking, queue=False, **QUIET)
    four.judge(judged, judging, shown, **_SWIFT)
    said.act(reviewed, judging, shown, **_SWIFT)
    tab.counts.look(looked, looking, news, **QUIET)
    tab.counts.tick(lambda session: _counts(context, session), session, tab.counts, **QUIET)
    tab.chat.changed.change(looked, looking, news, **QUIET)


def _connect_training(context: PageContext, tab: _Teach) -> None:
    trainee, match = gr.State(Trainee()), gr.State(Trial())

    def acted(trainee: Trainee, session: Session, trial_: Trial, event: gr.EventData) -> list[Any]:
        data = dict(event._data or {})
        choice = training.act(context, session, trainee, data)
        wanted = compared = gr.skip()
        if choice is not None:  # what was to be compared is decided
            wanted = {**choice, "n": time.time_ns()}
            trial.act(context, trial_, {"do": "close"})
            compared = trial.trial_view(context, trial_)
        shown = training_view.view(context, session, trainee)
        return [shown, _counts(context, session), wanted, compared]

    def opened(trial_: Trial, rail: Any) -> Iterator[dict[str, Any]]:
        trial.begin(context, trial_)
        yield from went_on(trial_, rail)

    def went_on(trial_: Trial, rail: Any) -> Iterator[dict[str, Any]]:
        for _ in trial.go_on(context, trial_, rail):
            yield trial.trial_view(context, trial_)

    def judged(trial_: Trial, event: gr.EventData) -> dict[str, Any]:
        trial.act(context, trial_, dict(event._data or {}))
        return trial.trial_view(context, trial_)

    def voted(trial_: Trial, event: gr.EventData) -> dict[str, Any]:
        trial.act(context, trial_, {"do": "vote", **(event._data or {})})
        return trial.trial_view(context, trial_)

    def unvoted(trial_: Trial) -> dict[str, Any]:
        trial.act(context, trial_, {"do": "undo"})
        return trial.trial_view(context, trial_)

    def halted(trial_: Trial) -> None:
        trial_.match.asking.stop()

    train, panes, session = tab.train, tab.trial, tab.chat.session
    comparing = [match, tab.controls.component]
    after = [train, tab.counts, tab.picker.wanted, panes]
    train.act(acted, [trainee, session, match], after, **_SWIFT)
    train.compare(opened, comparing, panes, **_STREAMS)
    panes.next(went_on, comparing, panes, **_STREAMS)
    panes.act(judged, match, panes, **_SWIFT)
    panes.vote(voted, match, panes, **_SWIFT)
    panes.undo(unvoted, match, panes, **_SWIFT)
    panes.halt(halted, match, queue=False, **QUIET)
    tab.picker.current.change(  # a training starts from what is chosen there
        lambda trainee, session: training_view.view(context, session, trainee),
        [trainee, session],
        train,
        **QUIET,
    )


def _connect_live(context: PageContext, tab: _Teach) -> None:
    learner, session = gr.State(Learner()), tab.chat.session

    def acted(learner: Learner, session: Session, event: gr.EventData) -> list[Any]:
        choice = live.act(context, session, learner, dict(event._data or {}))
        wanted = gr.skip() if choice is None else {**choice, "n": time.time_ns()}
        return [live.view(context, session, learner), _counts(context, session), wanted]

    after = [tab.live, tab.counts, tab.picker.wanted]
    tab.live.act(acted, [learner, session], after, **_SWIFT)
    tab.picker.current.change(
        lambda learner, session: live.view(context, session, learner),
        [learner, session],
        tab.live,
        **QUIET,
    )


def _counts(context: PageContext, session: Session) -> dict[str, Any]:
    """How much there is to learn from, how much of it is new, and what wants to be looked at."""
    made, run = made_at(), (session.model or "").rpartition("@")[0]
    if not context.local:
        return {"n": made, "counts": str(context.feedback.counts())}
    try:
        waiting = context.feedback.counts(reviewed=False).total
        counts = context.feedback.counts(reviewed=True)
        fresh = not_learnt_yet(context.feedback, context.checkpoints, run) if run else counts.total
    except TinychatError:  # the list tells
        return {"n": made}
    status = training_view.status_words(context)
    told = [
        f"{number(fresh)} new since the last training" if 0 < fresh < counts.total else "",
        f"{number(waiting)} of visitors to review" if waiting else "",
        status,
    ]
    more = [each for each in told if each]
    return {"n": made, "counts": str(counts), "more": more, "live": training_view.is_live(context)}
