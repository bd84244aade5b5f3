"""What all tabs of the page share: the engine, the models, what is kept on disk, and the runs.

One `PageContext` a server, made once and handed to every tab. What belongs to one browser tab is
never here but in its `Session`.
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tinychat.conversations import Conversations, Feedback, Teaching, Votes
from tinychat.engine import Answer, Engine, Shelf, TokenDetail
from tinychat.errors import TinychatError
from tinychat.runs import RunReader
from tinychat.watch.overview import Overview, Watch, finite_number
from tinychat_ui.coach import Coach

FLUSH_SECONDS = 0.05
"""Time between two pieces that a browser is sent: 20 a second look smooth, and cost a tenth of
one message a token."""

_LOOK_SECONDS = 1.0
_DETAILED_TOKENS = 40_000  # whose details are kept, of all answers together


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask."""

    message_characters: int = 8_000
    new_tokens: int = 4_096
    shown_turns: int = 60
    deadline_seconds: float | None = None  # None on one's own machine


@dataclass(frozen=True)
class Stop:
    """A checkpoint that is on disk."""

    step: int
    val_loss: float | None
    is_best: bool
    is_latest: bool


class Runs:
    """The runs of the folder, read at most once a second however many tabs ask. Any thread may."""

    def __init__(self, checkpoints: Path) -> None:
        self._watch = Watch(checkpoints)
        self._lock = threading.Lock()
        self._seen: list[Overview] = []
        self._looked_at = float("-inf")
        self._losses: dict[Path, dict[int, float | None]] = {}

    def look(self) -> list[Overview]:
        """All runs, newest first; none where the folder is missing or cannot be read."""
        with self._lock:
            if time.monotonic() - self._looked_at >= _LOOK_SECONDS:
                try:
                    self._seen = self._watch.look()
                except OSError:
                    self._seen = []
                self._looked_at = time.monotonic()
            return self._seen

    def renew(self) -> None:
        """Look again at once: something has just been started."""
        with self._lock:
            self._looked_at = float("-inf")

    def overview(self, run: str) -> Overview | None:
        """One run by its name, if it is there."""
        return next((each for each in self.look() if each.name == run), None)

    def stops(self, run: str) -> list[Stop]:
        """The checkpoints of a run that are on disk, oldest first; none for an unknown run."""
        overview = self.overview(run)
        if overview is None:
            return []
        reader = RunReader(overview.path)
        steps = reader.checkpoints()
        with self._lock:
            losses = self._losses.setdefault(overview.path, {})
            try:
                _find_losses(reader, steps, losses)
            except (TinychatError, OSError):
                pass  # a run without its logs still has checkpoints
            best = overview.best.step if overview.best else None
            return [
                Stop(step, losses.get(step), step == best, step == overview.latest)
                for step in steps
            ]


def _find_losses(reader: RunReader, steps: list[int], losses: dict[int, float | None]) -> None:
    """The validation loss of each step that was not looked for yet, read from the newest row back.

    The newest step is looked for again until it has one: its evaluation may still come.
    """
    missing = set(steps) - losses.keys()
    if steps and losses.get(steps[-1]) is None:
        missing.add(steps[-1])
    if not missing:
        return
    for row in reader.rows_backwards("metrics"):
        step = row.get("step")
        if isinstance(step, int) and step < min(missing):
            break
        if row.get("kind") == "eval" and step in missing and losses.get(step) is None:
            losses[step] = finite_number(row.get("val_loss"))
    for step in missing:
        losses.setdefault(step, None)


class Details:
    """What stood behind each token of the newest answers, whoever's they are. Any thread may ask.

    Not kept by tab: Gradio holds what belongs to a closed tab for another hour.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: OrderedDict[str, Sequence[TokenDetail]] = OrderedDict()
        self._tokens = 0

    def keep(self, node: str, details: Sequence[TokenDetail]) -> None:
        """Of the answer that is this message; the oldest are let go."""
        with self._lock:
            self._tokens += len(details) - len(self._of.pop(node, ()))
            self._of[node] = details
            while self._tokens > _DETAILED_TOKENS and len(self._of) > 1:
                self._tokens -= len(self._of.popitem(last=False)[1])

    def of(self, node: str) -> Sequence[TokenDetail]:
        """None of them where they are not known any more."""
        with self._lock:
            return self._of.get(node, ())


@dataclass(frozen=True)
class PageContext:
    """What the tabs are built over."""

    engine: Engine
    shelf: Shelf
    conversations: Conversations
    feedback: Feedback
    votes: Votes
    teaching: Teaching
    runs: Runs
    coach: Coach
    limits: Limits = field(default_factory=Limits)
    first: str | None = None
    """The run or checkpoint that the page was started for, or the path of one from elsewhere."""
    local: bool = True
    """Whoever sees the page is the operator of this machine."""
    details: Details = field(default_factory=Details)

    @property
    def checkpoints(self) -> Path:
        """The folder where runs live."""
        return self.shelf.checkpoints

    def shown(self, name: str) -> str:
        """A model's name as it is shown: of a folder from elsewhere, …/ and its last part."""
        return f"…/{Path(name).name}" if os.sep in name else name

    def told(self, said: object) -> str:
        """A sentence, with files as they lie in the folder of runs: who looks at the page from
        elsewhere need not learn where that is."""
        text = str(said)
        folders = [self.checkpoints]
        if self.first is not None and os.sep in self.first:  # a model from elsewhere
            folders.append(Path(self.first).parent)
        for folder in folders:
            if folder.absolute() == Path(folder.anchor):  # "/" stands in every path
                continue
            for each in (str(folder.resolve()), str(folder.absolute()), str(folder)):
                text = text.replace(f"{each}{os.sep}", "")
                text = text.replace(each, folder.name) if os.sep in each else text
        return text


def stream(answer: Answer, seconds: float = FLUSH_SECONDS) -> Generator[str, None, None]:
    """The pieces of an answer as a browser is sent them: the first at once, then one each
    `seconds`; "" where nothing came meanwhile.

    Closing the iterator cancels the answer, and with it the model's work. Raises EngineError.
    """
    try:
        piece = answer.take(seconds)
        while piece is not None:
            yield piece
            piece = _gather(answer, time.monotonic() + seconds) if piece else answer.take(seconds)
    finally:
        answer.cancel()


def _gather(answer: Answer, until: float) -> str | None:
    """All that comes until then; None if the answer is over and nothing was left of it."""
    pieces: list[str] = []
    while (left := until - time.monotonic()) > 0:
        if (piece := answer.take(left)) is None:
            return "".join(pieces) if pieces else None
        pieces.append(piece)
    return "".join(pieces)
