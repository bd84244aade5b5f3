"""A foreign model folder as a whole: weights, tokenizer and the format in which it wants to talk.

For talking it stays as its makers left it. To be trained on it becomes one of ours: our control
tokens are appended to its vocabulary, and rows for them to its embedding.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tinychat.config import ModelSettings
from tinychat.errors import CheckpointError, DataError
from tinychat.keys import draw_key
from tinychat.model.checkpoint import LoadedModel, ModelCard
from tinychat.model.foreign import read_foreign
from tinychat.runs.records import parse
from tinychat.text import Tokenizer

_TOKENIZER_BYTES = 64 * 1024 * 1024
_SMALL_FILE_BYTES = 1024 * 1024


def load_foreign(folder: Path, device: torch.device | None = None) -> LoadedModel:
    """A folder in one of the known layouts, ready to be asked.

    It counts as a chat model if it says that it has a chat template (which is never run) and its
    control tokens are those of a format we know. Raises CheckpointError or DataError in one
    sentence for everything that cannot be read exactly.
    """
    decoder = read_foreign(folder)
    says = _small_json(folder / "tokenizer_config.json")
    has_template = bool(says.get("chat_template")) or (folder / "chat_template.jinja").is_file()
    try:
        tokenizer = Tokenizer.for_talking(
            _tokenizer_json(folder), _end_token(folder, says), chat=has_template
        )
    except DataError as error:
        raise DataError(f"{folder / 'tokenizer.json'}: {error}") from None
    if tokenizer.vocab_size > decoder.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, "
            f"the model {decoder.vocab_size}"
        )
    card = ModelCard(
        model=decoder.settings,
        vocab_size=decoder.vocab_size,
        kind="chat" if has_template and tokenizer.format.opening else "base",
        loss="answers",
        step=0,
        run=folder.name,
        data_fingerprint="",
        lineage=f"not trained here: {folder.name}",
    )
    return LoadedModel(decoder.to(device or torch.device("cpu")), tokenizer, card)


def foreign_tokenizer(folder: Path) -> Tokenizer:
    """The folder's vocabulary with our control tokens, as a run that starts from it has it."""
    try:
        return Tokenizer.for_training(_tokenizer_json(folder))
    except DataError as error:
        raise DataError(f"{folder / 'tokenizer.json'}: {error}") from None


def adapted(
    weights: Mapping[str, Tensor], settings: ModelSettings, vocab_size: int, seed: int
) -> dict[str, Tensor]:
    """A parent's weights for a child with another vocabulary or a shorter context.

    Rows that the child does not have are left out. Rows for new tokens are drawn around the mean of
    the old ones, so that they are neither louder nor rarer (Hewitt 2021).
    """
    found = dict(weights)
    for name in ("embedding.weight", "head.weight"):
        found[name] = _resized(found[name], vocab_size, draw_key(seed, f"grow {name}"))
    if settings.tied_head:
        found["head.weight"] = found["embedding.weight"]
    if "positions.weight" in found:
        found["positions.weight"] = found["positions.weight"][: settings.context_length]
    return found


def _resized(table: Tensor, rows: int, key: int) -> Tensor:
    new = max(0, rows - len(table))
    generator = torch.Generator().manual_seed(key)
    noise = torch.randn((new, table.shape[1]), generator=generator)
    return torch.cat([table[:rows], table.mean(0) + table.std(0) * noise])


def _tokenizer_json(folder: Path) -> str:
    path = folder / "tokenizer.json"
    try:
        if not path.is_file():
            raise CheckpointError(
                f"{folder} has no tokenizer.json; where transformers is installed, "
                "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes one"
            )
        with path.open("rb") as stream:
            data = stream.read(_TOKENIZER_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _TOKENIZER_BYTES:
        raise CheckpointError(f"{path} has more than {_TOKENIZER_BYTES} bytes, which are not read")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not UTF-8 at byte {error.start}") from None


def _end_token(folder: Path, tokenizer_config: Mapping[str, Any]) -> int | str | None:
    """The end token as the folder names it; the tokenizer decides whether that can be."""
    named = tokenizer_config.get("eos_token")
    if isinstance(named, Mapping):
        named = named.get("content")
    if isinstance(named, str):
        return named
    for name in ("generation_config.json", "config.json"):
        number = _small_json(folder / name).get("eos_token_id")
        if isinstance(number, list) and number:
            number = number[0]
        if type(number) is int:
            return number
    return None


def _small_json(path: Path) -> Mapping[str, Any]:
    """A file that may be missing or useless: it only helps."""
    try:
        if not path.is_file():
            return {}
        with path.open("rb") as stream:
            return parse(stream.read(_SMALL_FILE_BYTES))
    except (OSError, ValueError):
        return {}
