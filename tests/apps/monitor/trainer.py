"""What a trainer does to its folder: it writes rows, and obeys its mailbox."""

import json
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from tests.apps.monitor.driving import until
from tinychat.runs import Command, ControlInbox, RunWriter

Train = Callable[..., None]


def fill(writer: RunWriter, train: Train, last: int) -> None:
    for step in range(1251, last + 1):
        train(writer, step, 2.0 + 100 / step)


def asked(run: Path) -> list[str]:
    """The commands that lie in a run's mailbox, oldest first."""
    files = sorted((run / "control").glob("*.json"))
    return [json.loads(file.read_text(encoding="utf-8"))["command"] for file in files]


async def obey(
    pilot: Pilot[None], writer: RunWriter, result: str = "done", kind: str = "applied"
) -> Command:
    """Do as a trainer does with the one command in its mailbox, once it is there."""
    run = writer.paths.root
    await until(pilot, lambda: asked(run))
    (command,) = ControlInbox(run).poll()
    writer.event_row(
        f"command_{kind}", step=1250, message=result, id=command.id, command=command.command
    )
    return command
