"""What `tinychat plan` and `tinychat train --dry-run` both tell of a run, each as (name, words)."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from tinychat.cli.ways import in_words
from tinychat.config import Settings
from tinychat.watch.schedule import planned_rate
from tinychat.words import count, number, size, sparkline

if TYPE_CHECKING:  # it imports torch
    from tinychat.model import Runtime
    from tinychat.runs import Peak

CURVE_COLUMNS = 60
Fact = tuple[str, str]


def facts_of_model(family: str, runtime: "Runtime") -> Iterator[Fact]:
    """What others know its layout by, and what computes it."""
    yield "layout", f"{family}, as Hugging Face knows it"
    yield "computed on", f"{runtime.device}, {in_words(asdict(runtime))}"


def vocabulary(settings: Settings, vocab_size: int, *, is_read: bool) -> str:
    """Its size in words; before the corpus was read, with what may still change it."""
    told = f"the vocabulary of {number(vocab_size)} tokens"
    if is_read or settings.init_from is not None or settings.tokenizer.path is not None:
        return told
    if settings.tokenizer.kind == "char":
        return f"{told} (a guess: it will be 262 and one for each character of the corpus)"
    return f"{told} (fewer if the corpus holds fewer)"


def fact_of_step(settings: Settings) -> Fact:
    """How much is learnt from at once."""
    rows, context_length = settings.rows_per_micro_batch, settings.model.context_length
    at_once = f", {rows} at a time" if rows < settings.batch_size else ""
    tokens = number(settings.batch_size * context_length)
    told = f"{count(settings.batch_size, 'row')} of {context_length} tokens{at_once}"
    return "a step", f"{told}: up to {tokens} tokens"


def facts_of_rate(settings: Settings, steps: int | None) -> Iterator[Fact]:
    """The learning rate and, where the length is known, its curve from zero to the peak."""
    optim = settings.optim
    told = f"{optim.schedule}, peak {optim.learning_rate:g}, floor {optim.min_learning_rate:g}"
    if steps is None:
        yield "learning rate", f"{told}, over {settings.max_epochs:g} epochs"
        return
    yield "learning rate", f"{told}, over {count(steps, 'step')}"
    _, rates = planned_rate(settings, steps, 0, steps, CURVE_COLUMNS)
    yield "", sparkline(rates, CURVE_COLUMNS, low=0.0)


def facts_of_disk(settings: Settings, peak: "Peak", free: int) -> Iterator[Fact]:
    """What the run takes at its peak, and what it is made of."""
    from tinychat.training.space import peak_words

    logs = "" if peak.log_bytes else ", and its logs"
    yield "disk", f"{size(peak.n_bytes)} at most{logs}, of {size(free)} that are free"
    yield "", peak_words(settings, peak)
