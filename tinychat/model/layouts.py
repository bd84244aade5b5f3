"""Where each of our parameters lies in a Hugging Face folder of each family.

A layout is data: their name for each part of the decoder, which of our matrices lie together in one
of theirs, and whether they lie transposed. From it follow both directions and every shape, so that
writing, reading and checking cannot disagree.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tinychat.config import ModelSettings
from tinychat.model.decoder import sinusoidal

Shapes = Mapping[str, tuple[int, ...]]

_QKV = ("attention.query", "attention.key", "attention.value")


@dataclass(frozen=True)
class Layout:
    """One family. Names are stems, to which `.weight` or `.bias` is added."""

    architecture: str  # transformers' class
    tops: Mapping[str, str]
    block: str  # what comes before the block's number
    parts: Mapping[tuple[str, ...], str]
    full_biases: bool = False  # its class has biases that cannot be switched off
    transposed: bool = False  # the matrices of its blocks lie as (in, out)
    by_head: bool = False  # fused q, k, v lie head by head, not one after the other


_LLAMA_TOPS = {"embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
_LLAMA_PARTS = {
    ("attention_norm",): "input_layernorm",
    ("attention.query",): "self_attn.q_proj",
    ("attention.key",): "self_attn.k_proj",
    ("attention.value",): "self_attn.v_proj",
    ("attention.output",): "self_attn.o_proj",
    ("attention.query_norm",): "self_attn.q_norm",
    ("attention.key_norm",): "self_attn.k_norm",
    ("mlp_norm",): "post_attention_layernorm",
    ("mlp.gate",): "mlp.gate_proj",
    ("mlp.up",): "mlp.up_proj",
    ("mlp.down",): "mlp.down_proj",
}

LAYOUTS = {
    "qwen3": Layout("Qwen3ForCausalLM", _LLAMA_TOPS, "model.layers.", _LLAMA_PARTS),
    "llama": Layout("LlamaForCausalLM", _LLAMA_TOPS, "model.layers.", _LLAMA_PARTS),
    "arcee": Layout("ArceeForCausalLM", _LLAMA_TOPS, "model.layers.", _LLAMA_PARTS),
    "gpt2": Layout(
        "GPT2LMHeadModel",
        {
            "embedding": "transformer.wte",
            "positions": "transformer.wpe",
            "norm": "transformer.ln_f",
            "head": "lm_head",
        },
        "transformer.h.",
        {
            ("attention_norm",): "ln_1",
            _QKV: "attn.c_attn",
            ("attention.output",): "attn.c_proj",
            ("mlp_norm",): "ln_2",
            ("mlp.up",): "mlp.c_fc",
            ("mlp.down",): "mlp.c_proj",
        },
        full_biases=True,
        transposed=True,
    ),
    "gpt_neox": Layout(
        "GPTNeoXForCausalLM",
        {
            "embedding": "gpt_neox.embed_in",
            "norm": "gpt_neox.final_layer_norm",
            "head": "embed_out",
        },
        "gpt_neox.layers.",
        {
            ("attention_norm",): "input_layernorm",
            _QKV: "attention.query_key_value",
            ("attention.output",): "attention.dense",
            ("mlp_norm",): "post_attention_layernorm",
            ("mlp.up",): "mlp.dense_h_to_4h",
            ("mlp.down",): "mlp.dense_4h_to_h",
        },
        full_biases=True,
        by_head=True,
    ),
}


@dataclass(frozen=True)
class Slot:
    """One tensor of theirs, and what of ours lies in it, in which order."""

    name: str
    shape: tuple[int, ...]  # as it lies there
    ours: tuple[str, ...]  # empty: a tensor that we compute instead of learning it
    groups: int = 1  # the parts alternate in this many groups of rows
    transposed: bool = False
    table: bool = False  # it is the sinusoidal positions; else it is a bias of zeros

    def pack(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Our tensors as the one of theirs."""
        if not self.ours:
            return self.constant()
        parts = [weights[name].detach() for name in self.ours]
        if len(parts) > 1:
            grouped = [part.unflatten(0, (self.groups, -1)) for part in parts]
            parts = [torch.cat(grouped, dim=1).flatten(0, 1)]
        return parts[0].T if self.transposed else parts[0]

    def unpack(self, tensor: Tensor) -> dict[str, Tensor]:
        """Theirs as ours; what has to move gets memory of its own."""
        if not self.ours:
            return {}
        joined = tensor.T if self.transposed else tensor
        if len(self.ours) == 1:
            return {self.ours[0]: joined.contiguous()}
        parts = joined.unflatten(0, (self.groups, -1)).chunk(len(self.ours), dim=1)
        own = [part.flatten(0, 1).clone(memory_format=torch.contiguous_format) for part in parts]
        return dict(zip(self.ours, own, strict=True))

    def constant(self) -> Tensor:
        """What must lie there if nothing of ours does."""
        if self.table:
            rows, width = self.shape
            return sinusoidal(torch.arange(rows), width)
        return torch.zeros(self.shape)


def slots(layout: Layout, settings: ModelSettings, shapes: Shapes) -> Iterator[Slot]:
    """Every tensor of the folder, from our names and shapes. A tied head does not lie there."""
    for ours, theirs in layout.tops.items():
        if ours == "head" and settings.tied_head:
            continue
        if ours == "positions" and settings.position == "sinusoidal":
            yield Slot(
                f"{theirs}.weight", (settings.context_length, settings.n_embd), (), table=True
            )
        else:
            yield from _part(layout, settings, shapes, (ours,), theirs, table=ours != "norm")
    for number in range(settings.n_layer):
        for stems, theirs in layout.parts.items():
            ours = tuple(f"blocks.{number}.{stem}" for stem in stems)
            if f"{ours[0]}.weight" in shapes:  # there are gates and QK-norms only in some shapes
                name = f"{layout.block}{number}.{theirs}"
                yield from _part(layout, settings, shapes, ours, name)


def _part(
    layout: Layout,
    settings: ModelSettings,
    shapes: Shapes,
    ours: tuple[str, ...],
    theirs: str,
    table: bool = False,
) -> Iterator[Slot]:
    """The weight of one part of the decoder and, where either side has one, its bias.

    A table (an embedding, the head) is never transposed and has no bias.
    """
    groups = settings.n_head if layout.by_head else 1
    weights = tuple(f"{stem}.weight" for stem in ours)
    biases = tuple(f"{stem}.bias" for stem in ours)
    rows = sum(shapes[name][0] for name in weights)
    columns = shapes[weights[0]][1:]  # none for a norm
    transposed = layout.transposed and bool(columns) and not table
    shape = (*columns, rows) if transposed else (rows, *columns)
    yield Slot(f"{theirs}.weight", shape, weights, groups, transposed)
    if biases[0] in shapes:
        yield Slot(f"{theirs}.bias", (rows,), biases, groups)
    elif layout.full_biases and not table:
        yield Slot(f"{theirs}.bias", (rows,), ())
