"""Every disk that a power cut may leave behind while a checkpoint is published.

The journal of a real publication is replayed into a model of a disk: names are durable once their
folder was flushed (of its changes since then any may be missing), content once its file was
flushed (before, it may be there, missing, zeros or torn). Each such disk is built for real, and
the next start must find a good checkpoint on it. Taking one flush out of the journal must make
the test fail, else it would prove nothing.
"""

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tinychat.errors import CheckpointError
from tinychat.runs import newest_good, sweep

Log = list[tuple[Any, ...]]
Tree = dict[str, dict[str, bytes]]  # folder -> file -> content

HURTS: dict[str, Callable[[bytes], bytes]] = {
    "whole": lambda data: data,
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "torn": lambda data: data[: len(data) // 2],
}


@dataclass
class Names:
    """A folder: the changes to its names in order, the first `durable` of them on the medium."""

    changes: list[tuple[str, str, Any]] = field(default_factory=list)
    durable: int = 0

    def now(self) -> dict[str, Any]:
        return self._after(self.changes)

    def possible(self) -> Iterator[dict[str, Any]]:
        """What may be on the medium: of the changes since the last flush, any may be missing."""
        sure, open_ones = self.changes[: self.durable], self.changes[self.durable :]
        for chosen in itertools.product([True, False], repeat=len(open_ones)):
            yield self._after([*sure, *itertools.compress(open_ones, chosen)])

    @staticmethod
    def _after(changes: list[tuple[str, str, Any]]) -> dict[str, Any]:
        names: dict[str, Any] = {}
        for change, name, value in changes:
            if change == "add":
                names[name] = value
            else:
                thing = names.pop(name, None)
                if change == "rename" and thing is not None:
                    names[value] = thing
        return names


@dataclass
class Content:
    data: bytes
    durable: bool = False


def replay(log: Log, run: Path) -> Names:
    """The disk after the operations: the run's folder, holding folders, holding contents."""
    root = Names()

    def folder(path: Path) -> Names:
        return root if path == run else root.now()[path.name]

    def content(path: Path) -> Content:
        return folder(path.parent).now()[path.name]

    for operation, path, *more in log:
        if operation == "make_folder":
            folder(path.parent).changes.append(("add", path.name, Names()))
        elif operation == "write_file":
            folder(path.parent).changes.append(("add", path.name, Content(more[0])))
        elif operation == "fsync":
            content(path).durable = True
        elif operation == "fsync_folder":
            folder(path).durable = len(folder(path).changes)
        elif operation == "rename":
            folder(path.parent).changes.append(("rename", path.name, more[0].name))
        elif operation in ("remove", "remove_folder"):
            folder(path.parent).changes.append(("remove", path.name, None))
        else:
            raise AssertionError(f"the model knows no {operation}")
    return root


def disks(root: Names) -> Iterator[Tree]:
    """What a power cut now may leave."""
    for folders in root.possible():
        choices = [list(names.possible()) for names in folders.values()]
        for chosen, hurt in itertools.product(itertools.product(*choices), HURTS.values()):
            yield {
                name: {
                    file: content.data if content.durable else hurt(content.data)
                    for file, content in files.items()
                }
                for name, files in zip(folders, chosen, strict=True)
            }


def wrong(log: Log, run: Path, since: int, allowed: set[int], at_end: int) -> tuple[int, list[str]]:
    """(disks tried, what went wrong) for a power cut after each operation from `since` on."""
    tried: set[str] = set()
    problems = []
    for count in range(since, len(log) + 1):
        good = {at_end} if count == len(log) else allowed
        for disk in disks(replay(log[:count], run)):
            if (key := f"{good} {disk}") in tried:
                continue
            tried.add(key)
            build(disk, run)
            sweep(run)
            try:
                found, _ = newest_good(run)
            except CheckpointError as error:
                problems.append(f"after {count} operations: {error}")
            else:
                right = all(
                    content.startswith(f"{name} {found.step} ".encode())
                    for name, content in found.files.items()
                )
                if found.step not in good or not right:
                    problems.append(f"after {count} operations: found {found.step}")
    return len(tried), problems


def build(disk: Tree, run: Path) -> None:
    shutil.rmtree(run)
    run.mkdir()
    for folder, files in disk.items():
        (run / folder).mkdir()
        for name, data in files.items():
            (run / folder / name).write_bytes(data)


@pytest.mark.parametrize("step", [6, 5], ids=["new step", "same step again"])
def test_no_power_cut_costs_a_checkpoint(
    run: Path, publish: Callable[..., Path], journal: Any, step: int
) -> None:
    publish(5, disk=journal)
    since = len(journal.log)
    publish(step, disk=journal, salt="again")
    tried, problems = wrong(journal.log, run, since, {5, step}, at_end=step)
    assert not problems
    assert tried > 60


@pytest.mark.parametrize("flush", ["model.safetensors", "manifest.json", ".tmp-", "demo"])
def test_each_flush_is_needed(
    run: Path, publish: Callable[..., Path], journal: Any, flush: str
) -> None:
    publish(5, disk=journal)
    since = len(journal.log)
    publish(6, disk=journal)
    log = [
        operation
        for number, operation in enumerate(journal.log)
        if number < since
        or not (operation[0].startswith("fsync") and operation[1].name.startswith(flush))
    ]
    assert len(log) == len(journal.log) - 1
    _, problems = wrong(log, run, since, {5, 6}, at_end=6)
    assert any("found 5" in problem for problem in problems)
