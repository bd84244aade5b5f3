"""The work folder of a preparation: what it has done so far, for another process to go on with.

`.work-<key>/` lies in the cache beside the finished folders. Its lock keeps a second process from
the same corpus. `done/` becomes the finished folder; `survey.json` and `progress.json` say how far
the work has come, and are believed only whole: each carries its own digest, and that of every file
it speaks of.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinychat.errors import DataError, RunBusyError, RunError, TinychatError
from tinychat.runs import Disk, RunLock, replace_file
from tinychat.text.corpus import Progress, Side
from tinychat.text.encoding import Encoded, SideBytes
from tinychat.text.split import FileReport, SourceSplit, Survey
from tinychat.text.token_files import FileCheck, WriterState
from tinychat.text.tokenizer import Tokenizer

WORK = ".work-"
TEMPORARY = ".tmp-"

_DAY = 24 * 3600
_KEPT_SECONDS = {f"{WORK}*": 7 * _DAY, f"{TEMPORARY}*": _DAY}
_SECONDS_BETWEEN_TRIES = 0.2


class WorkFolder:
    """What is kept of one preparation while it goes on. The lock is held."""

    def __init__(self, path: Path, key: str, disk: Disk) -> None:
        self.path = path
        self.done = path / "done"
        self.key = key  # what is kept for any other is not used
        self._disk = disk
        self.done.mkdir(0o700, exist_ok=True)

    def survey(self) -> Survey | None:
        """What was counted before, if anything."""
        try:
            kept = self._read("survey.json")
            flags = (self.path / "survey.bits").read_bytes()
            if _digest(flags) != kept["flags"]:
                return None
            found = kept["survey"]
            for split in found["splits"]:
                if (count := split["is_valid"]) is not None:
                    split["is_valid"], flags = flags[:count], flags[count:]
            files = tuple(map(file_report, found["files"]))
            splits = tuple(SourceSplit(**split) for split in found["splits"])
            return Survey(**{**found, "files": files, "splits": splits})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep_survey(self, found: Survey) -> None:
        flags = b"".join(split.is_valid or b"" for split in found.splits)
        survey = asdict(found)
        for split in survey["splits"]:
            if split["is_valid"] is not None:  # too many for JSON: only how many there are
                split["is_valid"] = len(split["is_valid"])
        self.write("survey.bits", flags)
        self._keep("survey.json", {"survey": survey, "flags": _digest(flags)})

    def tokenizer(self) -> Tokenizer | None:
        """The one that was trained before, if any."""
        try:
            return Tokenizer.from_json((self.done / "tokenizer.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, DataError):
            return None

    def encoded(self, tokenizer: Tokenizer) -> tuple[Encoded, dict[Side, WriterState]]:
        """How far the encoding with this tokenizer had come, and where its writers stood."""
        try:
            kept = self._read("progress.json")
            if kept["tokenizer"] != tokenizer.sha256:
                return Encoded(), {}
            train, valid = (SideBytes(**kept["encoded"][side]) for side in ("train", "valid"))
            states = {side: _writer_state(state) for side, state in kept["writers"].items()}
            return Encoded(kept["encoded"]["items"], train, valid), states
        except (OSError, ValueError, KeyError, TypeError):
            return Encoded(), {}

    def keep_encoded(
        self, tokenizer: Tokenizer, done: Encoded, states: Mapping[Side, WriterState]
    ) -> None:
        content = {
            "tokenizer": tokenizer.sha256,
            "encoded": asdict(done),
            "writers": {side: asdict(state) for side, state in states.items()},
        }
        self._keep("progress.json", content)

    def write(self, name: str, data: bytes) -> FileCheck:
        """Write a file of the folder anew, durably."""
        path = self.path / name
        path.unlink(missing_ok=True)
        self._disk.write_file(path, data)
        self._disk.fsync(path)
        return FileCheck(len(data), _digest(data))

    def _keep(self, name: str, content: dict[str, Any]) -> None:
        text = json.dumps([self.key, content])
        record = {"blake2b": _digest(text.encode()), "content": text}
        self._disk.fsync_folder(self.done)  # the names of the files that this speaks of
        replace_file(self._disk, self.path / name, json.dumps(record).encode())

    def _read(self, name: str) -> dict[str, Any]:
        record = json.loads((self.path / name).read_text(encoding="utf-8"))
        if _digest(record["content"].encode()) != record["blake2b"]:
            raise ValueError(f"{name} is not what was written")
        key, content = json.loads(record["content"])
        if key != self.key:
            raise ValueError(f"{name} was made for something else")
        return content


@contextmanager
def work_on(cache: Path, key: str, disk: Disk, progress: Progress | None) -> Iterator[WorkFolder]:
    """Have the work folder of this key to oneself.

    Waits for another process that has it. The folder stays for a later process if the work is cut
    off or the disk fails; not if the data are at fault, and not when the work was published.
    """
    path = cache / f"{WORK}{key}"
    missing = [folder for folder in (cache, *cache.parents) if not folder.exists()]
    lock = _take_lock(path, progress)
    try:
        yield WorkFolder(path, key, disk)
        shutil.rmtree(path, ignore_errors=True)
    except TinychatError:
        shutil.rmtree(path, ignore_errors=True)
        for folder in missing:
            with suppress(OSError):  # somebody else may use it by now
                folder.rmdir()
        raise
    finally:
        lock.__exit__()


def clear_leftovers(cache: Path) -> None:
    """Remove what processes that were killed left behind and nobody came back to."""
    for pattern, seconds in _KEPT_SECONDS.items():
        for path in cache.glob(pattern):
            with suppress(OSError):  # its owner may rename it just now
                newest = max(entry.stat().st_mtime for entry in [path, *path.iterdir()])
                if time.time() - newest <= seconds:  # file times are of the wall clock
                    continue
                with suppress(RunError), RunLock(path):  # else somebody works there just now
                    shutil.rmtree(path, ignore_errors=True)


def file_report(record: Mapping[str, Any]) -> FileReport:
    """A FileReport from what JSON made of it. Raises KeyError or TypeError."""
    return FileReport(**{**record, "bad_reasons": tuple(record["bad_reasons"])})


def _take_lock(path: Path, progress: Progress | None) -> RunLock:
    """Make the folder if need be, and lock it."""
    while True:
        path.mkdir(0o700, parents=True, exist_ok=True)
        lock = RunLock(path)
        try:
            lock.__enter__()
        except RunBusyError:
            if progress:
                progress("waiting for another process that prepares the same corpus", 0, 0)
            time.sleep(_SECONDS_BETWEEN_TRIES)
        except RunError as error:
            if path.is_dir():
                raise DataError(
                    f"{path} cannot be locked; choose another folder, on a file system that can be "
                    "written and knows locks."
                ) from error
        else:
            with suppress(FileNotFoundError):
                if lock.still_held():  # else its last holder has removed the folder
                    return lock
            lock.__exit__()


def _writer_state(record: dict[str, Any]) -> WriterState:
    files = {name: FileCheck(**check) for name, check in record["files"].items()}
    return WriterState(**{**record, "files": files, "flags": tuple(record["flags"])})


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
