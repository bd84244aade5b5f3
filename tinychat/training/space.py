"""Whether a run fits on its disk, told before its first step."""

import math
import sys
from pathlib import Path

import torch

from tinychat.config import OptimSettings, Settings
from tinychat.errors import SettingsError
from tinychat.model import Decoder, hf_shapes
from tinychat.runs import (
    CheckpointSizes,
    Peak,
    free_at,
    list_checkpoints,
    on_disk,
    pinned,
    plan_peak,
    taken_by,
)
from tinychat.training.optimizer import split_parameters
from tinychat.training.samples import PROMPTS_A_ROUND
from tinychat.words import count, size

_NUMBER_BYTES = 4  # weights and moments are stored in fp32
_HEADER_BYTES = 70  # of one tensor in a safetensors file, beside its name
_SMALL_FILES = 6  # of a few hundred bytes each: config.json, tinychat.json, manifest.json ...
_TOKEN_BYTES = 40  # of tokenizer.json for each token, about
_TRAIN_ROW_BYTES = 300
_SAMPLE_ROW_BYTES = 250  # beside its text
_BYTES_PER_TOKEN = 4  # of sampled text, about


def state_bytes(optim: OptimSettings, total: int, matrices: int) -> tuple[int, int, int]:
    """(weights, gradients, optimizer) in memory, of so many parameters, of which Muon would take
    those in `matrices`: what does not depend on the batch."""
    weights = total * _NUMBER_BYTES
    with_muon = matrices if optim.optimizer == "muon" else 0
    # AdamW keeps two moments of each parameter, Muon one of each matrix
    return weights, weights, (2 * (total - with_muon) + with_muon) * _NUMBER_BYTES


def checkpoint_sizes(
    decoder: Decoder, optim: OptimSettings, tokenizer_bytes: int
) -> CheckpointSizes:
    """What checkpoints of this model take; it may lie on the meta device."""
    shapes = hf_shapes(decoder.state_dict(), decoder.settings)
    weights = sum(
        _NUMBER_BYTES * math.prod(shape) + _HEADER_BYTES + len(name)
        for name, shape in shapes.items()
    )
    with_muon = split_parameters(decoder)[0] if optim.optimizer == "muon" else []
    one_moment = set(map(id, with_muon))
    memory = 0
    for name, parameter in decoder.named_parameters():
        moment = _NUMBER_BYTES * parameter.numel() + _HEADER_BYTES + len(name)
        # AdamW keeps two of them, and counts its steps
        memory += moment if id(parameter) in one_moment else 2 * moment + _HEADER_BYTES + len(name)
    weights_only = on_disk(weights) + on_disk(tokenizer_bytes) + _SMALL_FILES * on_disk(1)
    return CheckpointSizes(weights_only + on_disk(memory) + on_disk(1), weights_only)


def peak_of(settings: Settings, sizes: CheckpointSizes, *, pins: int = 0, others: int = 0) -> Peak:
    """The most that a run of these settings holds at one time; one measured in epochs has no logs
    in it. `pins` is how many checkpoints people keep, `others` how many beyond its reach lie there.
    """
    keep = settings.checkpoint
    return plan_peak(
        sizes,
        latest_n=keep.keep_last,
        milestones=keep.milestones,
        pinned=pins + (settings.optim.schedule == "warmup-stable-decay"),  # before its decay
        most=_most_checkpoints(settings) + pins,
        others=others,
        log_bytes=_log_bytes(settings, settings.max_steps or 0),
    )


def _most_checkpoints(settings: Settings) -> int:
    """How many a run can have published at its end, as far as that is known."""
    steps, every, evaluated = (
        settings.max_steps,
        settings.checkpoint.every_steps,
        settings.eval.every_steps,
    )
    if steps is None:
        return sys.maxsize
    if settings.checkpoint.every_minutes is not None or every is None:
        return steps + 1
    best = steps // evaluated if evaluated else 0
    return min(steps + 1, steps // every + best + 3)  # the first, the last, the one before decay


def planned_peak(settings: Settings, vocab_size: int) -> Peak:
    """The peak of a run whose model and tokenizer are not there yet."""
    with torch.device("meta"):
        decoder = Decoder(settings.model, vocab_size)
    return peak_of(settings, checkpoint_sizes(decoder, settings.optim, _TOKEN_BYTES * vocab_size))


def peak_words(settings: Settings, peak: Peak) -> str:
    """What the peak is made of."""
    return (
        f"{count(peak.whole, 'whole checkpoint')} of {size(peak.sizes.whole)}: the last "
        f"{settings.checkpoint.keep_last}, the best, the pinned, and the next one before one goes; "
        f"{peak.weights_only} of weights only, {size(peak.sizes.weights_only)} each"
    )


def check_space(run: Path, settings: Settings, sizes: CheckpointSizes, step: int) -> str:
    """A sentence if the run may not fit on its disk to its end; else empty.

    What it holds already, at `step`, counts. Raises SettingsError if not even two checkpoints fit:
    a new one is durable before an old one goes.
    """
    there = list_checkpoints(run)
    kept = {s for s in pinned(run) if s <= step}
    others = sum(s > step for s in there)
    peak = peak_of(settings, sizes, pins=len(kept), others=others)
    free = free_at(run)
    least = sizes.whole * (1 if there else 2)
    if free < least:
        raise SettingsError(
            f"{run.name} needs {size(least)} to save "
            f"{'its next checkpoint' if there else 'two checkpoints'}, and only {size(free)} are "
            f"free in {run.parent}; {_how_to_make_room(run, bool(there))}"
        )
    needs = peak.n_bytes - taken_by(run)
    if free >= needs:
        return ""
    return (
        f"the run needs {size(needs)} more at its peak ({peak_words(settings, peak)}), and only "
        f"{size(free)} are free in {run.parent}; keep less (--checkpoint.keep-last, "
        f"--checkpoint.milestones), or {_how_to_make_room(run, bool(there))}"
    )


def _how_to_make_room(run: Path, resumed: bool) -> str:
    """What helps before the first step, whatever the settings say."""
    if not resumed:
        return "make room there, or choose another disk by --checkpoints"
    return (
        f"make room there (`tinychat runs --prune --yes {run.name} --checkpoints {run.parent}` "
        "frees what the run can do without), or move the run to another disk"
    )


def _log_bytes(settings: Settings, steps: int) -> int:
    sample = settings.sample
    prompts = len(sample.prompts) or PROMPTS_A_ROUND
    rounds = steps // sample.every_steps if sample.every_steps else 0
    text = _SAMPLE_ROW_BYTES + _BYTES_PER_TOKEN * sample.max_new_tokens
    return steps // settings.log.every_steps * _TRAIN_ROW_BYTES + rounds * prompts * text
