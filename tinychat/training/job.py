"""From a run folder and its settings to a trainer that runs: new, resumed, or from another run.

What lies in the folder decides: with a good checkpoint the run goes on from it, without any it
starts at step 0. This is the one place where settings, corpus, model and run directory meet.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tinychat import __version__
from tinychat.config import CheckpointSettings
from tinychat.config.load import Resolved
from tinychat.config.resume import deciding
from tinychat.errors import (
    CheckpointError,
    RunError,
    SettingsError,
    TinychatError,
    TrainingError,
)
from tinychat.model import (
    family_of,
    is_not_deterministic,
    is_out_of_memory,
    open_model,
)
from tinychat.runs import (
    AttemptRecord,
    CheckpointFiles,
    Disk,
    RunLock,
    RunPaths,
    RunReader,
    RunWriter,
    list_checkpoints,
    maker,
    pinned,
    prune,
    read_checkpoint,
    sweep,
)
from tinychat.text import Progress as ReadingProgress
from tinychat.training.announcement import beginning
from tinychat.training.batches import Rows, SomeRows, make_rows
from tinychat.training.birth import mend_reference, write_birth
from tinychat.training.card import Latest
from tinychat.training.evaluate import Evaluation, evaluate
from tinychat.training.events import (
    Event,
    Listener,
    Noted,
    State,
)
from tinychat.training.family import forebears, own_generation
from tinychat.training.followers import Followers
from tinychat.training.judgement import forgotten
from tinychat.training.lineage import Facts, classed, source_commit, with_lost_records
from tinychat.training.mirror import mirror_of, newer_in_copy
from tinychat.training.parts import Parts, assemble, referenced, tuned
from tinychat.training.preferences import (
    Followed,
    Lessons,
    lessons_of,
    step_to_go_on_from,
    with_preferences,
)
from tinychat.training.progress import Progress
from tinychat.training.recorder import RunRecorder, tell
from tinychat.training.replay import prepare_old_data
from tinychat.training.requests import AskedToEndError, RunRequests, StopSignals
from tinychat.training.samples import LiveSampler, prompt_book
from tinychat.training.space import check_space, checkpoint_sizes
from tinychat.training.start import (
    find_start,
    newest_before_bad_steps,
    prepare_corpus,
    refuse_new_data,
    restore,
    settle_facts,
)
from tinychat.training.team import Alone, Team
from tinychat.training.trackers import Subject, Tracking, require_packages
from tinychat.training.trainer import Trainer

FOLLOWED_ROWS = 128  # of the validation split, that are evaluated after each judgement
ONE_PROCESS = "preference tuning is computed by one process; start it without torchrun"


@dataclass(frozen=True)
class Plan:
    """What the caller has decided about this start of a run."""

    run: Path
    resolved: Resolved
    argv: Sequence[str] = ()
    changed: tuple[str, ...] = ()  # settings of class B that differ from the attempt before
    from_step: int | None = None  # go on from this checkpoint instead of the newest
    accept_new_data: bool = False  # go on although the data is another (class C)
    new_mirror: bool = False  # the folder of the second copy was named for this start


@dataclass(frozen=True)
class Outcome:
    """How a stretch of training ended."""

    state: State  # "finished" or "stopped"
    step: int
    best_step: int | None
    best_val_loss: float | None
    best_preference_loss: float | None = None  # by which it is the best, where some are held out
    is_tuned: bool = False  # learns from preferences


def train(
    plan: Plan,
    lock: RunLock,
    listener: Listener,
    progress: ReadingProgress | None = None,
    *,
    disk: Disk | None = None,
    signals: StopSignals | None = None,
    team: Team | None = None,
) -> Outcome:
    """Start the run, or go on with it, until it is finished or stopped. The caller holds the lock.

    `disk` carries all writes into the run and of its token files (else the real one); `signals`
    counts the requests to end (else the signals to this process); `team` computes the updates
    (else this process alone). Raises a TinychatError for everything that stops it; the run's
    status then says "failed".
    """
    run, settings = plan.run, plan.resolved.settings
    family_of(settings.model)  # refuse a shape that no checkpoint can hold, before any work
    require_packages(settings.log.trackers)
    disk, team = disk or Disk(), team or Alone()
    with signals or StopSignals() as signals:
        leftovers = sweep(run, disk=disk)
        from_step = step_to_go_on_from(run) if plan.from_step is None else plan.from_step
        start, problems = find_start(run, from_step, disk)
        step = start.step if start else 0
        writer, old = RunWriter(run, disk), RunReader(run).status
        tell(writer, "starting", step, "reading the data", old)
        try:
            facts = settle_facts(run, settings, plan.changed, team.size)
            facts.runtime.apply()
            prepared = prepare_corpus(
                run,
                settings,
                signals.ending(progress),
                disk,
                accept_new_data=plan.accept_new_data,
            )
            lessons = lessons_of(run, settings, prepared.tokenizer)
            if lessons is not None and team.size > 1:
                raise SettingsError(ONE_PROCESS)
            old_data = prepare_old_data(
                run,
                settings,
                prepared.tokenizer,
                signals.ending(progress),
                disk,
                accept_new_data=plan.accept_new_data,
            )
            parts = assemble(plan.resolved, prepared, start, facts, lessons, old_data)
            parts = referenced(parts, run, signals.ending(progress))
            if start is None and not RunReader(run).attempts():
                parts = tuned(parts, run.parent, signals.ending(progress))
            told = team.begin(parts.resolved, parts.decoder, parts.optimizer, parts.facts.runtime)
            job = _Job(plan, lock, parts, start, signals, listener, disk, team)
        except AskedToEndError:
            tell(writer, "stopped", step, "before its data was ready", old)
            return Outcome("stopped", step, None, None)
        except TinychatError as refused:
            with suppress(OSError):  # the disk may be what failed
                if old is None:
                    tell(writer, "failed", step, str(refused), None)
                else:
                    writer.status(old)  # nothing of the run has changed
            raise
        del start  # its bytes are several times the model's
        job.announce(leftovers, problems, told)
        return job.run()


class _Job:
    """The parts of one attempt, wired together."""

    def __init__(
        self,
        plan: Plan,
        lock: RunLock,
        parts: Parts,
        start: CheckpointFiles | None,
        signals: StopSignals,
        listener: Listener,
        disk: Disk,
        team: Team,
    ) -> None:
        self.plan, self.parts, self.facts, self.disk = plan, parts, parts.facts, disk
        self.team = team
        self.prepared, self.resolved = parts.prepared, parts.resolved
        self.decoder, self.tokenizer = parts.decoder, parts.tokenizer
        self.progress, self.max_steps = parts.progress, parts.max_steps
        self.resumed = start is not None
        self.listener = listener
        self.latest = Latest.of(plan.run, self.progress.step)
        status = RunReader(plan.run).status
        mirror = mirror_of(
            plan.run,
            self.resolved.settings.checkpoint.mirror,
            status.mirror if status else None,
            anew=plan.new_mirror,
        )
        context_length = self.resolved.settings.model.context_length
        self.valid_rows: Rows = make_rows(self.prepared.valid, self.prepared.form, context_length)
        if self.resolved.settings.tune.follow:  # somebody waits for each evaluation
            self.valid_rows = SomeRows(self.valid_rows, FOLLOWED_ROWS)
        old = parts.old_data
        self.old_rows = make_rows(old.valid, old.form, context_length) if old else None
        reader = RunReader(plan.run)
        if self.progress.step > self.max_steps:
            raise SettingsError(
                f"{plan.run.name} has done {self.progress.step} steps, so max_steps cannot be "
                f"{self.max_steps}; leave it out, or name a higher number"
            )
        if start and self.progress.step == self.max_steps:
            refuse_new_data(reader, self.prepared, old, self.max_steps)
        self.remarks = self._check_space()
        self.writer = RunWriter(plan.run, disk)
        if isinstance(parts.lessons, Followed):
            parts.lessons.append = self.writer.add_lesson
        mend_reference(self.writer, parts)
        self.forebears = forebears(plan.run, self.resolved.settings.init_from)
        if start is None:
            write_birth(self.writer, parts, self.forebears)
        else:
            self._drop_other_future(start.step)
        self.before: AttemptRecord | None = None  # whose steps this attempt goes on from
        self.attempt = self._attempt(reader, start)
        number = self.writer.begin_attempt(self.attempt)
        self.lineage = reader.lineage
        # only now: a start that was refused or killed before has changed nothing
        self.writer.write_settings(self.resolved.to_json())
        self.followers = Followers(
            mirror, self._trackers(number), self.progress, signals, self.emit, listener
        )
        self.requests = RunRequests(
            plan.run,
            signals,
            self.resolved,
            save=lambda resolved: self.writer.write_settings(resolved.to_json()),
            elsewhere=team.signals,
        )
        self.recorder = RunRecorder(
            self.writer,
            lock,
            max_steps=self.max_steps,
            progress=self.progress,
            checkpoint_files=self.checkpoint_files,
            log_every=lambda: self.trainer.settings.log.every_steps,
            disk=disk,
            signals=lambda: self.requests.asked_to_end(),
            tell=listener,
            lineage=lambda: self.lineage,
            mirror=lambda: self.followers.mirror_status,
        )
        self.trainer = self._make_trainer()

    def _make_trainer(self) -> Trainer:
        settings, runtime, prepared = self.resolved.settings, self.facts.runtime, self.prepared
        token_bytes = self.tokenizer.token_bytes()
        sampler = LiveSampler(
            self.decoder, self.tokenizer, runtime, prompt_book(settings, prepared), settings.seed
        )

        def evaluate_now(beat: Callable[[], None], rows_at_once: int) -> Evaluation:
            def of(rows: Rows) -> Evaluation:
                return evaluate(self.decoder, rows, token_bytes, runtime, rows_at_once, beat)

            found = of(self.valid_rows)
            if self.old_rows is not None:
                found = replace(found, replay_val_loss=of(self.old_rows).val_loss)
            lessons = self.parts.lessons
            if not isinstance(lessons, Lessons):
                return found
            pad = self.tokenizer.format.pad
            return with_preferences(
                found, self.decoder, lessons, settings, pad, runtime, rows_at_once, beat
            )

        return Trainer(
            updates=self.parts.updates(self.team),
            evaluator=evaluate_now,
            sampler=lambda step, prompt, cancelled: sampler(
                step, prompt, self.trainer.settings.sample, cancelled
            ),
            store=self,
            requests=self.requests,
            emit=self.emit,
        )

    def _trackers(self, attempt: int) -> list[Tracking]:
        settings = self.resolved.to_json()["settings"]
        subject = Subject(self.plan.run, attempt, self.progress.step, settings)
        names = self.resolved.settings.log.trackers
        return [Tracking(n, subject, lambda: self.trainer.settings.log.every_steps) for n in names]

    def _check_space(self) -> list[str]:
        """What is to be said of the space on the disk. Raises SettingsError if there is none."""
        settings, step = self.resolved.settings, self.progress.step
        if step == self.max_steps:
            return []  # nothing will be written
        tokenizer_bytes = len(self.tokenizer.to_json().encode())
        sizes = checkpoint_sizes(self.decoder, settings.optim, tokenizer_bytes)
        told = check_space(self.plan.run, settings, sizes, step)
        return [told] if told else []

    def emit(self, event: Event) -> None:
        self.recorder(event)
        self.latest(event)
        self.listener(event)
        self.followers(event)

    def announce(
        self,
        leftovers: Sequence[str],
        problems: Sequence[CheckpointError],
        ranks: Sequence[str],
    ) -> None:
        """Say what was found, before the first step."""
        step = self.progress.step
        found = [f"{problem} It was set aside; nothing is deleted." for problem in problems]
        if leftovers:
            found.append(f"removed what an interrupted save left: {', '.join(leftovers)}")
        before = RunReader(self.plan.run).status
        if problems and (told := newer_in_copy(self.plan.run, before and before.mirror, step)):
            found.append(told)
        for told in (*found, *self.remarks):
            self.emit(Noted("warning", step, told))
        for event in beginning(self.plan.run, self.parts, self.attempt, self.before, self.lineage):
            self.emit(event)
        for told in ranks:
            self.emit(Noted("ranks", step, told))
        if isinstance(few := self.valid_rows, SomeRows) and few.count < few.of:
            told = f"val_loss is of {few.count:,} of {few.of:,} validation rows, always the same"
            self.emit(Noted("feedback", step, told))

    def run(self) -> Outcome:
        state = self.progress
        try:
            self.followers.start()
            if not self.resumed:
                self.trainer.checkpoint()
            else:
                self.trainer.saved_step = state.step
                self.followers.copy_newest()
            ended = self.trainer.run()
            self.followers.finish_copy()
        except BaseException as error:
            self.followers.abandon_copy()
            message = str(error) or type(error).__name__
            with suppress(OSError, RunError):  # the disk may be what failed
                self.emit(Noted("error", state.step, message))
                self.recorder.finish("failed", state.step, message)
            with suppress(OSError, RunError):
                self.followers.close()
                self.recorder.close()
            if is_out_of_memory(error):
                raise TrainingError(
                    f"memory ran out at step {state.step}; resume with a smaller "
                    f"--micro-batch-size (it is {self.trainer.facts.micro_batch_size})"
                ) from None
            if is_not_deterministic(error):
                raise TrainingError(
                    f"this torch cannot compute step {state.step} with equal bits each time on "
                    f"{self.facts.runtime.device} ({str(error).partition('.')[0]}); "
                    "resume with --device cpu"
                ) from None
            raise
        why = forgotten(state, self.resolved.settings) if ended == "finished" else ""
        self.recorder.finish(ended, state.step, why)
        self.followers.close()
        self.recorder.close()
        return Outcome(
            ended,
            state.step,
            state.best_step,
            state.best_val_loss,
            state.best_preference_loss,
            bool(self.resolved.settings.tune.feedback),
        )

    def publish(
        self, progress: Progress, keep: CheckpointSettings, pinned: set[int]
    ) -> tuple[int, tuple[int, ...]]:
        if told := self.team.agree(self.decoder, self.parts.optimizer):
            self.emit(Noted("warning", progress.step, told))
        return self.recorder.publish(progress, keep, pinned)

    def restore(self) -> Progress:
        good, problems = newest_before_bad_steps(self.plan.run)
        for problem in problems:
            self.emit(Noted("warning", self.progress.step, str(problem)))
        return self._go_back_to(good)

    def take_back(self, step: int, forget: Callable[[], object]) -> Progress:
        good = read_checkpoint(RunPaths(self.plan.run).checkpoint(step))
        forget()
        return self._go_back_to(good)

    def _go_back_to(self, good: CheckpointFiles) -> Progress:
        self.decoder.load_state_dict(open_model(good).decoder.state_dict())
        self._drop_other_future(good.step)
        return restore(self.parts.optimizer, good, self.facts.runtime.dtype)

    def waited_seconds(self) -> float:
        return self.recorder.waited_seconds

    def begin_stretch(self, step: int, facts: Facts, why: str) -> None:
        before = maker(RunReader(self.plan.run).attempts(), step)
        if before is None and step:  # the disk does not let them be read just now
            before = replace(self.attempt, **self.facts.to_record())
        self.facts = facts
        now = replace(
            self.attempt,
            from_step=step,
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            changed=self.attempt.changed if step <= self.attempt.from_step else (),
            **facts.to_record(),
        )
        self.writer.begin_attempt(classed(now, before, self._planned_rows, why))
        self.lineage = RunReader(self.plan.run).lineage
        self.followers.begin_stretch(step)

    def checkpoint_files(self, _: Progress) -> Mapping[str, bytes]:
        name = self.plan.run.name
        ancestry = (*self.forebears, own_generation(self.parts, name, self.latest))
        return self.parts.files(name, self.lineage, self.latest, ancestry)

    def _drop_other_future(self, step: int) -> None:
        """Newer checkpoints than the one we go on from become weights only, so that nobody
        mistakes them for this stretch's own. Of a run that follows judgements they were taken back,
        or are made again: only what somebody has pinned stays."""
        steps = list_checkpoints(self.plan.run)
        newer = {s for s in steps if s > step}
        if not newer:
            return
        stay = newer & pinned(self.plan.run) if self.resolved.settings.tune.follow else newer
        refused = prune(self.plan.run, set(steps) - newer, stay, disk=self.disk).refused
        if refused:
            raise RunError(
                f"the checkpoints of {self.plan.run.name} beyond step {step} could not be "
                f"thinned: {'; '.join(refused)}; make room (`tinychat runs --prune "
                f"--yes {self.plan.run.name}`) or mend the disk, then resume"
            )

    def _attempt(self, reader: RunReader, start: CheckpointFiles | None) -> AttemptRecord:
        """What this attempt is, and of which class, against the one whose steps it goes on from."""
        now = AttemptRecord(
            from_step=start.step if start else 0,
            reason="resume" if start else "new",
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            host=platform.node(),
            argv=tuple(self.plan.argv),
            version=__version__,
            git_commit=source_commit(),
            data_fingerprint=self.prepared.fingerprint,
            replay_fingerprint=self.parts.old_data.fingerprint if self.parts.old_data else None,
            settings=deciding(self.resolved),
            changed=self.plan.changed,
            autotune=self.parts.tuning.to_json() if self.parts.tuning else None,
            **self.facts.to_record(),
        )
        if start is None:
            return now
        self.before = maker(reader.attempts(), start.step)
        found = classed(now, self.before, self._planned_rows, "resume")
        return with_lost_records(found, reader)

    @property
    def _planned_rows(self) -> int:
        """Rows at once that the first step was to be done with; autotune may have chosen them."""
        settings = self.resolved.settings
        first = next((each for _, each in RunReader(self.plan.run).attempts()), None)
        tuned = first.micro_batch_size if first and settings.micro_batch_size is None else None
        return tuned or settings.rows_per_micro_batch
