"""The parts that updates are computed from: one function builds them for whoever computes.

A run that trains (`job`) and a recomputation that checks it (`recompute`) differ in who listens and
where results go; what a step does may not differ, so both begin here.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from tinychat.config import Settings
from tinychat.config.load import Resolved
from tinychat.errors import TrainingError
from tinychat.model import (
    Decoder,
    ModelCard,
    is_out_of_memory,
    model_files,
    readme_page,
    trainer_files,
)
from tinychat.runs import CheckpointFiles, Generation
from tinychat.text import Prepared, Tokenizer
from tinychat.text import Progress as ReadingProgress
from tinychat.training.autotune import TUNINGS, Tuning, autotune
from tinychat.training.batches import ConversationRows, Replay, TextRows, training_rows
from tinychat.training.card import Latest, history
from tinychat.training.lineage import Facts
from tinychat.training.optimizer import Optimizer
from tinychat.training.preferences import (
    ROWS_AT_ONCE,
    Followed,
    FollowUpdates,
    PreferenceDataset,
    PreferenceUpdates,
    reference_of,
)
from tinychat.training.progress import Progress
from tinychat.training.start import build_model, first_weights, restore
from tinychat.training.team import Alone, Team
from tinychat.training.updates import Updates
from tinychat.words import count


@dataclass(frozen=True)
class Parts:
    """Weights, optimizer, rows and place of a run, without anything that writes."""

    resolved: Resolved  # its length is in steps
    prepared: Prepared
    facts: Facts
    decoder: Decoder
    tokenizer: Tokenizer
    rows: TextRows | ConversationRows
    optimizer: Optimizer
    progress: Progress
    preferences: PreferenceDataset | Followed | None = None  # of preference tuning
    old_data: Prepared | None = None  # of which rows are mixed in
    tuning: Tuning | None = None  # what led to the facts, where ways to compute were tried

    @property
    def settings(self) -> Settings:
        return self.resolved.settings

    @property
    def max_steps(self) -> int:
        return self.settings.max_steps or 0

    @property
    def replay(self) -> Replay | None:
        """The old rows that come with its own."""
        share = self.settings.replay.share
        if self.old_data is None or not share:
            return None
        length = self.settings.model.context_length
        return Replay(training_rows(self.old_data.train, self.old_data.form, length), share)

    def updates(self, team: Team | None = None) -> Updates:
        """What makes the next updates, one at a time; without a team, in this process alone."""
        made_of = (
            self.settings,
            self.max_steps,
            self.decoder,
            self.optimizer,
            self.rows,
            self.facts,
            self.progress,
        )
        if isinstance(self.preferences, Followed):
            return FollowUpdates(*made_of, followed=self.preferences)
        if self.preferences is not None:
            return PreferenceUpdates(*made_of, preferences=self.preferences)
        return Updates(*made_of, team=team or Alone(), replay=self.replay)

    def files(
        self, run: str, lineage: str, latest: Latest, ancestry: tuple[Generation, ...] = ()
    ) -> dict[str, bytes]:
        """A whole checkpoint of the weights as they are now: equal tensors give equal bytes."""
        card = ModelCard(
            model=self.decoder.settings,
            vocab_size=self.decoder.vocab_size,
            kind="chat" if self.prepared.form == "chat" else "base",
            loss=self.settings.data.loss,
            step=self.progress.step,
            run=run,
            data_fingerprint=self.prepared.fingerprint,
            lineage=lineage,
            ancestry=ancestry,
        )
        told = history(
            self.settings, self.max_steps, self.prepared, self.facts, self.progress, latest
        )
        return {
            "README.md": readme_page(card, told),
            **model_files(self.decoder, self.tokenizer, card),
            **trainer_files(self.optimizer.tensors(), self.progress.to_json()),
        }


def assemble(
    resolved: Resolved,
    prepared: Prepared,
    start: CheckpointFiles | None,
    facts: Facts,
    preferences: PreferenceDataset | Followed | None = None,
    old_data: Prepared | None = None,
) -> Parts:
    """Everything for the update after `start`; None: for the first one, with fresh weights.

    Raises CheckpointError where the checkpoint does not fit the settings or the tokenizer.
    """
    decoder, tokenizer = build_model(resolved.settings, prepared, start, facts.runtime)
    rows = training_rows(prepared.train, prepared.form, resolved.settings.model.context_length)
    settings = resolved.settings
    if preferences is None or isinstance(preferences, Followed):
        resolved = _with_max_steps(resolved, rows.count, settings.own_rows_a_step)
    else:
        resolved = _with_max_steps(resolved, preferences.n_training, settings.examples_a_step)
    optimizer = Optimizer(decoder, settings.optim)
    progress = restore(optimizer, start, facts.runtime.dtype)
    made = (resolved, prepared, facts, decoder, tokenizer, rows, optimizer, progress)
    return Parts(*made, preferences=preferences, old_data=old_data)


def referenced(parts: Parts, run: Path, progress: ReadingProgress) -> Parts:
    """The same; what a tuned run learns from is compared with the weights that it began with.

    That is done once; only a run that lost it does it again.
    """
    preferences, runtime = parts.preferences, parts.facts.runtime
    pad, at_once = parts.tokenizer.format.pad, parts.facts.micro_batch_size
    vocab_size = parts.decoder.vocab_size
    if isinstance(preferences, Followed):
        first = cache(lambda: first_weights(run, parts.settings, vocab_size, runtime))
        preferences.ask_reference = lambda some: reference_of(first(), some, pad, runtime, at_once)
        return parts
    if preferences is None or preferences.reference is not None:
        return parts
    decoder = parts.decoder
    if parts.progress.step:
        decoder = first_weights(run, parts.settings, vocab_size, runtime)
    try:
        found = reference_of(
            decoder,
            preferences.encoded,
            pad,
            runtime,
            at_once,
            lambda done, total: progress(
                f"asking the reference model, {done:,} of {total:,}", 0, 0
            ),
        )
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        rows = min(at_once, ROWS_AT_ONCE)
        less = f"set micro_batch_size below {rows}" if rows > 1 else "free some memory"
        raise TrainingError(
            f"memory ran out as the reference model was asked {count(rows, 'row')} at once; {less}"
        ) from None
    return replace(parts, preferences=preferences.with_reference(found))


def tuned(parts: Parts, runs: Path, progress: ReadingProgress) -> Parts:
    """The same, of a run before its first step, computed in the way that is fastest here; findings
    are kept beside the `runs`."""
    if parts.preferences is not None:
        return parts  # minutes of work: too little can be gained
    tuning = autotune(parts.updates(), runs / TUNINGS, lambda what: progress(what, 0, 0))
    if tuning is None:
        return parts
    facts = tuning.facts(parts.facts)
    start = restore(parts.optimizer, None, facts.runtime.dtype)  # each dtype has its loss scale
    return replace(parts, facts=facts, progress=start, tuning=tuning)


def _with_max_steps(resolved: Resolved, per_epoch: int, per_step: float) -> Resolved:
    """A length in epochs becomes one in steps, before the first step and for good."""
    settings = resolved.settings
    if settings.max_epochs is None:
        return resolved
    steps = max(1, round(settings.max_epochs * per_epoch / per_step))
    sources = resolved.sources | {"max_steps": resolved.sources["max_epochs"]}
    return Resolved(replace(settings, max_steps=steps, max_epochs=None), sources)
