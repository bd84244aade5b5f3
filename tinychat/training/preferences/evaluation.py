"""How well a model does what people want, on examples of prompts that it has not learnt from."""

from collections.abc import Callable
from dataclasses import replace

import torch

from tinychat.config import Settings
from tinychat.model import AnsweringDecoder, Decoder, Runtime
from tinychat.training.evaluate import Evaluation
from tinychat.training.preferences.lessons import Lessons
from tinychat.training.preferences.objective import estimate_kl, judge
from tinychat.training.preferences.updates import told_of


@torch.no_grad()
def with_preferences(
    found: Evaluation,
    decoder: Decoder | AnsweringDecoder,
    lessons: Lessons,
    settings: Settings,
    pad: int,
    runtime: Runtime,
    at_once: int,
    beat: Callable[[], None] = lambda: None,
) -> Evaluation:
    """The same evaluation, with what the held-out examples say; beat is called after each batch."""
    aside = lessons.kept_aside
    if not aside:
        return found
    objective = replace(lessons.objective(settings), chosen_weight=0.0)  # how well it compares
    was_training = decoder.training
    decoder.eval()
    try:
        kl = estimate_kl(decoder, aside, pad, runtime, at_once)
        parts = []
        for start in range(0, len(aside), at_once):
            some = aside[start : start + at_once]
            with runtime.autocast():
                parts.append(judge(decoder, some, objective, kl, pad))
            beat()
    finally:
        decoder.train(was_training)
    losses = torch.cat([each.losses for each in parts])
    margins = torch.cat([each.margins for each in parts])
    return replace(found, preference_loss=losses.mean().item(), **told_of(margins))
