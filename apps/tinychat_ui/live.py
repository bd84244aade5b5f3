"""Learn after each answer: a copy of the model that takes a small step at every judgement.

The copy is a run like any other (`tinychat tune --follow`) in a process of its own, found again by
its folder. It learns from what is judged while it is there, and ends itself where it forgets too
much. Taking the last judgement back takes its step back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinychat.errors import RunError, TinychatError
from tinychat.runs import descendant_name, send_command, wait_for_ack
from tinychat.watch.overview import Overview
from tinychat.watch.tuning import Tuning, look_at_tuning, newest_tuning, tune_arguments
from tinychat.words import count, loss, signed
from tinychat_ui.context import PageContext
from tinychat_ui.session import NEWEST, Session, made_at
from tinychat_ui.training import GOING, Choice
from tinychat_ui.training_view import has_decision, sentence

_POINTS = 60  # of the curve


@dataclass(eq=False)
class Learner:
    """What one browser tab was told last, and which run it wants to answer once it is there."""

    notice: str = ""
    wanted: str | None = None
    sent: tuple[Path, str] | None = None  # a run, and the request that it has not answered yet


def act(
    context: PageContext, session: Session, learner: Learner, asked: Mapping[str, Any]
) -> Choice | None:
    """Do what was pressed; returns what the rail is to choose then, if anything."""
    do = asked.get("do")
    if do in ("on", "off", "undo", "use"):
        learner.notice, learner.sent = "", None
        try:
            if not context.local:
                raise RunError("Only whoever is at the machine itself teaches a model.")
            _do(context, session, learner, str(do))
        except (TinychatError, OSError) as error:
            learner.notice = context.told(error)
    return _choice(context, learner)


def _do(context: PageContext, session: Session, learner: Learner, do: str) -> None:
    going = following(context)
    if do == "on":
        _begin(context, session, learner)
    elif going is None:
        raise RunError("Nothing learns after each answer just now.")
    elif do == "use":
        learner.wanted = going.name
    elif do == "undo":
        learner.sent = going.path, send_command(going.path, "undo", by="page")
        learner.notice = "The last step is being taken back …"
    else:
        send_command(going.path, "stop", {"save": True}, by="page")
        learner.notice = f"{going.name} is kept: compare it and accept it under Train."


def _begin(context: PageContext, session: Session, learner: Learner) -> None:
    going = newest_tuning(context.runs.look())
    if going is not None and going.state in GOING:
        raise RunError(f"{going.name} is being trained: wait for it, or stop it first.")
    if session.model is None:
        raise RunError("There is no model to teach yet.")
    label = session.about.label if session.about else session.model
    name = descendant_name(label, context.checkpoints, "live")
    flags = ["--follow", f"--device={context.shelf.settings.device}"]
    where = (context.feedback.path, context.checkpoints)
    context.coach.go_on(tune_arguments(session.model, *where, name, flags), name)
    learner.wanted = name


def _choice(context: PageContext, learner: Learner) -> Choice | None:
    """The run that was wanted, once it can answer."""
    if learner.wanted is None or not context.runs.stops(learner.wanted):
        return None
    wanted, learner.wanted = learner.wanted, None
    return {"run": wanted, "step": NEWEST}


def following(context: PageContext) -> Overview | None:
    """The run that learns after each answer now."""
    newest = newest_tuning(context.runs.look())
    return newest if newest and newest.follows and newest.state in GOING else None


def _hear(learner: Learner) -> None:
    """Tell what a run has answered to the last request, once it has."""
    try:
        answer = wait_for_ack(*learner.sent, 0.0) if learner.sent else None
    except (TinychatError, OSError):
        return
    if answer is not None:
        learner.notice, learner.sent = sentence(str(answer.get("message", ""))), None


def _why_ended(context: PageContext) -> str:
    """Why the last one that learned after each answer is gone, if nobody has stopped it."""
    newest = newest_tuning(context.runs.look())
    if newest is None or not newest.follows:
        return ""
    is_told = newest.state == "stopped" or has_decision(context, newest)
    why = "" if is_told else look_at_tuning(newest).why
    return f"{newest.name} learns no more: {why.rstrip('.')}." if why else ""


def view(context: PageContext, session: Session, learner: Learner) -> dict[str, Any]:
    """What the part shows."""
    made = made_at()
    if not context.local:
        return {"n": made, "local": False}
    if context.coach.look():
        context.runs.renew()
    _hear(learner)
    going, label = following(context), session.about.label if session.about else ""
    shown: dict[str, Any] = {
        "n": made,
        "local": True,
        "on": going is not None or context.coach.starting is not None,
        "starting": going is None and context.coach.starting is not None,
        "notice": learner.notice or context.told(context.coach.trouble),
        "label": label,
    }
    if going is None:
        return shown | {"words": context.told(_why_ended(context))}
    tuning = look_at_tuning(going)
    return shown | {
        "words": _words(tuning),
        "curve": _curve(tuning),
        "can_undo": bool(going.step),
        "answers": "" if session.run == going.name else going.name,
    }


def _words(tuning: Tuning) -> str:
    """demo-live, a copy of demo@300: 3 steps so far. Val loss on the old data 0.021 (+0.002); …"""
    overview, before = tuning.overview, tuning.before
    told = (
        f"{overview.name}, a copy of {overview.parent}: {count(overview.step or 0, 'step')} so far."
    )
    now = tuning.now or before
    if now is None or before is None or now.val_loss is None or before.val_loss is None:
        return told
    rise = now.val_loss - before.val_loss
    told += f" Val loss on the old data {loss(now.val_loss)}"
    told += f" ({signed(f'{abs(rise):.3f}', rise)})" if now.step else ""
    if tuning.most_rise is not None:
        told += f"; beyond +{tuning.most_rise:g} a step is taken back and it ends."
    return told


def _curve(tuning: Tuning) -> list[float]:
    """The val_loss after each step."""
    found = [each.val_loss for each in tuning.evaluations if each.val_loss is not None]
    return found[-_POINTS:]
