"""Compute a stretch of a run again and compare it with what the run says, bit for bit.

Each attempt's steps are computed by the same code as a resume, from a checkpoint, under that
attempt's own settings and runtime. Nothing is written into the run and its lock is not taken, so
this may go on beside a live trainer.
"""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tinychat.config import RuntimeSettings
from tinychat.config.load import Resolved, from_json
from tinychat.config.resume import with_deciding
from tinychat.errors import CheckpointError, DataError, RunError, SettingsError
from tinychat.model import available_devices, choose_runtime, trainer_files
from tinychat.runs import (
    AttemptRecord,
    CheckpointFiles,
    Row,
    RunPaths,
    RunReader,
    Stretch,
    read_checkpoint,
    stretches,
)
from tinychat.runs.checkpoints import read_manifest
from tinychat.runs.layout import OPTIMIZER, RESUME_FILES
from tinychat.text import Prepared
from tinychat.training.card import Latest
from tinychat.training.compiled import as_can_be_compiled
from tinychat.training.events import Stepped
from tinychat.training.lineage import Facts, what_changed
from tinychat.training.parts import Parts, assemble, referenced
from tinychat.training.preferences import dataset_of
from tinychat.training.progress import Progress
from tinychat.training.replay import prepare_old_data
from tinychat.training.start import prepare_corpus

Telling = Callable[[str, int, int], None]  # (stage, done, total)
COLUMNS = ("train_loss", "grad_norm", "learning_rate", "tokens_seen")  # that are compared
STATE = {"model.safetensors": "weights", OPTIMIZER: "optimizer"}


@dataclass(frozen=True)
class Difference:
    """Something that the run says and that did not come out again."""

    step: int
    what: str  # a column of a row, "weights" or "optimizer"
    recorded: float | str | None  # a number, or a sha256
    computed: float | str | None


@dataclass
class Recomputation:
    """What came of computing steps again. Steps from_step + 1 to to_step were done."""

    from_step: int
    to_step: int
    rows_compared: int = 0
    rows_missing: list[int] = field(default_factory=list)  # steps whose rows were written
    checkpoints_compared: list[int] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    other_facts: list[str] = field(default_factory=list)  # why bits may differ on this machine
    stopped: str = ""  # why it did not come as far as it was asked to

    @property
    def steps(self) -> int:
        return self.to_step - self.from_step


def recompute(run: Path, first: int, last: int | None, telling: Telling) -> Recomputation:
    """Compute the steps from `first` (or from the newest checkpoint before it that can be gone on
    from) to `last` (None: the newest checkpoint), and compare.

    Raises SettingsError for steps that the run has not done.
    """
    reader = RunReader(run)
    saved = _saved_steps(reader)
    last = _last_step(reader, saved, last)
    if not first < last:
        raise SettingsError(f"--steps {first}:{last}: the first step must be before the last one")
    return _Recomputing(reader, saved, last, telling).run(first)


class _Recomputing:
    """One call: what is read once, and the result so far."""

    def __init__(self, reader: RunReader, saved: set[int], last: int, telling: Telling) -> None:
        self._reader, self._saved, self._last, self._telling = reader, saved, last, telling
        self._path = reader.paths.root
        self._settings = from_json(reader.settings)
        self._rows = {
            row["step"]: row
            for row in reader.rows("metrics")
            if row.get("kind") == "train" and isinstance(row.get("step"), int)
        }
        self._rows_every = _rows_every(reader, self._settings.settings.log.every_steps)
        self._prepared: tuple[Resolved, Prepared, Prepared | None] | None = None

    def run(self, first: int) -> Recomputation:
        state = self._start(first)
        begins = state.step if state else 0
        self._result = result = Recomputation(begins, begins)
        for stretch in stretches(self._reader.attempts(), self._last):
            if (stretch.last_step or 0) <= result.to_step:
                continue
            try:
                parts = self._parts(stretch, state)
            except (SettingsError, DataError, RunError) as error:
                result.stopped = str(error)
                break
            if state is None:
                self._compare_checkpoint(parts)  # the first weights, which come from the seed
            self._steps(parts, stretch.last_step or self._last)
            state = CheckpointFiles(
                self._path, result.to_step, parts.files(self._reader.name, "", Latest())
            )
        return result

    def _start(self, first: int) -> CheckpointFiles | None:
        """The newest checkpoint up to `first` that is whole; None: the first weights."""
        for step in sorted(self._saved, reverse=True):
            path = RunPaths(self._path).checkpoint(step)
            try:
                if step <= first and read_manifest(path)[1].keys() >= RESUME_FILES:
                    return read_checkpoint(path)
            except CheckpointError:
                continue  # whoever verifies all of them tells of it
        return None

    def _parts(self, stretch: Stretch, state: CheckpointFiles | None) -> Parts:
        """What this attempt computed with, at the state it is gone on from."""
        attempt = stretch.attempt
        resolved = with_deciding(self._settings, attempt.settings)
        chosen = _runtime_of(attempt, resolved.settings.runtime)
        runtime = choose_runtime(chosen, training=resolved.settings.model)
        runtime = as_can_be_compiled(runtime, asked=False)
        runtime.apply()
        rows = attempt.micro_batch_size or resolved.settings.rows_per_micro_batch
        facts = Facts(runtime, rows, attempt.rate_factor)
        _, other = what_changed(attempt, replace(attempt, **facts.to_record()))
        self._result.other_facts += [each for each in other if each not in self._result.other_facts]
        if state is None and resolved.settings.init_from:
            state = self._inherited()
        prepared, old_data = self._corpora(resolved, stretch)
        preferences = dataset_of(self._path, resolved.settings, prepared)
        parts = assemble(resolved, prepared, state, facts, preferences, old_data)
        return referenced(parts, self._path, self._telling)

    def _corpora(self, resolved: Resolved, stretch: Stretch) -> tuple[Prepared, Prepared | None]:
        """Its own data and the old, both as they were."""
        settings = resolved.settings
        if self._prepared is None or self._prepared[0].settings.data != settings.data:
            own = prepare_corpus(self._path, settings, self._telling)
            old = prepare_old_data(self._path, settings, own.tokenizer, self._telling)
            self._prepared = (resolved, own, old)
        _, own, old = self._prepared
        record, attempt = self._reader.run, stretch.attempt
        known = [(own.fingerprint, attempt.data_fingerprint or record.data_fingerprint)]
        if old is not None:
            born_with = record.replay.fingerprint if record.replay else None
            known.append((old.fingerprint, attempt.replay_fingerprint or born_with))
        for now, then in known:
            if now != then:
                raise RunError(
                    f"steps {stretch.from_step + 1} to {stretch.last_step} were done on other data "
                    f"(fingerprint {str(then)[:12]}) than the run has now ({now[:12]}), so they "
                    "cannot be computed again"
                )
        return own, old

    def _inherited(self) -> CheckpointFiles:
        """The weights that came from another run, which may be gone, as a whole checkpoint."""
        files = read_checkpoint(RunPaths(self._path).checkpoint(0))
        nowhere = Progress(dtype="").to_json()  # so that it gets the first loss scale of its own
        return replace(files, files=files.files | trainer_files({}, nowhere))

    def _steps(self, parts: Parts, end: int) -> None:
        parts.decoder.train()
        updates = parts.updates()
        begins = self._result.from_step
        while parts.progress.step < end:
            done = parts.progress.step - begins
            self._telling("computing steps again", done, self._last - begins)
            batch = updates.batch()
            self._compare_row(updates.apply(batch, updates.gradients(batch), time.monotonic()))
            self._result.to_step = parts.progress.step
            self._compare_checkpoint(parts)

    def _compare_row(self, now: Stepped) -> None:
        row = self._rows.get(now.step)
        if row is None:
            if self._rows_every and now.step % self._rows_every == 0:
                self._result.rows_missing.append(now.step)
            return
        self._result.rows_compared += 1
        for name in COLUMNS:
            computed = getattr(now, name)
            if not _same(row, name, computed):
                self._differs(now.step, name, row.get(name), computed)

    def _compare_checkpoint(self, parts: Parts) -> None:
        step = parts.progress.step
        if step not in self._saved:
            return
        try:
            _, listed = read_manifest(RunPaths(self._path).checkpoint(step))
        except CheckpointError:  # removed meanwhile, or damaged: whoever verifies it tells
            return
        self._result.checkpoints_compared.append(step)
        files = parts.files(self._reader.name, "", Latest())
        for name, what in STATE.items():
            if name in listed:
                digest = hashlib.sha256(files[name]).hexdigest()
                if digest != listed[name][1]:
                    self._differs(step, what, listed[name][1], digest)

    def _differs(self, step: int, what: str, recorded: Any, computed: Any) -> None:
        self._result.differences.append(Difference(step, what, recorded, computed))


def _saved_steps(reader: RunReader) -> set[int]:
    """The checkpoints of the steps that count. A run that was extended from an earlier step may
    still hold others, of its old end."""
    saved = {
        row.get("step") for row in reader.rows("events") if row.get("kind") == "checkpoint_saved"
    }
    saved |= {each.from_step for each in stretches(reader.attempts())}
    # a trainer that was killed as it saved has not told of it
    status, newest = reader.status, reader.last("metrics", "train")
    saved |= {status.latest if status else None, newest.get("step") if newest else None}
    return set(reader.checkpoints()) & saved


def _last_step(reader: RunReader, saved: set[int], last: int | None) -> int:
    newest = reader.last("metrics", "train")
    logged = newest.get("step") if newest else None
    done = max([*saved, logged if isinstance(logged, int) else 0, 0])
    if last is None:
        last = max(saved, default=0)
        if last == 0:
            raise SettingsError(f"{reader.name} has no checkpoint yet that could be computed again")
    if last > done:
        raise SettingsError(f"{reader.name} has done {done} steps, so step {last} is not there yet")
    return last


def _rows_every(reader: RunReader, now: int) -> int | None:
    """Of every how many steps a row was written; None where that has changed on the way."""
    name = "log.every_steps"
    asked = [str(row.get("message")) for row in reader.history("events") if row.get("command")]
    later = [word.replace("-", "_") for _, each in reader.attempts()[1:] for word in each.argv]
    return None if any(name in words for words in (*asked, *later)) else now


def _runtime_of(attempt: AttemptRecord, chosen: RuntimeSettings) -> RuntimeSettings:
    """As the attempt was computed; another device only where this machine lacks its own."""
    here = attempt.device in available_devices()
    return replace(
        chosen,
        device=attempt.device if here else "auto",
        dtype=attempt.dtype or chosen.dtype,
        threads=attempt.threads or chosen.threads,
        gradient_checkpointing=attempt.gradient_checkpointing or chosen.gradient_checkpointing,
        attention=attempt.attention or "sdpa",
        compile=attempt.compile,
    )


def _same(row: Row, name: str, computed: float) -> bool:
    """Whether a row says this number to the last bit; what is not finite is named, not written."""
    if math.isfinite(computed):
        return row.get(name) == computed
    return row.get(name) is None and name in row.get("nonfinite", ())
