"""What a preference-tuned run would learn from, and how long it would take here.

Its own parts are built and a few real updates, an evaluation, samples and a save are timed; nothing
of it is kept but the prepared data, which the run will find.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinychat.config.load import Resolved
from tinychat.planning.probe import NO_RUN, time_samples, time_save
from tinychat.text import Progress
from tinychat.training.batches import make_rows
from tinychat.training.evaluate import evaluate
from tinychat.training.pace import Pace
from tinychat.training.parts import Parts, assemble, referenced
from tinychat.training.preferences import Lessons, lessons_from_feedback, with_preferences
from tinychat.training.space import checkpoint_sizes, peak_of
from tinychat.training.start import prepare_corpus, settle_facts

TIMED_STEPS = 4  # the first of which warms things up
FEW_EXAMPLES = 20
SECONDS_OF_A_PROCESS = 3.0  # until torch is imported, about


@dataclass(frozen=True)
class TuneOutlook:
    """What a run of these settings would be. Nothing was started."""

    run: str
    folder: Path
    parent: str
    lessons: Lessons
    steps: int
    seconds: float
    batch_size: int
    disk_bytes: int
    writes: tuple[str, ...]
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The document of `tinychat tune --dry-run --json`."""
        lessons = self.lessons
        return {
            "run": self.run,
            "folder": str(self.folder),
            "parent": self.parent,
            "learns_from": self.lessons.told,
            "examples": {
                **asdict(lessons.counts),
                **lessons.by_objective(),
                "held_out": lessons.held_out,
                "left_out": dict(lessons.left_out),
            },
            "steps": self.steps,
            "seconds": self.seconds,
            "batch_size": self.batch_size,
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
    lessons = lessons_from_feedback(settings, prepared.tokenizer)
    parts = assemble(resolved, prepared, None, facts, lessons)
    began = time.monotonic()
    parts = referenced(parts, nowhere, progress)
    seconds = time.monotonic() - began
    seconds += _seconds(parts, root, progress)
    sizes = checkpoint_sizes(parts.decoder, settings.optim, len(parts.tokenizer.to_json()))
    mirror = settings.checkpoint.mirror
    return TuneOutlook(
        run=run.name,
        folder=run.absolute(),
        parent=_named(Path(settings.init_from or "")),
        lessons=lessons,
        steps=parts.max_steps,
        seconds=round(seconds + SECONDS_OF_A_PROCESS, 1),
        batch_size=settings.batch_size,
        disk_bytes=peak_of(parts.settings, sizes).n_bytes,
        writes=(str(run.absolute()), *([str(Path(mirror) / run.name)] if mirror else [])),
        remarks=tuple(_remarks(lessons)),
    )


def _seconds(parts: Parts, root: Path, progress: Progress) -> float:
    """From the first step to the end."""
    pace, updates, runtime = Pace(), parts.updates(), parts.facts.runtime
    lessons, settings = parts.lessons, parts.settings
    assert isinstance(lessons, Lessons)
    at_once = parts.facts.micro_batch_size
    progress("measuring steps, an evaluation, samples and a save", 0, 0)
    updates.decoder.train()
    for _ in range(TIMED_STEPS):
        began = time.monotonic()
        batch = updates.batch()
        updates.apply(batch, updates.gradients(batch), began)
        pace.note("step", time.monotonic() - began)
    rows = make_rows(parts.prepared.valid, parts.prepared.form, settings.model.context_length)
    pad = parts.tokenizer.format.pad

    def look() -> None:
        sizes = parts.tokenizer.token_bytes()
        found = evaluate(updates.decoder, rows, sizes, runtime, at_once)
        with_preferences(found, updates.decoder, lessons, settings, pad, runtime, at_once)

    pace.note("evaluate", _timed(look))
    pace.note("sample", time_samples(updates, parts.prepared))
    pace.note("save", time_save(updates, root))
    first = sum(pace.others[kind][0] for kind in ("evaluate", "save"))  # before the first step
    return first + (pace.eta_seconds(0, parts.max_steps, settings) or 0.0)


def _remarks(lessons: Lessons) -> list[str]:
    told = []
    if not lessons.held_out:
        told.append(
            "too few prompts to hold one out, so nothing will tell whether it learns more than "
            "these very examples; five are enough"
        )
    if lessons.n_training < FEW_EXAMPLES:
        told.append(
            f"only {lessons.n_training} examples to train on: expect a small change, and look at "
            "it in a comparison"
        )
    if waiting := lessons.left_out.get("not reviewed"):
        told.append(f"{waiting} judgements of visitors wait for a review and are left out")
    return told


def _named(checkpoint: Path) -> str:
    """run@step, as other commands take it; a model from elsewhere by its folder."""
    from tinychat.runs import checkpoint_step

    step = checkpoint_step(checkpoint.name)
    return str(checkpoint) if step is None else f"{checkpoint.parent.name}@{step}"


def _timed(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began
