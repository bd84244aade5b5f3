"""Settings as flags: which of them stand on the command line, as text, for the strict loader.

cyclopts makes the flags and their help from the `Settings` dataclasses. It is stopped short of
converting them: one loader judges flags and TOML files alike, all problems at once, and remembers
where each value came from.
"""

import sys
from difflib import get_close_matches
from typing import Annotated, Any

from cyclopts import App, ArgumentCollection, Parameter

from tinychat.config import Settings

# Declares every setting as a flag, for parsing and help; its value is never used.
SettingsFlags = Annotated[Settings, Parameter(name="*")]
SETTINGS = Settings()


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
            if not argument.keys or not self._takes_settings:
                self._own += argument.names
            elif argument.tokens:
                words = [_word(token) for token in argument.tokens]
                many = "tuple" in str(argument.hint)
                self.values[".".join(argument.keys)] = tuple(words) if many else words[-1]
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


def _word(token: Any) -> str:
    if isinstance(token.implicit_value, bool):
        return str(token.implicit_value).lower()
    return token.value


def command_line() -> list[str]:
    """The words this process was started with, for the record."""
    return list(sys.argv)
