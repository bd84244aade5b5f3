"""From a run folder and its settings to a trainer that runs: new, resumed, or from another run.

What lies in the folder decides: with a good checkpoint the run goes on from it, without any it
starts at step 0. This is the one place where settings, corpus, model and run directory meet.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tinychat.config.load import Resolved
from tinychat.errors import (
    CheckpointError,
    RunError,
    SettingsError,
    TinychatError,
    TrainingError,
)
from tinychat.model import family_of, is_not_deterministic, is_out_of_memory
from tinychat.runs import CheckpointFiles, Disk, RunLock, RunReader, RunWriter, sweep
from tinychat.text import Progress as ReadingProgress
from tinychat.training.announcement import beginning
from tinychat.training.attempts import Attempts
from tinychat.training.best import forgotten
from tinychat.training.birth import mend_reference, write_birth
from tinychat.training.card import Latest
from tinychat.training.evaluator import Evaluator
from tinychat.training.events import Event, Listener, Noted, State
from tinychat.training.family import forebears
from tinychat.training.followers import Followers
from tinychat.training.mirror import mirror_of, newer_in_copy
from tinychat.training.parts import Parts, assemble, referenced, tuned
from tinychat.training.preferences import Followed, dataset_of, step_to_go_on_from
from tinychat.training.recorder import RunRecorder, tell
from tinychat.training.replay import prepare_old_data
from tinychat.training.requests import AskedToEndError, RunRequests, StopSignals
from tinychat.training.samples import LiveSampler, prompt_book
from tinychat.training.space import check_space, checkpoint_sizes
from tinychat.training.start import find_start, prepare_corpus, refuse_new_data, settle_facts
from tinychat.training.store import RunStore, drop_other_future
from tinychat.training.team import Alone, Team
from tinychat.training.trackers import Subject, Tracking, require_packages
from tinychat.training.trainer import Trainer

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
            preferences = dataset_of(run, settings, prepared)
            if preferences is not None and team.size > 1:
                raise SettingsError(ONE_PROCESS)
            old_data = prepare_old_data(
                run,
                settings,
                prepared.tokenizer,
                signals.ending(progress),
                disk,
                accept_new_data=plan.accept_new_data,
            )
            parts = assemble(plan.resolved, prepared, start, facts, preferences, old_data)
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
        self.plan, self.parts, self.team = plan, parts, team
        self.settings, self.progress = parts.settings, parts.progress
        self.resumed = start is not None
        self.listener = listener
        self.latest = Latest.of(plan.run, self.progress.step)
        status = RunReader(plan.run).status
        mirror = mirror_of(
            plan.run,
            self.settings.checkpoint.mirror,
            status.mirror if status else None,
            anew=plan.new_mirror,
        )
        self.evaluator = Evaluator(parts)
        if self.progress.step > parts.max_steps:
            raise SettingsError(
                f"{plan.run.name} has done {self.progress.step} steps, so max_steps cannot be "
                f"{parts.max_steps}; leave it out, or name a higher number"
            )
        if start and self.progress.step == parts.max_steps:
            reader = RunReader(plan.run)
            refuse_new_data(reader, parts.prepared, parts.old_data, parts.max_steps)
        self.remarks = self._check_space()
        writer = RunWriter(plan.run, disk)
        if isinstance(parts.preferences, Followed):
            parts.preferences.append = writer.add_example
        mend_reference(writer, parts)
        ancestors = forebears(plan.run, self.settings.init_from)
        if start is None:
            write_birth(writer, parts, ancestors)
        else:
            drop_other_future(plan.run, start.step, disk, follows=self.settings.tune.follow)
        self.attempts = Attempts(plan.run, parts, writer, plan.argv, plan.changed)
        number = self.attempts.begin(start)
        # only now: a start that was refused or killed before has changed nothing
        writer.write_settings(parts.resolved.to_json())
        self.followers = Followers(
            mirror, self._trackers(number), self.progress, signals, self.emit, listener
        )
        self.requests = RunRequests(
            plan.run,
            signals,
            parts.resolved,
            save=lambda resolved: writer.write_settings(resolved.to_json()),
            elsewhere=team.signals,
        )
        self.recorder = RunRecorder(
            writer,
            lock,
            max_steps=parts.max_steps,
            progress=self.progress,
            checkpoint_files=lambda at: self.store.files(at),
            log_every=lambda: self.trainer.settings.log.every_steps,
            disk=disk,
            signals=lambda: self.requests.asked_to_end(),
            tell=listener,
            lineage=lambda: self.attempts.lineage,
            mirror=lambda: self.followers.mirror_status,
        )
        self.store = RunStore(
            plan.run,
            parts,
            ancestors,
            self.latest,
            self.attempts,
            self.followers,
            self.recorder,
            team,
            disk,
            self.emit,
        )
        self.trainer = self._make_trainer()

    def _make_trainer(self) -> Trainer:
        parts = self.parts
        book = prompt_book(self.settings, parts.prepared)
        sampler = LiveSampler(
            parts.decoder, parts.tokenizer, parts.facts.runtime, book, self.settings.seed
        )
        return Trainer(
            updates=parts.updates(self.team),
            evaluator=self.evaluator,
            sampler=lambda step, prompt, cancelled: sampler(
                step, prompt, self.trainer.settings.sample, cancelled
            ),
            store=self.store,
            requests=self.requests,
            emit=self.emit,
        )

    def _trackers(self, attempt: int) -> list[Tracking]:
        settings = self.parts.resolved.to_json()["settings"]
        subject = Subject(self.plan.run, attempt, self.progress.step, settings)
        names = self.settings.log.trackers
        return [Tracking(n, subject, lambda: self.trainer.settings.log.every_steps) for n in names]

    def _check_space(self) -> list[str]:
        """What is to be said of the space on the disk. Raises SettingsError if there is none."""
        parts, step = self.parts, self.progress.step
        if step == parts.max_steps:
            return []  # nothing will be written
        tokenizer_bytes = len(parts.tokenizer.to_json().encode())
        sizes = checkpoint_sizes(parts.decoder, self.settings.optim, tokenizer_bytes)
        told = check_space(self.plan.run, self.settings, sizes, step)
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
        run, step, attempts = self.plan.run, self.progress.step, self.attempts
        found = [f"{problem} It was set aside; nothing is deleted." for problem in problems]
        if leftovers:
            found.append(f"removed what an interrupted save left: {', '.join(leftovers)}")
        before = RunReader(run).status
        if problems and (told := newer_in_copy(run, before and before.mirror, step)):
            found.append(told)
        for told in (*found, *self.remarks):
            self.emit(Noted("warning", step, told))
        for event in beginning(run, self.parts, attempts.record, attempts.before, attempts.lineage):
            self.emit(event)
        for told in ranks:
            self.emit(Noted("ranks", step, told))
        if told := self.evaluator.remark:
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
                device = self.parts.facts.runtime.device
                other = "--runtime.compile=false" if device == "cpu" else "--device cpu"
                raise TrainingError(
                    f"this torch cannot compute step {state.step} with equal bits each time on "
                    f"{device} ({str(error).partition('.')[0]}); resume with {other}"
                ) from None
            raise
        why = forgotten(state, self.settings) if ended == "finished" else ""
        self.recorder.finish(ended, state.step, why)
        self.followers.close()
        self.recorder.close()
        return Outcome(
            ended,
            state.step,
            state.best_step,
            state.best_val_loss,
            state.best_preference_loss,
            bool(self.settings.tune.feedback),
        )
