"""Progress of a training run on the terminal: a bar where there is one, plain lines elsewhere.

A listener like any other. A terminal that goes away (a closed window, a pipe whose reader left)
silences it and nothing else.
"""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from tinychat.cli.output import named, screen
from tinychat.training import (
    Began,
    CheckpointSaved,
    CommandAnswered,
    Evaluated,
    Event,
    Noted,
    Outcome,
    Sampled,
    StateChanged,
    Stepped,
)
from tinychat.watch.tuning import BEST_OF_TUNING
from tinychat.words import columns_of, duration, inert, number, size

PLAIN_SECONDS = 10.0  # between lines where there is no terminal
SAMPLES_SHOWN = 2
_BAR_COLUMNS = 20  # the bar, its share, and the spaces between
_CTRL_C_COLUMNS = 3


class _Bar(Progress):
    """Leaves room for the ^C that a terminal writes behind it: in the last column that would begin
    a new line, and the bar would stay behind."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from map(_Narrower, super().get_renderables())


@dataclass(frozen=True)
class _Narrower:
    whole: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(1, options.max_width - _CTRL_C_COLUMNS)
        yield from console.render(self.whole, options.update_width(width))


class ConsoleProgress(AbstractContextManager["ConsoleProgress"]):
    """What a person sees while a run trains."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._console = screen()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._stage = ""
        self._told_at = float("-inf")
        self._max_steps: int | None = None
        self._sampled: tuple[int, int] = (0, 0)
        self._silent = False
        self._saved: int | None = None
        self._val = ""

    def __enter__(self) -> "ConsoleProgress":
        if self._console.is_terminal:
            self._bar = _Bar(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[told]}", markup=False),
                console=self._console,
                refresh_per_second=4,
                expand=True,
                transient=True,  # what it told last is said in lines
            )
            self._bar.start()
            self._task = self._bar.add_task(self._run.name, total=None, told="starting")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            with suppress(OSError):
                self._bar.stop()

    def preparing(self, stage: str, done_bytes: int, total_bytes: int) -> None:
        """Progress of reading, tokenizer training and encoding."""
        told = f"{stage} {size(done_bytes)} of {size(total_bytes)}" if total_bytes else stage
        if self._bar:
            self._advance(done_bytes, max(1, total_bytes), told)
        elif stage != self._stage or self._plain_due():
            self._say(told)
        self._stage = stage

    def __call__(self, event: Event) -> None:
        match event:
            case Began():
                self._max_steps = event.max_steps
                self._advance(event.step, event.max_steps, "")
                self._say(
                    f"{number(event.parameters)} parameters, {event.device} {event.dtype}, "
                    f"{number(event.rows_per_epoch)} rows an epoch; {event.lineage}"
                )
            case Stepped():
                self._stepped(event)
            case Evaluated():
                bits = event.bits_per_byte
                self._val = f"val {event.val_loss:.3f}"
                told = f"step {number(event.step)}: val_loss {event.val_loss:.4f} nats per token"
                told += f", {bits:.3f} bits per byte" if bits is not None else ""
                told += "".join(
                    f", {name} {round(value, 4) + 0.0:.4f}" for name, value in event.more.items()
                )
                self._say(told + ("  (best)" if event.is_best else ""))
            case Sampled():
                self._sample(event)
            case CheckpointSaved() if (
                event.step != self._saved
            ):  # else it tells of an evaluation now
                self._saved = event.step
                self._say(
                    f"step {number(event.step)}: checkpoint saved, "
                    f"{size(event.size_bytes)} in {event.seconds:.2f} s"
                )
            case CommandAnswered():
                self._say(f"{event.command}: {event.result}")
            case Noted():
                self._say(f"{event.kind}: {inert(event.message)}")
            case StateChanged():
                if event.state in ("paused", "saving") and event.message:
                    self._tell(event.message)
                elif event.state == "evaluating" and self._bar:
                    self._tell(f"step {number(event.step)}: evaluating")
            case _:
                pass

    def ended(self, outcome: Outcome, *, how_to_go_on: bool) -> None:
        """How the run ended, and what to do next."""
        self._say(f"{outcome.state} at step {number(outcome.step)}{_best(outcome)}")
        if not how_to_go_on:
            return
        if outcome.state == "stopped":
            self._print(f"go on:  tinychat resume {named(self._run)}")
        self._print(f"talk:   tinychat chat {named(self._run)}")
        self._print(f"look:   tinychat show {named(self._run)}")

    def _stepped(self, event: Stepped) -> None:
        eta = "" if event.eta_seconds is None else f"{duration(event.eta_seconds)} left"
        total = number(self._max_steps) if self._max_steps else "?"
        margin = event.reward_margin
        parts = [
            f"step {number(event.step)}/{total}",
            f"loss {event.train_loss:.3f}",
            eta,
            self._val,
            "" if margin is None else f"margin {margin:+.2f}",
            f"{number(round(event.tokens_per_second))} tokens/s",
            f"lr {event.learning_rate:.1e}",
        ]
        parts = [part for part in parts if part]
        if self._bar:
            self._advance(event.step, self._max_steps, "  ".join(self._fitting(parts)))
        elif self._plain_due() or event.step == self._max_steps:
            self._say("  ".join(parts))

    def _fitting(self, parts: Sequence[str]) -> Sequence[str]:
        """The first ones, as many as there is room for beside the bar."""
        room = self._console.width - columns_of(self._run.name) - _BAR_COLUMNS - _CTRL_C_COLUMNS
        while len(parts) > 1 and sum(len(part) + 2 for part in parts) > room:
            parts = parts[:-1]
        return parts

    def _sample(self, event: Sampled) -> None:
        step, count = self._sampled
        count = count + 1 if step == event.step else 1
        self._sampled = (event.step, count)
        if count <= SAMPLES_SHOWN and (self._bar or count == 1):
            self._say(f"  {inert(event.prompt)} -> {inert(event.text)}"[:200])

    def _plain_due(self) -> bool:
        now = time.monotonic()
        if now - self._told_at < PLAIN_SECONDS:
            return False
        self._told_at = now
        return True

    def _advance(self, done: int | None, total: int | None, told: str) -> None:
        bar = self._bar
        if bar:
            self._guard(lambda: bar.update(self._task, completed=done, total=total, told=told))

    def _tell(self, told: str) -> None:
        if self._bar:
            self._advance(None, self._max_steps, told)
        else:
            self._say(told)

    def _say(self, text: str) -> None:
        """A line; on a terminal broken between words, elsewhere programs may look for them."""
        if self._bar:
            text = fill(
                text, self._console.width, subsequent_indent="  ",
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
        self._print(text)

    def _print(self, text: str) -> None:
        self._guard(lambda: self._console.print(text, markup=False))

    def _guard(self, action: Callable[[], object]) -> None:
        if self._silent:
            return
        try:
            action()
            sys.stdout.flush()
        except (OSError, ValueError):  # the terminal is gone; the run is not
            self._silent = True


def _best(outcome: Outcome) -> str:
    """The best checkpoint, by what decides that it is."""
    if outcome.best_val_loss is None:
        return ""
    val_loss = f"val_loss {outcome.best_val_loss:.4f} nats per token"
    step = f"step {number(outcome.best_step or 0)}"
    if not outcome.is_tuned:
        return f"; best {val_loss} at {step}"
    if outcome.best_preference_loss is None:
        return f"; best: {step}, {BEST_OF_TUNING[False]}, with {val_loss}"
    by = f"preference_loss {outcome.best_preference_loss:.4f} on the held-out examples"
    return f"; best {by} at {step}, with {val_loss}"
