"""Write docs/cli.md, docs/configuration.md, the keys of docs/monitor.md and the resume classes of
docs/reliability.md from the code, or with --check say if they are stale.

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
from tinychat.config.classes import CIRCUMSTANCES, SETTINGS, Rule, rule_of
from tinychat.config.load import preset_names
from tinychat_monitor import keys

DOCS = Path(__file__).parent
MADE = "<!-- made by docs/make_reference.py; do not edit -->\n"
CLASSES = {"A": "at a resume", "B": "at a resume (class B)", "C": "never"}


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
            f"{told[field.name]} | {_may_change(rule_of(name))} |"
        )
    return [*lines, ""]


def _may_change(rule: Rule) -> str:
    if rule.while_training:
        return "any time"
    return f"at a resume with `{rule.flag}`" if rule.flag else CLASSES[rule.resume_class]


def classes_table() -> str:
    """What may change when a run goes on: the settings, then the circumstances."""
    lines = ["| class | what | why | when it changes |", "|---|---|---|---|"]
    for what, rules in (("", SETTINGS), ("circumstance ", CIRCUMSTANCES)):
        for rule in rules:
            names = ", ".join(f"`{name}`" for name in rule.names)
            then = {"A": "bit-exact", "B": "told, and bit-exact until there"}
            told = then.get(rule.resume_class, f"refused: {rule.instead}")
            if rule.while_training:
                told += "; also while it trains"
            lines.append(f"| {rule.resume_class} | {what}{names} | {rule.why} | {told} |")
    return "\n".join([*lines, ""])


def _with_part(name: str, mark: str, part: str) -> str:
    """A page as it stands, with what stands between the marks as it is now."""
    page = (DOCS / name).read_text(encoding="utf-8")
    before, _, after = page.partition("do not edit -->\n")
    _, end, after = after.partition(f"<!-- /{mark} -->")
    return f"{before}do not edit -->\n\n{part}{end}{after}"


def main() -> int:
    """Write the pages, or compare them."""
    stale = []
    pages = {
        "cli.md": cli_page(),
        "configuration.md": configuration_page(),
        "monitor.md": _with_part("monitor.md", "keys", keys.markdown()),
        "reliability.md": _with_part("reliability.md", "classes", classes_table()),
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
