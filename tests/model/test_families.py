"""A checkpoint is a Hugging Face folder: transformers loads it as it lies there and agrees."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers")

from tinychat.config import ModelSettings  # noqa: E402
from tinychat.engine import Sampling, TextModel  # noqa: E402
from tinychat.errors import CheckpointError, SettingsError  # noqa: E402
from tinychat.model import (  # noqa: E402
    Decoder,
    ModelCard,
    Runtime,
    count_parameters,
    family_of,
    load_model,
    model_files,
)
from tinychat.model.families import from_hf, hf_shapes, to_hf  # noqa: E402
from tinychat.model.foreign_weights import read_foreign  # noqa: E402
from tinychat.model.tensor_file import check_header  # noqa: E402
from tinychat.runs import publish_checkpoint  # noqa: E402
from tinychat.text import END, Message, Tokenizer, encode_prompt, train_bpe, train_char  # noqa: E402

TEXTS = [
    "Hello there, how are you today? 12 + 34 = 46.",
    "naïve café — \U0001f600 ok\n\n  two  spaces",
]
QWEN3 = ModelSettings(n_layer=2, n_head=4, n_embd=32, context_length=128)
LLAMA = replace(QWEN3, qk_norm=False)
ARCEE = replace(LLAMA, mlp="gelu")
NEOX = replace(ARCEE, norm="layer", bias=True)
GPT2 = replace(NEOX, position="learned")
SHAPES = {
    "qwen3": (QWEN3, "qwen3"),
    "qwen3 grouped, untied, wide heads": (
        replace(
            QWEN3, n_kv_head=2, head_dim=16, tied_head=False, rope_theta=50000.0, norm_eps=1e-5,
            intermediate_size=72,
        ),
        "qwen3",
    ),
    "qwen3, width no multiple of the heads": (replace(QWEN3, n_embd=30, head_dim=8), "qwen3"),
    "llama": (LLAMA, "llama"),
    "llama with biases, untied": (replace(LLAMA, bias=True, tied_head=False), "llama"),
    "arcee": (ARCEE, "arcee"),
    "arcee relu2, grouped, untied, biases": (
        replace(ARCEE, mlp="relu2", n_kv_head=2, bias=True, tied_head=False, head_dim=16),
        "arcee",
    ),
    "arcee by tanh, large eps": (replace(ARCEE, mlp="gelu_tanh", norm_eps=0.1), "arcee"),
    "gpt_neox": (NEOX, "gpt_neox"),
    "gpt_neox relu2, untied, no biases": (
        replace(NEOX, mlp="relu2", bias=False, tied_head=False, intermediate_size=72), "gpt_neox",
    ),
    "gpt_neox by tanh, other rope": (
        replace(NEOX, mlp="gelu_tanh", rope_theta=500.0, norm_eps=0.1), "gpt_neox"
    ),
    "gpt2 as OpenAI's": (replace(GPT2, mlp="gelu_tanh", norm_eps=1e-5), "gpt2"),
    "gpt2 exact gelu, untied, no biases": (replace(GPT2, bias=False, tied_head=False), "gpt2"),
    "gpt2 relu2, own width, large eps": (
        replace(GPT2, mlp="relu2", intermediate_size=72, norm_eps=0.1), "gpt2"
    ),
    "gpt2 sinusoidal": (replace(GPT2, position="sinusoidal"), "gpt2"),
    "gpt2 sinusoidal by tanh, untied, no biases": (
        replace(GPT2, position="sinusoidal", mlp="gelu_tanh", bias=False, tied_head=False), "gpt2"
    ),
}  # fmt: skip


@pytest.fixture(params=["bpe", "char"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train_bpe(TEXTS, 300) if request.param == "bpe" else train_char(TEXTS)


def random_decoder(settings: ModelSettings, vocab_size: int) -> Decoder:
    """Nothing is zero or one, or half of the layout would not be seen."""
    decoder = Decoder(settings, vocab_size)
    decoder.initialise(1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return decoder.eval()


def published(folder: Path, settings: ModelSettings, tokenizer: Tokenizer) -> Path:
    card = ModelCard(
        model=settings, vocab_size=tokenizer.vocab_size, kind="chat", loss="answers", step=7,
        run="r", data_fingerprint="f", lineage="bit-exact from step 0",
    )  # fmt: skip
    decoder = random_decoder(settings, tokenizer.vocab_size)
    return publish_checkpoint(folder, 7, model_files(decoder, tokenizer, card))


def greedy(decoder: Decoder, ids: torch.Tensor, count: int) -> list[int]:
    """The likeliest tokens after ids (1, T), never the end token."""
    with torch.no_grad():
        for _ in range(count):
            logits = decoder(ids)[:, -1]
            logits[:, END] = -torch.inf
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
    return ids[0, -count:].tolist()


@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_computes_the_same(shape: str, tmp_path: Path) -> None:
    settings, family = SHAPES[shape]
    path = published(tmp_path, settings, train_char(TEXTS))
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        path, output_loading_info=True
    )
    assert theirs.config.model_type == family == family_of(settings)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ours = load_model(path).decoder
    ids = torch.randint(ours.vocab_size, (2, 100), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert (theirs.eval()(ids).logits - ours(ids)).abs().max() < 1e-4
    prompt = ids[:1, :10]
    generated = theirs.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
        min_new_tokens=20, max_new_tokens=20,
    )  # fmt: skip
    assert generated[0, 10:].tolist() == greedy(ours, prompt, 20)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_written_comes_back_bit_for_bit(shape: str, tmp_path: Path) -> None:
    tokenizer = train_char(TEXTS)
    settings, _ = SHAPES[shape]
    before = random_decoder(settings, tokenizer.vocab_size).state_dict()
    path = published(tmp_path, settings, tokenizer)
    check_header((path / "model.safetensors").read_bytes(), hf_shapes(before, settings))
    after = load_model(path).decoder.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_reader_that_knows_only_the_layout_computes_the_same(shape: str, tmp_path: Path) -> None:
    """Without tinychat.json, which has the switches that the layout writes as numbers."""
    settings, _ = SHAPES[shape]
    path = published(tmp_path, settings, train_char(TEXTS))
    ours, again = load_model(path).decoder, read_foreign(path)
    ids = torch.randint(ours.vocab_size, (2, 100), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert (again(ids) - ours(ids)).abs().max() < 1e-4
    if settings.position == "rope" and settings.norm == "rms":
        known = replace(settings, n_kv_head=settings.kv_heads, head_dim=settings.head_width)
        assert again.settings == replace(known, intermediate_size=settings.mlp_width)


@pytest.mark.parametrize("shape", ["qwen3", "gpt2 sinusoidal"])
def test_transformers_speaks_the_same_chat_format(
    shape: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    path = published(tmp_path, SHAPES[shape][0], tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    words = transformers.AutoTokenizer.from_pretrained(path)
    ours = load_model(path)
    messages = [Message("system", "Be kind."), Message("user", TEXTS[0])]
    prompt = encode_prompt(ours.tokenizer, messages)
    ids = torch.tensor([prompt])
    told = words.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in messages],
        add_generation_prompt=True, return_dict=False,
    )  # fmt: skip
    assert list(told) == prompt
    generated = theirs.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12,
        suppress_tokens=[0, 1, 2, 3, 5],  # control tokens other than <|end|> are never text
    )[0, len(prompt) :]  # fmt: skip
    sampling = Sampling(temperature=0.0, max_new_tokens=12)
    said = TextModel(ours.decoder, ours.tokenizer, Runtime("cpu", "fp32", 1)).complete(
        [messages], sampling
    )[0]
    assert [i for i in generated.tolist() if i != END] == list(said.ids)
    if "\ufffd" not in said.text:  # for broken UTF-8 the two count replacements differently
        assert words.decode(generated, skip_special_tokens=True) == said.text
    for text in TEXTS:
        assert words(text)["input_ids"][1:] == ours.tokenizer.encode(text)
        assert words(text)["input_ids"][0] == 0


@pytest.mark.parametrize("shape", ["qwen3", "gpt2 sinusoidal by tanh, untied, no biases"])
def test_equal_tensors_give_equal_bytes(shape: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a = published(tmp_path / "a", SHAPES[shape][0], tokenizer)
    b = published(tmp_path / "b", SHAPES[shape][0], tokenizer)
    for name in sorted(p.name for p in a.iterdir()):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


def test_a_tied_head_is_not_written_twice(tmp_path: Path) -> None:
    for settings, family in SHAPES.values():
        written = to_hf(Decoder(settings, 20).state_dict(), settings)
        head = "embed_out.weight" if family == "gpt_neox" else "lm_head.weight"
        assert (head in written) != settings.tied_head


def test_the_config_leaves_nothing_to_a_default(tmp_path: Path) -> None:
    """What transformers makes of our config.json holds each of our values, and no dropout."""
    for number, (settings, family) in enumerate(SHAPES.values()):
        (tmp_path / str(number)).mkdir()
        path = published(tmp_path / str(number), settings, train_char(TEXTS))
        written = json.loads((path / "config.json").read_text())
        read = transformers.AutoConfig.from_pretrained(path)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings"):
            assert getattr(read, name) == written[name]
        assert read.max_position_embeddings == settings.context_length
        assert all(value == 0.0 for name, value in written.items() if name.endswith("dropout"))
        if family == "gpt_neox":  # said in the words of version 4 and of version 5
            assert written["rotary_pct"] == 1.0
            assert written["rope_parameters"]["partial_rotary_factor"] == 1.0


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        (replace(QWEN3, bias=True), "Qwen3's, set model.bias = false"),
        (replace(QWEN3, norm="layer"), "Qwen3's, set model.norm = rms"),
        (replace(LLAMA, position="learned"), "Llama's, set model.position = rope"),
        (replace(LLAMA, n_embd=30, head_dim=8), "Llama's, set model.n_embd to a multiple of"),
        (replace(QWEN3, mlp="gelu"), "Arcee's, set model.qk_norm = false"),
        (replace(NEOX, n_kv_head=2), "GPT-NeoX's, set model.n_kv_head = 4"),
        (replace(NEOX, head_dim=16), "GPT-NeoX's, set model.head_dim = 8"),
        (replace(GPT2, qk_norm=True), "GPT-2's, set model.qk_norm = false"),
        (
            replace(GPT2, norm="rms", n_kv_head=1),
            "GPT-2's, set model.norm = layer and model.n_kv_head = 4",
        ),
    ],
)
def test_a_shape_without_a_layout_is_refused_before_work(
    settings: ModelSettings, advice: str
) -> None:
    with pytest.raises(SettingsError, match=advice):
        family_of(settings)


def test_the_advice_leads_to_a_layout() -> None:
    settings = replace(GPT2, norm="rms", n_kv_head=1, head_dim=5, qk_norm=True)
    changed = replace(settings, norm="layer", n_kv_head=4, head_dim=8, qk_norm=False)
    with pytest.raises(SettingsError) as refusal:
        family_of(settings)
    assert str(refusal.value).endswith(
        "set model.norm = layer and model.qk_norm = false and model.n_kv_head = 4 "
        "and model.head_dim = 8"
    )
    assert family_of(changed) == "gpt2"


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        ("gpt2 sinusoidal", "transformer.wpe.weight"),
        ("gpt2 exact gelu, untied, no biases", "transformer.h.1.attn.c_attn.bias"),
        ("gpt_neox relu2, untied, no biases", "gpt_neox.final_layer_norm.bias"),
    ],
)
@pytest.mark.parametrize("value", [0.5, float("nan")])
def test_a_value_where_we_have_no_parameter_is_refused(shape: str, name: str, value: float) -> None:
    settings, _ = SHAPES[shape]
    weights = Decoder(settings, 20).state_dict()
    tensors = to_hf(weights, settings)
    assert from_hf(tensors.__getitem__, weights, settings).keys() == weights.keys()
    tensors[name] = tensors[name].clone()
    tensors[name].view(-1)[-1] = value
    with pytest.raises(CheckpointError, match=name):
        from_hf(tensors.__getitem__, weights, settings)


def _tiny_gpt(**shape: int) -> ModelSettings:
    """tiny_gpt and DataScience: GPT-2's blocks."""
    return replace(GPT2, intermediate_size=None, **shape)  # type: ignore[arg-type]


def _dolly(**shape: int) -> ModelSettings:
    return replace(_tiny_gpt(**shape), position="sinusoidal")


def _vidya(**shape: int) -> ModelSettings:
    return replace(ARCEE, **shape)  # type: ignore[arg-type]


def _gated(**shape: int) -> ModelSettings:
    return replace(LLAMA, **shape)  # type: ignore[arg-type]


# What people have trained and asked for: (shape, vocabulary, parameters of the source, how many of
# them our nearest shape lacks). tiny_gpt has a bias on its untied head, one a token, which no
# layout holds; vidya normalises the embedding once more, one weight a column.
SYSTEMS = {
    "tiny_gpt, three hours": (
        replace(
            _tiny_gpt(n_layer=8, n_head=8, n_embd=512, context_length=512), tied_head=False
        ), 4096, 29_680_640, 4096, "gpt2",
    ),
    "tiny_gpt, before": (
        replace(
            _tiny_gpt(n_layer=6, n_head=8, n_embd=512, context_length=256), tied_head=False
        ), 4096, 23_244_800, 4096, "gpt2",
    ),
    "tiny_gpt, characters": (
        replace(
            _tiny_gpt(n_layer=4, n_head=8, n_embd=256, context_length=128), tied_head=False
        ), 5006, 5_760_398, 5006, "gpt2",
    ),
    "tiny_gpt, BPE": (
        replace(
            _tiny_gpt(n_layer=5, n_head=6, n_embd=354, context_length=128),
            tied_head=False, intermediate_size=1300,
        ), 4096, 10_080_834, 4096, "gpt2",
    ),
    "tiny_gpt, M4": (
        replace(
            _tiny_gpt(n_layer=5, n_head=6, n_embd=360, context_length=128), tied_head=False
        ), 8192, 13_752_632, 8192, "gpt2",
    ),
    "tiny_gpt, README": (
        replace(
            _tiny_gpt(n_layer=3, n_head=4, n_embd=192, context_length=128), tied_head=False
        ), 100, 1_398_052, 100, "gpt2",
    ),
    "vidya": (
        _vidya(n_layer=12, n_head=8, n_embd=256, context_length=256),
        2188, 10_003_968, 256, "arcee",
    ),
    "vidya, target": (
        _vidya(n_layer=18, n_head=12, n_embd=384, context_length=512),
        4200, 33_477_888, 384, "arcee",
    ),
    "16 GB laptop": (
        _gated(n_layer=8, n_head=8, n_embd=512, intermediate_size=2048, context_length=1024),
        50257, 59_294_720, 0, "llama",
    ),
    "16 GB laptop, later": (
        _gated(n_layer=4, n_head=4, n_embd=256, intermediate_size=1024, context_length=512),
        50257, 17_062_400, 0, "llama",
    ),
    "dolly v1": (
        _dolly(n_layer=3, n_head=4, n_embd=128, context_length=128), 50257, 7_027_968, 0, "gpt2",
    ),
    "dolly v2": (
        _dolly(n_layer=4, n_head=6, n_embd=192, context_length=128), 50257, 11_429_184, 0, "gpt2",
    ),
    "dolly v3": (
        _dolly(n_layer=5, n_head=8, n_embd=256, context_length=192), 50257, 16_815_104, 0, "gpt2",
    ),
    "dolly v3 as committed": (
        _dolly(n_layer=3, n_head=6, n_embd=192, context_length=160), 50257, 10_984_320, 0, "gpt2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_we_learn_from_has_a_family(system: str) -> None:
    settings, vocab_size, parameters, lacking, family = SYSTEMS[system]
    assert family_of(settings) == family
    assert count_parameters(settings, vocab_size)["total"] == parameters - lacking
