"""Which model answers: run and step, following the newest while it trains, and what is known of it.

A tab's model changes only between two answers. While a checkpoint is being opened the one before
answers; one that cannot be opened is passed over, and its reason stays in view.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import gradio as gr

from tinychat.conversations import Conversation
from tinychat.engine import OpenedModel
from tinychat.errors import TinychatError
from tinychat.runs import RunReader, checkpoint_label
from tinychat.watch.overview import Overview, newest_samples
from tinychat.watch.states import LIVE, look_of, state_word
from tinychat.words import clip, long_duration, loss, number, progress, short
from tinychat_ui.context import PageContext, Stop
from tinychat_ui.session import BEST, NEWEST, About, Session, made_at
from tinychat_ui.theme import component

_PROMPTS = 4
_PROMPT_CHARACTERS = 80


@dataclass(frozen=True)
class Picker:
    """The component in the rail, and which model answers as others may listen to it."""

    component: gr.HTML
    current: gr.State  # str | None: what `shelf.open` takes, e.g. "demo@300"
    wanted: gr.State  # of others: {"run", "step", "n": anything}, to be chosen


def build_picker(context: PageContext) -> Picker:
    """The picker, drawn where this is called. What it shows comes from `picker_view`.

    The browser remembers what was chosen, and chooses it again; but not against a RUN that the page
    was started for since.
    """
    begun = context.shown(context.first or "")
    return Picker(component("picker", begun_with=begun), gr.State(None), gr.State(None))


def model_choices(context: PageContext) -> list[tuple[str, str]]:
    """(what is shown, name) of every checkpoint: newest run first, newest step first."""
    return [
        (f"{run.name} @ {_stop_words(stop)}", checkpoint_label(run.name, stop.step))
        for run in context.runs.look()
        for stop in reversed(context.runs.stops(run.name))
    ]


def pick(context: PageContext, session: Session, chosen: Mapping[str, Any]) -> None:
    """Take what a person chose; anything that is not there is refused with a note."""
    run, step, first = chosen.get("run"), chosen.get("step"), chosen.get("first")
    if run is None and step is None:
        return  # the browser remembers nothing
    if isinstance(first, str) and first != _first_words(context):
        return  # it remembers what was chosen before another model became the first choice
    session.note = ""
    session.refused.clear()  # a choice by hand tries again
    if isinstance(run, str):
        if (name := _names(context).get(run)) is None:
            session.note = f"There is no run {clip(run, 60)!r} any more."
            return
        session.run, session.step = name, NEWEST
    if isinstance(step, str) and step and session.run is not None:
        known = {NEWEST, BEST, *(str(stop.step) for stop in context.runs.stops(session.run))}
        if step in known:
            session.step = step
        else:
            session.note = f"Step {clip(step, 20)} is not kept any more."


def pick_last(context: PageContext, session: Session, conversation: Conversation) -> None:
    """Choose what a conversation was last answered with; if it is gone, a note says so."""
    session.note = ""
    said = [node.answer for node in conversation.branch() if node.answer is not None]
    about = session.about
    if not said or (about is not None and said[-1].label == about.label):
        return
    answer = said[-1]
    stop = next((s for s in context.runs.stops(answer.run) if s.step == answer.step), None)
    if stop is not None:
        step = NEWEST if stop.is_latest else str(stop.step)
        pick(context, session, {"run": answer.run, "step": step})
    elif answer.step is None and f"…/{answer.run}" in _names(context):
        pick(context, session, {"run": f"…/{answer.run}"})
    else:
        session.note = f"{clip(answer.label, 60)}, which answered last here, is gone."


def follow(context: PageContext, session: Session) -> Iterator[str | None]:
    """Bring the tab to the model that its choice means by now.

    Gives None once if a model has to be opened, so that "loading" can be shown, and the name of a
    model that has just taken over.
    """
    wanted = _wanted(context, session)
    if wanted is None or wanted == session.model:
        return
    session.loading = wanted
    try:
        yield None
        opened = context.shelf.open(wanted)
    except TinychatError as error:
        session.refused[wanted] = context.told(error)
        return
    finally:
        session.loading = None
    if session.asking or _wanted(context, session) != wanted:
        return  # the next look finds it opened already; or another was chosen meanwhile
    session.model = wanted
    session.about = _about(context, session, opened)
    yield opened.label


def picker_view(context: PageContext, session: Session) -> dict[str, Any]:
    """What the picker shows."""
    made = made_at()
    stops = context.runs.stops(session.run) if session.run else []
    overview = context.runs.overview(session.run) if session.run else None
    trouble = [session.note] if session.note else []
    if session.run is not None and not _is_there(context, session.run):
        trouble.append(f"The run {context.shown(session.run)} is gone: choose another one.")
    shown_name = context.shown
    trouble += [f"{shown_name(name)} is passed over: {w}" for name, w in session.refused.items()]
    _, has_step, shown = (session.model or "").rpartition("@")
    return {
        "n": made,
        "runs": [(name, name) for name in _names(context)],
        "run": session.run and context.shown(session.run),
        "steps": _step_choices(stops),
        "step": session.step if stops else "",
        "shown_step": shown if has_step else "",
        "first": _first_words(context),
        "status": f"loading {context.shown(session.loading)} …" if session.loading else "",
        "trouble": " ".join(trouble + list(session.about.remarks if session.about else ())),
        "training": _training(overview) if overview else None,
    }


def head_view(session: Session) -> dict[str, Any]:
    """What the head of the page shows."""
    return {"n": made_at(), "passport": session.about.passport if session.about else []}


def _wanted(context: PageContext, session: Session) -> str | None:
    """The checkpoint that ought to answer now; None where there is none."""
    if session.run is None:
        session.run, session.step = _first_choice(context)
        if session.run != context.first and context.first in _names(context).values():
            told = f"{session.run}@{session.step}, which was accepted, answers in its place."
            session.note = f"The page was started for {context.first}: {told}"
    if session.run is None:
        return None
    if not _is_there(context, session.run):
        return None
    if context.runs.overview(session.run) is None:  # a model folder from elsewhere
        return None if session.run in session.refused else session.run
    stops = context.runs.stops(session.run)
    refused = session.refused
    steps = [s.step for s in stops if checkpoint_label(session.run, s.step) not in refused]
    if not steps:
        return None
    newest = next((stop.step for stop in stops if stop.is_latest), steps[-1])
    step = newest if newest in steps else steps[-1]
    if session.step == BEST:
        step = next((stop.step for stop in stops if stop.is_best and stop.step in steps), step)
    elif session.step != NEWEST:
        if session.step in map(str, steps):
            step = int(session.step)
        else:
            session.note = f"Step {session.step} is not kept any more; the newest answers instead."
            session.step = NEWEST
    return checkpoint_label(session.run, step)


def _first_choice(context: PageContext) -> tuple[str | None, str]:
    """(run, step) to begin with: what the page was started for, else the newest run; and in place
    of a run what was accepted last of all that it was taught to be."""
    if context.first is not None:
        run, _, step = context.first.rpartition("@")
        if run and run in _names(context):
            return run, {"latest": NEWEST}.get(step, step)
        # without a step, or a folder from elsewhere
        return _accepted(context, context.first) or (context.first, NEWEST)
    runs = context.runs.look()
    # what was taught answers once it is accepted, and not by being the newest
    untaught = next((r for r in runs if r.tune is None and context.runs.stops(r.name)), None)
    for name in (_decided_since(context, untaught), untaught.name if untaught else None):
        if name is not None and (accepted := _accepted(context, name)) is not None:
            return accepted
        if name is not None and context.runs.stops(name):
            return name, NEWEST
    return next((run.name for run in runs if context.runs.stops(run.name)), None), NEWEST


def _first_words(context: PageContext) -> str:
    return "@".join(context.shown(each) for each in _first_choice(context) if each)


def _accepted(context: PageContext, run: str) -> tuple[str, str] | None:
    """(run, step) of what answers in place of a run, if something does and is still there."""
    try:
        taught = context.teaching.newest_accepted(run)
    except TinychatError:
        return None
    if taught is None or all(s.step != taught.step for s in context.runs.stops(taught.run)):
        return None
    return taught.run, str(taught.step)


def _decided_since(context: PageContext, begun: Overview | None) -> str | None:
    """The run about whose taught models something was decided, if that is newer than this one."""
    try:
        decisions = context.teaching.decisions()
    except TinychatError:
        return None
    if not decisions or (begun is not None and decisions[-1].time <= _begun_at(begun)):
        return None
    parents = {each.run: each.parent_run for each in decisions}
    name = decisions[-1].parent_run
    while name in parents:
        name = parents.pop(name)  # so that a circle ends
    return name


def _begun_at(run: Overview) -> float:
    """Unix seconds."""
    try:
        return datetime.fromisoformat(run.created_at or "").timestamp()
    except ValueError:
        return 0.0


def _names(context: PageContext) -> dict[str, str]:
    """What can be chosen: as it is shown, and as it is opened. First of all what the page was
    started for, if it comes from elsewhere."""
    names = [run.name for run in context.runs.look()]
    first = context.first
    if first is not None and os.sep in first:
        names.insert(0, first)
    return {context.shown(name): name for name in names}


def _is_there(context: PageContext, run: str) -> bool:
    return run in _names(context).values()


def _step_choices(stops: list[Stop]) -> list[tuple[str, str]]:
    best = next((stop for stop in stops if stop.is_best), None)
    return [
        *([("newest", NEWEST)] if stops else []),
        *([(f"best: {_stop_words(best)}", BEST)] if best else []),
        *((_stop_words(stop), str(stop.step)) for stop in reversed(stops)),
    ]


def _stop_words(stop: Stop) -> str:
    found = number(stop.step)
    return found if stop.val_loss is None else f"{found} · val loss {loss(stop.val_loss)}"


def _training(overview: Overview) -> dict[str, Any]:
    """How the training of a run goes."""
    told = []
    if (train_loss := overview.number("train_loss")) is not None:
        told.append(f"loss {loss(train_loss)}")
    if (val_loss := overview.number("val_loss")) is not None:
        told.append(f"val loss {loss(val_loss)}")
    if overview.eta_seconds is not None:
        told.append(f"{long_duration(overview.eta_seconds)} left")
    return {
        "state": state_word(overview.state),
        "colour": look_of(overview.state).colour,
        "progress": f"step {progress(overview.step, overview.max_steps)}",
        "words": " · ".join(told),
        "recent": list(overview.recent) if overview.state in LIVE else [],
    }


def _about(context: PageContext, session: Session, opened: OpenedModel) -> About:
    """What the page says of a model that has been opened."""
    runtime, card = opened.text.runtime, opened.card
    parameters = opened.parameters
    run = session.run or ""
    val_loss = next((s.val_loss for s in context.runs.stops(run) if s.step == opened.step), None)
    passport = [(opened.label, f"{card.kind} model")]
    passport.append((f"{short(parameters)} parameters", f"{number(parameters)} parameters"))
    if val_loss is not None:
        passport.append((f"val loss {loss(val_loss)}", "nats per token on the validation split"))
    passport.append((runtime.dtype, "precision of the computation"))
    passport.append((runtime.device, "where it is computed"))
    length = opened.text.context_length
    passport.append((f"context {number(length)}", f"it sees at most {number(length)} tokens"))
    # a visitor is shown no prompt out of the data
    prompts = _prompts(context, run) if opened.is_chat and context.local else ()
    return About(opened.label, opened.is_chat, tuple(passport), prompts, opened.remarks)


def _prompts(context: PageContext, run: str) -> tuple[str, ...]:
    """What the run is asked while it trains: the style of its data."""
    overview = context.runs.overview(run)
    if overview is None:
        return ()
    try:
        rows = newest_samples(RunReader(overview.path))
    except (TinychatError, OSError):
        return ()
    asked = dict.fromkeys(row.get("prompt") for row in rows)
    fitting = [p for p in asked if isinstance(p, str) and 0 < len(p) <= _PROMPT_CHARACTERS]
    return tuple(fitting[:_PROMPTS])
