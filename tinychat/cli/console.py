"""Progress of a training run on the terminal: a bar where there is one, plain lines elsewhere.

A listener like any other. A terminal that goes away (a closed window, a pipe whose reader left)
silences it and nothing else.
"""

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from textwrap import fill

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
from tinychat.words import duration, inert, number, size

PLAIN_SECONDS = 10.0  # between lines where there is no terminal
SAMPLES_SHOWN = 2


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
        self._val = ""

    def __enter__(self) -> "ConsoleProgress":
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[told]}", markup=False),
                console=self._console,
                refresh_per_second=4,
                expand=True,
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
                told += "".join(f", {name} {value:.4f}" for name, value in event.more.items())
                self._say(told + ("  (best)" if event.is_best else ""))
            case Sampled():
                self._sample(event)
            case CheckpointSaved():
                self._say(
                    f"step {number(event.step)}: checkpoint saved, "
                    f"{size(event.size_bytes)} in {event.seconds:.2f} s"
                )
            case CommandAnswered():
                self._say(f"{event.command}: {event.result}")
            case Noted():
                self._say(self._wrapped(f"{event.kind}: {inert(event.message)}"))
            case StateChanged():
                if event.state in ("paused", "saving") and event.message:
                    self._tell(event.message)
            case _:
                pass

    def ended(self, outcome: Outcome, *, how_to_go_on: bool) -> None:
        """How the run ended, and what to do next."""
        best = ""
        if outcome.best_val_loss is not None:
            best = (
                f"; best val_loss {outcome.best_val_loss:.4f} nats per token "
                f"at step {number(outcome.best_step or 0)}"
            )
        self._say(f"{outcome.state} at step {number(outcome.step)}{best}")
        if not how_to_go_on:
            return
        if outcome.state == "stopped":
            self._say(f"go on:  tinychat resume {named(self._run)}")
        self._say(f"talk:   tinychat chat {named(self._run)}")
        self._say(f"look:   tinychat show {named(self._run)}")

    def _stepped(self, event: Stepped) -> None:
        eta = "?" if event.eta_seconds is None else duration(event.eta_seconds)
        total = number(self._max_steps) if self._max_steps else "?"
        margin = event.reward_margin
        wish = "" if margin is None else f"margin {margin:+.2f}  "
        told = (
            f"step {number(event.step)}/{total}  loss {event.train_loss:.3f}  {wish}{self._val}  "
            f"lr {event.learning_rate:.1e}  {number(round(event.tokens_per_second))} tokens/s  "
            f"{eta} left"
        )
        if self._bar:
            self._advance(event.step, self._max_steps, told)
        elif self._plain_due() or event.step == self._max_steps:
            self._say(told)

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
        self._guard(lambda: self._console.print(text, markup=False))

    def _wrapped(self, text: str) -> str:
        """On a terminal broken between words; elsewhere programs may look for its words."""
        if not self._bar:
            return text
        return fill(text, self._console.width, subsequent_indent="  ", break_long_words=False)

    def _guard(self, action: Callable[[], object]) -> None:
        if self._silent:
            return
        try:
            action()
            sys.stdout.flush()
        except (OSError, ValueError):  # the terminal is gone; the run is not
            self._silent = True
