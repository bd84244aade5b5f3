"""What is said in the shell after the screen is gone."""

import shlex
from pathlib import Path

from tinychat import words
from tinychat.runs import default_checkpoints
from tinychat.watch.overview import Overview, Watch
from tinychat.watch.states import LIVE

_MOST_NAMED = 3


def parting_line(checkpoints: Path, run: Path | None) -> str:
    """Which runs go on, and how to look again; empty if none does. `run` is the one looked at."""
    watch = Watch(checkpoints)
    looked_at = watch.look_at(run) if run is not None else None
    if looked_at is not None and looked_at.state in LIVE:
        return f"{_process(looked_at)}; look again with: {_command(checkpoints, run)}"
    try:
        live = [one for one in watch.look() if one.state in LIVE]
    except OSError:
        return ""
    if not live:
        return ""
    again = f"; look again with: {_command(checkpoints, None)}"
    if len(live) == 1:
        return _process(live[0]) + again
    names = ", ".join(words.inert(one.name) for one in live[:_MOST_NAMED])
    more = f" and {len(live) - _MOST_NAMED} more" if len(live) > _MOST_NAMED else ""
    return f"{names}{more} go on training{again}"


def _process(run: Overview) -> str:
    pid = "" if run.status is None else f" (process {run.status.pid})"
    waits = "stays paused" if run.state == "paused" else "goes on training"
    return f"{words.inert(run.name)} {waits}{pid}"


def _command(checkpoints: Path, run: Path | None) -> str:
    usual = checkpoints.absolute() == default_checkpoints().absolute()
    parts = ["tinychat-monitor", *([run.name] if run is not None else [])]
    parts += [] if usual else ["--checkpoints", str(checkpoints)]
    return words.inert(shlex.join(parts))
