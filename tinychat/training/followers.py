"""Whoever follows a run beside its trainer, each in a thread of its own: trackers, the second copy.

The trainer's thread hands them its events, and tells the run what they have to say.
"""

from collections.abc import Callable, Sequence

from tinychat.runs import MirrorStatus
from tinychat.training.events import Beat, CheckpointSaved, Event, Listener, Noted, StateChanged
from tinychat.training.mirror import MirrorKeeper
from tinychat.training.progress import Progress
from tinychat.training.recorder import best_of
from tinychat.training.requests import StopSignals
from tinychat.training.trackers import Tracking, close_all

WAIT_TOLD_SECONDS = 2.0  # between two words about a wait


class Followers:
    """A listener. What it has to say comes through `emit`; `tell` reaches the terminal alone."""

    def __init__(
        self,
        mirror: MirrorKeeper | None,
        trackers: Sequence[Tracking],
        progress: Progress,
        signals: StopSignals,
        emit: Listener,
        tell: Listener,
    ) -> None:
        self._mirror, self._trackers = mirror, trackers
        self._progress, self._signals = progress, signals
        self._emit, self._tell = emit, tell

    @property
    def mirror_status(self) -> MirrorStatus | None:
        return self._mirror.status if self._mirror else None

    def __call__(self, event: Event) -> None:
        step = self._progress.step
        for tracking in self._trackers:
            tracking(event)
            if told := tracking.problem():
                self._emit(Noted("warning", step, told))
        if self._mirror is None:
            return
        if isinstance(event, CheckpointSaved):
            self.copy_newest()
        for told in self._mirror.news():
            self._emit(Noted("mirror", step, told))

    def start(self) -> None:
        if self._mirror is not None:
            self._mirror.start()

    def copy_newest(self) -> None:
        """The checkpoint of this step is durable, so it may be copied."""
        at = self._progress
        if self._mirror is not None:
            self._mirror.published(at.step, best_of(at.best_step, at.best_val_loss))

    def begin_stretch(self, step: int) -> None:
        """The steps after this one are done again."""
        for tracking in self._trackers:
            tracking.begin_stretch(step)

    def finish_copy(self) -> None:
        """Wait for the last copy, and say so; a signal ends the wait, and two that came before
        leave none."""
        if self._mirror is None:
            return
        go_on = self._signals.none_since(WAIT_TOLD_SECONDS, self._saying(self._emit))

        def beating(doing: str) -> bool:
            self._emit(Beat())
            return go_on(f"the second copy ({doing})")

        self._mirror.finish(beating)
        self._emit(Beat())  # what it last had to tell

    def abandon_copy(self) -> None:
        if self._mirror is not None:
            self._mirror.abandon()

    def close(self) -> None:
        """Wait a while for the trackers. How the run ended is known by now, so that it stays so if
        somebody ends the process meanwhile."""
        go_on = self._signals.none_since(WAIT_TOLD_SECONDS, self._saying(self._tell))
        close_all(self._trackers, go_on)
        self._emit(Beat())  # what they had to tell

    def _saying(self, tell: Listener) -> Callable[[str], None]:
        def say(what: str) -> None:
            told = f"waiting for {what}; Ctrl+C ends without it"
            tell(StateChanged("saving", self._progress.step, told))

        return say
