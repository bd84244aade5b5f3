"""Driving the screen as a person does, and waiting for what must come true."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from textual.pilot import Pilot

from tinychat_monitor.app import MonitorApp
from tinychat_monitor.screens.run import RunScreen
from tinychat_monitor.widgets.headline import Headline
from tinychat_monitor.widgets.inert import InertText

Play = Callable[[Pilot[None]], Awaitable[None]]


def drive(app: MonitorApp, play: Play, size: tuple[int, int] = (80, 24)) -> None:
    """Run the app without a terminal while `play` presses keys."""

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await play(pilot)

    asyncio.run(run())


async def until(pilot: Pilot[Any], condition: Callable[[], object]) -> None:
    """Wait for something to come true; the time is only how long a failure takes."""
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, screen_text(pilot)
        await pilot.pause(0.02)


def screen_text(pilot: Pilot[Any]) -> str:
    """What the whole screen shows, as lines of text."""
    screen = pilot.app.screen
    width, height = screen.size
    strips = screen._compositor.render_strips() if width and height else []
    return "\n".join(strip.text.rstrip() for strip in strips)


def shown(pilot: Pilot[Any], selector: str) -> str:
    """What an InertText of the screen on top shows; empty if it is not there."""
    found = pilot.app.screen.query(selector).results(InertText)
    return next((widget.shown.plain for widget in found), "")


def told(pilot: Pilot[Any]) -> str:
    """The toasts that are shown."""
    return "\n".join(note.message for note in pilot.app._notifications)


def run_screen(pilot: Pilot[None]) -> RunScreen:
    assert isinstance(pilot.app.screen, RunScreen)
    return pilot.app.screen


def head(pilot: Pilot[None]) -> str:
    """The headline of the run on top; empty while there is none."""
    if not isinstance(pilot.app.screen, RunScreen):
        return ""
    return pilot.app.screen.query_one(Headline).shown.plain
