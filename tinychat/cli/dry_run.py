"""`tinychat train --dry-run`: everything that would hold, and nothing is started."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from tinychat.cli.facts import (
    fact_of_step,
    facts_of_disk,
    facts_of_model,
    facts_of_rate,
    vocabulary,
)
from tinychat.cli.output import screen
from tinychat.config import Settings
from tinychat.words import count, inert, number, size, table

if TYPE_CHECKING:  # it imports pydantic
    from tinychat.config.load import Resolved

_BYTES_PER_TOKEN = 3  # of text, about; fewer than most corpora have
_NARROW_IDS = 65_536  # vocabularies up to this size take 2 bytes a token


def show_dry_run(resolved: "Resolved", checkpoints: Path) -> int:
    """Print every setting with its source, the model's size, the learning rate and the files."""
    from tinychat.model import choose_runtime, family_of

    settings = resolved.settings
    family = family_of(settings.model)  # the refusals of a real start
    runtime = choose_runtime(settings.runtime, training=settings.model)
    console = screen()
    _print_settings(console, resolved)
    console.print("\nwhat it would be", style="bold")
    facts = [
        *_size(settings),
        *facts_of_model(family, runtime),
        fact_of_step(settings),
        *facts_of_rate(settings, settings.max_steps),
        *_times(settings),
        *_space(settings, checkpoints),
    ]
    for line in table([(f"  {name}", words) for name, words in facts]):
        console.print(line)
    console.print("\nnothing was started")
    return 0


def _print_settings(console: Console, resolved: "Resolved") -> None:
    """Name, value and source, section by section; what is not a default stands out."""
    settings = resolved.settings
    sections = {"": settings} | {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(Settings)
        if dataclasses.is_dataclass(getattr(settings, field.name))
    }
    for section, node in sections.items():
        title = (type(node).__doc__ or "").partition(".")[0]
        console.print(f"{section}: {title}" if section else "the run", style="bold")
        names = [f.name for f in dataclasses.fields(node) if f.name not in sections]
        sources = [resolved.sources[f"{section}.{n}" if section else n] for n in names]
        rows = [
            (f"  {name}", inert(_value(getattr(node, name))), inert(source))
            for name, source in zip(names, sources, strict=True)
        ]
        for line, source in zip(table(rows), sources, strict=True):
            console.print(Text(line, style="dim" if source == "default" else ""))


def _size(settings: Settings) -> list[tuple[str, str]]:
    """Parameters, as far as the vocabulary is known before the corpus is read."""
    from tinychat.model import count_parameters

    vocab_size = settings.tokenizer.vocab_size
    counted = count_parameters(settings.model, vocab_size)
    told = f"{number(counted['total'])}, {number(counted['embedding'])} of them for "
    return [("parameters", told + vocabulary(settings, vocab_size, is_read=False))]


def _times(settings: Settings) -> list[tuple[str, str]]:
    """How often what is written."""
    steps, keep = settings.max_steps, settings.checkpoint
    return [
        ("evaluated", _how_often(settings.eval.every_steps, steps) + ", and at the end"),
        ("samples", _how_often(settings.sample.every_steps, steps)),
        ("saved", _how_often(keep.every_steps, steps, keep.every_minutes)),
    ]


def _space(settings: Settings, checkpoints: Path) -> list[tuple[str, str]]:
    """What the run takes at its peak, and what is free where it would lie."""
    from tinychat.runs import free_at
    from tinychat.training.space import planned_peak

    peak = planned_peak(settings, settings.tokenizer.vocab_size)
    lines = [*facts_of_disk(settings, peak, free_at(checkpoints))]
    if tokens := _token_bytes(settings):
        lines.append(
            ("", f"and about {size(tokens)} of token files, unless they are there already")
        )
    return lines


def _token_bytes(settings: Settings) -> float:
    """A guess from the size of the files, which are not read."""
    paths = [Path(path) for path in settings.data.paths]
    files = [f for p in paths for f in (p.rglob("*") if p.is_dir() else [p]) if f.is_file()]
    text = sum(file.stat().st_size for file in files)
    width = 2 if settings.tokenizer.vocab_size <= _NARROW_IDS else 4
    return text * width / (1 if settings.tokenizer.kind == "char" else _BYTES_PER_TOKEN)


def _how_often(every: int | None, steps: int | None, minutes: float | None = None) -> str:
    told = []
    if every is not None:
        times = f" ({count(steps // every, 'time')})" if steps is not None else ""
        told.append(f"every {count(every, 'step')}{times}")
    if minutes is not None:
        told.append(f"every {minutes:g} minutes")
    return ", or ".join(told) or "never"


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
