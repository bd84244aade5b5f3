"""Write docs/cli.md, docs/configuration.md and the keys of docs/monitor.md from the code, or with
--check say if they are stale.

python docs/make_reference.py [--check]
"""

import dataclasses
import io
import sys
import typing
from pathlib import Path

from cyclopts import App
from docstring_parser import parse_from_object
from rich.console import Console

from tinychat.cli.app import COMMANDS, make_app
from tinychat.cli.flags import GivenSettings
from tinychat.config import Settings
from tinychat.config.load import preset_names
from tinychat.config.resume import resume_class
from tinychat_monitor import keys

DOCS = Path(__file__).parent
MADE = "<!-- made by docs/make_reference.py; do not edit -->\n"
CLASSES = {"free": "any time", "bits": "at a resume (class B)", "fixed": "never"}


def cli_page() -> str:
    """Every command's help."""
    parts = [MADE, "# Commands\n", "```text", _help([]), "```\n"]
    for _, name in COMMANDS:
        parts += [f"## tinychat {name}\n", "```text", _help([name]), "```\n"]
    return "\n".join(parts)


def _help(command: list[str]) -> str:
    text = io.StringIO()
    console = Console(file=text, width=100, color_system=None, force_terminal=False)
    app: App = make_app(GivenSettings())
    for _, name in COMMANDS:
        app[name]  # imports it, so that the page shows its first sentence
    app.help_print(command, console=console)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip()


def configuration_page() -> str:
    """Every setting with its type, default and sentence."""
    settings = Settings()
    parts = [
        MADE,
        "# Settings\n",
        "Each is a key of a TOML file (`--config FILE`) and a flag (`--optim.learning-rate 3e-4`). "
        "Later ones win: default, preset, file, flag. `none` switches off. The last column says "
        "when a setting may still change.\n",
        f"Presets: {', '.join(f'`{name}`' for name in preset_names())}.\n",
        *_section("", settings),
    ]
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            parts += [
                f"## [{field.name}]\n",
                str(type(value).__doc__),
                "",
                *_section(f"{field.name}.", value),
            ]
    return "\n".join(parts)


def _section(prefix: str, section: typing.Any) -> list[str]:
    told = {p.arg_name: p.description or "" for p in parse_from_object(type(section)).params}
    lines = ["| setting | default | | may change |", "|---|---|---|---|"]
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            continue
        default = (
            "none" if value is None else str(value).lower() if isinstance(value, bool) else value
        )
        name = f"{prefix}{field.name}"
        lines.append(
            f"| `{name}` | {default if default != () else 'none'} | "
            f"{told[field.name]} | {CLASSES[resume_class(name)]} |"
        )
    return [*lines, ""]


def monitor_page() -> str:
    """The page as it stands, with the table of keys as it is now."""
    page = (DOCS / "monitor.md").read_text(encoding="utf-8")
    before, _, after = page.partition("do not edit -->\n")
    _, mark, after = after.partition("<!-- /keys -->")
    return f"{before}do not edit -->\n\n{keys.markdown()}{mark}{after}"


def main() -> int:
    """Write the pages, or compare them."""
    stale = []
    pages = {
        "cli.md": cli_page(),
        "configuration.md": configuration_page(),
        "monitor.md": monitor_page(),
    }
    for name, page in pages.items():
        path = DOCS / name
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if old == page:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.write_text(page, encoding="utf-8")
    if stale and "--check" in sys.argv:
        print(f"stale: {', '.join(stale)}; run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
