"""Which models there are, by the names that a request may use.

A request's words are only ever compared with names that a listing gave: no path is made of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from tinychat.runs import RunPaths, RunReader, find_model, is_foreign
from tinychat.runs.layout import run_names

CARD = "tinychat.json"  # in a checkpoint


@dataclass(frozen=True)
class Listed:
    """One name, what a shelf opens for it, and when its run was born (seconds since 1970)."""

    id: str
    opens: str
    created: int


class Catalog:
    """The models of a folder of runs, or of one run only. Every look reads the folder anew.

    Touches the disk, so not for an event loop.
    """

    def __init__(self, checkpoints: Path, run: str | None = None) -> None:
        """`run` is what a person calls one run, checkpoint or model folder.

        Raises RunNotFoundError if there is none of that name.
        """
        self.checkpoints = checkpoints
        self._only: Path | None = None
        self._step: int | None = None
        if run is not None:
            folder, self._step = find_model(run, checkpoints)
            self._only = folder.absolute()

    def all(self) -> list[Listed]:
        """Every name that `find` knows, run by run: the run, its best, its latest, each step."""
        return [
            each for name, folder in self._runs().items() for each in self._listed(name, folder)
        ]

    def find(self, wanted: str) -> Listed | None:
        """The model of exactly that name."""
        for name, folder in self._runs().items():
            if wanted == name or wanted.startswith(f"{name}@"):
                for each in self._listed(name, folder):
                    if each.id == wanted:
                        return each
        return None

    def runs(self) -> list[str]:
        """The names of the runs that have a checkpoint."""
        return [name for name, folder in self._runs().items() if any(self._listed(name, folder))]

    def is_chat(self, run: str) -> bool:
        """Whether a run answers conversations, as its newest checkpoint says; else, or where that
        cannot be told, it continues texts."""
        folder = self._runs().get(run)
        steps = RunReader(folder).checkpoints() if folder is not None else []
        if folder is None or not steps:
            return False
        try:
            card = orjson.loads((RunPaths(folder).checkpoint(steps[-1]) / CARD).read_bytes())
        except (OSError, ValueError):
            return False
        return isinstance(card, dict) and card.get("kind") == "chat"

    def _runs(self) -> dict[str, Path]:
        if self._only is not None:
            return {self._only.name: self._only}
        return {name: self.checkpoints / name for name in run_names(self.checkpoints)}

    def _listed(self, name: str, folder: Path) -> Iterator[Listed]:
        whole = str(folder) if self._only is not None else name
        if is_foreign(folder):
            yield Listed(name, whole, _born(folder / "config.json"))
            return
        born = _born(RunPaths(folder).run_json)
        if self._step is not None:
            for each in (name, f"{name}@{self._step}"):
                yield Listed(each, f"{whole}@{self._step}", born)
            return
        reader = RunReader(folder)
        steps = reader.checkpoints()
        if not steps:
            return
        best = ["best"] if reader.best is not None else []
        yield Listed(name, whole, born)
        for which in (*best, "latest", *steps):
            yield Listed(f"{name}@{which}", f"{whole}@{which}", born)


def _born(path: Path) -> int:
    try:
        return int(path.stat().st_mtime)
    except OSError:  # gone since it was listed
        return 0
