"""Asks for what a new run needs, shows its plan, and starts it."""

import itertools
import shlex
import time
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import Screen
from textual.widgets import Button, Footer, Input, Label, Select
from textual.worker import Worker

from tinychat import words
from tinychat.errors import TinychatError
from tinychat.runs import RunPaths
from tinychat.watch.launch import train_arguments
from tinychat.watch.plan import ShortPlan, ask_plan, plan_arguments, short_plan
from tinychat_monitor.starting import start
from tinychat_monitor.widgets.inert import InertText
from tinychat_monitor.widgets.plan import PlanView

_BEAT_SECONDS = 0.2
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_DECIDES = ("data", "max-steps", "more")  # with the preset, what a plan depends on


class NewRunScreen(Screen[Path | None]):
    """A form. Answers with the new run's folder once its trainer is under way, or None.

    What was typed stays there when a start fails, beside the trainer's own sentence.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop_planning", "Stop planning", show=True, key_display="esc"),
        Binding("escape", "cancel", "Back", show=True, key_display="esc"),
        Binding("f5", "plan", "Plan", show=True),
        Binding("f9", "start", "Start", show=True),
    ]

    def __init__(self, checkpoints: Path) -> None:
        super().__init__()
        self._checkpoints = checkpoints
        self._proposed = ""
        self._planning: Worker[None] | None = None
        self._planning_since = 0.0
        self._stage = ""  # what the planning process says that it is doing
        self._planned: tuple[str, ...] = ()  # the form whose plan is shown
        self._starting = False

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
            yield PlanView("plan-text")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one("#preset").focus()
        self.set_interval(_BEAT_SECONDS, self._tell_stage)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape ends a planning first, and leaves the screen after that."""
        if action == "stop_planning":
            return self._planning is not None
        return self._planning is None if action == "cancel" else True

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

    def _form(self) -> tuple[str, ...]:
        return (str(self.query_one("#preset", Select).value), *map(self._typed, _DECIDES))

    @on(Input.Changed)
    @on(Select.Changed)
    def _mark_old_plan(self) -> None:
        box = self.query_one("#told-plan")
        is_old = self._form() != self._planned
        box.set_class(is_old, "-old")
        is_shown = bool(self.query_one("#plan-text", PlanView).shown)
        title = " plan of the form as it was; F5 renews it " if is_old else " plan "
        box.border_title = title if is_shown else ""

    def _set_busy(self) -> None:
        self.query_one("#plan", Button).disabled = self._starting or self._planning is not None
        self.query_one("#start", Button).disabled = self._starting
        self.refresh_bindings()

    @on(Button.Pressed, "#plan")
    def action_plan(self) -> None:
        """Measure what would be started, without starting it."""
        if self._starting or self._planning or (arguments := self._arguments()) is None:
            return
        self._planned = self._form()
        self._show_plan(None)
        self._stage, self._planning_since = "asking for the plan", time.monotonic()
        self._planning = self._plan(plan_arguments(arguments))
        self._tell_stage()
        self._set_busy()

    @work(exclusive=True, group="plan")
    async def _plan(self, arguments: list[str]) -> None:
        try:
            told = short_plan(await ask_plan(arguments, self._note_stage), time.time())
        except OSError as error:
            self._end_planning(f"The plan cannot be made: {error.strerror}.", error=True)
        except TinychatError as error:
            self._end_planning(str(error), error=True)
        else:
            seconds = time.monotonic() - self._planning_since
            self._end_planning(f"planned in {words.long_duration(seconds)}; nothing was started")
            self._show_plan(told)

    def _note_stage(self, said: str) -> None:
        self._stage = said or self._stage

    def _tell_stage(self) -> None:
        if self._planning is not None:
            seconds = time.monotonic() - self._planning_since
            sign = _SPINNER[int(seconds / _BEAT_SECONDS) % len(_SPINNER)]
            self._say(f"{sign} {self._stage} ...  {words.duration(seconds)}")

    def _end_planning(self, sentence: str, *, error: bool = False) -> None:
        self._planning = None
        self._set_busy()
        self._say(sentence, error=error)

    def action_stop_planning(self) -> None:
        """End the process that plans."""
        if self._planning is not None:
            self._planning.cancel()
            self._end_planning("planning was stopped")

    def _show_plan(self, plan: ShortPlan | None) -> None:
        self.query_one("#plan-text", PlanView).show_plan(plan)
        box = self.query_one("#told-plan")
        box.scroll_home(animate=False)
        self._mark_old_plan()

    @on(Button.Pressed, "#start")
    def action_start(self) -> None:
        """Start it, planned or not, and wait until it is under way."""
        if not self._starting and (arguments := self._arguments()) is not None:
            self.action_stop_planning()
            self._starting = True
            self._set_busy()
            self._say("starting ... reading the data may take a while; Back leaves it to itself")
            self._start(arguments, self._checkpoints / self._typed("name"))

    @work(exclusive=True, group="trainer")
    async def _start(self, arguments: list[str], run: Path) -> None:
        try:
            launched, under_way = await start(arguments, self._checkpoints, run)
        except OSError as error:
            self._refuse_start(f"It cannot be started: {error.strerror} ({error.filename}).")
            return
        if under_way:
            self.dismiss(run)
            return
        self._refuse_start(launched.said() or "It ended without a word.")

    def _refuse_start(self, sentence: str) -> None:
        self._starting = False
        self._set_busy()
        self._say(sentence, error=True)

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
