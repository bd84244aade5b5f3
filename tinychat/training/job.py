"""From a run folder and its settings to a trainer that runs: new, resumed, or from another run.

What lies in the folder decides: with a good checkpoint the run goes on from it, without any it
starts at step 0. This is the one place where settings, corpus, model and run directory meet.
"""

import json
import platform
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from tinychat import __version__
from tinychat.config import RuntimeSettings, Settings
from tinychat.config.load import Resolved
from tinychat.errors import CheckpointError, NoCheckpointError, SettingsError, TrainingError
from tinychat.model import (
    Decoder,
    ModelCard,
    Runtime,
    available_devices,
    choose_runtime,
    count_parameters,
    family_of,
    load_model,
    model_files,
    open_model,
    read_tensors,
    trainer_files,
)
from tinychat.runs import (
    AttemptRecord,
    CheckpointFiles,
    RunLock,
    RunPaths,
    RunReader,
    RunRecord,
    RunWriter,
    list_checkpoints,
    newest_good,
    prune,
    quarantine,
    read_checkpoint,
    sweep,
)
from tinychat.text import Prepared, Tokenizer, prepare
from tinychat.training.batches import ConversationRows, make_rows
from tinychat.training.evaluate import Evaluation, evaluate
from tinychat.training.events import Began, Event, Listener, Noted, State
from tinychat.training.lineage import Facts, lineage_line, what_changed
from tinychat.training.optimizer import make_optimizer, optimizer_tensors, restore_optimizer
from tinychat.training.recorder import RunRecorder
from tinychat.training.requests import RunRequests, StopSignals
from tinychat.training.samples import LiveSampler, prompt_book
from tinychat.training.trainer import FIRST_LOSS_SCALE, Progress, Trainer

PrepareProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Plan:
    """What the caller has decided about this start of a run."""

    run: Path
    resolved: Resolved
    argv: Sequence[str] = ()
    changed: tuple[str, ...] = ()  # settings of class B that differ from the attempt before
    from_step: int | None = None  # go on from this checkpoint instead of the newest


@dataclass(frozen=True)
class Outcome:
    """How a stretch of training ended."""

    state: State  # "finished" or "stopped"
    step: int
    best_step: int | None
    best_val_loss: float | None


def train(
    plan: Plan, lock: RunLock, listener: Listener, progress: PrepareProgress | None = None
) -> Outcome:
    """Start the run, or go on with it, until it is finished or stopped. The caller holds the lock.

    Raises a TinychatError for everything that stops it; the run's status then says "failed".
    """
    run, settings = plan.run, plan.resolved.settings
    family_of(settings.model)  # refuse a shape that no checkpoint can hold, before any work
    leftovers = sweep(run)
    start, problems = _find_start(plan)
    facts = _settle_facts(run, settings)
    facts.runtime.apply()
    prepared = _prepare(run, settings, progress)
    decoder, tokenizer = _build_model(settings, prepared, start, facts.runtime)
    with StopSignals() as signals:
        job = _Job(plan, lock, facts, prepared, decoder, tokenizer, start, signals, listener)
        job.announce(leftovers, problems)
        return job.run()


class _Job:
    """The parts of one attempt, wired together."""

    def __init__(
        self,
        plan: Plan,
        lock: RunLock,
        facts: Facts,
        prepared: Prepared,
        decoder: Decoder,
        tokenizer: Tokenizer,
        start: CheckpointFiles | None,
        signals: StopSignals,
        listener: Listener,
    ) -> None:
        self.plan, self.facts, self.prepared = plan, facts, prepared
        self.decoder, self.tokenizer, self.start = decoder, tokenizer, start
        self.listener = listener
        settings = plan.resolved.settings
        runtime = facts.runtime
        rows = make_rows(prepared.train, prepared.form, settings.model.context_length)
        valid_rows = make_rows(prepared.valid, prepared.form, settings.model.context_length)
        self.max_steps = settings.max_steps or _steps_for(settings, rows.count)
        self.reader = RunReader(plan.run)
        self.writer = RunWriter(plan.run)
        self.changes = what_changed(self.reader, facts, plan.changed)
        self.lineage = lineage_line(self.reader, start.step if start else None, self.changes)
        self.optimizer = make_optimizer(decoder, settings.optim)
        state = Progress(loss_scale=FIRST_LOSS_SCALE if runtime.dtype == "fp16" else 1.0)
        if start:
            restore_optimizer(self.optimizer, decoder, read_tensors(start, "optimizer.safetensors"))
            state = Progress.from_json(json.loads(start.files["state.json"]))
            state.loss_scale = state.loss_scale if runtime.dtype == "fp16" else 1.0
        if state.step >= self.max_steps and start and plan.from_step is None:
            raise SettingsError(
                f"{plan.run.name} is done: it has all of its {self.max_steps} steps; "
                f"`tinychat resume {plan.run.name} --max-steps N` extends it"
            )
        if start is None:
            self._write_birth(rows)
        else:
            self._drop_other_future(start.step)
        self.writer.begin_attempt(self._attempt(start))
        self.recorder = RunRecorder(
            self.writer,
            lock,
            max_steps=self.max_steps,
            progress=state,
            checkpoint_files=self.checkpoint_files,
            log_every=lambda: self.trainer.settings.log.every_steps,
        )
        requests = RunRequests(
            plan.run, signals, plan.resolved, lambda r: self.writer.write_settings(r.to_json()),
            self.emit,
        )  # fmt: skip
        token_bytes = tokenizer.token_bytes()

        def evaluator(beat: Callable[[], None]) -> Evaluation:
            rows_at_once = settings.rows_per_micro_batch
            return evaluate(decoder, valid_rows, token_bytes, runtime, rows_at_once, beat)

        prompts = prompt_book(settings, prepared)
        sampler = LiveSampler(decoder, tokenizer, runtime, prompts, settings.seed)
        self.trainer = Trainer(
            settings, self.max_steps, decoder, self.optimizer, rows, runtime, state, evaluator,
            lambda step, prompt: sampler(step, prompt, self.trainer.settings.sample),
            self.recorder, requests, self.emit,
        )  # fmt: skip
        self.rows = rows

    def emit(self, event: Event) -> None:
        self.recorder(event)
        self.listener(event)

    def announce(self, leftovers: Sequence[str], problems: Sequence[CheckpointError]) -> None:
        """Say what was found, before the first step."""
        step = self.trainer.progress.step
        for problem in problems:
            self.emit(Noted("warning", step, f"{problem} It was set aside; nothing is deleted."))
        if leftovers:
            names = ", ".join(leftovers)
            self.emit(Noted("warning", step, f"removed what an interrupted save left: {names}"))
        if isinstance(self.rows, ConversationRows) and (self.rows.dropped or self.rows.shortened):
            self.emit(
                Noted(
                    "data",
                    step,
                    f"{self.rows.shortened} conversations were longer than "
                    f"{self.rows.context_length} tokens and were shortened; "
                    f"{self.rows.dropped} had nothing to learn from and were left out",
                )
            )
        self.emit(
            Began(
                step,
                self.max_steps,
                sum(p.numel() for p in self.decoder.parameters()),
                self.rows.count,
                self.facts.runtime.device,
                self.facts.runtime.dtype,
                self.lineage,
            )
        )
        if self.start:
            how = f"bits may differ from here on ({self.changes})" if self.changes else "bit-exact"
            self.emit(Noted("resume", step, f"resumed from step {step}: {how}"))
        else:
            self.emit(Noted("start", step, f"{self.max_steps} steps from fresh weights"))

    def run(self) -> Outcome:
        state = self.trainer.progress
        try:
            if self.start is None:
                self.trainer.checkpoint()
            else:
                self.trainer.saved_step = state.step
            ended = self.trainer.run()
        except BaseException as error:
            message = str(error) or type(error).__name__
            self.emit(Noted("error", state.step, message))
            self.recorder.finish("failed", state.step, message)
            if isinstance(error, torch.OutOfMemoryError):
                raise TrainingError(
                    f"memory ran out at step {state.step}; resume with a smaller "
                    f"--micro-batch-size (it is {self.trainer.settings.rows_per_micro_batch})"
                ) from None
            raise
        self.recorder.finish(ended, state.step)
        return Outcome(ended, state.step, state.best_step, state.best_val_loss)

    def checkpoint_files(self, progress: Progress) -> Mapping[str, bytes]:
        card = ModelCard(
            model=self.decoder.settings,
            vocab_size=self.decoder.vocab_size,
            kind="chat" if self.prepared.form == "chat" else "base",
            loss=self.trainer.settings.data.loss,
            step=progress.step,
            run=self.plan.run.name,
            data_fingerprint=self.prepared.fingerprint,
            lineage=self.lineage,
        )
        return {
            **model_files(self.decoder, self.tokenizer, card),
            **trainer_files(optimizer_tensors(self.optimizer, self.decoder), progress.to_json()),
        }

    def _write_birth(self, rows: object) -> None:
        """run.json and tokenizer.json: what the run is, once it is known."""
        settings = self.plan.resolved.settings
        self.writer.write_tokenizer(self.tokenizer.to_json())
        if RunPaths(self.plan.run).run_json.exists():
            return  # a start that was killed before its first checkpoint
        self.writer.write_run(
            RunRecord(
                id=str(uuid.uuid4()),
                created_at=datetime.now(UTC).isoformat(timespec="seconds"),
                version=__version__,
                parameters=count_parameters(settings.model, self.decoder.vocab_size),
                tokenizer_sha256=self.tokenizer.sha256,
                data_fingerprint=self.prepared.fingerprint,
                parent=settings.init_from,
            )
        )

    def _drop_other_future(self, step: int) -> None:
        """Newer checkpoints than the one we go on from become weights only, so that nobody
        mistakes them for this stretch's own."""
        steps = list_checkpoints(self.plan.run)
        newer = {s for s in steps if s > step}
        if newer:
            prune(self.plan.run, set(steps) - newer, newer)

    def _attempt(self, start: CheckpointFiles | None) -> AttemptRecord:
        resume_class = None if start is None else ("B" if self.changes else "A")
        return AttemptRecord(
            from_step=start.step if start else 0,
            reason=("resume" if start else "new") + (f": {self.changes}" if self.changes else ""),
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            host=platform.node(),
            argv=tuple(self.plan.argv),
            version=__version__,
            resume_class=resume_class,
            changed=self.plan.changed,
            **self.facts.to_record(),
        )


def _find_start(plan: Plan) -> tuple[CheckpointFiles | None, list[CheckpointError]]:
    """The checkpoint to go on from (None: fresh), and what was wrong with newer ones."""
    if plan.from_step is not None:
        return read_checkpoint(RunPaths(plan.run).checkpoint(plan.from_step)), []
    try:
        good, problems = newest_good(plan.run)
    except NoCheckpointError:
        return None, []
    if problems:
        _set_damaged_aside(plan.run, good.step)
    return good, problems


def _set_damaged_aside(run: Path, good_step: int) -> None:
    """Out of the way with newer checkpoints that do not read, so that none is met again."""
    for step in list_checkpoints(run):
        if step > good_step:
            try:
                read_checkpoint(RunPaths(run).checkpoint(step))
            except CheckpointError:
                quarantine(run, step)


def _settle_facts(run: Path, settings: Settings) -> Facts:
    """The runtime: what the run was computed on before, unless the settings say otherwise."""
    chosen = settings.runtime
    attempts = RunReader(run).attempts()
    if attempts:
        _, last = attempts[-1]
        known = last.device in available_devices()
        chosen = RuntimeSettings(
            device=last.device if chosen.device == "auto" and known else chosen.device,  # type: ignore[arg-type]
            dtype=last.dtype if chosen.dtype == "auto" and known else chosen.dtype,  # type: ignore[arg-type]
            threads=chosen.threads or last.threads,
            gradient_checkpointing=chosen.gradient_checkpointing,
        )
    return Facts(choose_runtime(chosen, training=True), settings.rows_per_micro_batch)


def _prepare(run: Path, settings: Settings, progress: PrepareProgress | None) -> Prepared:
    """The corpus as token files. A run that exists must find the corpus and tokenizer it had."""
    cache = run.parent / ".cache"

    def prepared_with(tokenizer: Tokenizer | None) -> Prepared:
        return prepare(
            settings.data,
            tokenizer or settings.tokenizer,
            seed=settings.seed,
            cache=cache,
            progress=progress,
        )

    given = load_model(Path(settings.init_from)).tokenizer if settings.init_from else None
    found = prepared_with(given)
    if not RunPaths(run).run_json.exists():
        return found
    record = RunReader(run).run
    if found.fingerprint != record.data_fingerprint:
        raise SettingsError(
            f"the data of {run.name} has changed since the run began (fingerprint "
            f"{found.fingerprint[:12]}, it was {str(record.data_fingerprint)[:12]}); "
            "bring the old data back, or start a new run with --init-from"
        )
    if found.tokenizer.sha256 != record.tokenizer_sha256:
        kept = RunPaths(run).tokenizer_json.read_text(encoding="utf-8")
        return prepared_with(Tokenizer.from_json(kept))
    return found


def _build_model(
    settings: Settings, prepared: Prepared, start: CheckpointFiles | None, runtime: Runtime
) -> tuple[Decoder, Tokenizer]:
    tokenizer = prepared.tokenizer
    if start:
        loaded = open_model(start, runtime.torch_device)
        if loaded.tokenizer.sha256 != tokenizer.sha256:
            raise CheckpointError(f"{start.path}: its tokenizer is not the one of the run")
        decoder = loaded.decoder
    else:
        decoder = Decoder(settings.model, tokenizer.vocab_size)
        decoder.initialise(settings.seed)
        if settings.init_from:
            parent = load_model(Path(settings.init_from)).decoder
            decoder.load_state_dict(parent.state_dict())
        decoder = decoder.to(runtime.torch_device)
    decoder.gradient_checkpointing = runtime.gradient_checkpointing
    return decoder, tokenizer


def _steps_for(settings: Settings, rows_per_epoch: int) -> int:
    epochs = settings.max_epochs or 1.0
    return max(1, round(epochs * rows_per_epoch / settings.batch_size))
