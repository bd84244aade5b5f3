"""Disks that watch, refuse, or remember: the real one, with something before each operation."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinychat.runs import Disk

Journal = list[tuple[Any, ...]]  # (operation, *arguments), in their order


class WatchedDisk(Disk):
    """Calls `before(operation, *arguments)` ahead of every primitive operation."""

    def before(self, operation: str, *args: Any) -> None: ...


def _watched(operation: str) -> Callable[..., Any]:
    def method(self: WatchedDisk, *args: Any) -> Any:
        self.before(operation, *args)
        return getattr(Disk, operation)(self, *args)

    return method


for _operation in [name for name in vars(Disk) if not name.startswith("_")]:
    setattr(WatchedDisk, _operation, _watched(_operation))


class RefusingDisk(WatchedDisk):
    """The Nth operation (from 1) fails; with `dead` so does everything after it."""

    def __init__(self, nth: int, *, dead: bool = False, error: int = errno.ENOSPC) -> None:
        self.count = 0
        self.nth = nth
        self.dead = dead
        self.error = error

    def before(self, operation: str, *args: Any) -> None:
        self.count += 1
        if self.count == self.nth or (self.dead and self.count > self.nth):
            raise OSError(
                self.error, f"{os.strerror(self.error)} (operation {self.count}, {operation})"
            )


class JournalDisk(WatchedDisk):
    """Keeps every operation with its arguments; an append with its path instead of its number."""

    def __init__(self) -> None:
        self.log: Journal = []
        self._paths: dict[int, Path] = {}

    def open_append(self, path: Path) -> int:
        fd = super().open_append(path)
        self._paths[fd] = path  # a number that was closed comes back for another file
        return fd

    def before(self, operation: str, *args: Any) -> None:
        if operation == "append":
            args = (self._paths[args[0]], *args[1:])
        self.log.append((operation, *args))
