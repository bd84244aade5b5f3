"""Following a trainer that was started here until it is under way, or says why not."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tinychat.errors import TinychatError
from tinychat.runs import RunPaths, RunReader
from tinychat.watch.launch import Launched

Outcome = Literal["waiting", "under way", "failed"]
SECONDS_BETWEEN = 0.25


@dataclass
class Starting:
    """A trainer that was started for a run, new or resumed."""

    launched: Launched
    run: Path

    def outcome(self) -> Outcome:
        """How far it is. Reads files: not for the screen's own thread on a slow disk."""
        if self._reported():
            return "under way"
        ended = self.launched.ended()
        if ended is None:
            return "waiting"
        return "failed" if ended or not RunPaths(self.run).run_json.is_file() else "under way"

    def _reported(self) -> bool:
        try:
            status = RunReader(self.run).status
        except (TinychatError, OSError):
            return False
        return status is not None and status.pid == self.launched.pid
