"""How well a model does what people want, on examples of prompts that it has not learnt from."""

from collections.abc import Callable
from dataclasses import replace

import torch

from tinychat.config import Settings
from tinychat.model import AnsweringDecoder, Decoder, Runtime
from tinychat.training.evaluate import Evaluation
from tinychat.training.preferences.dataset import PreferenceDataset
from tinychat.training.preferences.forward import estimate_kl, preference_losses
from tinychat.training.preferences.sequences import in_parts
from tinychat.training.preferences.updates import told_of


@torch.no_grad()
def with_preferences(
    found: Evaluation,
    decoder: Decoder | AnsweringDecoder,
    preferences: PreferenceDataset,
    settings: Settings,
    pad: int,
    runtime: Runtime,
    at_once: int,
    beat: Callable[[], None] = lambda: None,
) -> Evaluation:
    """The same evaluation, with what the held-out examples say; beat is called after each batch."""
    held_out = preferences.held_out
    if not held_out:
        return found
    comparing = replace(preferences.loss_settings(settings), chosen_weight=0.0)
    was_training = decoder.training
    decoder.eval()
    try:
        kl = estimate_kl(decoder, held_out, pad, runtime, at_once)
        parts = []
        for some in in_parts(held_out, at_once):
            with runtime.autocast():
                parts.append(preference_losses(decoder, some, comparing, kl, pad))
            beat()
    finally:
        decoder.train(was_training)
    losses = torch.cat([each.losses for each in parts])
    margins = torch.cat([each.margins for each in parts])
    return replace(found, preference_loss=losses.mean().item(), **told_of(margins))
