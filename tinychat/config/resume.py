"""The settings of a run that goes on with changes: what may change, and what is refused.

Which setting is of which class stands in `classes`.
"""

from collections.abc import Collection
from typing import Any

from tinychat.config.classes import SETTINGS, may_change_and_decides_bits, rule_of
from tinychat.config.load import Layer, Resolved, json_to_layer, resolve
from tinychat.config.names import nest
from tinychat.errors import SettingsError


def change_setting(before: Resolved, name: str, value: Any) -> Resolved:
    """One setting changed while the run trains. Raises SettingsError if it may not be."""
    if name in flat(before) and not rule_of(name).while_training:
        raise SettingsError(
            f"{name} cannot change while the run trains; intervals, samples and what is kept can"
        )
    layer = Layer("control", nest({name: value}), text=isinstance(value, str))
    return continue_with(before, layer)[0]


def continue_with(
    before: Resolved, layer: Layer, flags: Collection[str] = ()
) -> tuple[Resolved, tuple[str, ...]]:
    """The settings of a run that goes on with changes, and what changed that decides bits, in
    words. `flags` are those given that allow something of class C.

    Raises SettingsError naming every changed setting that would make it another run.
    """
    document = before.to_json()
    after = resolve(Layer("settings.json", json_to_layer(document["settings"])), layer)
    sources = {
        name: layer.source if source == layer.source else before.sources.get(name, source)
        for name, source in after.sources.items()
    }
    old, new = flat(before), flat(after)
    changed = [name for name in new if new[name] != old[name]]
    refused = [
        name
        for name in changed
        if rule_of(name).resume_class == "C" and rule_of(name).flag not in flags
    ]
    if refused:
        raise SettingsError(
            *(
                f"{name} is {old[name]!r} in this run and cannot become {new[name]!r}; "
                f"{rule_of(name).instead}"
                for name in refused
            )
        )
    told = tuple(
        f"{name} {old[name]} -> {new[name]}"
        for name in changed
        if rule_of(name).resume_class != "A"
    )
    return Resolved(after.settings, sources), told


def deciding(resolved: Resolved) -> dict[str, Any]:
    """The settings that decide bits and in which attempts of one run can differ."""
    return {
        name: value for name, value in flat(resolved).items() if may_change_and_decides_bits(name)
    }


def with_deciding(resolved: Resolved, values: dict[str, Any]) -> Resolved:
    """The settings as another attempt of the same run had them; `values` are its `deciding`."""
    names = {name for rule in SETTINGS for name in rule.names}
    known = {name: value for name, value in values.items() if name in names}
    document = resolved.to_json()
    layers = (
        Layer("settings.json", json_to_layer(document["settings"])),
        Layer("attempt.json", json_to_layer(nest(known))),
    )
    return Resolved(resolve(*layers).settings, resolved.sources)


def flat(resolved: Resolved) -> dict[str, Any]:
    """Every setting by its dotted name."""
    values = resolved.to_json()["settings"]
    return {
        f"{prefix}{name}": value
        for prefix, section in [("", values), *((f"{k}.", v) for k, v in values.items())]
        if isinstance(section, dict)
        for name, value in section.items()
        if not isinstance(value, dict)
    }
