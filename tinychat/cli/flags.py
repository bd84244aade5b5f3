"""Settings as flags: which of them stand on the command line, as text, for the strict loader.

cyclopts makes the flags and their help from the `Settings` dataclasses. It is stopped short of
converting them: one loader judges flags and TOML files alike, all problems at once, and remembers
where each value came from.
"""

import sys
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

    def __call__(
        self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection
    ) -> None:
        for argument in arguments:
            if argument.field_info.name != "settings" and not argument.keys:
                continue
            if argument.tokens and argument.keys:
                words = [_word(token) for token in argument.tokens]
                many = "tuple" in str(argument.hint)
                self.values[".".join(argument.keys)] = tuple(words) if many else words[-1]
                argument.tokens.clear()

    def problems(self) -> list[str]:
        """A sentence for each flag that does not exist."""
        from tinychat.config.load import unknown_setting

        return [
            unknown_setting(flag.lstrip("-").partition("=")[0].replace("-", "_"), "command line")
            for flag in self.unknown
        ]


GivenFlags = Annotated[GivenSettings, Parameter(parse=False)]


def _word(token: Any) -> str:
    if isinstance(token.implicit_value, bool):
        return str(token.implicit_value).lower()
    return token.value


def command_line() -> list[str]:
    """The words this process was started with, for the record."""
    return list(sys.argv)
