"""Settings by their dotted names: from the tree to one level, and back."""

from collections.abc import Mapping
from typing import Any


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"model.n_layer": 2} as {"model": {"n_layer": 2}}."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *sections, last = name.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    return tree


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """{"model": {"n_layer": 2}} as {"model.n_layer": 2}: what `nest` undoes."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{name}": each for name, each in flatten(value).items()}
        else:
            found[key] = value
    return found
