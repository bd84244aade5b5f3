"""What may change when a run goes on.

free     decides nothing about the weights: may even change while the run trains
free*    changes bits but neither data nor meaning ("class B"): said in the lineage line
fixed    would make it another run ("class C"): refused
"""

from typing import Any, Literal

from tinychat.config.load import Layer, Resolved, json_to_layer, nest, resolve
from tinychat.errors import SettingsError

ResumeClass = Literal["free", "bits", "fixed"]

_FREE = ("eval.", "sample.", "checkpoint.", "log.")
_BITS = (
    "runtime.",
    "micro_batch_size",
    "max_steps",
    "max_epochs",
    "optim.schedule_steps",
    "optim.max_bad_steps",
)


def resume_class(name: str) -> ResumeClass:
    """What a change of this setting means for a run that goes on."""
    if name.startswith(_FREE):
        return "free"
    return "bits" if name.startswith(_BITS) else "fixed"


def change_setting(before: Resolved, name: str, value: Any) -> Resolved:
    """One setting changed while the run trains. Raises SettingsError if it may not be."""
    if name in flat(before) and resume_class(name) != "free":
        raise SettingsError(
            f"{name} decides the weights, so it cannot change while the run trains; "
            "intervals, samples and what is kept can"
        )
    layer = Layer("control", nest({name: value}), text=isinstance(value, str))
    return continue_with(before, layer)[0]


def continue_with(before: Resolved, layer: Layer) -> tuple[Resolved, tuple[str, ...]]:
    """The settings of a run that goes on with changes, and what changed of class B, in words.

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
    fixed = [name for name in changed if resume_class(name) == "fixed"]
    if fixed:
        raise SettingsError(
            *(
                f"{name} is {old[name]!r} in this run and cannot become {new[name]!r}; "
                "start a new run for that (`tinychat train --init-from` takes its weights along)"
                for name in fixed
            )
        )
    bits = tuple(
        f"{name} {old[name]} -> {new[name]}" for name in changed if resume_class(name) == "bits"
    )
    return Resolved(after.settings, sources), bits


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
