"""Our names to Hugging Face's and back: which folder layout holds a model, and how.

A family is a config.json and a renaming of tensors. Everything that a reader of the folder could
otherwise guess wrongly (tied heads, epsilon, rotary base, control token ids) is written out.
Layouts: transformers' Qwen3 and Llama. Shapes that neither holds are refused before training.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tinychat.config import ModelSettings
from tinychat.errors import CheckpointError, SettingsError
from tinychat.text import BOS, END, PAD

_BLOCK_NAMES = {
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "attention.query_norm": "self_attn.q_norm",
    "attention.key_norm": "self_attn.k_norm",
    "mlp_norm": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}


def family_of(settings: ModelSettings) -> str:
    """ "qwen3" or "llama"; raises SettingsError for a shape that neither layout holds."""
    fits = (settings.norm, settings.position, settings.mlp) == ("rms", "rope", "swiglu")
    if fits and not settings.qk_norm:
        return "llama"
    if fits and not settings.bias:
        return "qwen3"
    raise SettingsError(
        "no checkpoint layout of this version holds this shape; take model.norm = rms, "
        "model.position = rope, model.mlp = swiglu, and model.bias only with model.qk_norm = false"
    )


def hf_config(settings: ModelSettings, vocab_size: int) -> dict[str, Any]:
    """config.json, with nothing left to a default."""
    family = family_of(settings)
    config: dict[str, Any] = {
        "architectures": [{"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}[family]],
        "model_type": family,
        "vocab_size": vocab_size,
        "hidden_size": settings.n_embd,
        "intermediate_size": settings.mlp_width,
        "num_hidden_layers": settings.n_layer,
        "num_attention_heads": settings.n_head,
        "num_key_value_heads": settings.kv_heads,
        "head_dim": settings.head_width,
        "max_position_embeddings": settings.context_length,
        "hidden_act": "silu",
        "rms_norm_eps": settings.norm_eps,
        "rope_theta": settings.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": settings.rope_theta},
        "attention_bias": settings.bias,
        "attention_dropout": 0.0,
        "tie_word_embeddings": settings.tied_head,
        "initializer_range": 0.02,
        "use_cache": True,
        "bos_token_id": BOS,
        "eos_token_id": END,
        "pad_token_id": PAD,
        "dtype": "float32",
    }
    if family == "llama":
        config["mlp_bias"] = settings.bias
    else:
        config["use_sliding_window"] = False
    return config


def generation_config() -> dict[str, Any]:
    """generation_config.json: only what every reader must know."""
    return {"bos_token_id": BOS, "eos_token_id": END, "pad_token_id": PAD}


def hf_name(name: str) -> str:
    """A parameter of ours under Hugging Face's name."""
    stem, _, kind = name.rpartition(".")  # kind: weight or bias
    if stem.startswith("blocks."):
        _, layer, part = stem.split(".", 2)
        return f"model.layers.{layer}.{_BLOCK_NAMES[part]}.{kind}"
    tops = {"embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
    return f"{tops[stem]}.{kind}"


def to_hf(weights: Mapping[str, Tensor], settings: ModelSettings) -> dict[str, Tensor]:
    """A state dict of ours under Hugging Face's names; a tied head is not written twice."""
    return {
        hf_name(name): tensor.detach()
        for name, tensor in weights.items()
        if not (settings.tied_head and name == "head.weight")
    }


def from_hf(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], settings: ModelSettings
) -> dict[str, Tensor]:
    """Hugging Face's tensors under our names, checked against the expected names and shapes.

    Raises CheckpointError naming the first tensor that is missing, extra or of another shape.
    """
    names = {
        hf_name(name): name
        for name in expected
        if not (settings.tied_head and name == "head.weight")
    }
    for extra in sorted(set(tensors) - set(names)):
        raise CheckpointError(
            f"model.safetensors holds {extra!r}, which config.json has no place for"
        )
    found: dict[str, Tensor] = {}
    for theirs, ours in names.items():
        if theirs not in tensors:
            raise CheckpointError(f"model.safetensors lacks {theirs!r}")
        tensor = tensors[theirs]
        if tensor.shape != expected[ours].shape:
            raise CheckpointError(
                f"model.safetensors: {theirs!r} is {tuple(tensor.shape)}, "
                f"but the settings ask for {tuple(expected[ours].shape)}"
            )
        found[ours] = tensor
    if settings.tied_head:
        found["head.weight"] = found["embedding.weight"]
    return found
