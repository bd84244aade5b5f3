"""What a benchmark found, as a file: each figure with its spread, the machine and the day.

`table.py` makes the table of README.md from such files, so that no figure is typed by hand.
"""

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

FORMAT = 1
# flags of a run that only shows that a benchmark works
QUICKLY = ("--data.max-documents=300", "--runtime.autotune=false", "--runtime.threads=1")


@dataclass(frozen=True)
class Figure:
    """Median, least and greatest of so many turns."""

    median: float
    low: float
    high: float
    turns: int
    unit: str

    @classmethod
    def of(cls, values: Sequence[float], unit: str = "x") -> "Figure":
        return cls(statistics.median(values), min(values), max(values), len(values), unit)

    @classmethod
    def ratio(cls, one: Sequence[float], other: Sequence[float]) -> "Figure":
        """How many times `one` is `other`, turn by turn."""
        return cls.of([a / b for a, b in zip(one, other, strict=True)])

    def __str__(self) -> str:
        return f"{self.median:.2f}{self.unit} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Result:
    """One call of a benchmark. `load` is that of the whole machine just before; None: unknown."""

    command: str
    date: str
    machine: str
    load: float | None
    quick: bool
    figures: Mapping[str, Figure]


def arguments(about: str | None) -> argparse.ArgumentParser:
    """A parser with the flags that every benchmark has."""
    first, _, rest = (about or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="seconds; the figures say nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there")
    parser.set_defaults(load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None)
    return parser


def save(told: argparse.Namespace, figures: Mapping[str, Figure]) -> None:
    """Write what was found, if a file was asked for."""
    if told.json is None:
        return
    result = Result(
        command_line(sys.argv), date.today().isoformat(), machine(), told.load, told.quick, figures
    )
    told.json.parent.mkdir(parents=True, exist_ok=True)
    told.json.write_text(
        json.dumps({"format": FORMAT, **asdict(result)}, indent=1) + "\n", encoding="utf-8"
    )


def load(path: Path) -> Result:
    """Raises ValueError for a file of another format."""
    document = json.loads(path.read_text(encoding="utf-8"))
    if document.pop("format", None) != FORMAT:
        raise ValueError(f"{path} is no result of format {FORMAT}")
    figures = {name: Figure(**figure) for name, figure in document.pop("figures").items()}
    return Result(**document, figures=figures)


def command_line(argv: Sequence[str]) -> str:
    """The command as another person may type it: places on this machine are left out."""
    words, rest = [f"python benchmarks/{Path(argv[0]).name}"], iter(argv[1:])
    for word in rest:
        if word == "--json":
            next(rest, None)
        elif not word.startswith("--json="):
            words.append("PATH" if os.sep in word else word)
    return " ".join(words)


def machine() -> str:
    """Processor, cores, system and torch."""
    import torch  # here, because what measures a start must not begin with this

    from tinychat.model import cpu_computes_bf16
    from tinychat.model.device import processor

    kind = torch.backends.cpu.get_cpu_capability() + (", bf16" if cpu_computes_bf16() else "")
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)  # private, so it may vanish
    amx = ", no AMX" if tiles and not tiles() else ""
    return (
        f"{processor('cpu')} ({kind}{amx}), {os.cpu_count()} cores, {platform.system()}, "
        f"torch {torch.__version__}"
    )
