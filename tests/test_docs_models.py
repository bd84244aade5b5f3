"""docs/models.md: its formula, worked example and tables agree with models that are built."""

import ast
import operator
import re
from itertools import product
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from tinychat.config import ModelSettings
from tinychat.config.load import read_preset, resolve
from tinychat.errors import SettingsError
from tinychat.model import count_parameters, family_of

PAGE = (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S))
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
VALUES = {
    name: get_args(get_type_hints(ModelSettings)[name]) for name in ("norm", "position", "mlp")
}


def tables(section: str) -> list[list[list[str]]]:
    """Every table of a section as rows of cells, its heading first."""
    found = re.findall(r"(?:^\|.*\|\n)+", SECTIONS[section], flags=re.M)
    rows = [[line.strip("|").split("|") for line in text.splitlines()] for text in found]
    return [[[cell.strip() for cell in row] for row in [t[0], *t[2:]]] for t in rows]


def formula(variables: dict[str, int]) -> dict[str, int]:
    """Every term of the page's formula. Only names, whole numbers, + - * are allowed there."""
    (block,) = re.findall(r"^```parameters\n(.*?)^```", PAGE, flags=re.M | re.S)
    known = dict(variables)

    def value(node: ast.expr) -> int:
        match node:
            case ast.Name(id=name):
                return known[name]
            case ast.Constant(value=int(number)):
                return number
            case ast.BinOp(left=left, op=op, right=right):
                return OPERATORS[type(op)](value(left), value(right))
        raise AssertionError(f"the formula cannot hold {ast.unparse(node)}")

    for line in ast.parse(block).body:
        assert isinstance(line, ast.Assign), ast.unparse(line)
        (target,) = line.targets
        assert isinstance(target, ast.Name), ast.unparse(line)
        known[target.id] = value(line.value)
    return known


def variables(settings: ModelSettings, vocab_size: int) -> dict[str, int]:
    """What the page says the formula is a function of."""
    return {
        "n_layer": settings.n_layer,
        "n_head": settings.n_head,
        "kv_heads": settings.kv_heads,
        "head_width": settings.head_width,
        "n_embd": settings.n_embd,
        "mlp_width": settings.mlp_width,
        "context_length": settings.context_length,
        "vocab_size": vocab_size,
        "norm_layer": int(settings.norm == "layer"),
        "learned": int(settings.position == "learned"),
        "swiglu": int(settings.mlp == "swiglu"),
        "qk_norm": int(settings.qk_norm),
        "tied_head": int(settings.tied_head),
        "bias": int(settings.bias),
    }


def shapes() -> dict[str, tuple[ModelSettings, int, dict[str, str]]]:
    """The table of shapes: name to (settings, vocabulary, the row by its heading)."""
    heading, *rows = tables("Shapes that people have described")[0]
    found = {}
    for cells in rows:
        row = dict(zip(heading, cells, strict=True))
        numbers = ("n_layer", "n_head", "n_embd", "intermediate_size", "context_length")
        switches = row["switches"].split(", ")
        norm, position, mlp = switches[:3]
        assert set(switches[3:]) <= {"qk_norm", "bias", "tied", "untied"}, row
        settings = ModelSettings(
            **{name: number(row[name]) for name in numbers},
            norm=norm,  # pyright: ignore[reportArgumentType]
            position=position,  # pyright: ignore[reportArgumentType]
            mlp=mlp,  # pyright: ignore[reportArgumentType]
            qk_norm="qk_norm" in switches,
            bias="bias" in switches,
            tied_head="tied" in switches,
        )
        found[row["shape"].strip("`")] = (settings, number(row["vocabulary"]), row)
    return found


def number(text: str) -> int:
    return int(text.replace(",", ""))


@pytest.mark.parametrize("norm", VALUES["norm"])
@pytest.mark.parametrize("position", VALUES["position"])
@pytest.mark.parametrize("mlp", VALUES["mlp"])
def test_the_formula_counts_every_shape(norm: str, position: str, mlp: str) -> None:
    switches = product(
        (True, False), (True, False), (True, False), (None, 2), (None, 6), (None, 56)
    )
    for qk_norm, tied, bias, n_kv_head, head_dim, intermediate_size in switches:
        settings = ModelSettings(
            n_layer=2, n_head=4, n_embd=32, context_length=16, norm=norm, position=position,  # pyright: ignore[reportArgumentType]
            mlp=mlp, qk_norm=qk_norm, tied_head=tied, bias=bias,  # pyright: ignore[reportArgumentType]
            n_kv_head=n_kv_head, head_dim=head_dim, intermediate_size=intermediate_size,
        )  # fmt: skip
        told = formula(variables(settings, 50))["total"]
        assert told == count_parameters(settings, 50)["total"], settings


def test_the_worked_example_is_the_formulas() -> None:
    settings, vocab_size, row = shapes()["m2-59m"]
    terms = formula(variables(settings, vocab_size))
    _, *lines = tables("How many parameters")[0]
    assert [line[0] for line in lines][-1] == "`total`"
    for name, arithmetic, told in lines:
        assert number(told) == terms[name.strip("`")], name
        plain = arithmetic.replace(",", "").replace("×", "*")
        assert re.fullmatch(r"[0-9+* ]+", plain), arithmetic
        products = [[int(n) for n in term.split("*")] for term in plain.split("+")]
        assert sum(_product(factors) for factors in products) == number(told), name
    assert number(row["here"]) == terms["total"]


def _product(factors: list[int]) -> int:
    result = 1
    for factor in factors:
        result *= factor
    return result


@pytest.mark.parametrize("name", shapes())
def test_the_shapes_have_the_parameters_that_are_told(name: str) -> None:
    settings, vocab_size, row = shapes()[name]
    counts = count_parameters(settings, vocab_size)
    assert number(row["here"]) == counts["total"]
    assert row["embedding and head"] == f"{counts['embedding'] / counts['total']:.0%}"
    left_out = row["what the nearest shape leaves out"]
    lost = re.search(r"\(([0-9,]+)\)", left_out)
    assert bool(lost) == bool(left_out and row["source"]), "a difference is told as a number"
    if row["source"]:
        assert number(row["source"]) == counts["total"] + (number(lost[1]) if lost else 0)
    size = re.search(r"-(\d+)m$", name)
    if size:
        assert counts["total"] / 1e6 == pytest.approx(int(size[1]), rel=0.05), "the name's size"


def test_demo_is_the_preset() -> None:
    settings, vocab_size, _ = shapes()["demo"]
    preset = resolve(read_preset("demo")).settings
    found = (preset.model.mlp_width, preset.tokenizer.vocab_size, preset.model.tied_head)
    assert found == (settings.mlp_width, vocab_size, settings.tied_head)
    for field in ("n_layer", "n_head", "n_embd", "context_length", "norm", "position", "mlp"):
        assert getattr(preset.model, field) == getattr(settings, field), field


def test_every_switch_and_value_is_named() -> None:
    _, *rows = tables("The switches")[0]
    named: dict[str, set[str]] = {}
    setting = ""
    for row in rows:
        setting = row[0].strip("`") or setting
        named.setdefault(setting, set()).update(re.findall(r"`([^`]+)`", row[1]))
    for name, values in VALUES.items():
        assert named[name] == set(values), name
    sizes = {"n_layer", "n_head", "n_embd", "intermediate_size", "context_length"}
    details = {"norm_eps", "rope_theta"}
    assert set(named) == set(ModelSettings.__dataclass_fields__) - sizes - details


def test_the_layouts_hold_what_is_told() -> None:
    _, *rows = tables("The checkpoint layouts")[0]
    told = {
        row[0].strip("`"): [set(re.findall(r"\w+", cell.replace("`", ""))) for cell in row[1:]]
        for row in rows
    }
    switches = product(*VALUES.values(), (True, False), (True, False), (None, 2))
    for norm, position, mlp, qk_norm, bias, n_kv_head in switches:
        settings = ModelSettings(
            n_layer=2, n_head=4, n_embd=32, norm=norm, position=position, mlp=mlp,
            qk_norm=qk_norm, bias=bias, n_kv_head=n_kv_head,
        )  # fmt: skip
        on = {True: "on", False: "off"}
        wanted = [norm, position, mlp, on[qk_norm], on[bias]]
        holding = [
            name
            for name, (*cells, shared) in told.items()
            if all(value in cell for value, cell in zip(wanted, cells, strict=True))
            and (n_kv_head is None or shared == {"yes"})
        ]
        assert len(holding) < 2, settings
        if holding:
            assert family_of(settings) == holding[0], settings
        else:
            with pytest.raises(SettingsError):
                family_of(settings)
