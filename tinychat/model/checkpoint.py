"""A checkpoint's content: which files it is made of, and how a model comes back out of them.

Each checkpoint is a Hugging Face model folder plus our own tinychat.json, and for the trainer
optimizer.safetensors and state.json. This module turns live objects into bytes and back; writing
folders, manifests and verification are `tinychat.runs`' charge. Equal tensors give equal bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from tinychat.config import ModelSettings
from tinychat.errors import CheckpointError, FormatError
from tinychat.model.decoder import Decoder
from tinychat.model.families import from_hf, generation_config, hf_config, hf_shapes, to_hf
from tinychat.model.foreign_config import check_bounds
from tinychat.model.tensor_file import check_header
from tinychat.runs import CheckpointFiles, Generation, read_ancestry, read_checkpoint
from tinychat.runs.records import parse
from tinychat.text import CHAT_TEMPLATE, CONTROL_TOKENS, TINYCHAT, Tokenizer

FORMAT = 1
MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tinychat.json")


@dataclass(frozen=True)
class ModelCard:
    """tinychat.json: what this model is and where it comes from."""

    model: ModelSettings
    vocab_size: int
    kind: str  # "base" (text) or "chat" (conversations)
    loss: str  # "answers" or "all"
    step: int
    run: str
    data_fingerprint: str
    lineage: str  # how far back the weights are bit-exact, in one line
    ancestry: tuple[Generation, ...] = ()  # this model last; empty: an older tinychat made it

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "chat_format": TINYCHAT, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "ModelCard":
        if document["format"] > FORMAT:
            raise FormatError(
                f"this checkpoint has format {document['format']}, made by a newer tinychat; "
                f"this one reads up to {FORMAT}"
            )
        others = cls.__dataclass_fields__.keys() - {"model", "ancestry"}
        known = {name: document[name] for name in others}
        known["ancestry"] = read_ancestry(document.get("ancestry"))
        fields = ModelSettings.__dataclass_fields__
        shape = {name: value for name, value in document["model"].items() if name in fields}
        card = cls(model=TypeAdapter(ModelSettings).validate_python(shape), **known)
        check_bounds(card.model, card.vocab_size)  # before anything of that size is built
        return card


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be asked, with everything that belongs to it."""

    decoder: Decoder
    tokenizer: Tokenizer
    card: ModelCard


def model_files(decoder: Decoder, tokenizer: Tokenizer, card: ModelCard) -> dict[str, bytes]:
    """The files of the Hugging Face folder, and tinychat.json."""
    weights = to_hf(decoder.state_dict(), decoder.settings)
    return {
        "config.json": to_json(hf_config(decoder.settings, decoder.vocab_size, tokenizer.format)),
        "generation_config.json": to_json(generation_config(tokenizer.format)),
        "model.safetensors": tensor_bytes(weights),
        "tokenizer.json": tokenizer.to_json().encode(),
        "tokenizer_config.json": to_json(_tokenizer_config(decoder.settings.context_length)),
        "tinychat.json": to_json(card.to_json()),
    }


def trainer_files(optimizer: Mapping[str, Tensor], state: Mapping[str, Any]) -> dict[str, bytes]:
    """The two files that let a run go on: moments by parameter name, and the trainer's numbers."""
    return {
        "optimizer.safetensors": tensor_bytes(optimizer),
        "state.json": to_json(dict(state)),
    }


def load_model(path: Path, device: torch.device | None = None) -> LoadedModel:
    """The model in a checkpoint folder, verified against its manifest before anything is used."""
    return open_model(read_checkpoint(path, only=set(MODEL_FILES)), device)


def open_model(files: CheckpointFiles, device: torch.device | None = None) -> LoadedModel:
    """The model in verified files. Raises CheckpointError where they do not fit together."""
    try:
        card = ModelCard.from_json(parse(files.files["tinychat.json"]))
        with torch.device("meta"):
            decoder = Decoder(card.model, card.vocab_size)
    except ValidationError as error:
        wrong = error.errors()[0]
        reason = f"model.{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
        raise CheckpointError(f"{files.path}: tinychat.json cannot be used ({reason})") from None
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{files.path}: tinychat.json cannot be used ({error!r})") from None
    expected = decoder.state_dict()
    where = f"{files.path}/model.safetensors"
    check_header(files.files["model.safetensors"], hf_shapes(expected, card.model), where=where)
    tensors = read_tensors(files, "model.safetensors")
    weights = from_hf(tensors.__getitem__, expected, card.model)
    decoder.load_state_dict(weights, assign=True)
    if card.model.tied_head:
        decoder.head.weight = decoder.embedding.weight
    decoder = decoder.to(device or torch.device("cpu")).eval()
    tokenizer = Tokenizer.from_json(files.files["tokenizer.json"].decode())
    if tokenizer.vocab_size != card.vocab_size:
        raise CheckpointError(
            f"{files.path}: the tokenizer has {tokenizer.vocab_size} tokens, "
            f"the model {card.vocab_size}"
        )
    return LoadedModel(decoder, tokenizer, card)


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """safetensors bytes, names sorted, so that equal tensors give equal bytes."""
    plain = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    return save_tensors(plain, {"format": "pt"})


def read_tensors(files: CheckpointFiles, name: str) -> dict[str, Tensor]:
    """The tensors in one safetensors file of a verified checkpoint."""
    try:
        return load_tensors(files.files[name])
    except KeyError:
        raise CheckpointError(f"{files.path} has no {name}") from None
    except (safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(f"{files.path}/{name} is not a safetensors file: {error}") from None


def to_json(document: Mapping[str, Any]) -> bytes:
    """JSON as it lies in our folders: readable, sorted, one final newline."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def _tokenizer_config(context_length: int) -> dict[str, Any]:
    bos, _, _, _, end, pad = CONTROL_TOKENS
    return {
        # left out, transformers 5 would take the family's own class and change the ids
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos,
        "eos_token": end,
        "pad_token": pad,
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
