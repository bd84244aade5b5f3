"""One trainer per run: a lock that the kernel holds and lets go of whenever its holder ends.

The lock file is never unlinked and its content never decides anything: it only tells a person who
holds the lock. So there is nothing to clear away after a power cut.
"""

import json
import os
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from tinychat.errors import RunBusyError, RunError
from tinychat.runs.layout import RunPaths

# A reader's look (`lock_is_held`) holds the lock for a blink; a trainer that meets it waits.
_TRIES = 5
_SECONDS_BETWEEN_TRIES = 0.02
_WINDOWS_OFFSET = 1 << 30  # Windows forbids reading a locked byte, so it lies beyond the content


class RunLock:
    """Hold a run for this process: `with RunLock(run): ...`.

    Raises RunBusyError, naming the holder, if another process has it.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.path = RunPaths(run).lock
        self._fd: int | None = None
        if hasattr(os, "register_at_fork"):  # a forked child that outlives us must not hold it
            os.register_at_fork(after_in_child=self._close)

    def __enter__(self) -> Self:
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)  # Python sets O_CLOEXEC
            if not self._lock_patiently(self._fd):
                self._close()
                raise RunBusyError(
                    f"The run {self.run.name} is held by {_holder(self.path)}; stop that one "
                    "first, or start under another name."
                )
            _write_holder(self._fd)
        except OSError as error:
            self._close()
            raise RunError(
                f"The run {self.run.name} cannot be locked in {self.run.parent} "
                f"({error.strerror or error}); its folder must be on a file system that can be "
                "written and knows locks."
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._fd is not None:
                with suppress(OSError):
                    os.ftruncate(self._fd, 0)
        finally:
            self._close()

    def still_held(self) -> bool:
        """False once the lock file was removed or replaced under us: then we hold nothing.

        Raises OSError if that cannot be told now, as when the whole folder is away.
        """
        if self._fd is None:
            return False
        try:
            there = self.path.stat()
        except FileNotFoundError:
            self.run.stat()
            return False
        ours = os.fstat(self._fd)
        return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)

    @staticmethod
    def _lock_patiently(fd: int) -> bool:
        for _ in range(_TRIES):
            if _try_lock(fd):
                return True
            time.sleep(_SECONDS_BETWEEN_TRIES)
        return False

    def _close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)


def lock_is_held(run: Path) -> bool:
    """Whether some process holds the run's lock now. Changes nothing."""
    try:
        fd = os.open(RunPaths(run).lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _try_lock(fd, shared=True)
    finally:
        os.close(fd)  # lets go of it too


def _write_holder(fd: int) -> None:
    """Say who holds it, if the disk takes that: a full one must still be lockable, to be pruned."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"pid": os.getpid(), "host": socket.gethostname(), "started": started}
    with suppress(OSError):
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, json.dumps(about).encode())


def _holder(path: Path) -> str:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return f"process {int(about['pid'])} on {about['host']} since {about['started']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"


def _try_lock(fd: int, *, shared: bool = False) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(fd, _WINDOWS_OFFSET, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
