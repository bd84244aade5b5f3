"""Settings as flags: which of them stand on the command line, as text, for the strict loader.

cyclopts makes the flags and their help from the `Settings` dataclasses. It is stopped short of
converting them: one loader judges flags and TOML files alike, all problems at once, and remembers
where each value came from.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, ArgumentCollection, Group, Parameter

from tinychat.config import DataSettings, Settings
from tinychat.errors import SettingsError

# Declares every setting as a flag, for parsing and help; its value is never used.
SettingsFlags = Annotated[Settings, Parameter(name="*")]
SETTINGS = Settings()
READING = Group.create_ordered("How files are read (short for --data.…)")


@dataclass(frozen=True, kw_only=True)
class ReadingFlags:
    """Settings of `data` by a short name; their values are taken as those of the settings are."""

    format: Literal["auto", "text", "json", "turns"] = "auto"
    """How to read text files (auto: told from each file's content and name)."""
    take: Literal["chosen"] | None = None
    """Of preference data, learn the answers that were chosen."""
    user_field: str | None = None
    """Name of the field or column with the user's words (none: a known name)."""
    assistant_field: str | None = None
    """Name of the field or column with the answer (none: a known name)."""
    text_field: str | None = None
    """Name of the field or column whose text is learnt as it is (none: a known name)."""
    strict: Annotated[bool, Parameter(negative="")] = False
    """Stop at the first bad record instead of leaving out up to 1%."""
    max_documents: int | None = None
    """Read no more than this many documents."""


# The group's name stands over them in `--help`.
Reading = Annotated[ReadingFlags, Parameter(name="*", group=READING)]
READING_FLAGS = ReadingFlags()
_SHORT = frozenset(field.name for field in fields(ReadingFlags))


class GivenSettings:
    """A cyclopts config hook that takes the settings' words out before they are converted."""

    def __init__(self) -> None:
        self.values: dict[str, str | tuple[str, ...]] = {}
        self.unknown: tuple[str, ...] = ()
        self._command = ""
        self._own: list[str] = []  # the command's flags that are no settings
        self._takes_settings = False

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        self._command = " ".join(("tinychat", *commands))
        self._takes_settings = any(a.field_info.name == "settings" for a in arguments)
        for argument in arguments:
            name = ".".join(argument.keys)
            is_setting = bool(name) and (self._takes_settings or name in _SHORT)
            if not is_setting or name in _SHORT:
                self._own += argument.names
            if is_setting and argument.tokens:
                words = [_word(token) for token in argument.tokens]
                many = "tuple" in str(argument.hint)
                self.values[f"data.{name}" if name in _SHORT else name] = (
                    tuple(words) if many else words[-1]
                )
                argument.tokens.clear()

    def problems(self) -> list[str]:
        """A sentence for each flag that does not exist."""
        return [self._problem(flag.partition("=")[0]) for flag in self.unknown]

    def _problem(self, flag: str) -> str:
        from tinychat.config.load import unknown_setting

        near = get_close_matches(flag, self._own, 1, 0.7)
        if self._takes_settings and not near:
            return unknown_setting(flag.lstrip("-").replace("-", "_"), "command line")
        hint = f"did you mean {near[0]}?" if near else f"see `{self._command} --help`"
        return f"`{self._command}` has no flag {flag}; {hint}"


GivenFlags = Annotated[GivenSettings, Parameter(parse=False)]


def settings_of(given: GivenSettings) -> Settings:
    """The demo's settings with those on the command line, for commands that start no run.

    Raises SettingsError for all that is wrong with the flags.
    """
    from tinychat.config.load import FLAGS, Layer, read_preset, resolve
    from tinychat.config.names import nest

    layer = Layer(FLAGS, nest(given.values), text=True)
    try:
        settings = resolve(read_preset("demo"), layer).settings
    except SettingsError as error:
        raise SettingsError(*given.problems(), *error.problems) from None
    if given.unknown:
        raise SettingsError(*given.problems())
    return settings


def data_settings(given: GivenSettings, paths: Sequence[str]) -> DataSettings:
    """How these files are to be read. Raises SettingsError as `settings_of` does."""
    return replace(settings_of(given).data, paths=tuple(paths))


def with_absolute_mirror(flags: dict[str, Any]) -> dict[str, Any]:
    """The same flags; the folder of the second copy is found again from any folder."""
    named = flags.get("checkpoint.mirror")
    if named is None or named.lower() == "none":
        return flags
    return flags | {"checkpoint.mirror": str(Path(named).absolute())}


def _word(token: Any) -> str:
    if isinstance(token.implicit_value, bool):
        return str(token.implicit_value).lower()
    return token.value


def command_line() -> list[str]:
    """The words this process was started with, for the record."""
    return list(sys.argv)
