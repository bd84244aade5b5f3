"""A run that grows from another one's checkpoint: which one, and what it decides for the new run.

Reads verified files as bytes and JSON; no torch, so that a contradiction is told at once.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinychat.config.load import Layer, json_to_layer, nest
from tinychat.errors import CheckpointError, FormatError, NoCheckpointError, SettingsError
from tinychat.runs import RunPaths, RunReader, find_run, read_checkpoint

_FORMAT = 1  # of tinychat.json
_FREE = ("model.dropout",)  # no weight depends on it


def parent_layer(
    init_from: str, checkpoints_root: Path, flags: dict[str, Any]
) -> tuple[Layer, Path]:
    """The settings that come with the weights of `init_from`, and the checkpoint's folder.

    RUN stands for its best checkpoint, or the newest where none is known to be best. Raises
    SettingsError for every flag that asks for another shape, CheckpointError for damaged files.
    """
    folder = _checkpoint(init_from, checkpoints_root)
    files = read_checkpoint(folder, only={"tinychat.json", "tokenizer.json"})
    card = _card(files.files["tinychat.json"], folder)
    name = f"{folder.parent.name}@{files.step}"
    values = {
        **{f"model.{key}": value for key, value in card["model"].items()},
        "tokenizer.kind": _tokenizer_kind(files.files["tokenizer.json"]),
        "tokenizer.vocab_size": card["vocab_size"],
    }
    _refuse_contradictions(flags, values, name)
    return Layer(f"checkpoint {name}", json_to_layer(nest(values))), folder


def _checkpoint(init_from: str, root: Path) -> Path:
    run, step = find_run(init_from, root)
    if step is None:
        reader = RunReader(run)
        best = reader.best
        step = reader.latest if best is None else best.step
    if step is None:
        raise NoCheckpointError(f"The run {run.name} has published no checkpoint yet.")
    return RunPaths(run.absolute()).checkpoint(step)


def _card(data: bytes, folder: Path) -> dict[str, Any]:
    """What tinychat.json says, as far as it is needed here."""
    where = folder / "tinychat.json"
    try:
        card = json.loads(data)
        number, model, vocab_size = card["format"], dict(card["model"]), int(card["vocab_size"])
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{where} cannot be used ({error!r}).") from None
    if number > _FORMAT:
        raise FormatError(
            f"{where} has format {number} and was made by a newer tinychat; "
            f"this one reads up to format {_FORMAT}: please update tinychat."
        )
    return {"model": model, "vocab_size": vocab_size}


def _tokenizer_kind(data: bytes) -> str:
    from tinychat.text import Tokenizer

    return Tokenizer.from_json(data.decode()).kind


def _refuse_contradictions(flags: Mapping[str, Any], values: Mapping[str, Any], name: str) -> None:
    problems = [
        f"{flag} is {_spelled(values[flag])} in {name}, whose weights --init-from takes along, and "
        f"cannot become {asked}; leave the flag out"
        for flag, asked in flags.items()
        if flag in values and flag not in _FREE and not _means(str(asked), values[flag])
    ]
    if problems:
        raise SettingsError(*problems)


def _means(text: str, value: Any) -> bool:
    """Whether a flag's word is this value."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(text) == value
        except ValueError:
            return False
    return text.lower() == _spelled(value)


def _spelled(value: Any) -> str:
    """A value as a flag spells it."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
