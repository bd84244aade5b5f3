"""The attempts of a run: each an unbroken stretch of steps, with all that decides its last bits.

A process begins one, and one more wherever it goes on in another way: after a roll-back, with
fewer rows at once, or from before a step that was taken back.
"""

import platform
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tinychat import __version__
from tinychat.config.resume import deciding
from tinychat.runs import AttemptRecord, CheckpointFiles, RunReader, RunWriter, maker
from tinychat.training.lineage import Facts, classed, source_commit, with_lost_records
from tinychat.training.parts import Parts


class Attempts:
    """Those that this process begins. `argv` is what started it; `changed` are the settings of
    class B that differ from the attempt before."""

    def __init__(
        self,
        run: Path,
        parts: Parts,
        writer: RunWriter,
        argv: Sequence[str],
        changed: tuple[str, ...],
    ) -> None:
        self._run, self._parts, self._writer = run, parts, writer
        self._argv, self._changed = argv, changed
        self._facts = parts.facts
        self.before: AttemptRecord | None = None  # whose steps the first one goes on from
        self.record: AttemptRecord  # the first one
        self.lineage: str

    def begin(self, start: CheckpointFiles | None) -> int:
        """The first one, after `start` (None: with the first step); returns its number."""
        reader = RunReader(self._run)
        self.before = None if start is None else maker(reader.attempts(), start.step)
        self.record = self._first(reader, start)
        number = self._writer.begin_attempt(self.record)
        self.lineage = reader.lineage
        return number

    def begin_stretch(self, step: int, facts: Facts, why: str) -> None:
        """One more, from this step on and by these facts."""
        before = maker(RunReader(self._run).attempts(), step)
        if before is None and step:  # the disk does not let them be read just now
            before = replace(self.record, **self._facts.to_record())
        self._facts = facts
        now = replace(
            self.record,
            from_step=step,
            started_at=_now(),
            changed=self.record.changed if step <= self.record.from_step else (),
            **facts.to_record(),
        )
        self._writer.begin_attempt(classed(now, before, self._planned_rows, why))
        self.lineage = RunReader(self._run).lineage

    def _first(self, reader: RunReader, start: CheckpointFiles | None) -> AttemptRecord:
        """What it is, and of which class, against the one whose steps it goes on from."""
        parts = self._parts
        now = AttemptRecord(
            from_step=start.step if start else 0,
            reason="resume" if start else "new",
            started_at=_now(),
            host=platform.node(),
            argv=tuple(self._argv),
            version=__version__,
            git_commit=source_commit(),
            data_fingerprint=parts.prepared.fingerprint,
            replay_fingerprint=parts.old_data.fingerprint if parts.old_data else None,
            settings=deciding(parts.resolved),
            changed=self._changed,
            autotune=parts.tuning.to_json() if parts.tuning else None,
            **self._facts.to_record(),
        )
        if start is None:
            return now
        found = classed(now, self.before, self._planned_rows, "resume")
        return with_lost_records(found, reader)

    @property
    def _planned_rows(self) -> int:
        """Rows at once that the first step was to be done with; autotune may have chosen them."""
        settings = self._parts.settings
        first = next((each for _, each in RunReader(self._run).attempts()), None)
        tuned = first.micro_batch_size if first and settings.micro_batch_size is None else None
        return tuned or settings.rows_per_micro_batch


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
