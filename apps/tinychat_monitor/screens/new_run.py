"""Asks for what a new run needs, shows its plan, and starts it."""

import asyncio
import itertools
import shlex
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import Screen
from textual.widgets import Button, Footer, Input, Label, Select

from tinychat import words
from tinychat.runs import RunPaths
from tinychat.watch.launch import dry_run, train_arguments
from tinychat_monitor.starting import start
from tinychat_monitor.widgets.inert import InertText


class NewRunScreen(Screen[Path | None]):
    """A form. Answers with the new run's folder once its trainer is under way, or None.

    What was typed stays there when a start fails, beside the trainer's own sentence.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Back", show=True, key_display="esc"),
        Binding("f5", "plan", "Plan", show=True),
        Binding("f9", "start", "Start", show=True),
    ]

    def __init__(self, checkpoints: Path) -> None:
        super().__init__()
        self._checkpoints = checkpoints
        self._proposed = ""

    def compose(self) -> ComposeResult:
        from tinychat.config.load import preset_names  # it costs pydantic

        presets = preset_names()
        first = "demo" if "demo" in presets else presets[0]
        self._proposed = self._propose(first)
        yield InertText("title", classes="title").with_text("tinychat  new run")
        with VerticalScroll(id="form"):
            with Horizontal(classes="row"):
                yield Label("preset")
                yield Select(
                    [(name, name) for name in presets],
                    value=first, allow_blank=False, compact=True, id="preset",
                )  # fmt: skip
            yield from self._row("data", "a file or folder; empty: the preset's own")
            yield InertText("about-data", classes="note")
            yield from self._row("name", "of the run and of its folder", self._proposed)
            yield from self._row("max-steps", "empty: the preset's")
            yield from self._row("more", "further flags, as for `tinychat train`", label="flags")
            with Horizontal(classes="row buttons"):
                yield Button("Plan (F5)", id="plan", compact=True)
                yield Button("Start (F9)", "primary", id="start", compact=True)
                yield Button("Back", id="back", compact=True)
        yield InertText("message")
        with VerticalScroll(id="told-plan"):
            yield InertText("plan-text")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one("#preset").focus()

    def _row(self, name: str, placeholder: str, value: str = "", label: str = "") -> ComposeResult:
        with Horizontal(classes=f"row -{name}"):
            yield Label(label or name.replace("-", " "))
            yield Input(value, placeholder=placeholder, id=name, compact=True)

    def _typed(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()

    def _propose(self, preset: str) -> str:
        names = itertools.chain([preset], (f"{preset}-{number}" for number in itertools.count(2)))
        return next(name for name in names if not _is_there(self._checkpoints / name))

    @on(Select.Changed, "#preset")
    def _new_name(self, event: Select.Changed) -> None:
        box = self.query_one("#name", Input)
        if box.value == self._proposed:
            self._proposed = box.value = self._propose(str(event.value))

    @on(Input.Changed, "#data")
    def _check_data(self, event: Input.Changed) -> None:
        self._look_at_data(event.value.strip())

    @work(thread=True, exclusive=True, group="data")
    def _look_at_data(self, typed: str) -> None:
        told = about_path(_path(typed)) if typed else ""
        self.app.call_from_thread(self.query_one("#about-data", InertText).show, told)

    def _arguments(self) -> list[str] | None:
        """The command's words; None after saying what is wrong with the form."""
        data, name = self._typed("data"), self._typed("name")
        path = _path(data) if data else None
        steps = self._typed("max-steps").replace(",", "").replace("_", "")
        try:
            more = shlex.split(self._typed("more"))
        except ValueError as error:
            return self._refuse(f"The flags cannot be read: {error}.", "more")
        if path is not None and not _is_there(path):
            return self._refuse(f"There is no {words.inert(data)}.", "data")
        if not name:
            return self._refuse("The run needs a name.", "name")
        if _is_there(RunPaths(self._checkpoints / name).run_json):
            return self._refuse(f"There is a run {words.inert(name)} already.", "name")
        if steps:
            if not (steps.isascii() and steps.isdigit() and int(steps)):
                return self._refuse("max steps is a whole number above 0.", "max-steps")
            more = [f"--max-steps={steps}", *more]
        preset = str(self.query_one("#preset", Select).value)
        return train_arguments(preset, path, name, self._checkpoints, more)

    def _refuse(self, sentence: str, where: str) -> None:
        self._say(sentence, error=True)
        self.query_one(f"#{where}").focus()

    def _say(self, sentence: str, *, error: bool = False) -> None:
        message = self.query_one("#message", InertText)
        message.set_class(error, "error")
        message.show(words.inert(sentence, keep="\n"))

    def _begin(self, sentence: str) -> None:
        self._say(sentence)
        self._busy(True)
        self.query_one("#plan-text", InertText).show("")  # the one before is not of this form

    @property
    def _is_busy(self) -> bool:
        return self.query_one("#start", Button).disabled

    def _busy(self, busy: bool) -> None:
        for button in self.query(Button):
            button.disabled = busy and button.id != "back"

    @on(Button.Pressed, "#plan")
    def action_plan(self) -> None:
        """Show what would be started, without starting it."""
        if not self._is_busy and (arguments := self._arguments()) is not None:
            self._begin("working out the plan ...")
            self._plan(arguments)

    @work(exclusive=True, group="trainer")
    async def _plan(self, arguments: list[str]) -> None:
        try:
            told = await asyncio.to_thread(dry_run, arguments)
        except OSError as error:
            told = f"The plan cannot be made: {error.strerror}."
        self._busy(False)
        self._say("")
        self.query_one("#plan-text", InertText).show(words.inert(told, keep="\n"))
        self.query_one("#told-plan").scroll_home(animate=False)

    @on(Button.Pressed, "#start")
    def action_start(self) -> None:
        """Start it, and wait until it is under way."""
        if not self._is_busy and (arguments := self._arguments()) is not None:
            self._begin("starting ... reading the data may take a while; Back leaves it to itself")
            self._start(arguments, self._checkpoints / self._typed("name"))

    @work(exclusive=True, group="trainer")
    async def _start(self, arguments: list[str], run: Path) -> None:
        try:
            launched, under_way = await start(arguments, self._checkpoints, run)
        except OSError as error:
            self._busy(False)
            self._say(f"It cannot be started: {error.strerror} ({error.filename}).", error=True)
            return
        if under_way:
            self.dismiss(run)
            return
        self._busy(False)
        self._say(launched.said() or "It ended without a word.", error=True)

    @on(Button.Pressed, "#back")
    def action_cancel(self) -> None:
        """Back to the list; a trainer that was started goes on."""
        self.dismiss(None)


def _path(typed: str) -> Path:
    try:
        return Path(typed).expanduser()
    except RuntimeError:  # there is no such person
        return Path(typed)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, a folder that is closed to us
        return False


def about_path(path: Path) -> str:
    """What lies there, in a few words."""
    try:
        if path.is_dir():
            return f"a folder of {words.count(sum(1 for _ in path.iterdir()), 'entry', 'entries')}"
        if path.is_file():
            return f"a file of {words.size(path.stat().st_size)}"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return "there is no such file or folder"
