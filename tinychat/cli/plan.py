"""`tinychat plan`: what a run would cost here, before it starts."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from tinychat.cli.facts import (
    fact_of_step,
    facts_of_disk,
    facts_of_model,
    facts_of_rate,
    vocabulary,
)
from tinychat.cli.flags import READING_FLAGS, SETTINGS, GivenFlags, Reading, SettingsFlags
from tinychat.cli.output import Waiting, print_json, print_rows, print_wrapped, screen
from tinychat.cli.ways import lines_of_ways
from tinychat.words import count, finish_time, long_duration, number, short, size, table

if TYPE_CHECKING:  # it imports torch
    from tinychat.planning.claims import Claim
    from tinychat.planning.outlook import Outlook


def plan_command(
    *,
    preset: str | None = None,
    config: Path | None = None,
    data: list[str] | None = None,
    name: str | None = None,
    checkpoints: Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    mirror: str | None = None,
    tokenizer: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    reading: Reading = READING_FLAGS,
    settings: SettingsFlags = SETTINGS,
    given: GivenFlags,
) -> int:
    """Tell what a run would cost on this machine: parameters, memory, disk, time. Starts nothing.

    Takes the flags of `tinychat train`. A few real steps, an evaluation,
    samples and a save are measured in a process of their own, half a minute at most for small
    models. Without --data it takes the size of vocabulary that the preset declares, and leaves out
    what only data can tell.

        tinychat plan --data my.txt
        tinychat plan --preset m2-59m --json

    Parameters
    ----------
    preset
        Settings that come with tinychat (without --config: demo).
    config
        A TOML file of settings.
    data
        Files or folders to learn from, or hf:OWNER/NAME[:SPLIT] to fetch them (short for
        --data.paths).
    name
        Name that the run would have.
    checkpoints
        Folder where runs live (else $TINYCHAT_CHECKPOINTS, else ./checkpoints).
    device
        Short for --runtime.device.
    dtype
        Short for --runtime.dtype.
    mirror
        Short for --checkpoint.mirror.
    tokenizer
        A tokenizer.json to take, or hf:OWNER/NAME to fetch one (short for --tokenizer.path);
        "trained" makes one from the text.
    as_json
        Print one JSON document instead.
    """
    from tinychat.cli.train import (
        check_name,
        check_writable,
        layered_settings,
        require_vocabulary,
    )
    from tinychat.planning.claims import claims_of
    from tinychat.runs import default_checkpoints

    root = checkpoints or default_checkpoints()
    check_writable(root)
    if name is not None:
        check_name(name)
    short = {
        "runtime.device": device,
        "runtime.dtype": dtype,
        "checkpoint.mirror": mirror,
        "tokenizer.path": tokenizer,
    }
    resolved, label = layered_settings(preset, config, data, short, root, given)
    with_data = bool(resolved.settings.data.paths) or label == "demo"
    if with_data:
        require_vocabulary(resolved)
    with Waiting() as waiting:
        outlook = _look_ahead(resolved, root, with_data, waiting)
    claims = claims_of(preset or "")
    if as_json:
        print_json(_document(outlook) | {"claims": [claim._asdict() for claim in claims]})
    else:
        _print(screen(), outlook, claims)
    return 0


def _look_ahead(resolved: Any, root: Path, with_data: bool, waiting: Waiting) -> "Outlook":
    from tinychat.planning.outlook import look_ahead

    return look_ahead(
        resolved,
        root,
        with_data=with_data,
        progress=waiting,
        beat=lambda: waiting("measuring steps, evaluation, samples and a save", 0, 0),
    )


def _document(outlook: "Outlook") -> dict[str, Any]:
    found, duration = outlook.forecast, outlook.forecast.duration
    told = asdict(found)
    told["memory"]["fits"] = found.memory.fits
    if duration is not None:
        told["duration"]["total"] = duration.total
    return {
        "format": 1,
        "layout": outlook.layout,
        "parameters": {**asdict(outlook.shape), "tied": outlook.resolved.settings.model.tied_head},
        "data": None if outlook.data is None else asdict(outlook.data),
        "computed_on": asdict(outlook.facts.runtime),
        "measured": asdict(outlook.measured),
        "disk": {**asdict(outlook.disk), "bytes": outlook.disk.n_bytes, "free": outlook.disk_free},
        **told,
        "advice": list(outlook.advice),
        **outlook.resolved.to_json(),
    }


def _print(console: Console, outlook: "Outlook", claims: "Sequence[Claim]") -> None:
    facts = [
        *_model(outlook),
        *_run(outlook),
        *facts_of_rate(outlook.resolved.settings, outlook.forecast.max_steps),
        *_memory(outlook),
        *facts_of_disk(outlook.resolved.settings, outlook.disk, outlook.disk_free),
        *_time(outlook),
    ]
    print_rows(console, facts)
    if outlook.forecast.timeline:
        console.print("\nas it goes", style="bold")
        for line in table(_timeline(outlook), right=range(1, 8)):
            console.print(f"  {line}")
    if tuning := outlook.measured.tuning:
        console.print("\nways to compute that were tried", style="bold")
        told = tuning.to_json()
        for line in lines_of_ways(told["trials"], told["chosen"]):
            console.print(f"  {line}")
    if claims:
        console.print("\nwhat its source says, and what is true", style="bold")
    for said, true in claims:
        console.print(f"  said  {said}\n  true  {true}")
    for sentence in outlook.advice:
        print_wrapped(console, f"\n! {sentence}", style="yellow")
    print_wrapped(
        console, f"\nnothing was started; `tinychat train` with {_missing(outlook)} starts it"
    )
    print_wrapped(
        console,
        "with several GPUs or machines: `torchrun --nproc-per-node N -m tinychat train ...`, "
        "which this plan of one process does not reckon with",
    )


def _model(outlook: "Outlook") -> Iterator[tuple[str, str]]:
    shape, settings = outlook.shape, outlook.resolved.settings
    tied_head = settings.model.tied_head
    tied = "shared by embedding and head" if tied_head else "embedding and head apart"
    words = vocabulary(settings, shape.vocab_size, is_read=outlook.data is not None)
    yield (
        "parameters",
        f"{number(shape.total)}: {number(shape.embedding)} for {words} ({tied}), "
        f"{number(shape.rest)} for the rest",
    )
    yield from facts_of_model(outlook.layout, outlook.facts.runtime)


def _run(outlook: "Outlook") -> Iterator[tuple[str, str]]:
    found, settings, data = outlook.forecast, outlook.resolved.settings, outlook.data
    yield fact_of_step(settings)
    if data is None:
        yield "data", "none was given; how often it is seen, only data can tell"
    else:
        yield (
            "data",
            f"{number(data.tokens)} tokens in {count(data.documents, 'document')} to learn from",
        )
    if found.max_steps is None or found.tokens is None or found.tokens_per_parameter is None:
        yield "length", f"{settings.max_epochs:g} epochs of data that nobody has seen"
        return
    epochs = "" if found.epochs is None else f", {found.epochs:,.2f} passes over the data"
    yield (
        "length",
        f"{count(found.max_steps, 'step')}: {short(found.tokens)} tokens{epochs}, "
        f"{found.tokens_per_parameter:,.1f} tokens for each parameter",
    )


def _memory(outlook: "Outlook") -> Iterator[tuple[str, str]]:
    memory = outlook.forecast.memory
    yield (
        "memory",
        f"{size(memory.peak)} at most, of {size(memory.available)} that are free",
    )
    yield (
        "",
        f"weights {size(memory.weights)}, gradients {size(memory.gradients)}, optimizer "
        f"{size(memory.optimizer)}, activations of {count(memory.rows, 'row')} "
        f"{size(memory.activations)} (logits {size(memory.logits)}), the program "
        f"{size(memory.program)}",
    )


def _time(outlook: "Outlook") -> Iterator[tuple[str, str]]:
    found, measured = outlook.forecast, outlook.measured
    pace = found.tokens_a_step / found.seconds_a_step
    each = [
        f"a step {found.seconds_a_step:.3g} s ({short(pace)} tokens/s)",
        f"a round of samples {measured.sample_seconds:.2g} s",
        f"a save {measured.save_seconds:.2g} s",
    ]
    if measured.evaluate_seconds is not None:
        each.insert(1, f"an evaluation {measured.evaluate_seconds:.2g} s")
    duration = found.duration
    if duration is None:
        yield "measured", ", ".join(each)
        return
    yield (
        "time",
        f"{long_duration(duration.total)} ({long_duration(duration.low)} to "
        f"{long_duration(duration.high)}); started now it is done at "
        f"{finish_time(duration.total, time.time())}",
    )
    yield "measured", ", ".join(each)
    parts = {
        "steps": duration.training,
        "evaluations": duration.evaluating,
        "samples": duration.sampling,
        "saves": duration.saving,
    }
    told = ", ".join(f"{name} {part / duration.total:.1%}" for name, part in parts.items() if part)
    if measured.evaluate_seconds is None:
        told += "; how long evaluations take, only data can tell"
    yield "of it", told


def _missing(outlook: "Outlook") -> str:
    """What a start of this plan needs."""
    settings = outlook.resolved.settings
    if outlook.data is not None:
        return "the same flags"
    path = settings.tokenizer.path or ""
    if not path.startswith("hf:"):
        return "the same flags and --data FILE"
    return f"the same flags, --data FILE and --tokenizer (trained, a file, or {path})"


def _timeline(outlook: "Outlook") -> list[tuple[str, ...]]:
    rows = [("after", "step", "tokens", "epochs", "LR", "evaluations", "samples", "checkpoints")]
    for each in outlook.forecast.timeline:
        epochs = "–" if each.epochs is None else f"{each.epochs:.2f}"
        rows.append(
            (
                long_duration(each.seconds),
                number(each.step),
                short(each.tokens),
                epochs,
                f"{each.learning_rate:.2e}",
                number(each.evaluations),
                number(each.sample_rounds),
                number(each.checkpoints),
            )
        )
    return rows
