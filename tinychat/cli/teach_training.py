"""From judgements to a better model.

The training is an ordinary run in a process of its own (`tinychat tune`), so it is in the monitor,
survives this program, and is gone on with by `tinychat resume`.
"""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinychat.cli.keys import forget_typed
from tinychat.cli.models import PlaceFlags
from tinychat.cli.teach_decision import Decisions
from tinychat.cli.teach_view import View, ask
from tinychat.cli.terminal import interrupts
from tinychat.errors import RunError
from tinychat.watch.launch import resume_arguments
from tinychat.watch.overview import Watch
from tinychat.watch.plan import ask_plan
from tinychat.watch.tuning import (
    Tuning,
    look_at_tuning,
    plan_rows,
    tune_arguments,
    tune_plan_arguments,
)

if TYPE_CHECKING:  # they import torch
    from tinychat.engine import OpenedModel


class Training:
    """Called with the model that answers; gives the one that answers then."""

    def __init__(
        self, view: View, place: PlaceFlags, decisions: Decisions, feedback: Path, root: Path
    ) -> None:
        self._view, self._decisions = view, decisions
        self._feedback, self._root = feedback, root
        self._more = [f"--device={place.device}", f"--dtype={place.dtype}"]
        self._unfinished: Path | None = None  # a run that was stopped before its end

    def __call__(self, old: "OpenedModel") -> "OpenedModel":
        tuning = self._train(old)
        return old if tuning is None else self._decisions.on(old, tuning)

    def _train(self, old: "OpenedModel") -> Tuning | None:
        """A run that has come to its end with something to decide about."""
        run = self._unfinished
        if run and ask(self._view, f"go on with {run.name}, which was stopped?"):
            self._run([*resume_arguments(run), *self._more])
        elif self._view.has_ended:
            return None
        else:
            run = self._planned(old)
            if run is None:
                return None
        overview = Watch(self._root).look_at(run)
        self._unfinished = None if overview.state == "finished" else run
        if self._unfinished or overview.tune is None:
            step = overview.step or 0
            told = f"{run.name} is saved at step {step}; t goes on with it"
            self._view.tell("stopped", told, run=run.name, step=step)
            return None
        tuning = look_at_tuning(overview)
        if tuning.result is None:
            told = f"{run.name} has learnt nothing that could be kept, so {old.label} goes on"
            self._view.tell("refused", f"{told}: {tuning.why}" if tuning.why else told)
            return None
        return tuning

    def _planned(self, old: "OpenedModel") -> Path | None:
        """The run that was trained, after its plan was shown; None where nobody wanted it. Raises
        SettingsError where it would be refused."""
        parent = str(old.path)
        arguments = tune_arguments(parent, self._feedback, self._root, None, self._more)
        self._view.tell("planning", "measuring what a training would take …")
        plan = asyncio.run(ask_plan(tune_plan_arguments(arguments), self._tell))
        self._view.show_plan(plan_rows(plan), plan["remarks"], plan)
        if not ask(self._view, "train now?"):
            return None
        name = plan["run"]
        self._run(tune_arguments(parent, self._feedback, self._root, name, self._more))
        return self._root / name

    def _tell(self, said: str) -> None:
        if said:
            self._view.tell("planning", said)

    def _run(self, arguments: Sequence[str]) -> None:
        """A command of ours on this terminal. Ctrl+C is for it: it saves and ends."""
        out: Any = None if self._view.live else sys.stderr
        with interrupts(lambda: None):
            done = subprocess.run(
                [sys.executable, "-m", "tinychat", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                check=False,
            )
        if self._view.live:
            forget_typed()
        if done.returncode not in (0, 130):
            raise RunError(f"`tinychat {arguments[0]}` failed; what it said stands above")
