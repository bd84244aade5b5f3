"""The listener that writes the run directory: rows, status, log, and checkpoints.

The trainer hands it events and asks it to publish; where things lie is known here and in
`tinychat.runs` only.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinychat.config import CheckpointSettings
from tinychat.errors import RunError
from tinychat.runs import (
    BestCheckpoint,
    Disk,
    KeepRule,
    LastCommand,
    MirrorStatus,
    RunLock,
    RunWriter,
    State,
    Status,
    list_checkpoints,
    process_identity,
    prune,
    publish_checkpoint,
    retention_of,
    sweep,
)
from tinychat.training.events import (
    Beat,
    Began,
    CheckpointSaved,
    CommandAnswered,
    Evaluated,
    Event,
    Listener,
    Noted,
    Sampled,
    StateChanged,
    Stepped,
    WentBack,
)
from tinychat.training.patience import DiskPatience
from tinychat.training.progress import Progress

BEAT_SECONDS = 1.0
# how long a silence is still normal: the slowest single thing between two beats is a step
PATIENCE_SECONDS = 15.0  # a machine that swaps holds up a short step for that long
PATIENCE_STEPS = 10
FIRST_STEP_SECONDS = 60.0  # it warms things up, and nobody knows how long steps take
# these say nothing until they are over
LONG_STATES = ("starting", "compiling", "sampling", "saving")
LONG_PATIENCE_SECONDS = 600.0
PREPARING_SECONDS = 24 * 3600.0  # of a large corpus


class RunRecorder:
    """Writes what happens into one run."""

    def __init__(
        self,
        writer: RunWriter,
        lock: RunLock,
        *,
        max_steps: int,
        progress: Progress,
        checkpoint_files: Callable[[Progress], Mapping[str, bytes]],
        log_every: Callable[[], int],
        disk: Disk,
        signals: Callable[[], int],
        tell: Listener,
        lineage: Callable[[], str],
        mirror: Callable[[], MirrorStatus | None],
    ) -> None:
        self._writer = writer
        self._run: Path = writer.paths.root
        self._lock = lock
        self._checkpoint_files = checkpoint_files
        self._log_every = log_every
        self._disk = disk
        self._tell = tell
        self._refused_at: float | None = None  # when the disk began to refuse
        self._patience = DiskPatience(signals, self._tell_of_disk)
        writer.patiently = self._patience
        self._lineage = lineage
        self._mirror = mirror
        self._told: set[str] = set()  # why older checkpoints could not be thinned at the last save
        self._thin: Callable[[], Sequence[int]] = tuple  # the older ones, once there is a newer one
        self._beat_at = float("-inf")
        self._step_seconds = 0.0
        steps = [step for step in list_checkpoints(self._run) if step <= progress.step]
        self._now: dict[str, Any] = {
            "state": "starting",
            "step": progress.step,
            "max_steps": max_steps,
            "tokens_seen": progress.tokens_seen,
            "latest": steps[-1] if steps else None,
            "best": best_of(progress.best_step, progress.best_val_loss),
            **process_identity(),
        }

    def __call__(self, event: Event) -> None:
        match event:
            case Began():
                self._log(
                    f"step {event.step} of {event.max_steps}, {event.parameters:,} parameters, "
                    f"{event.device} {event.dtype}; {event.lineage}"
                )
            case StateChanged():
                changed = event.state != self._now["state"]
                if event.state == "paused":
                    self._now["eta_seconds"] = None
                self._now |= {"state": event.state, "step": event.step, "message": event.message}
                if changed and event.state not in ("training", "starting"):
                    self._log(f"step {event.step}: {event.state} {event.message}".rstrip())
                # a state that lasts no second need not be seen; one that may last is told at once
                self._beat(at_once=changed and event.state != "training")
                return
            case Beat():
                pass
            case Stepped():
                self._stepped(event)
            case Evaluated():
                self._evaluated(event)
            case Sampled():
                self._writer.sample_row(
                    step=event.step,
                    prompt=event.prompt,
                    text=event.text,
                    settings=event.settings,
                    seed=event.seed,
                )
            case CheckpointSaved():
                self._saved(event)
            case WentBack():
                self._went_back(event)
            case CommandAnswered():
                self._answered(event)
            case Noted():
                self._writer.event_row(
                    event.kind, step=event.step, message=event.message, **event.details
                )
                self._log(f"{event.kind}: {event.message}")
        self._beat(at_once=False)

    def publish(
        self, progress: Progress, keep: CheckpointSettings, pinned: set[int]
    ) -> tuple[int, tuple[int, ...]]:
        """Make the log durable, publish the checkpoint, then thin the older ones."""
        files = self._checkpoint_files(progress)
        self._patience(self._check_lock)
        self._writer.sync(progress.step)
        self._patience(lambda: publish_checkpoint(self._run, progress.step, files, disk=self._disk))
        rule = KeepRule(keep.keep_last, keep.milestones, frozenset(pinned))
        self._thin = lambda: self._thin_by(rule, progress.step, progress.best_step)
        return sum(map(len, files.values())), tuple(self._thin())

    @property
    def waited_seconds(self) -> float:
        """How long the disk has been waited for so far."""
        return self._patience.waited_seconds

    def _check_lock(self) -> None:
        if not self._lock.still_held():
            raise RunError(
                f"the lock of {self._run.name} was removed while it trained, so another trainer "
                "may be writing there; this one stops before it overwrites anything"
            )

    def _tell_of_disk(self, refusal: str | None) -> None:
        """Show that the trainer waits for the disk; once it takes data again, write that down."""
        now, step = time.monotonic(), self._now["step"]
        if refusal is None:
            waited = now - (self._refused_at or now)
            self._refused_at = None
            told = f"the disk takes data again after {waited:,.1f} s; nothing was lost"
            self._tell(Noted("disk", step, told))
            self(Noted("disk", step, told, {"seconds": waited}))
            self._beat(at_once=True)
            return
        if self._refused_at is None:
            self._refused_at = now
            self._tell(StateChanged("paused", step, refusal))
            with suppress(RunError):  # it may be the very file that cannot be written
                self._log(f"step {step}: paused {refusal}")
        waiting = {"state": "paused", "message": refusal, "eta_seconds": None}
        with suppress(RunError):
            self._writer.status(self._status(self._now | waiting))

    def _thin_by(self, rule: KeepRule, step: int, best: int | None) -> Sequence[int]:
        """Thin the older ones; returns the steps that went. The new one is durable, so what the
        disk refuses here stops nothing: it is told once, and tried again at the next save."""
        pruned = None
        causes: dict[str, str] = {}  # what is told once, and the sentence for it
        try:
            sweep(self._run, disk=self._disk)  # what could not be finished earlier
        except OSError as error:
            _blame(causes, error.strerror or str(error), "what an earlier save left")
        try:
            retention = retention_of(self._run, rule, step=step, best=best)
            pruned = prune(self._run, *retention, disk=self._disk)
        except OSError as error:  # the folder cannot be listed just now
            _blame(causes, error.strerror or str(error), "older checkpoints")
        if pruned:
            causes |= {problem: problem for problem in pruned.problems}
            for why, steps in pruned.refused.items():
                _blame(causes, why, f"checkpoints of steps {', '.join(map(str, steps))}")
        for cause in causes.keys() - self._told:
            warning = Noted("warning", step, causes[cause])
            self._tell(warning)
            self(warning)
        self._told = set(causes)
        return pruned.deleted if pruned else ()

    def finish(self, state: str, step: int, message: str = "") -> None:
        """How the run has ended. Only remarks may follow, and `close`."""
        if self._told:  # no save comes any more that would try it again
            self._pruned(step, self._thin())
        self._now |= {"state": state, "step": step, "message": message, "eta_seconds": None}
        self._log(f"step {step}: {state} {message}".rstrip())
        self._beat(at_once=True)

    def close(self) -> None:
        self._writer.close()

    def _stepped(self, event: Stepped) -> None:
        self._step_seconds = event.step_seconds
        self._now |= {
            "step": event.step,
            "tokens_seen": event.tokens_seen,
            "eta_seconds": event.eta_seconds,
        }
        if event.step % self._log_every() and not event.skipped:
            return
        self._writer.train_row(
            step=event.step,
            train_loss=event.train_loss,
            learning_rate=event.learning_rate,
            grad_norm=event.grad_norm,
            tokens_seen=event.tokens_seen,
            tokens_per_second=event.tokens_per_second,
            step_seconds=event.step_seconds,
            memory_bytes=event.memory_bytes,
            **event.more,  # type: ignore[typeddict-item]
        )

    def _evaluated(self, event: Evaluated) -> None:
        self._writer.eval_row(
            step=event.step,
            val_loss=event.val_loss,
            bits_per_byte=event.bits_per_byte,
            eval_seconds=event.seconds,
            **event.more,  # type: ignore[typeddict-item]
        )
        bits = "" if event.bits_per_byte is None else f", {event.bits_per_byte:.3f} bits per byte"
        more = "".join(f", {name} {value:.4f}" for name, value in event.more.items())
        best = ", the best so far" if event.is_best else ""
        self._log(f"step {event.step}: val_loss {event.val_loss:.4f}{bits}{more}{best}")

    def _saved(self, event: CheckpointSaved) -> None:
        self._now |= {
            "latest": event.step,
            "best": best_of(event.best_step, event.best_val_loss),
        }
        self._writer.event_row(
            "checkpoint_saved",
            step=event.step,
            message=f"checkpoint of step {event.step} saved "
            f"({event.size_bytes / 1e6:.1f} MB in {event.seconds:.2f} s)",
            size_bytes=event.size_bytes,
            seconds=event.seconds,
        )
        self._pruned(event.step, event.pruned)

    def _went_back(self, event: WentBack) -> None:
        self._now |= {
            "step": event.step,
            "tokens_seen": event.tokens_seen,
            "latest": event.step,
            "best": best_of(event.best_step, event.best_val_loss),
        }
        self._beat(at_once=True)

    def _pruned(self, step: int, steps: Sequence[int]) -> None:
        if steps:
            told = f"removed steps {', '.join(map(str, steps))}"
            self._writer.event_row("checkpoint_pruned", step=step, message=told)

    def _answered(self, event: CommandAnswered) -> None:
        kind = "command_applied" if event.applied else "command_refused"
        self._now["last_command"] = LastCommand(
            id=event.id, command=event.command, result=event.result
        )
        self._writer.event_row(
            kind,
            step=event.step,
            message=event.result,
            id=event.id,
            command=event.command,
            by=event.by,
        )
        who = f" by {event.by}" if event.by else ""
        self._log(f"command {event.command}{who}: {event.result}")
        self._beat(at_once=True)

    def _log(self, text: str) -> None:
        self._writer.log_line(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}")

    def _beat(self, *, at_once: bool) -> None:
        now = time.monotonic()
        if not at_once and now - self._beat_at < BEAT_SECONDS:
            return
        self._beat_at = now
        self._writer.status(self._status(self._now))

    def _status(self, now: Mapping[str, Any]) -> Status:
        patience = FIRST_STEP_SECONDS
        if self._step_seconds:
            patience = max(PATIENCE_SECONDS, PATIENCE_STEPS * self._step_seconds)
        if now["state"] in LONG_STATES:
            patience = LONG_PATIENCE_SECONDS
        beat = time.time()
        return Status(
            time=beat,
            next_beat_by=beat + patience,
            lineage=self._lineage(),
            mirror=self._mirror(),
            **now,
        )


def _blame(causes: dict[str, str], why: str, what: str) -> None:
    causes[why] = (
        f"{what} could not be thinned or removed yet: {why}; the run goes on, and it is tried "
        "again at each save"
    )


def tell(writer: RunWriter, state: State, step: int, message: str, old: Status | None) -> None:
    """status.json while nothing is trained yet: data is read, a model is built. What the `old` one
    says of the run still holds."""
    now = time.time()
    told: dict[str, Any] = {
        "state": state,
        "step": step,
        "message": message,
        "eta_seconds": None,
        "time": now,
        "next_beat_by": now + PREPARING_SECONDS,
        **process_identity(),
    }
    writer.status(replace(old, **told) if old else Status(max_steps=None, **told))


def best_of(step: int | None, val_loss: float | None) -> BestCheckpoint | None:
    if step is None or val_loss is None:
        return None
    return BestCheckpoint(step=step, val_loss=val_loss)
