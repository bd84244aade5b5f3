"""Checkpoints as bytes: out of a model and back, and what a hostile description of one can do."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tinychat.config import ModelSettings
from tinychat.errors import CheckpointError
from tinychat.model import Decoder, ModelCard, model_files, open_model
from tinychat.runs import CheckpointFiles
from tinychat.text import Tokenizer, train_bpe

SHAPE = ModelSettings(n_layer=1, n_head=2, n_embd=16, context_length=16)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe(["a text of few words and many words"] * 3, 270)


@pytest.fixture
def files(tokenizer: Tokenizer) -> CheckpointFiles:
    decoder = Decoder(SHAPE, tokenizer.vocab_size)
    decoder.initialise(3)
    card = ModelCard(SHAPE, tokenizer.vocab_size, "base", "all", 7, "run", "print", "line")
    return CheckpointFiles(Path("step-00000007"), 7, model_files(decoder, tokenizer, card))


def test_it_comes_back_as_it_was(files: CheckpointFiles, tokenizer: Tokenizer) -> None:
    fresh = Decoder(SHAPE, tokenizer.vocab_size)
    fresh.initialise(3)
    loaded = open_model(files)
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(loaded.decoder.state_dict()[name], tensor)
    assert (loaded.card.step, loaded.card.model) == (7, SHAPE)


@pytest.mark.parametrize(
    "change",
    [
        {"n_layer": 10**9}, {"n_layer": -1}, {"n_layer": "x"}, {"n_layer": None},
        {"n_embd": 10**7}, {"n_head": 0}, {"head_dim": 10**30}, {"norm": "none"},
        {"context_length": 10**12}, {"intermediate_size": 10**9},
    ],
)  # fmt: skip
def test_a_shape_that_cannot_be_is_refused_before_it_is_built(
    files: CheckpointFiles, change: dict[str, Any]
) -> None:
    card = json.loads(files.files["tinychat.json"])
    card["model"].update(change)
    changed = {**files.files, "tinychat.json": json.dumps(card).encode()}
    with pytest.raises(CheckpointError):
        open_model(replace(files, files=changed))


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "null", '{"format": 1}', "7" * 6000])
def test_a_card_that_is_none_is_refused(files: CheckpointFiles, text: str) -> None:
    with pytest.raises(CheckpointError):
        open_model(replace(files, files={**files.files, "tinychat.json": text.encode()}))


def test_weights_that_do_not_fit_the_card_are_named(files: CheckpointFiles) -> None:
    card = json.loads(files.files["tinychat.json"])
    card["model"]["n_layer"] = 2
    changed = {**files.files, "tinychat.json": json.dumps(card).encode()}
    with pytest.raises(CheckpointError, match=r"step-00000007/model\.safetensors lacks"):
        open_model(replace(files, files=changed))
