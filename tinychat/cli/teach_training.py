"""From judgements to a better model, and the decision whether it is one.

The training is an ordinary run in a process of its own (`tinychat tune`), so it is in the monitor,
survives this program, and is gone on with by `tinychat resume`.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinychat.cli.keys import forget_typed
from tinychat.cli.models import PlaceFlags
from tinychat.cli.sampling import SamplingFlags
from tinychat.cli.teach_compare import Comparison
from tinychat.cli.teach_view import View
from tinychat.cli.terminal import interrupts
from tinychat.cli.tune import plan_rows
from tinychat.conversations import FEEDBACK, Teaching
from tinychat.errors import RunError, SettingsError
from tinychat.runs import RunReader
from tinychat.words import inert

if TYPE_CHECKING:  # they import torch
    from tinychat.engine import Engine, OpenedModel, Shelf

YES_NO = {"y": "yes", "n": "no"}


class Training:
    """Called with the model and prompts to compare it on; gives the model that answers then."""

    def __init__(
        self,
        engine: "Engine",
        shelf: "Shelf",
        view: View,
        place: PlaceFlags,
        flags: SamplingFlags,
        system: str,
    ) -> None:
        self._shelf, self._view, self._place = shelf, view, place
        self._compare = Comparison(engine, shelf, view, flags, system)
        self._unfinished = ""  # a run that was stopped before its end

    def __call__(self, old: "OpenedModel", prompts: Sequence[str]) -> "OpenedModel":
        name = self._train(old)
        if not name:
            return old
        new = self._shelf.open(name)
        self._tell_what_came(old, new)
        self._compare(old, new, prompts)
        return decide(self._shelf, self._view, old, new)

    # training

    def _train(self, old: "OpenedModel") -> str:
        """The name of a run that has come to its end; "" where there is none yet."""
        name = self._unfinished
        if name and self._yes(f"go on with {name}, which was stopped?"):
            self._run("resume", name)
        else:
            plan = self._plan(old)
            if not self._yes("train now?"):
                return ""
            name = plan["run"]
            self._run("tune", str(old.path), "--feedback", self._feedback, "--name", name)
        status = RunReader(self._shelf.checkpoints / name).status
        self._unfinished = ""
        if status is None or status.state != "finished":
            self._unfinished = name
            step = 0 if status is None else status.step
            self._view.tell(
                "stopped", f"{name} is saved at step {step}; t goes on with it", run=name, step=step
            )
            return ""
        return name

    def _plan(self, old: "OpenedModel") -> dict[str, Any]:
        """What a training would do, shown. Raises SettingsError where it would be refused."""
        words = ["tune", str(old.path), "--feedback", self._feedback, "--dry-run"]
        self._view.tell("planning", "measuring what a training would take …")
        done = self._process([*words, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode:
            told = done.stderr.strip().splitlines()
            raise SettingsError(told[-1].removeprefix("tinychat: ") if told else "no plan came")
        plan = json.loads(done.stdout)
        self._view.show_plan(plan_rows(plan), plan["remarks"], plan)
        return plan

    def _run(self, *words: str) -> None:
        """A command of ours on this terminal. Ctrl+C is for it: it saves and ends."""
        out: Any = None if self._view.live else sys.stderr
        with interrupts(lambda: None):
            done = self._process([*words, *self._where], stdout=out, stderr=None)
        if self._view.live:
            forget_typed()
        if done.returncode not in (0, 130):
            raise RunError(f"`tinychat {words[0]}` failed; what it said stands above")

    def _process(
        self, words: Sequence[str], *, stdout: Any, stderr: Any
    ) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "tinychat", *words]
        if "--dry-run" in words:
            command += self._where
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True, check=False
        )

    @property
    def _feedback(self) -> str:
        return str(self._shelf.checkpoints / FEEDBACK)

    @property
    def _where(self) -> list[str]:
        folder = ["--checkpoints", str(self._shelf.checkpoints)]
        return [*folder, "--device", self._place.device, "--dtype", self._place.dtype]

    # deciding

    def _tell_what_came(self, old: "OpenedModel", new: "OpenedModel") -> None:
        """What the training has cost, and gained, as its evaluations say."""
        rows = [row for row in RunReader(new.run).rows("metrics") if row.get("kind") == "eval"]
        first = next((row for row in rows if row.get("step") == 0), {})
        now = next((row for row in reversed(rows) if row.get("step") == new.step), {})
        before, after, agrees = (
            first.get("val_loss"), now.get("val_loss"), now.get("preference_accuracy"),
        )  # fmt: skip
        told = f"{inert(new.label)} has learnt"
        if before is not None and after is not None:
            told += f"; val_loss on what {inert(old.name)} learnt from: {before:.3f} → {after:.3f}"
        if agrees is not None:
            told += f"; on judgements kept aside it agrees with {100 * agrees:.0f}%"
        facts = {"val_loss_before": before, "val_loss": after, "preference_accuracy": agrees}
        self._view.tell("trained", told, run=new.name, step=new.step, **facts)

    def _yes(self, question: str) -> bool | None:
        return ask(self._view, question)


def decide(
    shelf: "Shelf", view: View, old: "OpenedModel", new: "OpenedModel", parent: str = ""
) -> "OpenedModel":
    """Which of both answers from here on, as the teacher wants it; it is written down. `parent` is
    what the new one was taught from, if that is not the old one."""
    accepted = ask(view, f"shall {inert(new.label)} answer from here on?")
    if accepted is None:
        view.tell("undecided", f"nothing was decided; {inert(old.label)} goes on")
        return old
    teaching = Teaching(shelf.checkpoints)
    note = teaching.accept if accepted else teaching.refuse
    assert new.step is not None  # it was trained here
    note(new.name, new.step, parent or old.label)
    answers, other = (new, old) if accepted else (old, new)
    told = f"{inert(answers.label)} answers from here on; {inert(other.label)} stays as it is"
    kind = "accepted" if accepted else "refused_model"
    view.tell(kind, told, run=new.name, step=new.step, parent=parent or old.label)
    return answers


def ask(view: View, question: str) -> bool | None:
    """None: the input has ended."""
    view.tell("asks", question)
    heard = view.hear_key(YES_NO)
    return None if heard is None else heard[0] == "y"
