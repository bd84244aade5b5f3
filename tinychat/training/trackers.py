"""Experiment trackers as listeners: Weights & Biases and TensorBoard, each an optional extra.

They get the rows of metrics.jsonl and the samples, in a thread of their own. A tracker that is
slow, fails or dies loses its own rows and is named once; it never holds up a step, nor the end of
the process, and no weight depends on it.
"""

import importlib.util
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from tinychat.errors import SettingsError
from tinychat.training.events import Evaluated, Event, Sampled, Stepped

PACKAGES = {"wandb": "wandb", "tensorboard": "tensorboard"}
FOLDER = "trackers"  # in the run's
MOST_WAITING = 10_000  # rows that a slow tracker may be behind
CLOSING_SECONDS = 30.0  # how long a run that is done waits for all of them
POLL_SECONDS = 0.1
KILLED_SECONDS = 5.0  # how long a tracker may take to see that its own process was ended

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Subject:
    """What a tracker is told of the run it follows."""

    run: Path
    attempt: int
    from_step: int
    settings: Mapping[str, Any]


class Tracker(Protocol):
    """One service. Its methods are called from one thread, and may raise whatever they like."""

    def numbers(self, step: int, values: Numbers) -> None: ...
    def text(self, step: int, name: str, text: str) -> None: ...
    def begin_stretch(self, step: int) -> None:
        """What it knows of later steps will be done again."""

    def close(self) -> None: ...


class TensorBoard:
    """Event files in trackers/tensorboard; later attempts and stretches mask what they do again."""

    def __init__(self, subject: Subject) -> None:
        self._folder = str(subject.run / FOLDER / "tensorboard")
        self._open(subject.from_step)

    def begin_stretch(self, step: int) -> None:
        self._writer.close()
        self._open(step)

    def _open(self, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(self._folder, purge_step=step + 1)

    def numbers(self, step: int, values: Numbers) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def text(self, step: int, name: str, text: str) -> None:
        self._writer.add_text(name, f"    {text}".replace("\n", "\n    "), step)  # no Markdown

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A wandb run for each attempt, in one group for the run. Offline unless WANDB_MODE says more:
    then nothing leaves the machine, and `wandb sync` sends it later."""

    def __init__(self, subject: Subject) -> None:
        # its error reports would look up a host even offline
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        folder = subject.run / FOLDER
        folder.mkdir(exist_ok=True)
        self._run: Any = None
        try:
            self._run = wandb.init(
                project="tinychat",
                group=subject.run.name,
                name=f"{subject.run.name}-{subject.attempt}",
                dir=str(folder),
                config=dict(subject.settings),
                mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    disable_git=True,
                    save_code=False,
                    x_disable_stats=True,
                    x_disable_machine_info=True,
                ),
            )
            self._run.define_metric("*", step_metric="step")
        except BaseException:
            self._end_service()
            raise

    def numbers(self, step: int, values: Numbers) -> None:
        self._run.log({"step": step, **values})

    def text(self, step: int, name: str, text: str) -> None:
        self._run.log({"step": step, name: text})

    def begin_stretch(self, step: int) -> None:
        pass  # it has no way to take rows back: charts show both

    def close(self) -> None:
        try:
            self._run.finish()
        finally:
            self._end_service()

    def _end_service(self) -> None:
        """Its package would wait for its own process, for ever if need be, where Python ends in the
        normal way, as after an unforeseen error."""
        import wandb

        if wandb.run is None or wandb.run is self._run:  # else somebody else uses it too
            wandb.teardown()


MAKERS: Mapping[str, Callable[[Subject], Tracker]] = {
    "wandb": WeightsAndBiases,
    "tensorboard": TensorBoard,
}


class Tracking:
    """Hands a run's rows to one tracker, in a thread."""

    def __init__(
        self,
        name: str,
        subject: Subject,
        log_every: Callable[[], int],
        make: Callable[[Subject], Tracker] | None = None,
    ) -> None:
        self.name = name
        self._make = make or MAKERS[name]
        self._subject = subject
        self._log_every = log_every
        self._waiting: queue.Queue[Callable[[Tracker], None] | None] = queue.Queue()
        self._problem = ""
        self._told = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        match event:
            case Stepped() if event.skipped or event.step % self._log_every() == 0:
                step, values = event.step, _of_step(event)
                self._hand(lambda tracker: tracker.numbers(step, values))
            case Evaluated():
                step, values = event.step, _of_evaluation(event)
                self._hand(lambda tracker: tracker.numbers(step, values))
            case Sampled():
                sampled, told = event.step, f"{event.prompt}\n{event.text}"
                self._hand(lambda tracker: tracker.text(sampled, "samples", told))

    def problem(self) -> str | None:
        """What is wrong with it, once."""
        if not self._problem or self._told:
            return None
        self._told = True
        return f"{self.name} follows the run no longer: {self._problem}; the run goes on"

    def begin_stretch(self, step: int) -> None:
        """The run goes on from this step, which it may have passed before."""
        self._hand(lambda tracker: tracker.begin_stretch(step))

    def end(self) -> None:
        """Nothing more will come."""
        self._waiting.put(None)

    def join(self, seconds: float) -> bool:
        """Whether it has written everything, after waiting for it so long at most."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def let_go(self, why: str) -> None:
        """Do without what it has not written, and let nothing of it hold up the process's end."""
        self._problem = self._problem or why
        if _kill_children(self.name):
            self.join(KILLED_SECONDS)

    def _hand(self, action: Callable[[Tracker], None]) -> None:
        if self._problem:
            return
        if self._waiting.qsize() < MOST_WAITING:
            self._waiting.put(action)
        else:
            self._problem = f"it is {MOST_WAITING:,} rows behind"

    def _work(self) -> None:
        tracker: Tracker | None = None
        try:
            tracker = self._make(self._subject)
            while (action := self._waiting.get()) is not None and not self._problem:
                action(tracker)
        except BaseException as error:  # whatever a foreign package raises, SystemExit too
            self._failed(error)
        finally:
            try:
                if tracker is not None:
                    tracker.close()
            except BaseException as error:
                self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self._problem = self._problem or f"{type(error).__name__}: {error}".splitlines()[0]


def close_all(trackings: Sequence[Tracking], go_on: Callable[[str], bool]) -> None:
    """Wait until all have written everything, CLOSING_SECONDS at most, and let go of the others.

    `go_on` is called several times a second with a tracker's name, and ends the wait by returning
    False.
    """
    deadline = time.monotonic() + CLOSING_SECONDS
    why = f"it had not written everything after {CLOSING_SECONDS:g} s"
    for tracking in trackings:
        tracking.end()
    for tracking in trackings:
        while not (done := tracking.join(POLL_SECONDS)) and time.monotonic() < deadline:
            if not go_on(tracking.name):
                deadline, why = time.monotonic(), "it was not waited for"
        if not done:
            tracking.let_go(why)


def _kill_children(name: str) -> bool:
    """End the processes that a tracker has started: its package would wait for them when Python
    ends. Returns whether there were any."""
    killed = False
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if child.name().startswith(name):
                child.kill()
                killed = True
    return killed


def require_packages(names: tuple[str, ...]) -> None:
    """Raises SettingsError for a tracker whose package is not here."""
    missing = [name for name in names if importlib.util.find_spec(PACKAGES[name]) is None]
    if missing:
        raise SettingsError(
            f"log.trackers: {', '.join(missing)} is not installed; "
            "`pip install 'tinychat[trackers]'`, or leave it out"
        )


def _of_step(event: Stepped) -> dict[str, float]:
    return {
        "train_loss": event.train_loss,
        "learning_rate": event.learning_rate,
        "grad_norm": event.grad_norm,
        "tokens_seen": event.tokens_seen,
        "tokens_per_second": event.tokens_per_second,
        "step_seconds": event.step_seconds,
        "memory_bytes": event.memory_bytes,
        **event.more,
    }


def _of_evaluation(event: Evaluated) -> dict[str, float]:
    found = {"val_loss": event.val_loss}
    if event.bits_per_byte is not None:
        found["bits_per_byte"] = event.bits_per_byte
    return found | event.more
