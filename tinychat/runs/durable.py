"""Every write into a run folder goes through this module, so that nothing acknowledged is lost.

`Disk` holds the few primitive operations, each thin, so that a test can subclass it to make the
Nth one fail or to record their order. The rules of order stand in the functions below it and in
`checkpoints`.
"""

import errno
import os
import secrets
import sys
import time
from contextlib import suppress
from pathlib import Path

from tinychat.runs.layout import TEMPORARY

BLOCK_BYTES = 4096  # what file systems give out at a time
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
CHUNK_BYTES = 64 * 1024 * 1024  # macOS refuses one write above 2 GiB

_BINARY = getattr(os, "O_BINARY", 0)  # Windows would otherwise turn \n into \r\n


class Disk:
    """The primitive operations. Each raises OSError and leaves the clearing up to its caller."""

    def make_folder(self, path: Path) -> None:
        """Make one private folder; its parent must exist and itself must not."""
        path.mkdir(0o700)

    def write_file(self, path: Path, data: bytes) -> None:
        """Write a new private file. It is not durable before `fsync`."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view[:CHUNK_BYTES]) :]
        except OSError as error:
            error.filename = error.filename or str(path)  # which write alone does not know
            raise
        finally:
            os.close(fd)

    def open_append(self, path: Path) -> int:
        """Open (or make) a private file whose every write goes to its end."""
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _BINARY, 0o600)

    def append(self, fd: int, data: bytes) -> int:
        """One write; returns how many bytes went in."""
        return os.write(fd, data)

    def fsync(self, path: Path) -> None:
        """Bring a file's content to the medium."""
        fd = os.open(path, os.O_RDWR | _BINARY)
        try:
            _flush(fd)
        finally:
            os.close(fd)

    def fsync_folder(self, path: Path) -> None:
        """Bring a folder's names to the medium. Windows has no such call."""
        if os.name == "nt":
            return
        fd = os.open(path, os.O_RDONLY)
        try:
            _flush(fd)
        finally:
            os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Rename a folder to a name that is free."""
        os.rename(source, target)

    def replace(self, source: Path, target: Path) -> None:
        """Put a file in another's place in one stroke."""
        for patience in (0.01, 0.05, 0.2):
            try:
                return os.replace(source, target)
            except PermissionError:  # on Windows a reader may hold the target for a moment
                if os.name != "nt":
                    raise
                time.sleep(patience)
        os.replace(source, target)

    def overwrite(self, path: Path, data: bytes) -> None:
        """Give a small file other content in its own place, in one write: that needs no room.

        Spaces fill it up to its old size. Raises OSError if its blocks do not hold the new content.
        """
        fd = os.open(path, os.O_WRONLY | _BINARY)
        try:
            size = os.fstat(fd).st_size
            if len(data) > -(-size // BLOCK_BYTES) * BLOCK_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.write(fd, data.ljust(size))
        finally:
            os.close(fd)

    def remove(self, path: Path) -> None:
        os.unlink(path)

    def remove_folder(self, path: Path) -> None:
        path.rmdir()


def replace_file(disk: Disk, path: Path, data: bytes, *, sync: bool = True) -> None:
    """Give a file new content: readers see the old or the new one, never a mixture.

    With `sync` the new content survives a power cut once this returns.
    """
    aside = path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(4)}")
    try:
        disk.write_file(aside, data)
        if sync:
            disk.fsync(aside)
        disk.replace(aside, path)
    except BaseException:
        with suppress(OSError):  # on a full disk the leftover would make things worse
            disk.remove(aside)
        raise
    if sync:
        disk.fsync_folder(path.parent)


def remove_tree(disk: Disk, folder: Path) -> None:
    """Remove a folder and all it holds; links are removed, never followed."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            remove_tree(disk, Path(entry.path))
        else:
            disk.remove(Path(entry.path))
    disk.remove_folder(folder)


class LineLog:
    """A file that only grows, one write a line. A line torn by a crash spoils no other line."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self._disk = disk
        self._fd: int | None = disk.open_append(path)
        self._torn = self._ends_torn(self._fd)
        self._sync_failed = False

    def append(self, line: bytes) -> None:
        """Write one line (without its newline). Raises OSError if not all of it went in."""
        if self._fd is None:
            raise ValueError(f"{self.path} is closed")
        data = (b"\n" if self._torn else b"") + line + b"\n"
        self._torn = True  # until the whole line is known to be in
        written = self._disk.append(self._fd, data)
        if written != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self._torn = False

    def size(self) -> int:
        """Bytes so far."""
        if self._fd is None:
            raise ValueError(f"{self.path} is closed")
        return os.lseek(self._fd, 0, os.SEEK_END)

    def sync(self) -> None:
        """Make all lines so far survive a power cut.

        After a failed attempt the system may believe that the lost pages are clean, so a second
        one would prove nothing: it is refused, and the caller goes on in a new file.
        """
        if self._sync_failed:
            raise OSError(errno.EIO, "an earlier fsync of this file failed", str(self.path))
        self._sync_failed = True
        self._disk.fsync(self.path)
        self._sync_failed = False

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @staticmethod
    def _ends_torn(fd: int) -> bool:
        size = os.lseek(fd, 0, os.SEEK_END)
        if size == 0:
            return False
        os.lseek(fd, size - 1, os.SEEK_SET)
        return os.read(fd, 1) != b"\n"


def _flush(fd: int) -> None:
    """fsync that also empties the drive's own cache on macOS, where plain fsync does not."""
    if sys.platform == "darwin":
        import fcntl

        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EINVAL):  # some file systems have no such
                raise
    os.fsync(fd)
