"""The table of README.md: every claim beside what was measured, from claims.toml and results/.

    python benchmarks/table.py [--check]

Writes it between its marks, or with --check says whether it is stale. A figure is in the table if
its file is in results/, which a benchmark writes with --json; none is typed by hand.
"""

import argparse
import string
import sys
import tomllib
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from measured import Figure, Result, load

HERE = Path(__file__).parent
README, CLAIMS, RESULTS = HERE / "README.md", HERE / "claims.toml", HERE / "results"
BEGIN = "<!-- claims: made by benchmarks/table.py; do not edit -->\n"
END = "<!-- /claims -->\n"
HEADS = ("claim", "goal", "here", "spread, turns", "", "when, load", "command", "tried")


@dataclass(frozen=True)
class Claim:
    """What is claimed of one figure, and what was tried where it is missed."""

    what: str
    result: str
    figure: str
    least: float | None = None
    most: float | None = None
    tried: str = ""

    @property
    def goal(self) -> str:
        if self.least is not None:
            return f"≥ {self.least:g}"
        return "" if self.most is None else f"≤ {self.most:g}"

    def holds(self, median: float) -> bool:
        """A limit from above is one of size: a plan may be off in both directions."""
        if self.least is not None:
            return median >= self.least
        return self.most is None or abs(median) <= self.most


def claims() -> list[Claim]:
    """In the order of the table."""
    return [Claim(**each) for each in tomllib.loads(CLAIMS.read_text("utf-8"))["claim"]]


def results() -> dict[str, Result]:
    """What is kept of each benchmark."""
    return {path.stem: load(path) for path in sorted(RESULTS.glob("*.json"))}


def table() -> str:
    """The whole part between the marks. Raises KeyError for a figure that its result lacks."""
    found = results()
    machines = list(dict.fromkeys(result.machine for result in found.values()))
    names = dict(zip(machines, string.ascii_uppercase, strict=False))
    lines = ["| " + " | ".join(HEADS) + " |", "|---" * len(HEADS) + "|"]
    for claim in claims():
        result = found.get(claim.result)
        told = ("not measured", "", "", "", "")
        if result is not None:
            told = cells(claim, result, names[result.machine])
        lines.append("| " + " | ".join((claim.what, claim.goal, *told, claim.tried)) + " |")
    lines += ["", *(f"- {name}: {machine}" for machine, name in names.items())]
    return "\n".join(lines) + "\n"


def cells(claim: Claim, result: Result, machine: str) -> tuple[str, str, str, str, str]:
    """Figure, spread, whether it holds, when and where, command."""
    figure = result.figures[claim.figure]
    unit = figure.unit.strip()
    spread = ""
    if figure.turns > 1:
        spread = f"{digits(figure, figure.low)} to {digits(figure, figure.high)}, {figure.turns}"
    mark = "missed" if not claim.holds(figure.median) else "" if not claim.goal else "holds"
    day = date.fromisoformat(result.date)
    load = "" if result.load is None else f", {result.load:.1f}"
    when = f"{machine}: {day.day} {day:%B %Y}{load}"
    return f"**{digits(figure, figure.median)}** {unit}", spread, mark, when, f"`{result.command}`"


def digits(figure: Figure, value: float) -> str:
    """Three that count."""
    size = max(abs(figure.low), abs(figure.high))
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def renewed(page: str) -> str:
    """The page with the table of today."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + BEGIN + "\n" + table() + END + tail


def main() -> int:
    """Write or check; 1 if it is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    told = parser.parse_args()
    page = README.read_text(encoding="utf-8")
    if told.check:
        stale = renewed(page) != page
        print(f"{README} is {'stale: run this without --check' if stale else 'as it should be'}")
        return int(stale)
    README.write_text(renewed(page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
