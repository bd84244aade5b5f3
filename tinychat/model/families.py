"""Our shapes and names to Hugging Face's: which folder layout holds a model, and how.

A family is a config.json and a layout of tensors (`layouts`). Everything that a reader of the
folder could otherwise guess wrongly (tied heads, epsilon, rotary base, control token ids) is
written out. Folders of somebody else are the charge of `foreign_folder`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from tinychat.config import ModelSettings
from tinychat.errors import CheckpointError, SettingsError
from tinychat.model.layouts import LAYOUTS, Slot, slots
from tinychat.text import ChatFormat

_TITLES = {
    "qwen3": "Qwen3", "llama": "Llama", "arcee": "Arcee", "gpt2": "GPT-2", "gpt_neox": "GPT-NeoX"
}  # fmt: skip
_ACTIVATIONS = {"swiglu": "silu", "gelu": "gelu", "gelu_tanh": "gelu_new", "relu2": "relu2"}


def family_of(settings: ModelSettings) -> str:
    """The layout that holds this shape: qwen3, llama, arcee, gpt2 or gpt_neox.

    Raises SettingsError for a shape that none holds, with what to change for the nearest.
    """
    if settings.mlp == "swiglu":
        family = "qwen3" if settings.qk_norm else "llama"
    elif settings.position != "rope":
        family = "gpt2"
    else:
        family = "arcee" if settings.norm == "rms" else "gpt_neox"
    if changes := list(_changes(family, settings)):
        raise SettingsError(
            "no Hugging Face layout holds this shape; "
            f"for the nearest, {_TITLES[family]}'s, set {' and '.join(changes)}"
        )
    return family


def _changes(family: str, settings: ModelSettings) -> Iterator[str]:
    """What to set so that the family holds the shape."""
    fused = family in ("gpt2", "gpt_neox")
    norm = "layer" if fused else "rms"
    if settings.norm != norm:
        yield f"model.norm = {norm}"
    if family != "gpt2" and settings.position != "rope":
        yield "model.position = rope"
    if family != "qwen3" and settings.qk_norm:
        yield "model.qk_norm = false"
    if family == "qwen3" and settings.bias:
        yield "model.bias = false"
    if fused and settings.kv_heads != settings.n_head:
        yield f"model.n_kv_head = {settings.n_head}"
    if family != "qwen3" and settings.n_embd % settings.n_head:
        yield f"model.n_embd to a multiple of model.n_head ({settings.n_head})"
    elif fused and settings.head_width * settings.n_head != settings.n_embd:
        yield f"model.head_dim = {settings.n_embd // settings.n_head}"


def hf_config(settings: ModelSettings, vocab_size: int, chat_format: ChatFormat) -> dict[str, Any]:
    """config.json, with nothing left to a default."""
    family = family_of(settings)
    shape = {"gpt2": _gpt2_config, "gpt_neox": _gpt_neox_config}.get(family, _llama_config)
    return {
        "architectures": [LAYOUTS[family].architecture],
        "model_type": family,
        "vocab_size": vocab_size,
        "tie_word_embeddings": settings.tied_head,
        "initializer_range": 0.02,
        "use_cache": True,
        "bos_token_id": chat_format.bos,
        "eos_token_id": chat_format.end,
        "pad_token_id": chat_format.pad,
        "dtype": "float32",
        **shape(settings),
    }


def _llama_config(settings: ModelSettings) -> dict[str, Any]:
    """Of Llama and of the two that were made from it, Qwen3 and Arcee."""
    config: dict[str, Any] = {
        "hidden_size": settings.n_embd,
        "intermediate_size": settings.mlp_width,
        "num_hidden_layers": settings.n_layer,
        "num_attention_heads": settings.n_head,
        "num_key_value_heads": settings.kv_heads,
        "head_dim": settings.head_width,
        "max_position_embeddings": settings.context_length,
        "hidden_act": _ACTIVATIONS[settings.mlp],
        "rms_norm_eps": settings.norm_eps,
        "rope_theta": settings.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": settings.rope_theta},
        "attention_bias": settings.bias,
        "attention_dropout": 0.0,
    }
    if settings.qk_norm:
        return config | {"use_sliding_window": False}
    return config | {"mlp_bias": settings.bias}


def _gpt2_config(settings: ModelSettings) -> dict[str, Any]:
    return {
        "n_positions": settings.context_length,
        "n_ctx": settings.context_length,  # older readers look here
        "n_embd": settings.n_embd,
        "n_layer": settings.n_layer,
        "n_head": settings.n_head,
        "n_inner": settings.mlp_width,
        "activation_function": _ACTIVATIONS[settings.mlp],
        "layer_norm_epsilon": settings.norm_eps,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "add_cross_attention": False,
    }


def _gpt_neox_config(settings: ModelSettings) -> dict[str, Any]:
    return {
        "hidden_size": settings.n_embd,
        "intermediate_size": settings.mlp_width,
        "num_hidden_layers": settings.n_layer,
        "num_attention_heads": settings.n_head,
        "max_position_embeddings": settings.context_length,
        "hidden_act": _ACTIVATIONS[settings.mlp],
        "layer_norm_eps": settings.norm_eps,
        "use_parallel_residual": False,
        "attention_bias": True,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": settings.rope_theta,
            "partial_rotary_factor": 1.0,
        },
        "rotary_emb_base": settings.rope_theta,  # the same two for transformers before 5
        "rotary_pct": 1.0,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
    }


def generation_config(chat_format: ChatFormat) -> dict[str, Any]:
    """generation_config.json: only what every reader must know."""
    return {
        "bos_token_id": chat_format.bos,
        "eos_token_id": chat_format.end,
        "pad_token_id": chat_format.pad,
    }


def hf_shapes(
    expected: Mapping[str, Tensor], settings: ModelSettings
) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor in model.safetensors, from the decoder's state dict.

    The decoder may lie on the meta device. This is what `tensor_file.check_header` is given.
    """
    return {slot.name: slot.shape for slot in _slots(expected, settings)}


def to_hf(weights: Mapping[str, Tensor], settings: ModelSettings) -> dict[str, Tensor]:
    """A state dict of ours as Hugging Face's tensors; a tied head is not written twice."""
    return {slot.name: slot.pack(weights) for slot in _slots(weights, settings)}


def from_hf(
    read: Callable[[str], Tensor], expected: Mapping[str, Tensor], settings: ModelSettings
) -> dict[str, Tensor]:
    """Hugging Face's tensors, which have passed `tensor_file`'s checks, as a state dict of ours.

    `read` gives one by its name, so that none lies in memory twice. Raises CheckpointError for one
    that holds something where these settings have no parameter (a bias, other positions).
    """
    found: dict[str, Tensor] = {}
    for slot in _slots(expected, settings):
        tensor = read(slot.name)
        if not slot.ours:
            _check_constant(slot, tensor)
        found.update(slot.unpack(tensor))
    if settings.tied_head:
        found["head.weight"] = found["embedding.weight"]
    return found


def _slots(weights: Mapping[str, Tensor], settings: ModelSettings) -> Iterator[Slot]:
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    return slots(LAYOUTS[family_of(settings)], settings, shapes)


def _check_constant(slot: Slot, tensor: Tensor) -> None:
    """A table may differ by what another machine's sine gives; a bias of zeros is zero."""
    tolerance = 1e-3 if slot.table else 0.0
    if not torch.allclose(tensor.float().cpu(), slot.constant(), rtol=0.0, atol=tolerance):
        setting = "model.position = sinusoidal" if slot.table else "model.bias = false"
        raise CheckpointError(
            f"model.safetensors: {slot.name!r} is not what {setting} asks for; "
            "the file was changed after it was written"
        )
