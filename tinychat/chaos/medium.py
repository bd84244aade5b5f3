"""A model of a disk that loses power: what may be on the medium after each operation.

Names are durable once their folder was flushed; of its changes since then any may be missing, in
any combination. Content is durable as far as it went in before its file was flushed; what came
after may be whole, missing, zeros or torn. Real file systems leave fewer states; none leaves more
as long as the drive keeps what it confirms.
"""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

from tinychat.chaos.disks import Journal

Tree = tuple[tuple[str, Union["Tree", bytes]], ...]  # (name, folder or content), sorted

HURTS: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: data,
    lambda data: b"",
    lambda data: bytes(len(data)),
    lambda data: data[: len(data) // 2],
)


@dataclass
class Content:
    """A file: its bytes now, and how many of them are on the medium for sure."""

    data: bytes = b""
    sure: int | None = None  # None: never flushed

    def possible(self) -> Iterator[bytes]:
        sure = self.sure or 0
        rest = self.data[sure:]
        for hurt in HURTS if rest else HURTS[:1]:
            yield self.data[:sure] + hurt(rest)


@dataclass
class Folder:
    """The changes to a folder's names in order, the first `sure` of them on the medium."""

    changes: list[tuple[str, Any]] = field(default_factory=list)  # (name, thing or None or Moved)
    sure: int = 0

    def now(self) -> dict[str, "Folder | Content"]:
        return _after(self.changes)

    def possible(self) -> Iterator[Tree]:
        """Every tree that may be on the medium."""
        sure, loose = self.changes[: self.sure], self.changes[self.sure :]
        for chosen in itertools.product((True, False), repeat=len(loose)):
            names = _after([*sure, *itertools.compress(loose, chosen)])
            choices = [
                [(name, possible) for possible in dict.fromkeys(names[name].possible())]
                for name in sorted(names)
            ]
            yield from itertools.product(*choices)


@dataclass(frozen=True)
class Moved:
    """A name that became another one in the same folder."""

    to: str


def _after(changes: list[tuple[str, Any]]) -> dict[str, Folder | Content]:
    names: dict[str, Folder | Content] = {}
    for name, change in changes:
        if isinstance(change, Folder | Content):
            names[name] = change
        else:
            thing = names.pop(name, None)
            if isinstance(change, Moved) and thing is not None:
                names[change.to] = thing
    return names


class Medium:
    """What operations under `root` do to the medium."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.top = Folder()

    def apply(self, operation: str, path: Path, *more: Any) -> None:
        """One entry of a journal. Raises AssertionError for an operation it does not know."""
        if operation == "fsync_folder":
            folder = self.folder(path)
            folder.sure = len(folder.changes)
            return
        if operation == "fsync":
            self.content(path).sure = len(self.content(path).data)
            return
        if operation == "append":
            self.content(path).data += more[0]
            return
        folder, change = self.folder(path.parent), None
        match operation:
            case "make_folder":
                change = Folder()
            case "write_file":
                change = Content(more[0])
            case "open_append":
                if path.name in folder.now():
                    return
                change = Content()
            case "rename" | "replace":
                assert more[0].parent == path.parent, "nothing of ours moves between folders"
                change = Moved(more[0].name)
            case "remove" | "remove_folder":
                pass
            case _:
                raise AssertionError(f"the model knows no {operation}")
        folder.changes.append((path.name, change))

    def folder(self, path: Path) -> Folder:
        folder = self.top
        for name in path.relative_to(self.root).parts:
            inner = folder.now()[name]
            assert isinstance(inner, Folder)
            folder = inner
        return folder

    def content(self, path: Path) -> Content:
        found = self.folder(path.parent).now()[path.name]
        assert isinstance(found, Content)
        return found

    def nothing_to_flush(self, operation: str, path: Path) -> bool:
        """Whether all that this flush would bring to the medium is there already."""
        if operation == "fsync":
            content = self.content(path)
            return len(content.data) == (content.sure or 0)
        folder = self.folder(path)
        return folder.sure == len(folder.changes)


def replay(journal: Journal, root: Path) -> Medium:
    medium = Medium(root)
    for operation, path, *more in journal:
        medium.apply(operation, path, *more)
    return medium


def build(tree: Tree, folder: Path) -> None:
    """Make it real: the folder then holds that and nothing else. What is right already stays."""
    folder.mkdir(exist_ok=True)
    wanted = dict(tree)
    for entry in list(os.scandir(folder)):
        if entry.is_dir() and not isinstance(wanted.get(entry.name), tuple):
            shutil.rmtree(entry.path)
        elif entry.is_file() and not isinstance(wanted.get(entry.name), bytes):
            os.unlink(entry.path)
    for name, thing in tree:
        path = folder / name
        if not isinstance(thing, bytes):
            build(thing, path)
        elif not path.exists():
            path.write_bytes(thing)
        elif path.read_bytes() != thing:
            path.unlink()  # ext4 flushes a file that was cut to nothing and written anew
            path.write_bytes(thing)
