"""The sentence under each setting, for screens that draw no command line."""

import ast
import dataclasses
import inspect
from itertools import pairwise
from typing import get_type_hints

from tinychat.config.settings import Settings


def setting_help() -> dict[str, str]:
    """What each setting is for, by its dotted name; empty where the source is not at hand."""
    return _sentences(Settings, "")


def _sentences(cls: type, prefix: str) -> dict[str, str]:
    under = _under_fields(cls)
    hints = get_type_hints(cls)
    found: dict[str, str] = {}
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[field.name]):
            found |= _sentences(hints[field.name], f"{field.name}.")
        else:
            found[f"{prefix}{field.name}"] = under.get(field.name, "")
    return found


def _under_fields(cls: type) -> dict[str, str]:
    """The string that stands under each field of a class."""
    try:
        tree = ast.parse(inspect.getsource(cls))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
