"""The old data of a run that starts from other weights: rows of it come with its own, and its
validation split tells what is forgotten.

Which data that is, is settled once: a run writes down how it reads it and its fingerprint, so that
it needs its parent no more.
"""

from dataclasses import replace
from pathlib import Path

from tinychat.config import Settings
from tinychat.config.classes import ACCEPT_NEW_DATA
from tinychat.errors import DataError, SettingsError
from tinychat.runs import Disk, ReplayRecord, RunPaths, RunReader
from tinychat.text import OldData, Prepared, Tokenizer, learnt_by, prepare
from tinychat.text import Progress as ReadingProgress


def prepare_old_data(
    run: Path,
    settings: Settings,
    tokenizer: Tokenizer,
    progress: ReadingProgress | None,
    disk: Disk | None = None,
    *,
    accept_new_data: bool = False,
) -> Prepared | None:
    """The old data in the tokens of the run; None for a run that has none. A run that exists must
    find what it went on with last, unless other data is accepted.

    Raises SettingsError for other data, DataError where it is gone.
    """
    if not settings.reads_old_data:
        return None
    old = _old_data(run, settings)
    if settings.replay.paths:
        old = replace(old, data=replace(old.data, paths=settings.replay.paths))
    try:
        found = prepare(
            old.data,
            tokenizer,
            seed=old.seed,
            cache=run.parent / ".cache",
            progress=progress,
            disk=disk,
        )
    except DataError as error:
        raise DataError(
            f"The old data that is mixed in cannot be read: {str(error).rstrip('.')}; bring it "
            "back, or say where it lies by --replay.paths."
        ) from None
    reader = RunReader(run)
    if accept_new_data or not RunPaths(run).run_json.exists():
        return found
    if found.fingerprint != reader.replay_fingerprint:
        raise SettingsError(
            f"the old data of {run.name} has changed since the run last went on (fingerprint "
            f"{found.fingerprint[:12]}, it was {str(reader.replay_fingerprint)[:12]}); "
            "bring it back, say where it lies by --replay.paths, or go on with the new by "
            f"`tinychat resume {run.name} {ACCEPT_NEW_DATA}`"
        )
    return found


def replay_record(settings: Settings, found: Prepared | None) -> ReplayRecord | None:
    """What a run writes down of its old data when it is born."""
    if found is None:
        return None
    old = _of_parent(settings)
    return ReplayRecord(fingerprint=found.fingerprint, seed=old.seed, data=old.to_json())


def _old_data(run: Path, settings: Settings) -> OldData:
    if not RunPaths(run).run_json.exists():
        return _of_parent(settings)
    record = RunReader(run).run.replay
    if record is None:
        raise SettingsError(
            f"{run.name} began without old data, so it cannot be compared with its start; start a "
            "new run with --init-from"
        )
    return OldData.from_json(record.data, record.seed)


def _of_parent(settings: Settings) -> OldData:
    """What the parent learnt from; where only a person can tell, it is read as the own data is."""
    folder = Path(settings.init_from or "")
    try:
        return learnt_by(folder)
    except SettingsError:
        if not settings.replay.paths:
            raise
        return OldData(replace(settings.data, paths=()), settings.seed)
