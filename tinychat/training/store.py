"""Where a trainer's checkpoints go and come from: its run directory.

It is the trainer's `Store`. What a checkpoint holds is put together here; the recorder writes it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from tinychat.config import CheckpointSettings
from tinychat.errors import CheckpointError, HalfDoneError, RunError
from tinychat.model import open_model
from tinychat.runs import (
    CheckpointFiles,
    Disk,
    Generation,
    RunPaths,
    list_checkpoints,
    pinned,
    prune,
    read_checkpoint,
)
from tinychat.runs.layout import RESUME_FILES
from tinychat.training.attempts import Attempts
from tinychat.training.card import Latest
from tinychat.training.events import Listener, Noted
from tinychat.training.family import own_generation
from tinychat.training.followers import Followers
from tinychat.training.lineage import Facts
from tinychat.training.parts import Parts
from tinychat.training.progress import Progress
from tinychat.training.recorder import RunRecorder
from tinychat.training.start import newest_before_bad_steps, restore
from tinychat.training.team import Team


class RunStore:
    """The checkpoints of one run, and the way back to them."""

    def __init__(
        self,
        run: Path,
        parts: Parts,
        forebears: tuple[Generation, ...],
        latest: Latest,
        attempts: Attempts,
        followers: Followers,
        recorder: RunRecorder,
        team: Team,
        disk: Disk,
        emit: Listener,
    ) -> None:
        self._run, self._parts = run, parts
        self._forebears, self._latest = forebears, latest
        self._attempts, self._followers, self._recorder = attempts, followers, recorder
        self._team, self._disk, self._emit = team, disk, emit

    def files(self, _: Progress) -> Mapping[str, bytes]:
        """A whole checkpoint of the weights as they are now."""
        name = self._run.name
        ancestry = (*self._forebears, own_generation(self._parts, name))
        return self._parts.files(name, self._attempts.lineage, self._latest, ancestry)

    def publish(
        self, progress: Progress, keep: CheckpointSettings, pinned: set[int]
    ) -> tuple[int, tuple[int, ...]]:
        if told := self._team.agree(self._parts.decoder, self._parts.optimizer):
            self._emit(Noted("warning", progress.step, told))
        return self._recorder.publish(progress, keep, pinned)

    def restore(self) -> Progress:
        good, problems = newest_before_bad_steps(self._run)
        for problem in problems:
            self._emit(Noted("warning", self._parts.progress.step, str(problem)))
        return self._go_back_to(good)

    def take_back(self, step: int, forget: Callable[[], object]) -> Progress:
        good = read_checkpoint(RunPaths(self._run).checkpoint(step))
        if RESUME_FILES - good.files.keys():
            raise CheckpointError(f"{good.path} holds weights only, so nothing goes on from there")
        if step + 1 in pinned(self._run):
            raise CheckpointError(
                f"step {step + 1} is pinned, so it stays; unpin it to take it back"
            )
        forget()
        return self._go_back_to(good)

    def _go_back_to(self, good: CheckpointFiles) -> Progress:
        parts = self._parts
        parts.decoder.load_state_dict(open_model(good).decoder.state_dict())
        try:
            drop_other_future(self._run, good.step, self._disk, follows=parts.settings.tune.follow)
        except RunError as error:
            raise HalfDoneError(str(error)) from None
        return restore(parts.optimizer, good, parts.facts.runtime.dtype)

    def begin_stretch(self, step: int, facts: Facts, why: str) -> None:
        self._attempts.begin_stretch(step, facts, why)
        self._followers.begin_stretch(step)

    def waited_seconds(self) -> float:
        return self._recorder.waited_seconds


def drop_other_future(run: Path, step: int, disk: Disk, *, follows: bool) -> None:
    """Newer checkpoints than the one of `step`, which is gone on from, become weights only, so that
    nobody mistakes them for this stretch's own. Of a run that `follows` judgements they were taken
    back, or are made again: only what somebody has pinned stays.

    Raises RunError where that cannot be done.
    """
    steps = list_checkpoints(run)
    newer = {each for each in steps if each > step}
    if not newer:
        return
    stay = newer & pinned(run) if follows else newer
    refused = prune(run, set(steps) - newer, stay, disk=disk).refused
    if refused:
        raise RunError(
            f"the checkpoints of {run.name} beyond step {step} could not be thinned: "
            f"{'; '.join(refused)}; make room (`tinychat runs --prune --yes {run.name}`) or mend "
            "the disk, then resume"
        )
