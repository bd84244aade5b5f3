"""What a person chose for this screen: asked by every widget, decided once before it opens."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from tinychat.watch.plot import Marker

if TYPE_CHECKING:
    from textual.dom import DOMNode

MARKERS: tuple[Marker, ...] = get_args(Marker)


@dataclass(frozen=True)
class Options:
    """How the monitor shows things, and whether it may steer."""

    readonly: bool = False
    ascii: bool = False  # nothing of ours beyond character 127
    marker: Marker = "braille"  # what curves are drawn with
    theme: str | None = None  # a name; None is the remembered one


def options_of(node: "DOMNode") -> Options:
    """The options of the app that a widget or screen is in."""
    return getattr(node.app, "options", None) or Options()


def needs_ascii(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this terminal can be trusted with ASCII only: no UTF-8, a Linux console, or dumb.

    Where nothing is said of the locale, as in most containers, UTF-8 is taken for granted.
    """
    environment = os.environ if environment is None else environment
    if environment.get("TERM", "") in ("linux", "dumb"):
        return True
    language, kind = environment.get("LANG", ""), environment.get("LC_CTYPE", "")
    if kind == "C.UTF-8" and language in ("C", "POSIX"):
        kind = ""  # Python set it for itself, which says nothing of the terminal
    told = environment.get("LC_ALL") or kind or language
    return bool(told) and "utf8" not in told.lower().replace("-", "")
