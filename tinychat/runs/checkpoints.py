"""Checkpoints as folders of bytes: published whole or not at all, verified whenever read.

A checkpoint is written into a temporary folder beside its place, every file is flushed, the
manifest (size and sha256 of each) comes last, and one rename publishes it. What the files mean
(tensors, settings) is the charge of others; so is the decision when to save.
"""

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinychat.errors import CheckpointError, NoCheckpointError, RunError
from tinychat.runs.durable import Disk, remove_tree
from tinychat.runs.layout import (
    DELETED,
    MANIFEST,
    QUARANTINED,
    REPLACED,
    RESUME_FILES,
    TEMPORARY,
    RunPaths,
    checkpoint_name,
    checkpoint_step,
    list_checkpoints,
)
from tinychat.runs.records import FORMAT, check_format, parse

_TOLD = 6  # of what is wrong with checkpoints
_MANIFEST_BYTES = 1024 * 1024  # far above any real one; a larger file is not read


@dataclass(frozen=True)
class CheckpointFiles:
    """The verified content of one checkpoint."""

    path: Path
    step: int
    files: dict[str, bytes] = field(repr=False)
    unknown: list[str] = field(default_factory=list)  # present, but not in the manifest; not read


def publish_checkpoint(
    run: Path, step: int, files: Mapping[str, bytes], *, disk: Disk | None = None
) -> Path:
    """Write a checkpoint so that it is all there or not there, whatever happens meanwhile.

    An older checkpoint of that step is replaced. Once this returns, a power cut does not lose
    it. Raises OSError if the disk refuses: then this one does not count, and all that were
    there before are untouched.
    """
    return _publish(run, step, sorted(files), files.__getitem__, disk or Disk())


def copy_checkpoint(
    source: Path,
    run: Path,
    *,
    disk: Disk | None = None,
    copied: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Publish a checkpoint of one run in the folder of another: the same bytes, file by file.

    Each file is verified when it is read, and once more in its new place before the copy gets its
    name. `copied` is told of (done, total) bytes after each file; what it raises ends the copy.
    Raises CheckpointError naming the file that is not as the manifest says, OSError if the disk
    refuses; nothing is published then.
    """
    step, listed = read_manifest(source)
    total, done = sum(size for size, _ in listed.values()), 0

    def read(name: str) -> bytes:
        nonlocal done
        copied(done, total)
        data = _read_verified(source / name, *listed[name])
        done += len(data)
        return data

    def check(aside: Path) -> None:
        copied(total, total)
        for name in listed:
            _read_verified(_from_the_medium(aside / name), *listed[name])

    return _publish(run, step, sorted(listed), read, disk or Disk(), known=listed, check=check)


def _publish(
    run: Path,
    step: int,
    names: Collection[str],
    read: Callable[[str], bytes],
    disk: Disk,
    *,
    known: Mapping[str, tuple[int, str]] | None = None,
    check: Callable[[Path], None] = lambda aside: None,
) -> Path:
    """`known` has the (size, sha256) of files that need not be hashed; `check` comes before the
    folder gets its name."""
    target = RunPaths(run).checkpoint(step)
    aside = beside(target, TEMPORARY)
    listed: dict[str, tuple[int, str]] = {}
    try:
        disk.make_folder(aside)
        for name in names:
            data = read(name)
            disk.write_file(aside / _plain(name), data)
            disk.fsync(aside / name)
            listed[name] = known[name] if known else (len(data), hashlib.sha256(data).hexdigest())
            del data  # while the next one is read, this one needs no memory
        disk.write_file(aside / MANIFEST, manifest_bytes(step, listed))
        disk.fsync(aside / MANIFEST)
        disk.fsync_folder(aside)
        check(aside)
        replaced = _take_name(disk, aside, target)
    except BaseException:
        with suppress(OSError):
            remove_tree(disk, aside)  # frees the space; a leftover is swept at the next start
        raise
    disk.fsync_folder(run)
    if replaced is not None:
        remove_tree(disk, replaced)
    return target


def read_checkpoint(path: Path, *, only: Collection[str] | None = None) -> CheckpointFiles:
    """Read a checkpoint into memory and verify all that is read; `only` reads just those names.

    Opens no file that the manifest does not name. Raises CheckpointError naming the file and
    what is wrong with it, FormatError for a checkpoint of a newer tinychat.
    """
    step, listed = read_manifest(path)
    wanted = sorted(listed if only is None else only)
    _require(path, wanted, listed)
    try:
        present = {entry.name for entry in os.scandir(path)}
    except OSError as error:  # removed just now by a trainer
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None
    return CheckpointFiles(
        path=path,
        step=step,
        files={name: _read_verified(path / name, *listed[name]) for name in wanted},
        unknown=sorted(present - listed.keys() - {MANIFEST}),
    )


def read_manifest(path: Path) -> tuple[int, dict[str, tuple[int, str]]]:
    """The step, and (size, sha256) of each listed file."""
    where = path / MANIFEST
    try:
        data = _read(where, limit=_MANIFEST_BYTES)
        values = parse(data)
        check_format(values, str(where))
        if data != _as_written(values):  # so that no change of it goes unseen
            raise ValueError("it is not in the form in which manifests are written")
    except ValueError as error:
        raise CheckpointError(f"{where} is damaged: {error}.") from None
    except RunError as error:
        raise CheckpointError(str(error)) from None
    try:
        listed = {_plain(name): _entry(about) for name, about in values["files"].items()}
        step = values["step"]
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where} is damaged: {error!r}.") from None
    if type(step) is not int or checkpoint_step(path.absolute().name) != step:
        raise CheckpointError(f"{where} is of step {step!r}, not of the folder it lies in.")
    return step, listed


def manifest_bytes(step: int, listed: Mapping[str, tuple[int, str]]) -> bytes:
    """manifest.json of these files, each with its (size, sha256)."""
    files = {name: {"size": size, "sha256": digest} for name, (size, digest) in listed.items()}
    return _as_written({"format": FORMAT, "step": step, "files": dict(sorted(files.items()))})


def newest_good(
    run: Path,
    *,
    needs: Collection[str] = RESUME_FILES,
    wanted: Callable[[CheckpointFiles], bool] = lambda files: True,
) -> tuple[CheckpointFiles, list[CheckpointError]]:
    """The newest checkpoint that is whole and holds the files in `needs` (what resuming needs).

    Also returns what was wrong with each newer one that is damaged; milestones without those
    files, and what is not `wanted`, are passed over in silence. Raises NoCheckpointError if the run
    has published none, CheckpointError if none can be used.
    """
    damaged: list[CheckpointError] = []
    thinned: list[CheckpointError] = []
    for step in reversed(list_checkpoints(run)):
        path = RunPaths(run).checkpoint(step)
        try:
            listed = read_manifest(path)[1].keys()
            if set(needs) <= listed:
                if wanted(found := read_checkpoint(path)):
                    return found, damaged
                thinned.append(CheckpointError(f"The checkpoint {path} is not wanted here."))
                continue
            unlisted = [name for name in sorted(set(needs) - listed) if (path / name).exists()]
            if unlisted:  # a milestone has none of them, so a name in the manifest has changed
                raise CheckpointError(
                    f"{path / MANIFEST} is damaged: it does not list {', '.join(unlisted)}."
                )
            thinned.append(CheckpointError(f"The checkpoint {path} holds weights only."))
        except CheckpointError as error:
            damaged.append(error)
    if not damaged + thinned:
        raise NoCheckpointError(f"The run {run.name} has published no checkpoint yet.")
    folder = str(RunPaths(run).root)
    told = [str(problem).replace(f"{folder}{os.sep}", "") for problem in damaged + thinned]
    more = [f"And {len(told) - _TOLD} more."] if len(told) > _TOLD else []
    raise CheckpointError(
        "\n".join(
            [
                f"No checkpoint of the run {run.name} can be used, and nothing was deleted.",
                *told[:_TOLD],
                *more,
            ]
        )
    )


def quarantine(run: Path, step: int, *, disk: Disk | None = None) -> Path:
    """Move a damaged checkpoint out of the way: never deleted, never listed again."""
    disk = disk or Disk()
    number = 1
    while (target := run / f"{QUARANTINED}{checkpoint_name(step)}-{number}").exists():
        number += 1
    disk.rename(RunPaths(run).checkpoint(step), target)
    disk.fsync_folder(run)
    return target


def sweep(run: Path, *, disk: Disk | None = None) -> list[str]:
    """Clear what a crash left behind; returns the names. Only for the holder of the run's lock.

    A checkpoint that was out of the way for a replacement that never came gets its name back.
    """
    disk = disk or Disk()
    swept = []
    for entry in sorted(os.scandir(run), key=lambda entry: entry.name):
        path = Path(entry.path)
        if not entry.name.startswith((TEMPORARY, DELETED, REPLACED)):
            continue
        swept.append(entry.name)
        step = checkpoint_step(entry.name.removeprefix(REPLACED).rpartition("-")[0])
        if entry.name.startswith(REPLACED) and step is not None:
            target = RunPaths(run).checkpoint(step)
            if not target.exists():
                disk.rename(path, target)
                continue
        if entry.is_dir(follow_symlinks=False):
            remove_tree(disk, path)
        else:
            disk.remove(path)
    if swept:
        disk.fsync_folder(run)
    return swept


def beside(path: Path, prefix: str) -> Path:
    """A free name in the same folder."""
    return path.with_name(f"{prefix}{path.name}-{secrets.token_hex(4)}")


def _plain(name: str) -> str:
    """A file name that stays inside its folder; anything else is refused."""
    if not name or name != os.path.basename(name) or name[0] == "." or set(name) & set("\\/:\0"):
        raise ValueError(f"{name!r} is no plain file name")
    if name == MANIFEST:
        raise ValueError(f"{MANIFEST} cannot list itself")
    return name


def _as_written(manifest: Mapping[str, Any]) -> bytes:
    """The one form of a manifest; its readers accept no other, down to the last newline."""
    return json.dumps(manifest, indent=2).encode() + b"\n"


def _take_name(disk: Disk, aside: Path, target: Path) -> Path | None:
    """Rename `aside` to `target`; returns where an older `target` went."""
    if not target.exists():
        disk.rename(aside, target)
        return None
    replaced = beside(target, REPLACED)
    disk.rename(target, replaced)
    try:
        disk.rename(aside, target)
    except BaseException:
        disk.rename(replaced, target)
        raise
    return replaced


def _require(path: Path, names: Collection[str], listed: Collection[str]) -> None:
    if missing := sorted(set(names) - set(listed)):
        raise CheckpointError(f"The checkpoint {path} has no {', '.join(missing)}.")


def _entry(about: Mapping[str, Any]) -> tuple[int, str]:
    size, digest = about["size"], about["sha256"]
    if type(size) is not int or type(digest) is not str:
        raise ValueError("a size or sha256 is of the wrong type")
    return size, digest


def _from_the_medium(path: Path) -> Path:
    """The same path; what memory holds of it is let go, where the system can do that."""
    if hasattr(os, "posix_fadvise"):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)
    return path


def _read_verified(path: Path, size: int, digest: str) -> bytes:
    try:
        data = _read(path, limit=size)
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from None
    if len(data) != size:
        raise CheckpointError(f"{path} is damaged: it has {len(data)} bytes instead of {size}.")
    if hashlib.sha256(data).hexdigest() != digest:
        raise CheckpointError(f"{path} is damaged: its sha256 is not the one in {MANIFEST}.")
    return data


def _read(path: Path, *, limit: int) -> bytes:
    """The whole of a plain file of at most `limit` bytes; CheckpointError if it is no such."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise CheckpointError(f"{path} is not a plain file.")
        if about.st_size > limit:
            raise ValueError(f"it has {about.st_size} bytes instead of {limit}")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None
