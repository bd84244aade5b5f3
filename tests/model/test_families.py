"""A checkpoint is a Hugging Face folder: transformers loads it as it lies there and agrees."""

import os
from pathlib import Path

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers")

from tinychat.config import ModelSettings  # noqa: E402
from tinychat.engine import Engine, Sampling  # noqa: E402
from tinychat.errors import SettingsError  # noqa: E402
from tinychat.model import Decoder, ModelCard, Runtime, load_model, model_files  # noqa: E402
from tinychat.runs import publish_checkpoint  # noqa: E402
from tinychat.text import END, Message, Tokenizer, encode_prompt, train_bpe, train_char  # noqa: E402

TEXTS = [
    "Hello there, how are you today? 12 + 34 = 46.",
    "naïve café — \U0001f600 ok\n\n  two  spaces",
]
SHAPES = {
    "qwen3": ModelSettings(n_layer=2, n_head=4, n_embd=32, context_length=128),
    "qwen3 grouped, untied, wide heads": ModelSettings(
        n_layer=2, n_head=4, n_kv_head=2, n_embd=32, head_dim=16, context_length=128,
        tied_head=False, rope_theta=50000.0, norm_eps=1e-5, intermediate_size=72,
    ),
    "llama": ModelSettings(n_layer=2, n_head=4, n_embd=32, context_length=128, qk_norm=False),
    "llama with biases": ModelSettings(
        n_layer=2, n_head=4, n_embd=32, context_length=128, qk_norm=False, bias=True
    ),
}  # fmt: skip


@pytest.fixture(params=["bpe", "char"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train_bpe(TEXTS, 300) if request.param == "bpe" else train_char(TEXTS)


def published(folder: Path, settings: ModelSettings, tokenizer: Tokenizer) -> Path:
    decoder = Decoder(settings, tokenizer.vocab_size)
    decoder.initialise(1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in decoder.parameters():  # no zeros, or half of the layout is not seen
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    card = ModelCard(
        model=settings, vocab_size=tokenizer.vocab_size, kind="chat", loss="answers", step=7,
        run="r", data_fingerprint="f", lineage="bit-exact from step 0",
    )  # fmt: skip
    return publish_checkpoint(folder, 7, model_files(decoder, tokenizer, card))


@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_computes_the_same_logits_and_greedy_text(
    shape: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    path = published(tmp_path, SHAPES[shape], tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    words = transformers.AutoTokenizer.from_pretrained(path)
    ours = load_model(path)
    messages = [Message("system", "Be kind."), Message("user", TEXTS[0])]
    prompt = encode_prompt(ours.tokenizer, messages)
    ids = torch.tensor([prompt])
    with torch.no_grad():
        assert (theirs(ids).logits - ours.decoder(ids)).abs().max() < 1e-4
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
    said = Engine(ours.decoder, ours.tokenizer, Runtime("cpu", "fp32", 1)).complete(
        [messages], sampling
    )[0]
    assert [i for i in generated.tolist() if i != END] == list(said.ids)
    if "\ufffd" not in said.text:  # for broken UTF-8 the two count replacements differently
        assert words.decode(generated, skip_special_tokens=True) == said.text
    for text in TEXTS:
        assert words(text)["input_ids"][1:] == ours.tokenizer.encode(text)
        assert words(text)["input_ids"][0] == 0


def test_equal_tensors_give_equal_bytes(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a = published(tmp_path / "a", SHAPES["qwen3"], tokenizer)
    b = published(tmp_path / "b", SHAPES["qwen3"], tokenizer)
    for name in sorted(p.name for p in a.iterdir()):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


@pytest.mark.parametrize(
    "change", [{"norm": "layer"}, {"position": "learned"}, {"mlp": "gelu"}, {"bias": True}]
)
def test_a_shape_without_a_layout_is_refused_before_work(change: dict[str, object]) -> None:
    from dataclasses import replace

    from tinychat.model import family_of

    with pytest.raises(SettingsError, match="no checkpoint layout"):
        family_of(replace(SHAPES["qwen3"], **change))  # type: ignore[arg-type]
