"""Old against new: what a training has changed, on prompts that it has not learnt from.

Prompts to which both say the same are passed over. Votes are those of the Compare tab.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tinychat.conversations import tally_words
from tinychat.engine import Asked, trial_prompts
from tinychat.errors import RunError, TinychatError
from tinychat.runs import checkpoint_label
from tinychat.watch.tuning import newest_tuning, result_of
from tinychat.words import count
from tinychat_ui.compare import Match, compare, undo, view, vote
from tinychat_ui.context import PageContext
from tinychat_ui.controls import Values
from tinychat_ui.picker import model_choices
from tinychat_ui.session import made_at

_MOST_SAME = 12  # prompts in a row to which both may say the same
_KINDS = {
    True: "Judged, but held out: nothing was learnt from it",
    False: "Nobody has judged this prompt",
}


@dataclass(eq=False)
class Trial:
    """The comparison of one browser tab, kept on the server and changed in place."""

    match: Match = field(default_factory=Match)
    old: str = ""
    new: str = ""
    prompts: list[Asked] = field(default_factory=list)
    place: int = 0  # of the next one
    same: int = 0  # prompts to which both said the same
    blind: bool = True
    open: bool = False


def begin(context: PageContext, trial: Trial) -> None:
    """Lay out the newest training's prompts. What cannot be is told in `trial.match.notice`."""
    if trial.match.asking.busy:
        return
    trial.match, trial.open, trial.place, trial.same = Match(), True, 0, 0
    try:
        if not context.local:  # what was held out is of others' conversations
            raise RunError("Only whoever is at the machine itself looks at a training.")
        overview = newest_tuning(context.runs.look())
        result = None if overview is None else result_of(overview)
        if overview is None or result is None:
            raise RunError("There is no trained model to compare yet.")
        trial.old, trial.new = overview.parent or "", checkpoint_label(overview.name, result)
        if not any(name == trial.old for _, name in model_choices(context)):
            raise RunError(
                f"{trial.old} is not here any more, so there is nothing to compare with."
            )
        judged = {mark.asked for mark in context.feedback.marks()}
        trial.prompts = trial_prompts(overview.path, judged)
        if not trial.prompts:
            raise RunError("No prompt was held out, and none can be suggested any more.")
    except (TinychatError, OSError) as error:
        trial.prompts, trial.match.notice = [], context.told(error)


def go_on(context: PageContext, trial: Trial, rail: Values) -> Iterator[None]:
    """Ask both the next prompt, and those after it while they say the same. Yields whenever there
    is more to show."""
    if trial.match.asking.busy:
        return
    for _ in range(_MOST_SAME):
        if trial.place >= len(trial.prompts):
            if trial.prompts:  # else it was told why there are none
                trial.match.notice = "These were all prompts."
            break
        asked = trial.prompts[trial.place]
        trial.place += 1
        yield from compare(
            context, trial.match, [(trial.old, [rail]), (trial.new, [rail])], asked.text,
            [{**rail, "system": asked.system}], blind=trial.blind, before=asked.before,
        )  # fmt: skip
        if not trial.match.is_same or trial.match.asking.stopped:
            break
        trial.same += 1
    else:
        trial.match.notice = "Both say the same, again and again. Ask on, or close this."
    yield


def act(context: PageContext, trial: Trial, asked: Mapping[str, Any]) -> None:
    """Vote, take the vote back, hide the names or not, close."""
    do = asked.get("do")
    if do == "vote":
        vote(context, trial.match, asked.get("verdict"))
    elif do == "undo":
        undo(context, trial.match)
    elif do == "blind":
        trial.blind = asked.get("on") is True
    elif do == "close":
        trial.match.asking.stop()
        trial.open = False


def trial_view(context: PageContext, trial: Trial) -> dict[str, Any]:
    """What the panes show, and the prompt above them."""
    asked = trial.prompts[trial.place - 1] if trial.prompts and trial.place else None
    tally = context.votes.tally(trial.old, trial.new) if trial.old else None
    told = tally_words(trial.old, trial.new, tally) if tally and tally.total else ""
    kind = _KINDS[asked is not None and asked.is_held_out]
    before = f", after {count(len(asked.before), 'message')}" if asked and asked.before else ""
    return view(trial.match) | {
        "n": made_at(),
        "open": trial.open,
        "title": f"{trial.old} and {trial.new}" if trial.old else "",
        "question": asked.text if asked else "",
        "kind": f"{kind}{before}" if asked else "",
        "same": f"{count(trial.same, 'prompt')} passed over: both say the same"
        if trial.same else "",
        "blind": trial.blind,
        "tally": "" if trial.match.hidden else told,
        "tallies": [],
        "result": told,
        "is_over": trial.place >= len(trial.prompts),
    }  # fmt: skip
