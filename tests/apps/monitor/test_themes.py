"""Themes, the colours of curves, what is remembered, and screens that know only ASCII."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from textual.color import Color
from textual.pilot import Pilot
from textual.theme import Theme

from tests.apps.monitor.driving import drive, screen_text, until
from tinychat.runs import RunWriter
from tinychat.watch.states import LOOKS
from tinychat_monitor import preferences, themes
from tinychat_monitor.app import MonitorApp, Options
from tinychat_monitor.options import needs_ascii
from tinychat_monitor.screens.runs import RunsScreen
from tinychat_monitor.widgets.runs_table import RunsTable

Record = Callable[..., RunWriter]
ROLES = ("train", "val", "old", "lr", "grad_norm", "tokens_per_second", "memory")


def contrast(colour: str, theme: Theme) -> float:
    """The contrast of a colour on a theme's background, as WCAG counts it: 1 to 21."""

    def luminance(colour: Color) -> float:
        def linear(part: float) -> float:
            return part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4

        r, g, b = map(linear, colour.normalized)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    high, low = sorted((luminance(Color.parse(colour)), luminance(Color.parse(theme.background))))[
        ::-1
    ]
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", themes.THEMES, ids=lambda theme: theme.name)
def test_curves_and_states_can_be_seen(theme: Theme) -> None:
    colours = themes.series_colours(theme)
    assert set(colours) == set(ROLES)
    assert len(set(colours.values())) == len(ROLES)
    for colour in (*colours.values(), *themes.run_colours(theme)):
        assert contrast(colour, theme) >= 2.5, colour  # a line is not text
    for look in LOOKS.values():
        assert contrast(themes.state_colours(theme)(look.colour), theme) >= 4.5, look


@pytest.mark.parametrize("theme", themes.THEMES, ids=lambda theme: theme.name)
def test_compared_runs_have_colours_of_their_own(theme: Theme) -> None:
    for one, other in combinations(themes.run_colours(theme), 2):
        assert one != other


def test_every_theme_can_be_taken(record: Record, tmp_path: Path) -> None:
    record("demo")
    app = MonitorApp(tmp_path)

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: pilot.app.screen.query_one(RunsTable).row_count)
        for name in app.available_themes:
            app.theme = name
            await pilot.pause()
        assert "demo" in screen_text(pilot)

    drive(app, play)


def test_t_takes_the_next_theme_and_it_is_remembered(tmp_path: Path) -> None:
    async def play(pilot: Pilot[None]) -> None:
        assert pilot.app.theme == "tinychat-dark"
        await pilot.press("T")
        await until(pilot, lambda: preferences.remembered_theme() == "tinychat-light")

    drive(MonitorApp(tmp_path), play)
    assert MonitorApp(tmp_path).theme == "tinychat-light"
    asked = MonitorApp(tmp_path, options=Options(theme="tinychat-contrast"))
    assert asked.theme == "tinychat-contrast"


@pytest.mark.parametrize("kept", [b"\xff\xfe", b"[1]", b'{"theme": 3}', b'{"theme": "gone"}', b""])
def test_broken_preferences_are_no_error(kept: bytes, tmp_path: Path) -> None:
    preferences.remember_theme("tinychat-light")
    assert preferences.remembered_theme() == "tinychat-light"
    preferences._path().write_bytes(kept)
    assert MonitorApp(tmp_path).theme == themes.DEFAULT


def test_preferences_that_cannot_be_written_are_no_error(own_preferences: Path) -> None:
    preferences._path().parent.parent.mkdir(parents=True, exist_ok=True)
    preferences._path().parent.write_text("a file in the folder's place", encoding="utf-8")
    preferences.remember_theme("tinychat-light")
    assert preferences.remembered_theme() is None


def test_an_ascii_screen_has_nothing_else(record: Record, tmp_path: Path) -> None:
    record("demo", message="the loss is – 3 ▲ 日本")
    record("größe", "paused")

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: pilot.app.screen.query_one(RunsTable).row_count == 2)
        assert screen_text(pilot).isascii()
        assert "* training" in screen_text(pilot)
        for keys in (("question_mark",), ("escape", "ctrl+p"), ("escape", "n")):
            await pilot.press(*keys)
            await pilot.pause()
            assert not isinstance(pilot.app.screen, RunsScreen)
            assert screen_text(pilot).isascii()

    drive(MonitorApp(tmp_path, options=Options(ascii=True, marker="ascii")), play, (120, 40))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LANG": "en_US.UTF-8", "TERM": "xterm-256color"}, False),
        ({"LANG": "en_US.utf8"}, False),
        ({"TERM": "xterm"}, False),  # nothing is said: a container
        ({"LC_CTYPE": "C.UTF-8"}, False),
        ({"LANG": "C"}, True),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True),  # Python's own doing
        ({"LANG": "C", "LC_CTYPE": "en_US.UTF-8"}, False),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "POSIX"}, True),
        ({"LANG": "de_DE.ISO-8859-1"}, True),
        ({"LANG": "en_US.UTF-8", "TERM": "linux"}, True),
        ({"LANG": "en_US.UTF-8", "TERM": "dumb"}, True),
    ],
)
def test_ascii_is_chosen_where_the_terminal_needs_it(
    environment: dict[str, str], expected: bool
) -> None:
    assert needs_ascii(environment) is expected
