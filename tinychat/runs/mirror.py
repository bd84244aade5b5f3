"""A second copy of a run in another folder: by itself a run to show, talk to, and go on with.

Checkpoints are copied whole and verified; logs grow as those of the run do; what the run has given
up is given up here too, but only once the newest checkpoint is durable here. The copy's settings
name no second copy, and its status says what it is. Who copies when is the charge of others.
"""

import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinychat.errors import CheckpointError, RunError, SettingsError
from tinychat.runs.checkpoints import copy_checkpoint, read_manifest, sweep
from tinychat.runs.durable import Disk, replace_file
from tinychat.runs.layout import (
    MANIFEST,
    TEMPORARY,
    AttemptPaths,
    RunPaths,
    checkpoint_name,
    list_checkpoints,
)
from tinychat.runs.lock import RunLock
from tinychat.runs.pins import pin, pinned, unpin
from tinychat.runs.reader import RunReader
from tinychat.runs.records import BestCheckpoint, parse
from tinychat.runs.retention import prune

_COMPARED_BYTES = 64 * 1024  # at the end of a log: what a power cut may have spoiled


@dataclass(frozen=True)
class Copied:
    """What became of an update."""

    whole: bool  # False: the run has given that checkpoint up meanwhile, or changed it
    problems: tuple[str, ...] = ()  # clauses: what beside the newest is not as in the run


class Mirror:
    """The second copy of `run` in `folder`/<its name>.

    `known` says that it was there before: then its absence means that its disk is away, and it is
    not begun anew in the empty folder that an unmounted disk leaves.
    """

    def __init__(
        self, run: Path, folder: Path, *, known: bool = False, disk: Disk | None = None
    ) -> None:
        self.source = RunPaths(run)
        self.target = RunPaths(folder / run.name)
        self._folder = folder
        self._known = known
        self._disk = disk or Disk()
        self._lock = RunLock(self.target.root)

    def update(
        self,
        step: int,
        best: BestCheckpoint | None,
        *,
        copied: Callable[[int, int], None] = lambda done, total: None,
        superseded: Callable[[], bool] = lambda: False,
    ) -> "Copied":
        """Bring the copy up to date: first the checkpoint of `step`, then what else is missing.

        `copied` is told of each file and may raise to end it; once there is something newer
        (`superseded`) older ones wait. The lock of the copy is held meanwhile. Raises OSError or
        RunError for what is in the way of the newest; every checkpoint of the copy is whole then
        too. Checkpoints beyond `step` were lost by the run, not given up: they stay here until the
        run has passed them.
        """
        problems: list[str] = []
        self._be_there()
        with self._lock:
            if why := why_not_a_copy(self.source.root, self.target.root):
                raise RunError(why)
            sweep(self.target.root, disk=self._disk)
            self._copy_records()
            if not self._copy(step, copied):
                return Copied(False)
            self._write_status(step, best)
            there = set(list_checkpoints(self.source.root))
            if step in there:  # else the run's folder cannot be listed just now
                problems += self._prune(there, step)
            self._copy_pins()
            for older in sorted(there - {step}, reverse=True):
                if superseded():
                    break
                try:
                    self._copy(older, copied)
                except CheckpointError as error:  # rotten in the run: the others are copied
                    problems.append(str(error).rstrip("."))
            self._copy_pins()
        return Copied(True, tuple(problems))

    def _prune(self, there: set[int], step: int) -> list[str]:
        """Give up here what the run has given up; returns what the disk refused."""
        lost = {each for each in list_checkpoints(self.target.root) if each > step}
        refused = prune(self.target.root, there | lost, (), disk=self._disk).refused
        return [
            f"{', '.join(map(checkpoint_name, steps))} cannot be removed: {why}"
            for why, steps in refused.items()
        ]

    def _be_there(self) -> None:
        """Raises RunError if the disk is away; else the copy's folder is there afterwards."""
        if not self._folder.is_dir():
            raise RunError(f"{self._folder} is not there; is its disk away?")
        root = self.target.root
        if self._known and not self.target.run_json.exists():
            raise RunError(f"{root} is not there any more; is its disk away?")
        if not root.exists():
            self._disk.make_folder(root)
            self._disk.fsync_folder(root.parent)

    def _copy_records(self) -> None:
        self._put(self.target.run_json, self.source.run_json.read_bytes())  # first: whose this is
        self._known = True
        self._put(self.target.tokenizer_json, self.source.tokenizer_json.read_bytes())
        for name in ("examples_jsonl", "reference_json"):  # of preference tuning
            path: Path = getattr(self.source, name)
            if path.exists():
                self._put(getattr(self.target, name), path.read_bytes())
        self._put(self.target.settings_json, _without_mirror(self.source.settings_json))
        for folder in (self.target.attempts, self.target.control):
            if not folder.exists():
                self._disk.make_folder(folder)
        for number in self.source.attempt_numbers():
            self._copy_attempt(self.source.attempt(number), self.target.attempt(number))
        self._disk.fsync_folder(self.target.attempts)

    def _copy_attempt(self, source: AttemptPaths, target: AttemptPaths) -> None:
        if not source.attempt_json.exists():  # killed before it began
            return
        if not target.root.exists():
            self._disk.make_folder(target.root)
        self._put(target.attempt_json, source.attempt_json.read_bytes())
        for name in ("metrics", "samples", "events", "train_log"):
            log: Path = getattr(source, name)
            if log.exists():
                self._append(log, getattr(target, name))
        self._disk.fsync_folder(target.root)

    def _append(self, source: Path, target: Path) -> None:
        """Bring a log up to date by what was added to it, whole lines only."""
        size = target.stat().st_size if target.exists() else 0
        with open(source, "rb") as file:
            start = max(0, size - _COMPARED_BYTES)
            file.seek(start)
            known = file.read(size - start)
            added = file.read()
        added = added[: added.rfind(b"\n") + 1]
        if size and known != _read_from(target, start):
            replace_file(self._disk, target, source.read_bytes())
        elif added:
            fd = self._disk.open_append(target)
            try:
                while added:
                    added = added[self._disk.append(fd, added) :]
            finally:
                os.close(fd)
            self._disk.fsync(target)

    def _put(self, target: Path, data: bytes) -> None:
        if not target.exists() or target.read_bytes() != data:
            replace_file(self._disk, target, data)

    def _copy(self, step: int, copied: Callable[[int, int], None]) -> bool:
        """Copy one checkpoint unless it is there; False if the run changed it meanwhile."""
        source, target = self.source.checkpoint(step), self.target.checkpoint(step)
        before = _manifest(source)
        try:
            if not target.exists() or _listed(target) != read_manifest(source)[1]:
                copy_checkpoint(source, self.target.root, disk=self._disk, copied=copied)
        except CheckpointError:
            if before is None or _manifest(source) != before:  # removed or thinned
                return False
            raise
        return True

    def _write_status(self, step: int, best: BestCheckpoint | None) -> None:
        status = RunReader(self.source.root).status
        if status is None:
            return
        told = dataclasses.replace(
            status,
            state="finished" if step == status.max_steps else "stopped",
            step=step,
            latest=step,
            best=best,
            eta_seconds=None,
            last_command=None,
            mirror=None,
            message=f"a copy of {self.source.root.absolute()} as of step {step}",
        )
        replace_file(self._disk, self.target.status_json, told.to_json())

    def _copy_pins(self) -> None:
        source, target = self.source.root, self.target.root
        wanted = pinned(source) & set(list_checkpoints(target))
        for step in wanted - pinned(target):
            pin(target, step)
        for step in pinned(target) - wanted:
            unpin(target, step)


def check_mirror(run: Path, folder: Path, *, anew: bool) -> None:
    """Refuse a folder that cannot hold the second copy of `run`, before anything is started.

    `anew`: it was named just now, so it must be there; one from an earlier start may be away.
    Raises SettingsError with what to do.
    """
    inside = folder.resolve()
    checkpoints = run.parent.resolve()
    if inside == checkpoints or checkpoints in inside.parents:
        raise SettingsError(
            f"checkpoint.mirror: {folder} lies in {run.parent}, where the run itself is; name a "
            "folder on another disk"
        )
    if anew and not folder.is_dir():
        raise SettingsError(
            f"checkpoint.mirror: there is no folder {folder}; make it, or plug in its disk, first"
        )
    if why := why_not_a_copy(run, folder / run.name):
        raise SettingsError(
            f"checkpoint.mirror: {why}; name another folder with --mirror, or go on without a "
            "second copy with --mirror none"
        )


def why_not_a_copy(run: Path, copy: Path) -> str:
    """Why a folder is not, and may not become, the second copy of a run: a clause; else empty."""
    ours, theirs = RunPaths(run), RunPaths(copy)
    if not theirs.run_json.exists():
        names = os.listdir(copy) if copy.exists() else []
        other = any(name != "lock" and not name.startswith(TEMPORARY) for name in names)
        return f"{copy} exists and is no copy of a run" if other else ""
    try:
        same = ours.run_json.exists() and RunReader(copy).run.id == RunReader(run).run.id
    except RunError as error:
        return str(error).rstrip(".")
    if not same:
        return f"{copy} is another run of that name"
    for number in theirs.attempt_numbers():
        there, here = theirs.attempt(number).attempt_json, ours.attempt(number).attempt_json
        if there.exists() and (not here.exists() or there.read_bytes() != here.read_bytes()):
            return f"{copy} has been trained by itself since, so it is no copy any more"
    return ""


def _without_mirror(path: Path) -> bytes:
    """settings.json for the copy, which has no second copy of its own."""
    try:
        document = parse(path.read_bytes())
        document["settings"]["checkpoint"]["mirror"] = None
        document["sources"]["checkpoint.mirror"] = "the second copy"
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged: {error!r}.") from None
    return json.dumps(document, ensure_ascii=False, indent=2).encode("utf-8") + b"\n"


def _manifest(checkpoint: Path) -> bytes | None:
    """None if it is gone. Raises CheckpointError if it cannot be read."""
    path = checkpoint / MANIFEST
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None


def _listed(checkpoint: Path) -> dict[str, tuple[int, str]] | None:
    """What the manifest lists; None if it is damaged, as it is then replaced."""
    try:
        return read_manifest(checkpoint)[1]
    except CheckpointError:
        return None


def _read_from(path: Path, start: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(start)
        return file.read()
