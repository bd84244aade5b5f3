"""The app around the screens: options, themes, classes of size, keys that work everywhere."""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import App
from textual.binding import BindingType
from textual.filter import LineFilter
from textual.screen import Screen
from textual.theme import Theme

from tinychat import words
from tinychat.watch.launch import resume_arguments
from tinychat.watch.overview import Overview
from tinychat_monitor import keys, preferences, themes
from tinychat_monitor.ascii_filter import AsciiFilter
from tinychat_monitor.commands import KeyCommands
from tinychat_monitor.options import Options
from tinychat_monitor.screens.log_tail import LogTailScreen
from tinychat_monitor.starting import start, why_not_resume

__all__ = ["MonitorApp", "Options"]


class MonitorApp(App[None]):
    """The monitor of one folder of runs, opened on one of them if `run` is given.

    A screen carries the classes of its size: -tiny (< 60 columns), -narrow, -wide (>= 100), -xwide
    (>= 150); -flat (< 16 rows), -short, -tall (>= 30), -xtall (>= 40). The app carries -ascii and
    -readonly. `resuming` holds the runs that were asked to go on and have not said that they do;
    `left_on` is the run that was looked at when a person left.
    """

    TITLE = "tinychat"
    CSS_PATH = "monitor.tcss"
    COMMANDS = App.COMMANDS | {KeyCommands}
    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("app")
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-tiny"), (60, "-narrow"), (100, "-wide"), (150, "-xwide"),
    ]  # fmt: skip
    VERTICAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-flat"), (16, "-short"), (30, "-tall"), (40, "-xtall"),
    ]  # fmt: skip

    def __init__(
        self, checkpoints: Path, run: Path | None = None, options: Options | None = None
    ) -> None:
        super().__init__()
        self.checkpoints = checkpoints
        self.options = options or Options()
        self.left_on: Path | None = None
        self._run = run
        self.resuming: set[Path] = set()
        self._ascii = AsciiFilter(enabled=self.options.ascii)
        self.set_class(self.options.ascii, "-ascii")
        self.set_class(self.options.readonly, "-readonly")
        for theme in themes.THEMES:
            self.register_theme(theme)
        self.theme = self._first_theme()

    def get_default_screen(self) -> Screen[Any]:
        """The run that it is opened on, else the list; a second screen would double the start."""
        if self._run is not None:
            return self._run_screen(self._run)
        return self._runs_screen()

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, self._remember)

    def open_run(self, run: Path) -> None:
        """Show one run, on top of what is shown."""
        self.push_screen(self._run_screen(run))

    async def action_back(self) -> None:
        """To the screen before; from the run that it was opened on, to the list, and no farther."""
        if len(self.screen_stack) > 1 and not _is_list(self.screen):
            await super().action_back()
        elif not _is_list(self.screen):
            self.push_screen(self._runs_screen())

    def _run_screen(self, run: Path) -> Screen[Any]:
        from tinychat_monitor.screens.run import RunScreen

        return RunScreen(run)

    def _runs_screen(self) -> Screen[Any]:
        from tinychat_monitor.screens.runs import RunsScreen

        return RunsScreen(self.checkpoints)

    def resume_run(self, run: Overview) -> None:
        """Resume a run in a session of its own, and say how it went."""
        name = words.inert(run.name)
        refusal = why_not_resume(run)
        if run.path in self.resuming:
            refusal = f"{name} was asked to go on a moment ago."
        if refusal:
            self.notify(refusal, title="Resume", severity="warning", markup=False)
        else:
            self.resuming.add(run.path)
            self._resume(run.path, name)

    @work
    async def _resume(self, run: Path, name: str) -> None:
        self.notify(f"resuming {name} ...", title="Resume", markup=False)
        try:
            launched, under_way = await start(resume_arguments(run), run.parent, run)
        except OSError as error:
            sentence = f"{name} cannot be resumed: {error.strerror}."
            self.notify(sentence, title="Resume", severity="error", markup=False)
            return
        finally:
            self.resuming.discard(run)
        if under_way:
            self.notify(f"{name} goes on (process {launched.pid}).", title="Resume", markup=False)
        else:
            self.push_screen(LogTailScreen(f"{name} could not be resumed", launched.said()))

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Textual's filters, and ours for ASCII."""
        return [*super().get_line_filters(), *([self._ascii] if self._ascii.enabled else ())]

    async def action_quit(self) -> None:
        """Leave; training goes on."""
        above_the_list = takewhile(lambda screen: not _is_list(screen), reversed(self.screen_stack))
        runs = (getattr(screen, "run", None) for screen in above_the_list)
        self.left_on = next((run for run in runs if isinstance(run, Path)), None)
        self.exit()

    def action_help(self) -> None:
        """Show every key."""
        from tinychat_monitor.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen())

    def action_toggle_maximise(self) -> None:
        """The focused pane alone, or all of them again."""
        if self.screen.maximized is not None:
            self.screen.minimize()
        else:
            self.screen.action_maximize()

    def action_next_theme(self) -> None:
        """The next of our themes."""
        names = [theme.name for theme in themes.THEMES]
        here = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(here + 1) % len(names)]

    def _first_theme(self) -> str:
        for name in (self.options.theme, preferences.remembered_theme()):
            if name in self.available_themes:
                return name
        return themes.DEFAULT

    def _remember(self, theme: Theme) -> None:
        preferences.remember_theme(theme.name)


def _is_list(screen: Screen[Any]) -> bool:
    from tinychat_monitor.screens.runs import RunsScreen

    return isinstance(screen, RunsScreen)
