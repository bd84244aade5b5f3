"""Whether a taught model answers from here on: what it has learnt, a comparison, the decision."""

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from tinychat.cli.sampling import SamplingFlags
from tinychat.cli.teach_compare import Comparison
from tinychat.cli.teach_view import View
from tinychat.conversations import Feedback, Teaching
from tinychat.runs import checkpoint_label, pin
from tinychat.watch.overview import Overview, Watch
from tinychat.watch.states import OVER
from tinychat.watch.tuning import Tuning, look_at_tuning, newest_tuning, result_of
from tinychat.words import count, inert, loss

if TYPE_CHECKING:  # they import torch
    from tinychat.engine import Engine, OpenedModel, Shelf

DECIDE = {"a": "accept", "g": "go back", "l": "decide later"}
_MOST_REWRITES = 12  # that are asked again after a training


class Decisions:
    """About the models that were taught from the one that answers."""

    def __init__(
        self,
        engine: "Engine",
        shelf: "Shelf",
        view: View,
        flags: SamplingFlags,
        system: str,
        feedback: Feedback,
    ) -> None:
        self._engine, self._shelf, self._view, self._flags = engine, shelf, view, flags
        self._feedback = feedback
        self._teaching = Teaching(shelf.checkpoints)
        self._compare = Comparison(engine, shelf, view, flags, system)

    def waiting(self, model: "OpenedModel") -> str:
        """Which model that was taught from this one waits for a decision; "" if none does."""
        decided = {(each.run, each.step) for each in self._teaching.decisions()}
        tuning = self._newest(model, decided)
        return "" if tuning is None else _label(tuning)

    def again(self, model: "OpenedModel") -> "OpenedModel":
        """Decide about what was taught last from this model, or turn the decision on it round."""
        tuning = self._newest(model)
        if tuning is None:
            told = (
                f"nothing was taught from {inert(model.label)} yet, so there is nothing to decide"
            )
            self._view.tell("refused", told)
            return model
        old = model
        if model.name == tuning.overview.name:
            old = self._shelf.open(tuning.overview.parent or "")
        return self.on(old, tuning, model)

    def on(
        self, old: "OpenedModel", tuning: Tuning, now: "OpenedModel | None" = None
    ) -> "OpenedModel":
        """Show what a training has made of `old`, and decide; gives the model that answers from
        here on: `now`, or the old one, where nothing is decided."""
        new = self._shelf.open(f"{tuning.overview.path}@{tuning.result}")
        self._tell_what_came(old, new, tuning)
        self._compare(old, new, self._judged())
        return self.decide(old, new, now or old, tuning.overview.parent or old.label)

    def decide(
        self, old: "OpenedModel", new: "OpenedModel", now: "OpenedModel", parent: str
    ) -> "OpenedModel":
        """Which of both answers from here on, as the teacher wants it; it is written down. `parent`
        is what the new one was taught from."""
        view = self._view
        view.tell("asks", f"shall {inert(new.label)} answer from here on?")
        heard = None if view.has_ended else view.hear_key(DECIDE)
        if heard is None or heard[0] == "l":
            told = f"nothing is decided, {inert(now.label)} goes on; d decides, in a later talk too"
            view.tell("undecided", told, run=new.name, step=new.step, parent=parent)
            return now
        accepted = heard[0] == "a"
        assert new.step is not None  # it was trained here
        if accepted:
            pin(new.run, new.step)  # it answers until that is decided anew, whatever comes after it
        note = self._teaching.accept if accepted else self._teaching.refuse
        note(new.name, new.step, parent)
        answers, other = (new, old) if accepted else (old, new)
        told = f"{inert(answers.label)} answers from here on; {inert(other.label)} stays as it is. "
        told += "d decides anew, in a later talk too"
        kind = "accepted" if accepted else "refused_model"
        view.tell(kind, told, run=new.name, step=new.step, parent=parent)
        return answers

    def _newest(
        self, model: "OpenedModel", decided: Collection[tuple[str, int]] = ()
    ) -> Tuning | None:
        """The newest training that has ended of this model's run, or of one that grew from it."""
        overviews = Watch(self._shelf.checkpoints).look()
        found = newest_tuning(
            [
                each
                for each in overviews
                if (result := result_of(each))
                and (each.name, result) not in decided
                and _has_ended(each)
                and model.name in (each.name, _parent_run(each))
            ]
        )
        return None if found is None else look_at_tuning(found)

    def _tell_what_came(self, old: "OpenedModel", new: "OpenedModel", tuning: Tuning) -> None:
        """What the training has cost, and gained."""
        start, now = tuning.before, tuning.at(new.step or 0)
        before = None if start is None else start.val_loss
        after = None if now is None else now.val_loss
        agrees = None if now is None else now.preference_accuracy
        right, asked = self._as_written(new, tuning)
        told = [f"{inert(new.label)} has learnt"]
        if before is not None and after is not None:
            told.append(
                f"val_loss on what {inert(old.name)} learnt from: {loss(before)} → {loss(after)}"
            )
        if agrees is not None:
            told.append(f"on held-out judgements it agrees with {100 * agrees:.0f}%")
        if asked:
            told.append(f"it now answers {right} of {count(asked, 'rewrite')} as written")
        if tuning.why:
            told.append(inert(tuning.why))
        self._view.tell(
            "trained",
            "; ".join(told),
            run=new.name,
            step=new.step,
            val_loss_before=before,
            val_loss=after,
            preference_accuracy=agrees,
            rewrites={"as_written": right, "asked": asked} if asked else None,
        )

    def _as_written(self, new: "OpenedModel", tuning: Tuning) -> tuple[int, int]:
        """How many of the rewrites that it was trained on it now says, and of how many; of none
        where they are too many to ask."""
        from tinychat.engine import Several, asked_of, rewrites_learnt

        if tuning.tune.rewrites > _MOST_REWRITES:
            return 0, 0
        likeliest, right, asked = replace(self._flags.rules(0), temperature=0.0), 0, 0
        for rewrite in rewrites_learnt(tuning.overview.path, self._feedback):
            prompt = asked_of(rewrite.prompt)
            if prompt is None:
                continue
            several = Several(
                self._engine, new, prompt.text, [likeliest], prompt.system, before=prompt.before
            )
            while several.take(None):
                pass
            asked += 1
            right += several.texts[0].strip() == (rewrite.text or "").strip()
        return right, asked

    def _judged(self) -> set[str]:
        return {mark.asked for mark in self._feedback.marks()}


def _has_ended(overview: Overview) -> bool:
    """One that follows judgements has no end of its own."""
    return overview.state == "finished" or (overview.follows and overview.state in OVER)


def _label(tuning: Tuning) -> str:
    return checkpoint_label(tuning.overview.name, tuning.result)


def _parent_run(overview: Overview) -> str:
    return (overview.parent or "").rpartition("@")[0]
