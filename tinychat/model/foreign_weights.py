"""A model folder that somebody else has written, in one of the layouts that we know.

Nothing in it is believed: config.json decides what the tensor file must hold, the file's header is
checked against that before memory is taken, and nothing executable is ever opened.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tinychat.config import ModelSettings
from tinychat.errors import CheckpointError
from tinychat.model.decoder import Decoder
from tinychat.model.families import family_of, from_hf, hf_shapes
from tinychat.model.foreign_config import settings_from_config
from tinychat.model.layouts import LAYOUTS
from tinychat.model.tensor_file import Shapes, TensorFile, check_entries, open_tensor_file
from tinychat.runs.records import parse

_CONFIG_BYTES = 1024 * 1024  # far above any real one; a larger file is not read


def read_foreign(folder: Path) -> Decoder:
    """The model in a Hugging Face folder: fp32, on the CPU, ready to be asked.

    Raises CheckpointError in one sentence for every folder that cannot be read exactly.
    """
    settings, vocab_size = foreign_shape(folder)
    with torch.device("meta"):
        decoder = Decoder(settings, vocab_size)
    expected = decoder.state_dict()
    with open_tensor_file(_tensor_path(folder)) as file:
        left_out = _check(file, hf_shapes(expected, settings), settings, vocab_size)
        weights = from_hf(
            lambda name: _finite(file, name.removeprefix(left_out)), expected, settings
        )
    decoder.load_state_dict(weights, assign=True)
    if settings.tied_head:
        decoder.head.weight = decoder.embedding.weight
    return decoder.eval()


def foreign_shape(folder: Path) -> tuple[ModelSettings, int]:
    """The settings that compute what the folder's config.json describes, and its vocabulary's rows.

    Raises CheckpointError for every model that they would not compute exactly.
    """
    return settings_from_config(_read_config(folder / "config.json"))


def _read_config(path: Path) -> Mapping[str, object]:
    try:
        if not path.is_file():
            raise CheckpointError(f"{path.parent} is no model folder: it has no config.json")
        with path.open("rb") as stream:
            data = stream.read(_CONFIG_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _CONFIG_BYTES:
        raise CheckpointError(f"{path} has more than {_CONFIG_BYTES} bytes, which are not read")
    try:
        return parse(data)
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be used: {str(error)[:200]}") from None


def _tensor_path(folder: Path) -> Path:
    """model.safetensors, or how to get one."""
    path = folder / "model.safetensors"
    if path.exists():
        return path
    if (folder / "model.safetensors.index.json").exists():
        found = "its weights are split over several files"
    elif any(
        (folder / name).exists() for name in ("pytorch_model.bin", "pytorch_model.bin.index.json")
    ):
        found = "its weights are a pickle, which can run programs and is never opened here"
    else:
        raise CheckpointError(f"{folder} has no model.safetensors")
    raise CheckpointError(
        f"{folder}: {found}; where transformers is installed, "
        "AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW, max_shard_size='20GB') "
        "writes the one model.safetensors that tinychat reads"
    )


def _check(file: TensorFile, expected: Shapes, settings: ModelSettings, vocab_size: int) -> str:
    """Check the whole file against the expected tensors; what it leaves out before their names."""
    family = family_of(settings)
    prefix = ""
    if family == "gpt2" and not any(name.startswith("transformer.") for name in file.entries):
        prefix = "transformer."  # OpenAI's own file leaves it out
    buffers = _buffers(family, settings)
    ignored = {name.removeprefix(prefix): shape for name, shape in buffers.items()}
    head, embedding = (f"{LAYOUTS[family].tops[top]}.weight" for top in ("head", "embedding"))
    if settings.tied_head:
        ignored[head] = (vocab_size, settings.n_embd)
    check_entries(
        file.entries,
        {name.removeprefix(prefix): shape for name, shape in expected.items()},
        ignored,
        where=str(file.path),
    )
    twice = settings.tied_head and head in file.entries
    if twice and not torch.equal(file.read(head), file.read(embedding.removeprefix(prefix))):
        raise CheckpointError(
            f"{file.path} holds a head that is not the embedding, although config.json ties them"
        )
    return prefix


def _finite(file: TensorFile, name: str) -> Tensor:
    tensor = file.read(name)
    # of NaN and infinity one is the least or the greatest; isfinite of all takes ten times as long
    if tensor.numel() and not torch.stack(tensor.aminmax()).isfinite().all():
        raise CheckpointError(f"{file.path}: {name!r} holds values that are not finite")
    return tensor


def _buffers(family: str, settings: ModelSettings) -> dict[str, tuple[int, ...]]:
    """What older transformers wrote beside the weights, and everybody computes anew."""
    block = LAYOUTS[family].block
    attention = {"gpt2": "attn", "gpt_neox": "attention"}.get(family, "self_attn")
    context, half = settings.context_length, settings.head_width // 2
    buffers: dict[str, tuple[int, ...]] = {}
    for layer in range(settings.n_layer):
        stem = f"{block}{layer}.{attention}."
        if family in ("gpt2", "gpt_neox"):
            buffers[f"{stem}bias"] = (1, 1, context, context)
            buffers[f"{stem}masked_bias"] = ()
        if family != "gpt2":
            buffers[f"{stem}rotary_emb.inv_freq"] = (half,)
    return buffers
