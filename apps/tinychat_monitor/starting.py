"""Starting the trainer of a run, new or not, until it is under way or says why not."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tinychat import words
from tinychat.errors import TinychatError
from tinychat.runs import RunPaths, RunReader
from tinychat.watch.launch import Launched, launch
from tinychat.watch.overview import Overview
from tinychat.watch.states import LIVE

_SECONDS_BETWEEN = 0.25


async def start(arguments: Sequence[str], checkpoints: Path, run: Path) -> tuple[Launched, bool]:
    """Start the trainer of a run; returns it, and whether it came under way before it ended.

    `checkpoints` is the folder that the run is in. Raises OSError if no process can be started.
    """
    launched = await asyncio.to_thread(launch, arguments, checkpoints)
    while (under_way := await asyncio.to_thread(_is_under_way, launched, run)) is None:
        await asyncio.sleep(_SECONDS_BETWEEN)
    return launched, under_way


def _is_under_way(launched: Launched, run: Path) -> bool | None:
    """None while it has neither reported nor ended."""
    status, is_made = None, False
    with suppress(TinychatError, OSError):
        is_made = RunPaths(run).run_json.is_file()  # reading the data comes before it
        status = RunReader(run).status
    if is_made and status is not None and status.pid == launched.pid:
        return True
    ended = launched.ended()
    return None if ended is None else is_made and not ended


def why_not_resume(overview: Overview) -> str:
    """A sentence if a run cannot be resumed from here, else nothing."""
    name, state = words.inert(overview.name), overview.state
    if state == "paused":
        return f"{name} is paused: p goes on."
    if state == "finished":
        steps = 2 * (overview.max_steps or overview.step or 1000)
        return (
            f"{name} has finished. To train it longer: tinychat resume {name} --max-steps {steps}"
        )
    if state in LIVE or state == "stalled":
        return f"{name} is {state}: there is nothing to resume."
    if state == "other host":
        return f"{name} was trained on another machine, and may go on there."
    return ""
