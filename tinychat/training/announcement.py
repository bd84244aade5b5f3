"""What is said before the first step of an attempt: its data, its start, what differs."""

from collections.abc import Iterator
from pathlib import Path

from tinychat.model import free_memory
from tinychat.runs import AttemptRecord, free_at, list_checkpoints
from tinychat.text import Prepared, cache_size
from tinychat.training.batches import ConversationRows
from tinychat.training.events import Began, Event, Noted
from tinychat.training.lineage import other_code
from tinychat.training.optimizer import split_parameters
from tinychat.training.parts import Parts
from tinychat.training.preferences import Followed
from tinychat.training.space import checkpoint_sizes, peak_of, state_bytes
from tinychat.words import count, short, size


def beginning(
    run: Path, parts: Parts, attempt: AttemptRecord, before: AttemptRecord | None, lineage: str
) -> Iterator[Event]:
    """The events that open an attempt. `before` is whose steps it goes on from, if any."""
    step, rows = parts.progress.step, parts.rows
    yield from (Noted(kind, step, told) for kind, told in _corpus(parts.prepared, step))
    if parts.old_data is not None:
        yield Noted("data", step, _old_data(parts, parts.old_data))
    if isinstance(rows, ConversationRows) and (rows.dropped or rows.shortened):
        told = (
            f"{rows.shortened:,} conversations were longer than {rows.context_length} tokens and "
            "were shortened"
        )
        if rows.dropped:
            told += f"; {rows.dropped:,} had nothing to learn from and were left out"
        yield Noted("data", step, told)
    if parts.preferences is not None:
        yield Noted("feedback", step, parts.preferences.told)
        for remark in parts.preferences.remarks:
            yield Noted("feedback", step, remark)
    if parts.tuning:
        yield Noted("start", step, parts.tuning.told)
    yield Began(
        step,
        parts.max_steps,
        sum(p.numel() for p in parts.decoder.parameters()),
        rows.count,
        parts.facts.runtime.device,
        parts.facts.runtime.dtype,
        lineage,
    )
    if step == parts.max_steps:
        more = f"`tinychat resume {run.name} --max-steps N` makes the run longer"
        yield Noted("done", step, f"all {step} steps are done; {more}")
    elif attempt.reason.startswith("resume"):
        yield from _resumed(run, step, attempt, before)
    else:
        parent = parts.settings.init_from
        start = f"the weights of {parent}" if parent else "fresh weights"
        yield Noted("start", step, f"{parts.max_steps:,} steps from {start}: {_length(parts)}")
        yield Noted("start", step, _needs(run, parts))


def _length(parts: Parts) -> str:
    """What a plan would say of the run's length."""
    settings = parts.settings
    if isinstance(preferences := parts.preferences, Followed):
        rows = settings.batch_size - settings.examples_a_step
        return f"a judgement and {count(rows, 'row')} of its data each, at most"
    if preferences is not None:
        examples = parts.max_steps * settings.examples_a_step
        return (
            f"{settings.examples_a_step} examples and "
            f"{count(settings.batch_size - settings.examples_a_step, 'row')} of its data each, "
            f"{examples / preferences.n_training:,.1f} passes over the examples"
        )
    tokens = parts.max_steps * settings.batch_size * settings.model.context_length
    passes = parts.max_steps * settings.own_rows_a_step / parts.rows.count
    parameters = sum(p.numel() for p in parts.decoder.parameters())
    return (
        f"up to {short(tokens)} tokens, {passes:,.2f} passes over the data, "
        f"{tokens / parameters:,.1f} tokens for each parameter"
    )


def _needs(run: Path, parts: Parts) -> str:
    """What a plan would say of memory and disk, as far as nothing has to be measured for it."""
    optim, decoder = parts.settings.optim, parts.decoder
    matrices, others = (sum(p.numel() for p in each) for each in split_parameters(decoder))
    memory = sum(state_bytes(optim, matrices + others, matrices))
    sizes = checkpoint_sizes(decoder, optim, len(parts.tokenizer.to_json().encode()))
    disk, free = peak_of(parts.settings, sizes).n_bytes, free_memory(parts.facts.runtime.device)
    return (
        f"memory {size(memory)} for weights, gradients and optimizer, and the activations, of "
        f"{size(free)} that are free; disk {size(disk)} at most, of {size(free_at(run))} that are "
        "free"
    )


def _resumed(
    run: Path, step: int, attempt: AttemptRecord, before: AttemptRecord | None
) -> Iterator[Event]:
    changes = attempt.reason.partition(": ")[2]
    how = f"bits may differ from here on ({changes})" if changes else "bit-exact"
    code = other_code(before, attempt) if before else []
    told = "; ".join((f"resumed from step {step}: {how}", *code))
    yield Noted("resume", step, told)
    newer = [s for s in list_checkpoints(run) if s > step]
    if newer:
        told = (
            f"steps {step + 1} to {newer[-1]} are done again, because their learning rate "
            "was already going down; their checkpoints stay as weights only"
        )
        yield Noted("resume", step, told)


def _old_data(parts: Parts, old: Prepared) -> str:
    train, valid = old.summary.train, old.summary.valid
    one = "conversation" if old.form == "chat" else "document"
    share = parts.settings.replay.share
    told = f"{share:.0%} of each step's rows are old data" if share else "old data is watched only"
    return (
        f"{told}: {count(train.documents, one)} that the weights learnt before, and "
        f"{valid.documents:,} to see what is forgotten"
    )


def _corpus(prepared: Prepared, step: int) -> Iterator[tuple[str, str]]:
    """(kind, sentence) of each thing to say about the data."""
    summary = prepared.summary
    if prepared.went_on:
        yield "data", prepared.went_on
    one = "conversation" if prepared.form == "chat" else "document"
    yield (
        "data",
        f"{'found' if prepared.reused else 'prepared'} {count(summary.train.documents, one)} "
        f"for training and {summary.valid.documents:,} for validation, "
        f"{summary.train.tokens + summary.valid.tokens:,} tokens, "
        f"{summary.bytes_per_token:.2f} bytes per token",
    )
    if step == 0:
        yield from (("data", remark) for remark in summary.remarks)
        if prepared.quality:
            yield "warning", prepared.quality
    cache = cache_size(prepared.folder.parent)
    held = f"{cache.corpora} prepared {'corpus' if cache.corpora == 1 else 'corpora'}"
    told = f"the cache {cache.folder} holds {held}, {size(cache.n_bytes)}"
    yield "data", f"{told}; it may be deleted"
