"""What was fetched from the Hugging Face hub and is here.

Each repository has a folder, and in it a folder for each revision and choice of files: `hub.json`
tells what it is, `files/` holds them. It is made under another name and renamed into place when it
is whole and durable. The repository's lock keeps a second process from fetching the same.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PureWindowsPath

from tinychat.errors import DataError, RunBusyError, RunError
from tinychat.runs import Disk, RunLock, remove_tree, replace_file
from tinychat.text.corpus import Progress

FOLDER = ".hub"  # beside the runs
FETCHING = ".fetching-"
FILES = "files"
_RECORD = "hub.json"
_SECONDS_BETWEEN_TRIES = 0.2


@dataclass(frozen=True)
class HubFile:
    """One file as the hub has it."""

    name: str
    n_bytes: int
    sha256: str | None


@dataclass(frozen=True)
class Record:
    """hub.json: what lies beside it."""

    kind: str  # dataset or model
    repository: str
    revision: str  # the commit
    licence: str | None
    fetched_at: float  # Unix seconds
    asked: tuple[str, ...]  # the names that this answers
    files: tuple[HubFile, ...]


def is_plain(name: str) -> bool:
    """Whether a name from elsewhere is a path that stays within a folder, on every system."""
    return (
        "\\" not in name
        and "\0" not in name
        and not PureWindowsPath(name).drive
        and all(part not in ("", ".", "..") for part in name.split("/"))
    )


def repository_folder(into: Path, repository: str) -> Path:
    return into / FOLDER / repository.replace("/", "--")


def kept(place: Path) -> Record | None:
    """What a folder holds, if all its files are there with their sizes."""
    try:
        found = json.loads((place / _RECORD).read_text(encoding="utf-8"))
        files = tuple(HubFile(**file) for file in found.pop("files"))
        record = Record(**{**found, "asked": tuple(found["asked"])}, files=files)
        whole = all(
            is_plain(f.name) and (place / FILES / f.name).stat().st_size == f.n_bytes for f in files
        )
        return record if whole and files else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def newest_kept(folder: Path, kind: str, asked: str) -> tuple[Path, Record] | None:
    """The newest whole folder of a repository that answers this name."""
    found = [
        (record.fetched_at, place, record)
        for place in sorted(folder.glob(f"*/{_RECORD}"))
        if (record := kept(place.parent)) and record.kind == kind and asked in record.asked
    ]
    if not found:
        return None
    _, record_path, record = max(found, key=lambda each: each[0])
    return record_path.parent, record


def add_name(place: Path, record: Record, asked: str, disk: Disk) -> None:
    """Remember that this name, too, is answered by that folder."""
    if asked not in record.asked:
        replace_file(disk, place / _RECORD, _json(replace(record, asked=(*record.asked, asked))))


def publish(work: Path, place: Path, record: Record, disk: Disk) -> None:
    """Make a folder durable that was filled, and put it in its place. The lock is held."""
    disk.write_file(work / _RECORD, _json(record))
    for path in sorted(work.rglob("*"), reverse=True):  # what a folder holds, before itself
        if path.is_dir():
            disk.fsync_folder(path)
        else:
            disk.fsync(path)
    disk.fsync_folder(work)
    if place.exists():  # it was found not to be whole
        remove_tree(disk, place)
    disk.rename(work, place)
    disk.fsync_folder(place.parent)


@contextmanager
def hold(folder: Path, what: str, progress: Progress | None) -> Iterator[None]:
    """Have a repository's folder to oneself; what processes that were killed left is removed.

    Raises DataError where it cannot be locked.
    """
    folder.mkdir(0o700, parents=True, exist_ok=True)
    lock = RunLock(folder)
    while True:
        try:
            lock.__enter__()
            break
        except RunBusyError:
            if progress:
                progress(f"waiting for another process that fetches {what}", 0, 0)
            time.sleep(_SECONDS_BETWEEN_TRIES)
        except RunError as error:
            raise DataError(
                f"{folder} cannot be locked; name another folder with --checkpoints, on a file "
                "system that can be written and knows locks"
            ) from error
    try:
        clear(folder)
        yield
    finally:
        lock.__exit__()


def clear(folder: Path) -> None:
    """Remove what was being fetched. The lock is held."""
    for left in folder.glob(f"{FETCHING}*"):
        with suppress(OSError):
            remove_tree(Disk(), left)


def bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # renamed just now
            total += path.stat().st_size if path.is_file() else 0
    return total


def names_of(files: Sequence[HubFile]) -> tuple[str, ...]:
    return tuple(file.name for file in files)


def _json(record: Record) -> bytes:
    return json.dumps(asdict(record), indent=1).encode()
