"""docs/faults.md names every fault, and only tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAULTS = 40


def rows() -> list[list[str]]:
    text = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if re.match(r"\| F\d+ \|", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@cache
def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, functions)}


def test_all_faults_are_there_in_order() -> None:
    assert [row[0] for row in rows()] == [f"F{number}" for number in range(1, FAULTS + 1)]
    assert all(len(row) == 4 and all(row) for row in rows())


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_what_is_named_exists(row: list[str]) -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)::(test_\w+)`", row[3])
    assert row[3].count("`tests/") == len(named), "a name is not as it must be"
    for path, name in named:
        assert name in names_in(ROOT / path), f"{path} has no {name}"
    assert named or row[3].endswith("."), "without a test there must be a sentence"
