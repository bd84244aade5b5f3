"""Every benchmark runs, and the table of its page agrees with the results that are kept.

No speed is asserted: a busy machine measures what it likes.
"""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import measured
import table

HERE = Path(__file__).parents[2] / "benchmarks"
FAST = {"answering"}  # takes few seconds
MORE = {"decoding": ["--transformers"]}
NEEDS = {"monitoring": "tmux"}
SCRIPTS = sorted(
    path.stem for path in HERE.glob("*.py")
    if path.stem not in ("measured", "table", "all", "llama_peer")
)  # fmt: skip


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in SCRIPTS]
)
def test_a_benchmark_runs_quickly_and_writes_what_it_found(name: str, tmp_path: Path) -> None:
    if name in NEEDS and not shutil.which(NEEDS[name]):
        pytest.skip(f"{NEEDS[name]} is not installed")
    found = tmp_path / "found.json"
    words = [sys.executable, HERE / f"{name}.py", "--quick", "--json", found, *MORE.get(name, [])]
    path = os.pathsep.join([str(HERE.parent), str(HERE.parent / "apps")])
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = measured.load(found)
    assert result.quick
    assert result.command.startswith(f"python benchmarks/{name}.py --quick")
    assert str(tmp_path) not in found.read_text()
    assert "torch" in result.machine
    assert result.figures
    for what, figure in result.figures.items():
        assert figure.low <= figure.median <= figure.high, what
        assert math.isfinite(figure.median), what
        assert figure.turns >= 1


def test_the_table_is_what_the_results_say() -> None:
    page = (HERE / "README.md").read_text(encoding="utf-8")
    assert table.renewed(page) == page, "run python benchmarks/table.py"


def test_what_is_kept_was_measured_in_earnest() -> None:
    for name, result in table.results().items():
        assert not result.quick, name
        assert f"benchmarks/{name.split('-')[0]}.py" in result.command
        assert os.sep not in result.command.replace("benchmarks/", "", 1)


def test_a_missed_goal_says_what_was_tried() -> None:
    found = table.results()
    for claim in table.claims():
        measured_here = claim.result in found
        if measured_here and not claim.holds(found[claim.result].figures[claim.figure].median):
            assert claim.tried, claim.what


def test_goals_hold_from_the_right_side() -> None:
    at_least, at_most = (
        table.Claim("", "", "", **limit) for limit in ({"least": 2.0}, {"most": 10.0})
    )
    assert at_least.holds(2.0)
    assert not at_least.holds(1.9)
    assert at_most.holds(-9.0)
    assert not at_most.holds(-11.0)
    assert not at_most.holds(11.0)
    assert table.Claim("", "", "").holds(0.0)


def test_a_row_shows_median_spread_machine_and_day() -> None:
    figure = measured.Figure.of([3.0, 1.0, 2.0])
    result = measured.Result("python x.py", "2026-11-29", "a machine", 0.25, False, {"f": figure})
    claim = table.Claim("it is fast", "x", "f", least=2.5)
    cells = table.cells(claim, result, "A")
    assert cells == (
        "**2.00** x",
        "1.00 to 3.00, 3",
        "missed",
        "A: 29 November 2026, 0.2",
        "`python x.py`",
    )


def test_places_of_this_machine_stay_out_of_the_command() -> None:
    words = ["/x/benchmarks/a.py", "--data", "/home/me/a.txt", "--json", "/tmp/f", "--turns", "5"]
    assert measured.command_line(words) == "python benchmarks/a.py --data PATH --turns 5"


def test_a_result_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="format"):
        measured.load(tmp_path / "a.json")


def test_all_parts_have_a_script_and_a_place_in_the_table() -> None:
    words = [sys.executable, HERE / "all.py", "--list"]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    parts = {line.split()[0] for line in told.splitlines()} - {"chosen"}
    asked = {claim.result for claim in table.claims()} - {"cuda"}
    assert asked <= parts
