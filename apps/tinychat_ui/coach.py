"""Planning and starting trainings, each in a process of its own.

A training that was started is a run like any other: it outlives this program, and its folder tells
how it goes. Kept here is only what no folder can tell: a plan on its way, and why a start failed
before there was a run.
"""

import asyncio
import threading
import time
from collections.abc import Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tinychat.errors import RunError, TinychatError
from tinychat.runs import RunPaths, RunReader
from tinychat.watch.launch import Launched, launch
from tinychat.watch.plan import ask_plan
from tinychat.watch.tuning import tune_plan_arguments

_SAYS_WHY = "tinychat: "  # begins what a command says is wrong


class Planning:
    """A plan on its way, in a thread of its own; then the plan, or why there is none. `judgements`
    are the ids of those that it is made from."""

    def __init__(self, arguments: Sequence[str], judgements: Set[str]) -> None:
        self.judgements = judgements
        self.stage = "asking for the plan"
        self.document: dict[str, Any] | None = None
        self.trouble = ""
        self._began = time.monotonic()
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._ask(arguments))
        self._thread = threading.Thread(target=self._run, name="plan", daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        """Since it was asked for."""
        return time.monotonic() - self._began

    def cancel(self) -> None:
        """End its process."""
        with suppress(RuntimeError):  # it is over
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    async def _ask(self, arguments: Sequence[str]) -> None:
        try:
            self.document = await ask_plan(tune_plan_arguments(arguments), self._tell)
        except OSError as error:
            self.trouble = f"The plan cannot be made: {error.strerror}."
        except TinychatError as error:
            self.trouble = str(error)

    def _tell(self, said: str) -> None:
        self.stage = said or self.stage


class Coach:
    """At most one plan and one start at a time. Any thread may ask."""

    def __init__(self, checkpoints: Path) -> None:
        self.planning: Planning | None = None
        self.starting: str | None = None  # name of a run that is not under way yet
        self.trouble = ""  # why the last start came to nothing
        self._checkpoints = checkpoints
        self._arguments: Sequence[str] = ()
        self._launched: Launched | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()

    def plan(self, arguments: Sequence[str], judgements: Set[str]) -> None:
        """Ask what a training would be, in place of any plan before."""
        self.forget()
        with self._lock:
            self.trouble = ""
            self._arguments = arguments
            self.planning = Planning(arguments, judgements)

    def plan_again(self, judgements: Set[str]) -> None:
        """The same training, of other judgements."""
        self.plan(self._arguments, judgements)

    def forget(self) -> None:
        """No plan any more."""
        with self._lock:
            planning, self.planning = self.planning, None
        if planning is not None:
            planning.cancel()

    def start(self) -> None:
        """Start what was planned. Raises RunError where there is no plan, or no process can be
        started."""
        with self._lock:
            planning = self.planning
            if planning is None or planning.document is None:
                raise RunError("There is no plan to start; ask for one first.")
            name = str(planning.document.get("run"))
            self._launch([*self._arguments, f"--name={name}"], name)
            self.planning = None

    def go_on(self, arguments: Sequence[str], name: str) -> None:
        """Start what goes on with a run. Raises RunError if no process can be started."""
        with self._lock:
            self._launch(arguments, name)

    def look(self) -> bool:
        """See what came of the last start; whether that is news."""
        with self._lock:
            if self._launched is None:
                return False
            before = self.starting
            ended = self._launched.ended()
            if self.starting is not None and self._is_under_way(self._launched, self.starting):
                self.starting = None
            if ended is not None:
                if self.starting is not None:
                    self.trouble = _reason(self._launched.said())
                self.starting = self._launched = None
            return self.starting != before

    def _is_under_way(self, launched: Launched, name: str) -> bool:
        run = self._checkpoints / name
        with suppress(TinychatError, OSError):
            status = RunReader(run).status
            is_its_own = status is not None and status.pid == launched.pid
            return is_its_own and RunPaths(run).run_json.is_file()
        return False

    def _launch(self, arguments: Sequence[str], name: str) -> None:
        if self.starting is not None:
            raise RunError(f"{self.starting} is being started already.")
        try:
            self._launched = launch(arguments, self._checkpoints)
        except OSError as error:
            raise RunError(f"It cannot be started: {error.strerror} ({error.filename}).") from None
        self.trouble, self.starting = "", name


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = [line.removeprefix(_SAYS_WHY) for line in lines if line.startswith(_SAYS_WHY)]
    return " ".join(told) or (lines[-1] if lines else "It ended without a word.")
