"""A foreign model folder as a whole: weights, tokenizer and the format in which it wants to talk.

For talking it stays as its makers left it. To be trained on it becomes one of ours: our control
tokens are appended to its vocabulary, and rows for them to its embedding.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tinychat.errors import CheckpointError, DataError
from tinychat.keys import draw_key
from tinychat.model.checkpoint import LoadedModel, ModelCard
from tinychat.model.foreign_weights import read_foreign
from tinychat.runs.records import parse
from tinychat.text import CONTROL_TOKENS, Tokenizer, read_tokenizer_file

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


def foreign_parent(folder: Path, seed: int) -> tuple[dict[str, Tensor], Tokenizer]:
    """Weights and tokenizer for a run that starts from this folder.

    Rows of the embedding that no token has (many models are padded) are left out. Rows for our
    control tokens, where they are new, are drawn around the mean of the others, so that they are
    neither louder nor rarer (Hewitt 2021).
    """
    tokenizer = foreign_tokenizer(folder)
    try:
        known = Tokenizer.from_json(_tokenizer_json(folder)).vocab_size
    except DataError:
        known = tokenizer.vocab_size - len(CONTROL_TOKENS)
    weights = dict(read_foreign(folder).state_dict())
    for name in ("embedding.weight", "head.weight"):
        table, key = weights[name], draw_key(seed, f"grow {name}")
        if len(table) < known:
            raise CheckpointError(
                f"{folder}: the tokenizer has {known} tokens, the model {len(table)}"
            )
        weights[name] = _grown(table[:known], tokenizer.vocab_size - known, key)
    return weights, tokenizer


def _grown(table: Tensor, rows: int, key: int) -> Tensor:
    generator = torch.Generator().manual_seed(key)
    noise = torch.randn((rows, table.shape[1]), generator=generator)
    return torch.cat([table, table.mean(0) + table.std(0) * noise])


def _tokenizer_json(folder: Path) -> str:
    path = folder / "tokenizer.json"
    if not path.exists():
        raise CheckpointError(
            f"{folder} has no tokenizer.json; where transformers is installed, "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes one"
        )
    return read_tokenizer_file(path)


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
