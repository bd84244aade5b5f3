"""Write docs/cli.md, docs/configuration.md, the keys of docs/monitor.md, the resume classes of
docs/reliability.md and the tables of docs/presets.md from the code, or with --check say if they
are stale.

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
from tinychat.config.load import preset_names, read_preset, resolve
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
            f"{' '.join(told[field.name].split())} | {_may_change(rule_of(name))} |"
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


def presets_table() -> str:
    """Every preset: its size as built, its shape and how it is trained."""
    from tinychat.planning.outlook import shape_of

    lines = [
        "| preset | parameters | vocabulary | layers x width, heads | context | rows a step | "
        "length |",
        "|---|---|---|---|---|---|---|",
    ]
    sized = []
    for name in preset_names():
        settings = resolve(read_preset(name)).settings
        sized.append((shape_of(settings, None), name, settings))
    for shape, name, settings in sorted(sized, key=lambda each: each[0].total):
        model, length = settings.model, f"{settings.max_steps or 0:,} steps"
        if settings.max_epochs:
            length = f"{settings.max_epochs:g} epochs"
        kind = "gpt2" if settings.tokenizer.path else settings.tokenizer.kind
        lines.append(
            f"| `{name}` | {shape.total:,} | {shape.vocab_size:,} {kind} | {model.n_layer} x "
            f"{model.n_embd}, {model.n_head} | {model.context_length} | {settings.batch_size} | "
            f"{length} |"
        )
    return "\n".join([*lines, ""])


def claims_table() -> str:
    """What the sources of the presets say, and what is true."""
    from tinychat.planning.claims import CHECKS, claims_of

    lines = ["| preset | its source says | true |", "|---|---|---|"]
    for name in CHECKS:
        for said, true in claims_of(name):
            lines.append(f"| `{name}` | {said} | {true} |")
    return "\n".join([*lines, ""])


def _with_parts(name: str, parts: dict[str, str]) -> str:
    """A page as it stands, with what stands between each pair of marks as it is now."""
    page = (DOCS / name).read_text(encoding="utf-8")
    for mark, part in parts.items():
        begin = f"<!-- {mark}: made by docs/make_reference.py; do not edit -->\n"
        before, begin, after = page.partition(begin)
        _, end, after = after.partition(f"<!-- /{mark} -->")
        if not begin or not end:
            raise ValueError(f"{name} has no place for {mark}")
        page = f"{before}{begin}\n{part}{end}{after}"
    return page


def main() -> int:
    """Write the pages, or compare them."""
    stale = []
    pages = {
        "cli.md": cli_page(),
        "configuration.md": configuration_page(),
        "monitor.md": _with_parts("monitor.md", {"keys": keys.markdown()}),
        "reliability.md": _with_parts("reliability.md", {"classes": classes_table()}),
        "presets.md": _with_parts(
            "presets.md", {"presets": presets_table(), "claims": claims_table()}
        ),
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
