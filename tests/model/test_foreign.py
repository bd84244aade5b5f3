"""Folders that others have written: read exactly, or refused in one sentence."""

import json
import math
import os
import random
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers")

from tinychat.errors import CheckpointError  # noqa: E402
from tinychat.model import family_of  # noqa: E402
from tinychat.model.foreign_config import settings_from_config  # noqa: E402
from tinychat.model.foreign_weights import read_foreign  # noqa: E402

LLAMA = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 72, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
GPT2 = {
    "vocab_size": 50, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64,
    "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
NEOX = {**LLAMA, "use_parallel_residual": False, "rotary_pct": 1.0}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "qwen3": {**LLAMA, "num_key_value_heads": 2, "head_dim": 16},
    "arcee": LLAMA,
    "gpt2": GPT2,
    "gpt_neox": NEOX,
}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((family, {"tie_word_embeddings": tied}) for family in FAMILIES for tied in (True, False)),
    ("llama", {"attention_bias": True, "mlp_bias": True, "rope_theta": 500.0}),
    ("llama", {"num_key_value_heads": 1, "head_dim": 16, "rms_norm_eps": 0.1}),
    ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 200.0}}),
    ("qwen3", {"rope_theta": 1e6, "sliding_window": 16, "use_sliding_window": False}),
    ("arcee", {"hidden_act": "gelu", "attention_bias": True, "mlp_bias": True}),
    ("arcee", {"hidden_act": "gelu_new", "num_key_value_heads": 2, "rms_norm_eps": 0.1}),
    ("gpt2", {"activation_function": "gelu", "n_inner": 72, "layer_norm_epsilon": 0.1}),
    ("gpt2", {"activation_function": "relu2"}),
    ("gpt2", {"activation_function": "gelu_pytorch_tanh"}),
    ("gpt2", {"activation_function": "gelu_fast"}),
    ("gpt2", {"activation_function": "gelu_accurate"}),
    ("gpt2", {"activation_function": "gelu_python"}),
    ("gpt2", {"activation_function": "gelu_python_tanh", "reorder_and_upcast_attn": True}),
    ("gpt_neox", {"hidden_act": "relu2", "layer_norm_eps": 0.1}),
    ("gpt_neox", {"hidden_act": "gelu_new", "rotary_emb_base": 300}),
]


def written(folder: Path, family: str, **values: Any) -> Any:
    """A folder by transformers, nothing in its weights zero or one; returns the model."""
    config = transformers.AutoConfig.for_model(family, **{**FAMILIES[family], **values})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            around = 1.0 if parameter.dim() == 1 else 0.0
            parameter.copy_(around + 0.2 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)
    return model


def check_equal(model: Any, folder: Path) -> None:
    ids = torch.randint(50, (2, 64), generator=torch.Generator().manual_seed(4))
    ours = read_foreign(folder)
    with torch.no_grad():
        assert (model(ids).logits - ours(ids)).abs().max() < 1e-4
    assert all(parameter.dtype == torch.float32 for parameter in ours.parameters())


def edit(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def edit_tensors(folder: Path, *, rename: Any = None, more: Any = None) -> None:
    path = folder / "model.safetensors"
    tensors = {rename(n) if rename else n: t for n, t in load_file(path).items()}
    save_file({**tensors, **(more or {})}, path)


@pytest.mark.parametrize(("family", "values"), VARIANTS, ids=str)
def test_logits_equal_those_of_transformers(
    family: str, values: dict[str, Any], tmp_path: Path
) -> None:
    check_equal(written(tmp_path, family, **values), tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_fp32(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    written(tmp_path, family).to(dtype).save_pretrained(tmp_path)
    assert {t.dtype for t in load_file(tmp_path / "model.safetensors").values()} == {dtype}
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    check_equal(theirs.eval(), tmp_path)


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    model = written(tmp_path, "qwen3")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 2] = float("nan")
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.up_proj.*not finite"):
        read_foreign(tmp_path)


def test_the_keys_of_older_versions(tmp_path: Path) -> None:
    """rope_theta by itself and torch_dtype, as transformers 4 wrote them."""
    model = written(tmp_path, "llama", rope_theta=700.0)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rope_parameters"], config["dtype"], config["head_dim"]
    config |= {"rope_theta": 700, "rope_scaling": None, "torch_dtype": "float16"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    check_equal(model, tmp_path)


def test_the_keys_of_older_neox(tmp_path: Path) -> None:
    model = written(tmp_path, "gpt_neox", rotary_emb_base=700)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rope_parameters"]
    config |= {"rotary_emb_base": 700, "rotary_pct": 1.0, "rope_scaling": None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    check_equal(model, tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_absent_fields_mean_what_they_mean_to_transformers(family: str) -> None:
    """An empty config.json: the defaults of the class, in miniature where they are huge."""
    small = {"num_hidden_layers": 1, "hidden_size": 2048, "intermediate_size": 64}
    small = {
        "gpt2": {},
        "gpt_neox": {**small, "rotary_pct": 1.0, "use_parallel_residual": False},
    }.get(family, small)
    theirs = transformers.AutoConfig.for_model(family, **small)
    settings, vocab_size = settings_from_config({"model_type": family, **small})
    assert vocab_size == theirs.vocab_size
    assert settings.n_embd == theirs.hidden_size
    assert settings.n_layer == theirs.num_hidden_layers
    assert settings.n_head == theirs.num_attention_heads
    assert settings.context_length == theirs.max_position_embeddings
    assert settings.tied_head == theirs.tie_word_embeddings
    names = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon")
    assert settings.norm_eps == next(getattr(theirs, n) for n in names if hasattr(theirs, n))
    assert settings.kv_heads == getattr(theirs, "num_key_value_heads", settings.n_head)
    assert settings.head_width == (
        getattr(theirs, "head_dim", 0) or 768 // 12 * (family == "gpt2") or 32
    )
    activation = getattr(theirs, "hidden_act", None) or theirs.activation_function
    known = {"silu": "swiglu", "gelu_new": "gelu_tanh"}
    assert settings.mlp == known.get(activation, activation)
    if family != "gpt2":
        assert settings.rope_theta == theirs.rope_parameters["rope_theta"]


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_openais_own_gpt2_file(prefix: str, tmp_path: Path) -> None:
    """Names without a prefix, and the causal masks beside the weights."""
    model = written(tmp_path, "gpt2")
    masks = {f"{prefix}h.{i}.attn.bias": torch.ones(1, 1, 64, 64).tril() for i in range(2)}
    masks[f"{prefix}h.0.attn.masked_bias"] = torch.tensor(-1e4)
    edit_tensors(
        tmp_path, rename=lambda name: prefix + name.removeprefix("transformer."), more=masks
    )
    config = json.loads((tmp_path / "config.json").read_text())
    config = {k: v for k, v in config.items() if k in {*GPT2, "model_type", "architectures"}}
    config |= {"n_ctx": 64, "task_specific_params": {"text-generation": {"max_length": 50}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    check_equal(model, tmp_path)


def test_the_buffers_of_older_neox_and_llama(tmp_path: Path) -> None:
    for family, stem, more in (
        ("gpt_neox", "gpt_neox.layers.1.attention", ("bias", "masked_bias")),
        ("llama", "model.layers.1.self_attn", ()),
    ):
        folder = tmp_path / family
        model = written(folder, family)
        buffers = {f"{stem}.rotary_emb.inv_freq": torch.ones(4, dtype=torch.float16)}
        if more:
            buffers[f"{stem}.bias"] = torch.ones(1, 1, 64, 64, dtype=torch.bool)
            buffers[f"{stem}.masked_bias"] = torch.tensor(-1e9)
        edit_tensors(folder, more=buffers)
        check_equal(model, folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tied_head_that_lies_there_too(family: str, tmp_path: Path) -> None:
    model = written(tmp_path, family, tie_word_embeddings=True)
    name = "embed_out.weight" if family == "gpt_neox" else "lm_head.weight"
    embedding = model.get_input_embeddings().weight.detach().clone()
    edit_tensors(tmp_path, more={name: embedding})
    check_equal(model, tmp_path)
    embedding[3, 3] += 1
    edit_tensors(tmp_path, more={name: embedding})
    with pytest.raises(CheckpointError, match="holds a head that is not the embedding"):
        read_foreign(tmp_path)


ROPE = {"rope_type": "default", "rope_theta": 10000.0}
REFUSED: list[tuple[str, dict[str, Any]]] = [
    *((family, {"model_type": kind}) for family, kind in
      [("llama", "mistral"), ("llama", None), ("llama", 1), ("gpt2", "GPT2"), ("gpt2", ["gpt2"])]),
    ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}),
    ("llama", {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0}}),
    ("llama", {"rope_parameters": {"full_attention": ROPE}}),
    ("llama", {"rope_parameters": {**ROPE, "partial_rotary_factor": 0.5}}),
    ("llama", {"partial_rotary_factor": 0.5}),
    ("llama", {"rope_parameters": ROPE, "rope_theta": 500.0}),
    ("llama", {"rope_parameters": "default"}),
    *(("llama", {"rope_parameters": {"rope_theta": theta}})
      for theta in (None, "1e4", True, 0, -1.0, math.nan, math.inf, 10**4000, [1e4])),
    ("llama", {"sliding_window": 16}),
    ("llama", {"is_causal": False}),
    ("llama", {"attention_chunk_size": 8}),
    ("llama", {"quantization_config": {"bits": 4}}),
    ("llama", {"auto_map": {"AutoModelForCausalLM": "evil.Model"}}),
    ("llama", {"architectures": ["LlamaForSequenceClassification"]}),
    ("llama", {"architectures": "LlamaForCausalLM"}),
    ("llama", {"attention_bias": True}),
    ("llama", {"mlp_bias": 1}),
    ("llama", {"hidden_act": "gelu"}),
    ("llama", {"hidden_act": ["silu"]}),
    ("llama", {"head_dim": 7}),
    ("llama", {"hidden_size": 30}),
    ("llama", {"num_key_value_heads": 3}),
    ("llama", {"num_key_value_heads": 8}),
    ("llama", {"num_attention_heads": 65_536, "head_dim": 65_536}),
    ("qwen3", {"use_sliding_window": True}),
    ("qwen3", {"layer_types": ["full_attention", "sliding_attention"]}),
    ("qwen3", {"layer_types": "full_attention"}),
    ("qwen3", {"attention_bias": True}),
    ("arcee", {"hidden_act": "silu"}),
    ("arcee", {"hidden_act": "relu"}),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
    ("gpt2", {"scale_attn_weights": False}),
    ("gpt2", {"add_cross_attention": True}),
    ("gpt2", {"activation_function": "relu"}),
    ("gpt2", {"n_embd": 30}),
    ("gpt2", {"num_attention_heads": 8}),
    ("gpt2", {"n_inner": 0}),
    ("gpt_neox", {"use_parallel_residual": True}),
    ("gpt_neox", {"rope_parameters": {**ROPE, "partial_rotary_factor": 0.25}}),
    ("gpt_neox", {"attention_bias": False}),
    *(("llama", {name: value}) for name in LLAMA if name not in ("bos_token_id", "eos_token_id")
      for value in (None, 0, -1, 2.0, "2", True, [2], {}, 10**9, 10**4000)),
    *(("llama", {"rms_norm_eps": value}) for value in (None, 0, 1, -1e-6, "1e-6", True, math.nan)),
    *(("llama", {"tie_word_embeddings": value}) for value in (None, 0, 1, "true", [])),
]  # fmt: skip


@pytest.mark.parametrize(("family", "values"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_would_not_be_exact_is_refused(family: str, values: dict[str, Any]) -> None:
    sound = {"model_type": family, **FAMILIES[family]}
    settings_from_config(sound)
    with pytest.raises(CheckpointError) as refusal:
        settings_from_config({**sound, **values})
    assert str(refusal.value).startswith("config.json")
    assert len(str(refusal.value)) < 300
    assert str(refusal.value).isprintable()


ODD: list[Any] = [
    None, 0, 1, 2, 3, -1, 2.5, 1e300, math.nan, math.inf, True, False, "x", "", [], [1], {}, 512,
    10**30, 10**5000, 65_536, "silu", "gelu", ["full_attention"], {"a": [[[[[[[[1]]]]]]]]}, {1: 2},
    {"rope_type": "default"}, {"rope_type": [1]}, {"rope_theta": 10**5000}, {"rope_theta": 10.0},
]  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_odd_values_in_any_field(family: str) -> None:
    """Refused by our own error, or a shape that this family holds."""
    rng = random.Random(6)
    sound = {"model_type": family, **FAMILIES[family]}
    names = sorted(
        {name for config in (LLAMA, GPT2, NEOX) for name in config}
        | {name for config in FAMILIES.values() for name in config}
        | {
            "model_type", "rope_theta", "rope_scaling", "rope_parameters", "rotary_emb_base",
            "partial_rotary_factor", "architectures", "layer_types", "mlp_bias", "attention_bias",
            "sliding_window", "use_sliding_window", "hidden_act", "activation_function", "n_inner",
            "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "tie_word_embeddings",
            "is_causal", "auto_map",
        }
    )  # fmt: skip
    accepted, refusals = 0, []
    for _ in range(400):
        odd = {rng.choice(names): rng.choice(ODD) for _ in range(rng.randint(1, 3))}
        try:
            settings, _ = settings_from_config({**sound, **odd})
        except CheckpointError as refusal:
            refusals.append(str(refusal))
        else:
            accepted += 1
            assert family_of(settings) == family
    assert 20 < accepted < 380
    assert all(text.isprintable() and len(text) < 400 for text in refusals)


def test_what_neox_means_by_silence_is_refused() -> None:
    """Its defaults are a parallel residual and rotary positions on a quarter of each head."""
    for name in ("use_parallel_residual", "rotary_pct"):
        config = {"model_type": "gpt_neox", **NEOX}
        del config[name]
        with pytest.raises(CheckpointError, match=name):
            settings_from_config(config)


def test_a_model_that_cannot_fit_is_refused_before_memory_is_taken() -> None:
    huge = {**LLAMA, "model_type": "llama", "num_hidden_layers": 512, "hidden_size": 65_536}
    with pytest.raises(CheckpointError, match="would take"):
        settings_from_config({**huge, "intermediate_size": 65_536})
    settings_from_config(  # Llama 3.2's 3 B, without its scaled positions
        {
            "model_type": "llama", "vocab_size": 128_256, "hidden_size": 3072, "head_dim": 128,
            "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 24,
            "num_key_value_heads": 8, "max_position_embeddings": 131_072,
            "rope_theta": 500_000.0, "tie_word_embeddings": True,
        }
    )  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_that_does_not_fit_the_tensors_is_refused(family: str, tmp_path: Path) -> None:
    written(tmp_path, family)
    layers = "n_layer" if family == "gpt2" else "num_hidden_layers"
    sound = (tmp_path / "config.json").read_text()
    for change in ({"vocab_size": 51}, {layers: 1}, {layers: 3}, {"model_type": "llama2"}):
        (tmp_path / "config.json").write_text(sound)
        edit(tmp_path, **change)
        with pytest.raises(CheckpointError):
            read_foreign(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", '{"a": 1, "a": 1}', "[" * 100_000, "\0", '{"model_type": NaN}']
)
def test_a_config_that_is_no_config_is_refused(text: str, tmp_path: Path) -> None:
    written(tmp_path, "llama")
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="config"):
        read_foreign(tmp_path)


def test_a_config_of_many_megabytes_is_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b" " * 2**21)
    with pytest.raises(CheckpointError, match="are not read"):
        read_foreign(tmp_path)


def test_other_kinds_of_folder_say_how_to_convert(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no model folder: it has no config\.json"):
        read_foreign(tmp_path)
    written(tmp_path, "llama")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        read_foreign(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match=r"a pickle, which can run programs.*save_pretrained"):
        read_foreign(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"split over several files.*save_pretrained"):
        read_foreign(tmp_path)


def test_the_advice_for_split_folders_works(tmp_path: Path) -> None:
    model = written(tmp_path / "whole", "llama")
    model.save_pretrained(tmp_path / "split", max_shard_size="20KB")
    assert not (tmp_path / "split" / "model.safetensors").exists()
    with pytest.raises(CheckpointError, match="20GB"):
        read_foreign(tmp_path / "split")
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "split").save_pretrained(
        tmp_path / "new", max_shard_size="20GB"
    )
    check_equal(model, tmp_path / "new")


def test_a_hostile_tensor_file_is_refused(tmp_path: Path) -> None:
    written(tmp_path, "gpt2")
    path = tmp_path / "model.safetensors"
    sound = path.read_bytes()
    (length,) = struct.unpack("<Q", sound[:8])
    for hostile in (
        b"",
        sound[:-1],
        sound + b"\0",
        sound[:8] + b"[" * length + sound[8 + length :],
    ):
        path.write_bytes(hostile)
        with pytest.raises(CheckpointError, match=r"model\.safetensors"):
            read_foreign(tmp_path)
