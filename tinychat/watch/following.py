"""A run that learns from each judgement as it comes, as whoever judges starts and sees it.

Its folder tells all: what it has learnt from (examples.jsonl), what that has cost (val_loss), and
why it has ended. It is tied to the program that starts it, and can be gone on with later.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tinychat.errors import RunError, TinychatError
from tinychat.runs import WAITS_FOR_JUDGEMENT, Row, RunPaths, RunReader, read_chain
from tinychat.watch.launch import Launched, launch, resume_arguments
from tinychat.watch.overview import finite_number
from tinychat.watch.tuning import tune_arguments, why_finished

_LOOK_SECONDS = 0.05
_SAYS_WHY = "tinychat: "  # begins what a command says is wrong


@dataclass(frozen=True)
class Standing:
    """How far it is."""

    step: int = 0  # of the newest checkpoint
    waits: bool = False  # all that was said is learnt
    ended: bool = False
    told: str = ""  # why it has ended, in a sentence
    seen: frozenset[str] = field(default_factory=frozenset)  # judgements it has taken in
    last: str = ""  # the judgement that it has learnt last and takes back if that is undone
    val_loss: float | None = None  # of that step, on what the parent had learnt
    val_loss_at_start: float | None = None


class Follower:
    """One such run, and its process."""

    def __init__(self, run: Path, launched: Launched) -> None:
        self.run = run
        self._launched = launched

    @classmethod
    def begin(cls, parent: str, feedback: Path, run: Path, more: Sequence[str] = ()) -> "Follower":
        """Start a new run from `parent`, or go on with one that is there. Raises OSError."""
        if RunPaths(run).run_json.exists():
            words = [*resume_arguments(run), *more, "--until-eof"]
        else:
            words = tune_arguments(parent, feedback, run.parent, run.name, more)
            words += ["--follow", "--until-eof"]
        return cls(run, launch(words, run.parent, tied=True))

    def look(self) -> Standing:
        """Read how far it is. What cannot be read just now is left out."""
        over = self._launched.ended() is not None
        reader = RunReader(self.run)
        status = None
        with suppress(TinychatError, OSError):
            status = reader.status
        if status is None or not RunPaths(self.run).examples_jsonl.exists():
            return Standing(ended=over, told=self._why() if over else "")
        rows = self._rows()
        learnt = list[str]()
        for row in rows:
            if row["kind"] == "lesson":
                learnt.append(row["source"])
            elif row["kind"] == "taken_back":
                learnt.pop()
        kept = {row["source"] for row in rows if row["kind"] == "kept"}
        losses = {
            row.get("step"): finite_number(row.get("val_loss"))
            for row in reader.rows("metrics")
            if row.get("kind") == "eval"
        }
        step = status.latest or 0
        is_its = status.pid == self._launched.pid  # and not of whoever had the run before
        rests = is_its and status.state == "paused" and status.message == WAITS_FOR_JUDGEMENT
        return Standing(
            step=step,
            waits=rests and not over and status.step == step == len(learnt),
            ended=over,
            told=self._why() if over else "",
            seen=frozenset(row["source"] for row in rows if "source" in row),
            last=learnt[-1] if learnt and learnt[-1] not in kept else "",
            val_loss=losses.get(step),
            val_loss_at_start=losses.get(0),
        )

    def wait(
        self, settled: Callable[[Standing], bool], gives_up: Callable[[], bool] = lambda: False
    ) -> Standing:
        """Wait until it is so, or it has ended, or nobody waits any more."""
        while True:
            standing = self.look()
            if standing.ended or settled(standing) or gives_up():
                return standing
            time.sleep(_LOOK_SECONDS)

    def end(self) -> None:
        """Let it save and stop, and wait for that."""
        self._launched.let_go()
        while self._launched.ended() is None:
            time.sleep(_LOOK_SECONDS)

    def _rows(self) -> list[Row]:
        """What it has written of the judgements so far."""
        path = RunPaths(self.run).examples_jsonl
        with suppress(OSError, ValueError, RunError):
            return list(read_chain(path.read_bytes(), str(path)))
        return []

    def _why(self) -> str:
        code = self._launched.ended()
        if not code:
            with suppress(TinychatError, OSError):
                return why_finished(RunReader(self.run))
            return ""
        said = self._launched.said().splitlines()
        why = [line.removeprefix(_SAYS_WHY) for line in said if line.startswith(_SAYS_WHY)]
        return why[-1] if why else f"its process ended with {code}; {self._launched.log} tells more"
