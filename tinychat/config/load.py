"""Strict loading: layers of settings, one over the other, each value remembering its source.

A layer is a nested mapping with a name ("preset demo", a file, "command line"). The same code reads
them all, so a typo in a file is refused as loudly as one in a flag. Every problem of every layer is
found before anything is raised. pydantic judges single values; this module only walks the tree.
"""

import dataclasses
import difflib
import json
import tomllib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from tinychat.config.check import find_problems
from tinychat.config.settings import Settings
from tinychat.errors import SettingsError

DEFAULT = "default"
FLAGS = "command line"
RECIPES = (
    "chat",
    "follow",
    "tune",
)  # presets for weights that are there: they name no shape of a model


@dataclass(frozen=True)
class Layer:
    """Values that come from one place. With `text` every leaf is a string, as flags are."""

    source: str
    values: Mapping[str, Any]
    text: bool = False


@dataclass(frozen=True)
class Resolved:
    """The settings of a run, and for each dotted name where its value came from."""

    settings: Settings
    sources: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The document of settings.json."""
        values = dataclasses.asdict(self.settings)
        return {"format": 1, "settings": values, "sources": self.sources}


def resolve(*layers: Layer) -> Resolved:
    """Lay the layers over the defaults, later ones on top.

    Raises SettingsError with every unknown name, wrong value and impossible pair.
    """
    problems: list[str] = []
    values: dict[str, Any] = dict(_leaves(Settings()))
    sources = dict.fromkeys(values, DEFAULT)
    for layer in layers:
        for name, value in _read_layer(layer, Settings, "", problems):
            values[name], sources[name] = value, layer.source
    # a length given in one measure replaces one given lower down in the other
    if sources["max_epochs"] != sources["max_steps"]:
        order = [DEFAULT, *(layer.source for layer in layers)]
        weaker = min("max_steps", "max_epochs", key=lambda n: order.index(sources[n]))
        values[weaker] = None
    settings = _build(Settings, "", values)
    if not problems:
        for names, sentence in find_problems(settings):
            where = ", ".join(dict.fromkeys(f"{n} from {sources[n]}" for n in names))
            problems.append(f"{sentence} ({where})")
    if problems:
        raise SettingsError(*problems)
    return Resolved(settings, sources)


def from_json(document: Mapping[str, Any]) -> Resolved:
    """Read back what `Resolved.to_json` wrote; as strict as any other layer."""
    parts = document.get("settings"), document.get("sources")
    if not all(isinstance(part, Mapping) for part in parts):
        raise SettingsError("settings.json is damaged: it lacks its settings or their sources")
    resolved = resolve(Layer("settings.json", json_to_layer(document["settings"])))
    return Resolved(resolved.settings, dict(document["sources"]))


def json_to_layer(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's null is our None, which in a layer is spelled "none"."""
    return {
        key: json_to_layer(value)
        if isinstance(value, Mapping)
        else "none"
        if value is None
        else value
        for key, value in values.items()
    }


def read_toml(path: Path) -> Layer:
    """A settings file as a layer."""
    try:
        return Layer(str(path), tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not a TOML file: {error}") from None


def preset_names() -> list[str]:
    """Names of the presets that come with tinychat and make a model."""
    folder = resources.files("tinychat.config") / "presets"
    names = (p.name.removesuffix(".toml") for p in folder.iterdir() if p.name[0] != "_")
    return sorted(name for name in names if name not in RECIPES)


def read_preset(name: str) -> Layer:
    """A preset as a layer."""
    names = [*preset_names(), *RECIPES]
    if name not in names:
        raise SettingsError(f"no preset is called {name!r}; {_nearest(name, names)}")
    text = (resources.files("tinychat.config") / "presets" / f"{name}.toml").read_text("utf-8")
    return Layer(f"preset {name}", tomllib.loads(text))


def setting_names() -> list[str]:
    """Every setting by its dotted name."""
    return [name for name, _ in _leaves(Settings())]


def unknown_setting(name: str, source: str) -> str:
    """The sentence for a name that no setting has."""
    return f"{source}: unknown setting {name!r}; {_nearest(name, setting_names())}"


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for item in dataclasses.fields(node):
        value = getattr(node, item.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value


def _build(cls: type, prefix: str, values: Mapping[str, Any]) -> Any:
    hints = get_type_hints(cls)
    return cls(
        **{
            item.name: _build(hints[item.name], f"{prefix}{item.name}.", values)
            if dataclasses.is_dataclass(hints[item.name])
            else values[f"{prefix}{item.name}"]
            for item in dataclasses.fields(cls)
        }
    )


def _read_layer(
    layer: Layer, cls: type, prefix: str, problems: list[str]
) -> Iterator[tuple[str, Any]]:
    node: Any = layer.values
    for part in prefix.split(".")[:-1]:
        node = node[part]
    hints = get_type_hints(cls, include_extras=True)
    for key, value in node.items():
        name = f"{prefix}{key}"
        hint = hints.get(key)
        if hint is None:
            problems.append(unknown_setting(name, layer.source))
        elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
            if isinstance(value, Mapping):
                yield from _read_layer(layer, hint, f"{name}.", problems)
            else:
                problems.append(f"{layer.source}: {name} is a section, not a single value")
        else:
            try:
                yield name, _read_value(hint, value, layer.text)
            except ValidationError as error:
                told = error.errors()[0]["msg"].removeprefix("Input ")
                problems.append(
                    f"{layer.source}: {name} = {json.dumps(value, default=str)}: {told}"
                )


def _read_value(hint: Any, value: Any, text: bool) -> Any:
    """One value as its type; raises pydantic's ValidationError."""
    optional = get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)
    if optional and isinstance(value, str) and value.lower() == "none":
        return None
    if isinstance(value, list | tuple):
        # TOML and JSON write a tuple as a list; a flag gives it as several words
        return TypeAdapter(hint).validate_python(tuple(value), strict=True)
    if text and isinstance(value, str) and get_origin(hint) is not tuple:
        return TypeAdapter(hint).validate_strings(value)
    if text and get_origin(hint) is tuple:
        return TypeAdapter(hint).validate_python((value,), strict=True)
    return TypeAdapter(hint).validate_python(value, strict=True)


def _nearest(name: str, names: list[str]) -> str:
    tails = {n.rpartition(".")[2]: n for n in names}
    close = difflib.get_close_matches(name, names, 1, 0.6) or [
        tails[t] for t in difflib.get_close_matches(name.rpartition(".")[2], list(tails), 1, 0.75)
    ]
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there are {', '.join(names)}" if len(names) < 20 else "see `tinychat train --help`"
