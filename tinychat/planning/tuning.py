"""What a preference-tuned run would learn from, and how long it would take here.

Its own parts are built and a few real updates, an evaluation, samples and a save are timed; nothing
of it is kept but the prepared data, which the run will find.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinychat.config.load import Resolved
from tinychat.conversations import NOT_REVIEWED
from tinychat.planning.probe import NO_RUN, time_evaluation, time_samples, time_save, timed
from tinychat.runs import folder_label
from tinychat.text import Progress
from tinychat.training.evaluate import Evaluation
from tinychat.training.pace import Pace, due_rounds
from tinychat.training.parts import Parts, assemble, referenced
from tinychat.training.preferences import PreferenceDataset, dataset_from_feedback, with_preferences
from tinychat.training.space import checkpoint_sizes, peak_of
from tinychat.training.start import prepare_corpus, settle_facts
from tinychat.words import count, long_duration

TIMED_STEPS = 4  # the first of which warms things up
FEW_EXAMPLES = 20
LONG_LOOKS_SECONDS = 60.0  # of evaluations, from which on they are worth a remark
SECONDS_OF_A_PROCESS = 3.0  # until torch is imported, about


@dataclass(frozen=True)
class TuneOutlook:
    """What a run of these settings would be. Nothing was started."""

    run: str
    folder: Path
    parent: str
    preferences: PreferenceDataset
    steps: int
    seconds: float
    batch_size: int
    examples_a_step: int
    disk_bytes: int
    writes: tuple[str, ...]
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The document of `tinychat tune --dry-run --json`."""
        preferences = self.preferences
        return {
            "run": self.run,
            "folder": str(self.folder),
            "parent": self.parent,
            "learns_from": self.preferences.told,
            "examples": {
                **asdict(preferences.counts),
                **preferences.by_objective(),
                "held_out": preferences.n_held_out,
                "left_out": {why: each.count for why, each in preferences.left_out.items()},
                "places": {why: each.places for why, each in preferences.left_out.items()},
            },
            "steps": self.steps,
            "seconds": self.seconds,
            "batch_size": self.batch_size,
            "examples_a_step": self.examples_a_step,
            "disk_bytes": self.disk_bytes,
            "writes": list(self.writes),
            "remarks": list(self.remarks),
        }


def look_ahead(run: Path, resolved: Resolved, progress: Progress) -> TuneOutlook:
    """Measure what `tinychat tune` would start. Raises as that does."""
    settings, root = resolved.settings, run.parent
    nowhere = root / NO_RUN
    facts = settle_facts(nowhere, settings, ())
    facts.runtime.apply()
    prepared = prepare_corpus(nowhere, settings, progress)
    preferences = dataset_from_feedback(settings, prepared)
    parts = assemble(resolved, prepared, None, facts, preferences)
    began = time.monotonic()
    parts = referenced(parts, nowhere, progress)
    seconds = time.monotonic() - began
    pace = _measured(parts, root, progress)
    first = sum(pace.others[kind][0] for kind in ("evaluate", "save"))  # before the first step
    seconds += first + (pace.eta_seconds(0, parts.max_steps, settings) or 0.0)
    sizes = checkpoint_sizes(parts.decoder, settings.optim, len(parts.tokenizer.to_json()))
    mirror = settings.checkpoint.mirror
    return TuneOutlook(
        run=run.name,
        folder=run.absolute(),
        parent=folder_label(Path(settings.init_from or "")),
        preferences=preferences,
        steps=parts.max_steps,
        seconds=round(seconds + SECONDS_OF_A_PROCESS, 1),
        batch_size=settings.batch_size,
        examples_a_step=settings.examples_a_step,
        disk_bytes=peak_of(parts.settings, sizes).n_bytes,
        writes=(str(run.absolute()), *([str(Path(mirror) / run.name)] if mirror else [])),
        remarks=(*_remarks(preferences), *_long_looks(parts, pace)),
    )


def _measured(parts: Parts, root: Path, progress: Progress) -> Pace:
    """A few of everything that the run does."""
    pace, updates, runtime = Pace(), parts.updates(), parts.facts.runtime
    preferences, settings = parts.preferences, parts.settings
    assert isinstance(preferences, PreferenceDataset)
    progress("measuring steps, an evaluation, samples and a save", 0, 0)
    updates.decoder.train()
    for _ in range(TIMED_STEPS):
        began = time.monotonic()
        batch = updates.batch()
        updates.apply(batch, updates.gradients(batch), began)
        pace.note("step", time.monotonic() - began)
    pad, nothing = parts.tokenizer.format.pad, Evaluation(0.0, None, 0, 0)
    seconds = time_evaluation(updates.decoder, parts.prepared, parts.facts)
    seconds += timed(
        lambda: with_preferences(
            nothing,
            updates.decoder,
            preferences,
            settings,
            pad,
            runtime,
            parts.facts.micro_batch_size,
        )
    )
    pace.note("evaluate", seconds)
    pace.note("sample", time_samples(updates, parts.prepared))
    pace.note("save", time_save(updates, root))
    return pace


def _long_looks(parts: Parts, pace: Pace) -> list[str]:
    """A remark where looking at the run takes longer than its steps."""
    each, every = pace.others["evaluate"][0], parts.settings.eval.every_steps
    rounds = 1 + due_rounds(0, parts.max_steps, every, always_last=True)
    steps = parts.max_steps * sum(pace.steps) / len(pace.steps)
    if rounds * each < max(steps, LONG_LOOKS_SECONDS):
        return []
    return [
        f"{rounds} evaluations on all of its validation data take {long_duration(rounds * each)}, "
        f"the steps {long_duration(steps)}; fewer are enough by --eval.every-steps (now {every})"
    ]


def _remarks(preferences: PreferenceDataset) -> list[str]:
    told = []
    if not preferences.n_held_out:
        told.append(
            "too few prompts to hold one out, so nothing will tell whether it learns more than "
            "these very examples; five are enough"
        )
    if preferences.n_training < FEW_EXAMPLES:
        told.append(
            f"only {count(preferences.n_training, 'example')} to train on: expect a small change, "
            "and look at it in a comparison"
        )
    if waiting := preferences.left_out.get(NOT_REVIEWED):
        told.append(
            f"{count(waiting.count, 'judgement')} of visitors, left out until they are reviewed"
        )
    return [*told, *preferences.remarks]
