"""How help pages look: paragraphs wrapped, examples left as they are, a panel for each section of
the settings. cyclopts gathers the words; this only lays them out.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from attrs import evolve
from cyclopts.help import HelpEntry, HelpPanel, InlineText
from cyclopts.help.formatters import DefaultFormatter
from rich.console import Console, ConsoleOptions
from rich.text import Text

from tinychat.config import Settings

_OFF = ("False", "()")  # defaults that say nothing a reader would not expect


class HelpPages(DefaultFormatter):
    """Lays out one help page."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one panel, that of the parameters section by section."""
        for title, entries in _sections(panel):
            plain = [evolve(e, default=None) if e.default in _OFF else e for e in entries]
            super().__call__(console, options, panel.copy(title=title, entries=plain))

    def render_description(
        self, console: Console, options: ConsoleOptions, description: Any
    ) -> None:
        """Print what stands above the panels."""
        if isinstance(description, InlineText) and isinstance(description.primary_renderable, Text):
            for block in _blocks(description.primary_renderable.plain):
                console.print(Text(block), soft_wrap=block.startswith(" "))


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs as one long line each; indented lines and empty ones by themselves."""
    paragraph: list[str] = []
    for line in [*text.splitlines(), ""]:
        if paragraph and (not line or line.startswith(" ")):
            yield " ".join(paragraph)
            paragraph = []
        if line and not line.startswith(" "):
            paragraph.append(line)
        else:
            yield line


def _sections(panel: HelpPanel) -> Iterator[tuple[Any, list[HelpEntry]]]:
    """The panel as (title, entries): options, settings of the run, and each section of them."""
    if not any("." in _name(entry) for entry in panel.entries):
        yield "Options" if panel.title == "Parameters" else panel.title, panel.entries
        return
    found: dict[str, list[HelpEntry]] = {}
    for entry in panel.entries:
        found.setdefault(_title(_name(entry)), []).append(entry)
    yield from found.items()


def _title(name: str) -> str:
    """The panel of one flag of a command that takes settings."""
    section, dot, _ = name.partition(".")
    default = getattr(Settings(), section.replace("-", "_"), None)
    if dot:
        return f"{section}: {(type(default).__doc__ or '').partition('.')[0]}"
    known = {field.name.replace("_", "-") for field in fields(Settings)}
    return "Settings of the run" if name in known and not is_dataclass(default) else "Options"


def _name(entry: HelpEntry) -> str:
    return entry.names[0].removeprefix("--") if entry.names else ""
