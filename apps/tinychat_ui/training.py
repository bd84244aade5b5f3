"""Training on what was said: what its buttons do. Only whoever is at the machine trains."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tinychat.errors import RunError, TinychatError
from tinychat.runs import checkpoint_label, pin, send_command
from tinychat.watch.launch import resume_arguments
from tinychat.watch.overview import Overview
from tinychat.watch.states import LIVE
from tinychat.watch.tuning import newest_tuning, result_of, tune_arguments
from tinychat_ui.context import PageContext
from tinychat_ui.session import NEWEST, Session

Choice = dict[str, Any]
"""What the rail is to choose: {"run", "step"}."""


GOING = LIVE | {"stalled"}
"""States of a run that may go on by itself; a busy machine is late with a beat."""


@dataclass(eq=False)
class Trainee:
    """What one browser tab was told last; kept on the server, changed in place."""

    notice: str = ""


def act(
    context: PageContext, session: Session, trainee: Trainee, asked: Mapping[str, Any]
) -> Choice | None:
    """Do what was pressed; returns what the rail is to choose then, if anything."""
    if asked.get("do") not in _ACTS:
        return None
    trainee.notice = ""
    try:
        if not context.local:
            raise RunError("Only whoever is at the machine itself trains a model.")
        return _ACTS[asked["do"]](context, session, trainee, asked)
    except (TinychatError, OSError) as error:
        trainee.notice = context.told(error)
    return None


def _plan(context: PageContext, session: Session, trainee: Trainee, asked: Any) -> None:
    if session.model is None:
        raise RunError("There is no model to teach yet.")
    running = newest_tuning(context.runs.look())
    if running is not None and running.state in GOING:
        raise RunError(f"{running.name} is being trained: wait for it, or stop it first.")
    device = [f"--device={context.shelf.settings.device}"]
    arguments = tune_arguments(
        session.model, context.feedback.path, context.checkpoints, None, device
    )
    context.coach.plan(arguments, learnable(context))


def learnable(context: PageContext) -> frozenset[str]:
    """The ids of the judgements that a training would learn from now."""
    return frozenset(mark.id for mark in context.feedback.marks() if mark.reviewed)


def _cancel(context: PageContext, *_: Any) -> None:
    context.coach.forget()


def _start(context: PageContext, session: Session, trainee: Trainee, asked: Any) -> None:
    planning, now = context.coach.planning, learnable(context)
    if planning is not None and planning.document is None and not planning.trouble:
        return  # pressed twice: it is being made
    if planning is not None and planning.judgements != now:
        context.coach.plan_again(now)
        trainee.notice = "Something was judged since the plan was made, so here is a new one."
        return
    context.coach.start()


def _stop(context: PageContext, session: Session, trainee: Trainee, asked: Any) -> None:
    tuning = _current(context)
    send_command(tuning.path, "stop", {"save": True}, by="page")
    trainee.notice = f"{tuning.name} saves and stops after the step in progress."


def _resume(context: PageContext, *_: Any) -> None:
    tuning = _current(context)
    context.coach.go_on(resume_arguments(tuning.path), tuning.name)


def _accept(context: PageContext, session: Session, trainee: Trainee, asked: Any) -> Choice:
    run, step, parent = _decided(context, asked)
    pin(context.checkpoints / run, step)  # it answers until that is decided anew
    context.teaching.accept(run, step, parent)
    trainee.notice = (
        f"{checkpoint_label(run, step)} answers from here on, and the next training starts from "
        f"it. {parent} stays as it is."
    )
    return {"run": run, "step": str(step)}


def _back(context: PageContext, session: Session, trainee: Trainee, asked: Any) -> Choice:
    run, step, parent = _decided(context, asked)
    context.teaching.refuse(run, step, parent)
    trainee.notice = f"{parent} answers. Nothing was deleted: {run} is kept as a run of its own."
    return _choice(context, parent)


def _use(context: PageContext, session: Session, trainee: Trainee, asked: Any) -> Choice:
    return _choice(context, str(asked.get("label")))


_ACTS = {
    "plan": _plan,
    "cancel": _cancel,
    "start": _start,
    "stop": _stop,
    "resume": _resume,
    "accept": _accept,
    "back": _back,
    "use": _use,
}


def _current(context: PageContext) -> Overview:
    found = newest_tuning(context.runs.look())
    if found is None:
        raise RunError("Nothing has been trained on judgements here yet.")
    return found


def _decided(context: PageContext, asked: Mapping[str, Any]) -> tuple[str, int, str]:
    """(run, step, parent) of what is accepted or not: the newest training, or an earlier one."""
    for taught in context.teaching.decisions():
        if taught.label == asked.get("label"):
            return taught.run, taught.step, taught.parent
    overview = _current(context)
    return overview.name, result_of(overview) or 0, overview.parent or ""


def _choice(context: PageContext, label: str) -> Choice:
    """A checkpoint for the rail; its run's newest is followed."""
    run, _, step = label.rpartition("@")
    if not run:
        return {"run": label, "step": NEWEST}
    stop = next((s for s in context.runs.stops(run) if str(s.step) == step), None)
    return {"run": run, "step": NEWEST if stop is None or stop.is_latest else step}
