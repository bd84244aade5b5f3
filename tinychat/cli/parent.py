"""A run that grows from another one's checkpoint, or from a foreign model folder: which one, and
what it decides for the new run.

Of our own checkpoints it reads verified files as bytes and JSON; no torch, so that a contradiction
is told at once.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinychat.cli.hub import lasting, local_paths
from tinychat.config import Settings, TokenizerSettings
from tinychat.config.load import Layer, from_json, json_to_layer
from tinychat.config.names import nest
from tinychat.errors import (
    CheckpointError,
    FormatError,
    NoCheckpointError,
    RunError,
    SettingsError,
)
from tinychat.runs import (
    RunPaths,
    RunReader,
    find_model,
    folder_label,
    is_foreign,
    read_checkpoint,
)
from tinychat.text import Tokenizer, given_tokenizer, learnt_by

_FORMAT = 1  # of tinychat.json
_FREE = ("model.dropout",)  # no weight depends on it
_SHRINKABLE = ("model.context_length",)  # what lies beyond is left out


def parent_layer(
    init_from: str, checkpoints_root: Path, flags: dict[str, Any]
) -> tuple[Layer, Path]:
    """The settings that come with the weights of `init_from`, and the checkpoint's folder.

    RUN stands for its best checkpoint, or the newest where none is known to be best. Raises
    SettingsError for every flag that asks for another shape, CheckpointError for damaged files.
    """
    folder = checkpoint_folder(init_from, checkpoints_root)
    if is_foreign(folder):
        name, shape, tokenizer = folder.name, *_foreign(folder)
    else:
        files = read_checkpoint(folder, only={"tinychat.json", "tokenizer.json"})
        name = folder_label(folder)
        shape = _shape(files.files["tinychat.json"], folder)
        tokenizer = Tokenizer.from_json(files.files["tokenizer.json"].decode())
    values = {
        **{f"model.{key}": value for key, value in shape.items()},
        "tokenizer.kind": tokenizer.kind,
        "tokenizer.vocab_size": tokenizer.vocab_size,
    }
    _refuse_contradictions(flags, values, name)
    return Layer(f"checkpoint {name}", json_to_layer(nest(values))), folder


def inherited_layer(folder: Path, flags: Mapping[str, Any]) -> Layer:
    """The data of the run that a checkpoint is of, with what was mixed in there, and the seed that
    divided it: so its validation split is that of the run, of which nothing was learnt.

    Raises SettingsError where nobody knows that data and no other is named, and for flags that
    would divide it otherwise.
    """
    name = folder.name if is_foreign(folder) else folder.parent.name
    if "data.paths" in flags:
        return Layer(f"run {name}", {})
    try:
        if is_foreign(folder):
            raise RunError("it is no run of ours")
        values = from_json(RunReader(folder.parent).settings).to_json()["settings"]
    except (RunError, SettingsError) as error:
        raise SettingsError(
            f"what {name} has learnt from is not known ({str(error).rstrip('.')}); name data of "
            "that kind by --data, so that it is seen whether it forgets"
        ) from None
    divided = {
        "seed": values["seed"],
        "data.validation_share": values["data"]["validation_share"],
    }
    _refuse_contradictions(flags, divided, name)
    data = values["data"]
    if values["replay"]["paths"]:
        data |= {"paths": list(learnt_by(folder).data.paths)}
    return Layer(f"run {name}", json_to_layer({"seed": values["seed"], "data": data}))


def old_data_layer(settings: Settings, sources: Mapping[str, str], root: Path) -> Layer:
    """Where the old data lies that a run mixes in: as a person says, else where the parent found
    it. Raises SettingsError where neither tells."""
    if settings.replay.paths:
        source = sources["replay.paths"]
        paths, _ = local_paths(settings.replay.paths, root)
    else:
        folder = Path(str(settings.init_from))
        source = sources["init_from"]
        paths = learnt_by(folder).data.paths
    return Layer(source, {"replay": {"paths": list(map(lasting, paths))}})


def tokenizer_layer(settings: TokenizerSettings, source: str, flags: dict[str, Any]) -> Layer:
    """What a given tokenizer.json decides. Raises SettingsError for flags that ask otherwise."""
    tokenizer = given_tokenizer(settings)
    assert tokenizer is not None  # asked only where one is given
    assert settings.path is not None
    values: dict[str, Any] = {
        "tokenizer.kind": tokenizer.kind,
        "tokenizer.vocab_size": tokenizer.vocab_size,
    }
    _refuse_contradictions(flags, values, settings.path)
    return Layer(source, nest(values | {"tokenizer.path": str(Path(settings.path).absolute())}))


def _foreign(folder: Path) -> tuple[dict[str, Any], Tokenizer]:
    from tinychat.model import foreign_shape, foreign_tokenizer  # torch, only where it is needed

    settings, _ = foreign_shape(folder)
    return asdict(settings), foreign_tokenizer(folder)


def checkpoint_folder(init_from: str, root: Path) -> Path:
    """The model folder that a run grows from, as `parent_layer` finds it."""
    run, step = find_model(init_from, root)
    if step is None and is_foreign(run):
        return run
    if step is None:
        reader = RunReader(run)
        best = reader.best
        step = reader.latest if best is None else best.step
    if step is None:
        raise NoCheckpointError(f"The run {run.name} has published no checkpoint yet.")
    return RunPaths(run.absolute()).checkpoint(step)


def _shape(data: bytes, folder: Path) -> dict[str, Any]:
    """The model's settings, from tinychat.json."""
    where = folder / "tinychat.json"
    try:
        card = json.loads(data)
        number, model = card["format"], dict(card["model"])
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{where} cannot be used ({error!r}).") from None
    if number > _FORMAT:
        raise FormatError(
            f"{where} has format {number} and was made by a newer tinychat; "
            f"this one reads up to format {_FORMAT}: please update tinychat."
        )
    return model


def _refuse_contradictions(flags: Mapping[str, Any], values: Mapping[str, Any], name: str) -> None:
    problems = [
        f"{flag} is {_spelled(values[flag])} in {name} and cannot become {asked}; leave it out"
        for flag, asked in flags.items()
        if flag in values
        and flag not in _FREE
        and not _means(str(asked), values[flag])
        and not (flag in _SHRINKABLE and _is_smaller(str(asked), values[flag]))
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


def _is_smaller(text: str, value: int) -> bool:
    return text.isdigit() and 0 < int(text) < value


def _spelled(value: Any) -> str:
    """A value as a flag spells it."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
