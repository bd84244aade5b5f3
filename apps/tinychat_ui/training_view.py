"""Training on what was said, as the page shows it: the plan, the run, the decision.

Everything but a plan on its way is found in run folders and `.chats/teaching.jsonl`, so another
page, and another server, go on where this one was.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from tinychat.conversations import Taught, not_learnt_yet
from tinychat.errors import TinychatError
from tinychat.runs import checkpoint_label
from tinychat.watch.overview import Overview
from tinychat.watch.states import look_of, state_word
from tinychat.watch.tuning import (
    Evaluation,
    Tuning,
    judgement_words,
    look_at_tuning,
    newest_tuning,
    plan_rows,
    result_of,
)
from tinychat.words import (
    count,
    duration,
    long_duration,
    loss,
    moment,
    number,
    progress,
    signed,
)
from tinychat_ui.context import PageContext
from tinychat_ui.session import Session, made_at
from tinychat_ui.training import GOING, Trainee, learnable

View = dict[str, Any]

_EARLIER = 20  # trainings that are listed
_STALE = "Something was judged since this plan was made: starting shows a new one first."


def view(context: PageContext, session: Session, trainee: Trainee) -> View:
    """What the part shows."""
    made, coach = made_at(), context.coach
    if not context.local:
        return {"n": made, "phase": "visitor"}
    if coach.look():
        context.runs.renew()
    overview = newest_tuning(context.runs.look())
    planning = coach.planning
    shown: View = {
        "n": made,
        "phase": "idle",
        "notice": trainee.notice,
        "trouble": context.told(coach.trouble),
        "base": _base(context, session),
        "earlier": _earlier(context),
    }
    if coach.starting is not None:
        return shown | {"phase": "starting", "starting": coach.starting}
    if overview is not None and (overview.state in GOING or not has_decision(context, overview)):
        return shown | {"phase": "run", "run": _run(context, look_at_tuning(overview))}
    if planning is None:
        return shown
    if planning.document is not None:
        plan = _plan_words(context, planning.document)
        with suppress(TinychatError):  # what is in the way is told above
            if planning.judgements != learnable(context):
                plan["remarks"] = [_STALE, *plan["remarks"]]
        return shown | {"phase": "plan", "plan": plan}
    if planning.trouble:
        return shown | {"trouble": context.told(planning.trouble)}
    stage = f"{planning.stage} … {duration(planning.seconds)}"
    return shown | {"phase": "planning", "stage": context.told(stage)}


def is_live(context: PageContext) -> bool:
    """Whether a training is on its way, or about to be."""
    overview = newest_tuning(context.runs.look())
    is_trained = overview is not None and overview.state in GOING
    return context.local and (is_trained or context.coach.starting is not None)


def status_words(context: PageContext) -> str:
    """How a training goes, for the line above all parts; empty where none wants anything."""
    overview = newest_tuning(context.runs.look()) if context.local else None
    if overview is None:
        return ""
    if overview.state in GOING:
        return f"{overview.name}: {_how_far(look_at_tuning(overview))}"
    return "" if has_decision(context, overview) else f"{overview.name} waits for your decision"


def _base(context: PageContext, session: Session) -> View:
    """What a training would start from, and what there is to learn."""
    about, model = session.about, session.model or ""
    run = model.rpartition("@")[0]
    try:
        total = context.feedback.counts(reviewed=True).total
        accepted = context.teaching.newest_accepted(run) if run else None
        fresh = not_learnt_yet(context.feedback, context.checkpoints, run) if run else total
    except TinychatError as error:
        return {"label": "", "words": context.told(error), "can": False}
    label = about.label if about else ""
    is_later = accepted is not None and accepted.label != label and _is_there(context, accepted)
    words = "Nothing to learn from yet: pick some answers first."
    if total:
        new = f", {number(fresh)} of them new" if 0 < fresh < total else ""
        new = ", none of them new since the last training" if not fresh else new
        words = f"{count(total, 'judgement')} to learn from{new}."
    return {
        "label": label,
        "words": words,
        "can": bool(total and label),
        "later": accepted.label if accepted and is_later else "",
    }


def _plan_words(context: PageContext, plan: Mapping[str, Any]) -> View:
    """The document of `tinychat tune --dry-run` as rows of a name and what is to be said."""
    return {
        "rows": [(name.capitalize(), context.told(words)) for name, words in plan_rows(plan)],
        "remarks": [sentence(context.told(each)) for each in plan["remarks"]],
    }


def sentence(text: str) -> str:
    """What a run or a plan says, as a sentence."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _learnt(tuning: Tuning) -> str:
    if tuning.tune.follows:  # each is a step
        return f"has learnt from {count(tuning.overview.step or 0, 'judgement')}"
    said = judgement_words(asdict(tuning.tune))
    return f"has learnt from {said}" if said else "has learnt"


def _run(context: PageContext, tuning: Tuning) -> View:
    """A run that is on its way, or about which nothing was decided."""
    overview = tuning.overview
    live, result = overview.state in GOING, tuning.result
    measured = tuning.now if live else tuning.at(result or 0)
    done = (overview.step or 0) / max(1, overview.max_steps or 1)
    eta = overview.eta_seconds
    left = f" · {long_duration(eta)} left" if live and eta is not None else ""
    return {
        "title": overview.name if live or not result else f"{overview.name} {_learnt(tuning)}",
        "parent": overview.parent or "",
        "live": live,
        "is_whole": overview.state == "finished" or tuning.tune.follows,
        "state": state_word(overview.state),
        "colour": look_of(overview.state).colour,
        "progress": _how_far(tuning) + left,
        "share": min(1.0, done),
        "why": context.told(tuning.why),
        "figures": _figures(tuning, measured, live=live),
        "result": checkpoint_label(overview.name, result) if result else "",
        "can_resume": overview.state in ("stopped", "crashed", "failed"),
    }


def _how_far(tuning: Tuning) -> str:
    overview = tuning.overview
    if tuning.tune.follows:  # it has no end
        return f"{count(overview.step or 0, 'step')} so far"
    return f"step {progress(overview.step, overview.max_steps)}"


def _figures(tuning: Tuning, measured: Evaluation | None, *, live: bool) -> list[View]:
    """Name, number and what it is to be seen beside."""
    train, shown = tuning.overview.train or {}, list[View]()
    if live:
        shown.append(_figure("Loss", loss(_number(train, "train_loss")), "on what it learns"))
    return [*shown, *_preferences(tuning, measured, live=live), *_forgotten(tuning, measured)]


def _preferences(tuning: Tuning, measured: Evaluation | None, *, live: bool) -> list[View]:
    """Whether it prefers what the teacher does: held out, or while it trains in this step."""
    train, held_out = tuning.overview.train or {}, tuning.tune.held_out
    if held_out and measured is not None and measured.step > 0:
        accuracy, margin = measured.preference_accuracy, measured.reward_margin
        beside = f"of {count(held_out, 'example')} held out"
    elif live:
        accuracy, margin = _number(train, "preference_accuracy"), _number(train, "reward_margin")
        beside = "of this step's examples"
    else:
        return []
    shown = []
    if accuracy is not None:
        shown.append(_figure("Prefers what you prefer", f"{100 * accuracy:.0f}%", beside))
    if margin is not None:
        by = signed(f"{abs(margin):.2f}", margin)
        shown.append(_figure("Reward margin", by, "0 at the start"))
    return shown


def _forgotten(tuning: Tuning, measured: Evaluation | None) -> list[View]:
    """The val_loss on what the parent had learnt, beside the parent's own."""
    before = tuning.before
    now = before if measured is None else measured
    if now is None or before is None:
        return []
    risen = ""
    if now.val_loss is not None and before.val_loss is not None and now.step > 0:
        rise = now.val_loss - before.val_loss
        risen = f" ({signed(f'{abs(rise):.3f}', rise)})"
    most = "" if tuning.most_rise is None else f", at most +{tuning.most_rise:g}"
    beside = f"{loss(before.val_loss)} before{risen}{most}"
    return [_figure("Val loss on the old data", loss(now.val_loss), beside)]


def _figure(name: str, value: str, beside: str) -> View:
    return {"name": name, "value": value, "beside": beside}


def _number(row: Mapping[str, Any], key: str) -> float | None:
    value = row.get(key)
    return value if type(value) in (int, float) else None


def _earlier(context: PageContext) -> list[View]:
    """The trainings that were decided about, the newest first."""
    try:
        decisions = context.teaching.decisions()
    except TinychatError:
        return []
    return [
        {
            "label": each.label,
            "parent": each.parent,
            "when": moment(each.time),
            "accepted": each.accepted,
            "there": _is_there(context, each),
        }
        for each in decisions[::-1][:_EARLIER]
    ]


def _is_there(context: PageContext, taught: Taught) -> bool:
    return any(stop.step == taught.step for stop in context.runs.stops(taught.run))


def has_decision(context: PageContext, overview: Overview) -> bool:
    """Whether a person has accepted what a run has made by now, or has not."""
    made = overview.name, result_of(overview) or 0  # as `_decided` in training.py writes it
    try:
        return any((each.run, each.step) == made for each in context.teaching.decisions())
    except TinychatError:
        return True
