"""The names of the files and folders of a run.

Nothing here writes. What stands in the files is the charge of `records`.
"""

import os
import re
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

MANIFEST = "manifest.json"
OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"
RESUME_FILES = frozenset({OPTIMIZER, STATE})  # what a weights-only checkpoint lacks

TEMPORARY = ".tmp-"  # being written; a leftover holds nothing that was promised
REPLACED = ".old-"  # a checkpoint out of the way while a new one takes its name
DELETED = ".del-"  # given up; a leftover is removed
QUARANTINED = "bad-"  # damaged; never deleted, never listed

_CHECKPOINT = re.compile(r"step-(\d{8,18})")
_DESCENDANT = re.compile(r"-(tuned|live)(-[0-9]+)?$")


@dataclass(frozen=True)
class RunPaths:
    """Where everything in one run folder lies."""

    root: Path

    @property
    def run_json(self) -> Path:
        return self.root / "run.json"

    @property
    def settings_json(self) -> Path:
        return self.root / "settings.json"

    @property
    def status_json(self) -> Path:
        return self.root / "status.json"

    @property
    def tokenizer_json(self) -> Path:
        return self.root / "tokenizer.json"

    @property
    def examples_jsonl(self) -> Path:
        """What a run of preference tuning learns from."""
        return self.root / "examples.jsonl"

    @property
    def reference_json(self) -> Path:
        """What its parent makes of the examples."""
        return self.root / "reference.json"

    @property
    def attempts(self) -> Path:
        return self.root / "attempts"

    @property
    def control(self) -> Path:
        return self.root / "control"

    @property
    def pins(self) -> Path:
        return self.root / "pins"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    def checkpoint(self, step: int) -> Path:
        return self.root / checkpoint_name(step)

    def attempt(self, number: int) -> "AttemptPaths":
        return AttemptPaths(self.attempts / f"{number:04d}")

    def attempt_numbers(self) -> list[int]:
        """The attempts that have a folder, ascending."""
        try:
            names = os.listdir(self.attempts)
        except (FileNotFoundError, NotADirectoryError):
            return []
        numbers = (int(name) for name in names if re.fullmatch(r"[0-9]{4,9}", name))
        return sorted(number for number in numbers if f"{number:04d}" in names)


@dataclass(frozen=True)
class AttemptPaths:
    """Where everything in one attempt's folder lies."""

    root: Path

    @property
    def attempt_json(self) -> Path:
        return self.root / "attempt.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        return self.root / "samples.jsonl"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def train_log(self) -> Path:
        return self.root / "train.log"


def checkpoint_name(step: int) -> str:
    """`300` -> `step-00000300`, so that names sort as steps do."""
    return f"step-{step:08d}"


def checkpoint_step(name: str) -> int | None:
    """The step that a checkpoint folder's name stands for, or None for any other name."""
    match = _CHECKPOINT.fullmatch(name)
    if match is None or checkpoint_name(int(match[1])) != name:
        return None
    return int(match[1])


def checkpoint_label(run: str, step: int | None) -> str:
    """`demo@300`, as people name a checkpoint and `find_run` finds it; without a step the name
    alone, as of a model from elsewhere."""
    return run if step is None else f"{run}@{step}"


def folder_label(folder: Path) -> str:
    """The same of a checkpoint's folder, or of a model folder from elsewhere."""
    step = checkpoint_step(folder.name)
    return checkpoint_label(folder.name if step is None else folder.parent.name, step)


def descendant_name(parent: str, checkpoints: Path, ending: str) -> str:
    """A free name for what grows from a checkpoint with this label: `demo-tuned` from `demo@300`
    and from `demo-live@20`, or `demo-tuned-2` where that is taken, and so on."""
    base = _DESCENDANT.sub("", parent.partition("@")[0])
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", base).strip("-.") or "run"
    first = f"{base}-{ending}"
    names = chain([first], (f"{first}-{number}" for number in count(2)))
    return next(name for name in names if not (checkpoints / name).exists())


def list_checkpoints(run: Path) -> list[int]:
    """The steps of the published checkpoints, ascending. Looks at names only."""
    try:
        entries = list(os.scandir(run))
    except (FileNotFoundError, NotADirectoryError):
        return []
    steps = [checkpoint_step(entry.name) for entry in entries if entry.is_dir()]
    return sorted(step for step in steps if step is not None)


def resumable_checkpoints(run: Path) -> list[int]:
    """Those of them that hold what resuming needs, ascending; whether they are whole, reading
    tells."""
    paths = RunPaths(run)
    return [
        step
        for step in list_checkpoints(run)
        if all((paths.checkpoint(step) / name).exists() for name in RESUME_FILES)
    ]


def default_checkpoints() -> Path:
    """The folder where runs are born: $TINYCHAT_CHECKPOINTS, else ./checkpoints."""
    return Path(os.environ.get("TINYCHAT_CHECKPOINTS") or "checkpoints")


def run_names(checkpoints: Path) -> list[str]:
    """The names of the runs in a folder, sorted. A run is a folder with a run.json."""
    try:
        entries = list(os.scandir(checkpoints))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(entry.name for entry in entries if _is_run(Path(entry.path)))


def _is_run(folder: Path) -> bool:
    try:
        return RunPaths(folder).run_json.is_file()
    except OSError:  # another person's folder must not hide all runs
        return False
