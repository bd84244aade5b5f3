"""What a run would be, before it is one: its model built, its corpus read, its steps measured.

Collects what `forecast` reckons with. The corpus is prepared in the cache where the run will find
it; nothing else is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tinychat.config import Settings
from tinychat.config.load import Resolved, preset_names, read_preset, resolve
from tinychat.errors import SettingsError
from tinychat.model import Decoder, choose_runtime, count_parameters, family_of, free_memory
from tinychat.planning.forecast import (
    Data,
    Forecast,
    Rung,
    Shape,
    advice,
    fixed_bytes,
    forecast,
    rows_that_fit,
    steps_of,
)
from tinychat.planning.probe import NO_RUN, Measured, measure
from tinychat.runs import Peak, free_at
from tinychat.text import Prepared
from tinychat.text import Progress as ReadingProgress
from tinychat.training.batches import training_rows
from tinychat.training.compiled import as_can_be_compiled
from tinychat.training.lineage import Facts
from tinychat.training.optimizer import split_parameters
from tinychat.training.replay import prepare_old_data
from tinychat.training.space import planned_peak
from tinychat.training.start import prepare_corpus
from tinychat.words import size

LADDER = ("5m", "15m", "30m", "60m")


@dataclass(frozen=True)
class Outlook:
    """All that is known of a run before its first step."""

    resolved: Resolved  # with the micro-batch that fits
    layout: str  # as Hugging Face knows it
    shape: Shape
    data: Data | None
    facts: Facts
    measured: Measured
    forecast: Forecast
    disk: Peak  # of the run's folder, with the length that the data gives it
    disk_free: int
    advice: tuple[str, ...]


def look_ahead(
    resolved: Resolved,
    root: Path,
    *,
    with_data: bool,
    progress: ReadingProgress | None = None,
    beat: Callable[[], None] = lambda: None,
) -> Outlook:
    """Build, read, measure and reckon. `root` is the folder where the run would live.

    Without data the vocabulary has the size that the settings declare. Raises SettingsError where
    not even one row fits into memory, and everything that a real start raises.
    """
    settings = resolved.settings
    layout = family_of(settings.model)
    runtime = choose_runtime(settings.runtime, training=settings.model)
    runtime = as_can_be_compiled(runtime, asked=True)
    prepared = prepare_corpus(root / NO_RUN, settings, progress) if with_data else None
    if prepared:  # so that it lies in the cache when it is measured with
        prepare_old_data(root / NO_RUN, settings, prepared.tokenizer, progress)
    shape = shape_of(settings, prepared.tokenizer.vocab_size if prepared else None)
    data = _data(settings, prepared) if prepared else None
    available = free_memory(runtime.device)
    resolved, shrunk = _with_rows_that_fit(resolved, shape, available)
    settings = resolved.settings
    facts = Facts(runtime, settings.rows_per_micro_batch)
    measured, resolved, ran_out = _measured(resolved, shape, facts, root, with_data, beat)
    settings, shrunk = resolved.settings, shrunk + ran_out
    facts = replace(facts, micro_batch_size=settings.rows_per_micro_batch)
    if measured.tuning:
        facts = measured.tuning.facts(facts)
        if facts.micro_batch_size < settings.rows_per_micro_batch:
            resolved = _with_rows(resolved, facts.micro_batch_size, "what is fastest here")
            settings = resolved.settings
    found = forecast(settings, shape, data, measured, available)
    disk = planned_peak(
        replace(settings, max_steps=found.max_steps, max_epochs=None), shape.vocab_size
    )
    free = free_at(root)
    told = [*shrunk, *advice(settings, shape, found, ladder())]
    if disk.n_bytes > free:
        told.append(
            f"the disk of {root} has {size(free)} free, and the run takes up to "
            f"{size(disk.n_bytes)}: make room, or keep less by --checkpoint.keep-last and "
            "--checkpoint.milestones"
        )
    return Outlook(resolved, layout, shape, data, facts, measured, found, disk, free, tuple(told))


def shape_of(settings: Settings, vocab_size: int | None) -> Shape:
    """Parameters of the model as it would be built, counted without memory for them."""
    vocab_size = vocab_size or settings.tokenizer.vocab_size
    counted = count_parameters(settings.model, vocab_size)
    with torch.device("meta"):
        matrices, _ = split_parameters(Decoder(settings.model, vocab_size))
    hidden = sum(each.numel() for each in matrices)
    return Shape(counted["total"], counted["embedding"], counted["rest"], hidden, vocab_size)


def ladder() -> list[Rung]:
    """Our own sizes, each with the tokens that its preset trains on."""
    rungs = []
    for name in LADDER:
        if name in preset_names():
            settings = resolve(read_preset(name)).settings
            steps = steps_of(settings, None) or 0
            tokens = steps * settings.batch_size * settings.model.context_length
            rungs.append(Rung(name, shape_of(settings, None).total, tokens))
    return rungs


def _data(settings: Settings, prepared: Prepared) -> Data:
    rows = training_rows(prepared.train, prepared.form, settings.model.context_length)
    train = prepared.summary.train
    return Data(rows.count, train.tokens, train.documents)


def _measured(
    resolved: Resolved,
    shape: Shape,
    facts: Facts,
    root: Path,
    with_data: bool,
    beat: Callable[[], None],
) -> tuple[Measured, Resolved, list[str]]:
    """Measure, with half the rows at once where memory runs out all the same, as a run would."""
    told: list[str] = []
    while True:
        try:
            found = measure(resolved, shape.vocab_size, facts, root, with_data=with_data, beat=beat)
        except MemoryError:
            rows = facts.micro_batch_size
            if rows == 1:
                raise SettingsError(
                    "memory ran out with one row at a time; take a smaller model, a shorter "
                    "model.context_length, or --runtime.gradient-checkpointing"
                ) from None
            facts = replace(facts, micro_batch_size=rows // 2)
            resolved = _with_rows(resolved, rows // 2, "what fits into memory")
            told = [
                f"memory ran out with {rows} rows at once, so {rows // 2} go through the model at "
                "a time; batches stay the same"
            ]
        else:
            return found, resolved, told


def _with_rows(resolved: Resolved, rows: int, why: str) -> Resolved:
    sources = resolved.sources | {"micro_batch_size": why}
    return Resolved(replace(resolved.settings, micro_batch_size=rows), sources)


def _with_rows_that_fit(
    resolved: Resolved, shape: Shape, available: int
) -> tuple[Resolved, list[str]]:
    """The settings with a smaller micro-batch where the asked one would need more memory."""
    settings = resolved.settings
    rows, asked = rows_that_fit(settings, shape, available), settings.rows_per_micro_batch
    if rows == asked:
        return resolved, []
    if not rows:
        fixed = sum(fixed_bytes(settings, shape))
        raise SettingsError(
            f"the model does not fit into memory: weights, gradients and optimizer take "
            f"{fixed / 1e9:,.1f} GB, which with one row of the batch is more than the "
            f"{available / 1e9:,.1f} GB that are free; take a smaller model or a shorter "
            "model.context_length"
        )
    return _with_rows(resolved, rows, "what fits into memory"), [
        f"{asked} rows at once would not fit into {available / 1e9:,.1f} GB, so {rows} go through "
        "the model at a time; batches stay the same"
    ]
