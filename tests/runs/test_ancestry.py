"""The family tree in words, and out of files that may be anything."""

import json
from pathlib import Path

import pytest

from tinychat.runs import Generation, ancestry_of, family_words, read_ancestry

DEMO = Generation(
    run="demo", kind="pretraining", step=1400, steps=1400, data=("the built-in small talk",),
    val_loss=0.0194,
)  # fmt: skip
CHILD = Generation(
    run="salty", kind="supervised fine-tuning", step=50, steps=80, data=("persona.jsonl",),
    old_data=("the built-in small talk",), old_data_share=0.3, old_val_loss_before=0.02,
    old_val_loss_after=0.05,
)  # fmt: skip
TUNED = Generation(
    run="salty-tuned", kind="preference tuning", step=1, steps=1, data=("persona.jsonl",),
    method="auto", picks=60, thumbs=1, old_data=("persona.jsonl",), old_data_share=0.5,
    old_val_loss_before=1.5, old_val_loss_after=1.25,
)  # fmt: skip


def test_a_tree_tells_what_was_learnt_and_what_it_cost() -> None:
    assert [f"{each.who}: {each.told}" for each in family_words((DEMO, CHILD, TUNED))] == [
        "demo@1400: pretrained on the built-in small talk; 1,400 steps; val_loss 0.0194",
        "salty@50: fine-tuned on persona.jsonl, 30% of each step from the built-in small talk; "
        "50 steps of 80; val_loss on the old data 0.0200 -> 0.0500 (+0.0300)",
        "salty-tuned@1: tuned on 60 picks, 1 thumb by auto, 50% of each step from persona.jsonl; "
        "1 step; val_loss on the old data 1.5000 -> 1.2500 (-0.2500)",
    ]


@pytest.mark.parametrize(
    ("kind", "told"), [("trained elsewhere", "trained elsewhere"), ("unknown", "nothing is told")]
)
def test_what_nobody_knows_is_said(kind: str, told: str) -> None:
    (found,) = family_words([Generation(run="gpt2", kind=kind)])
    assert found.who == "gpt2"
    assert found.told.startswith(told)


def test_hostile_names_reach_no_terminal() -> None:
    evil = Generation(run="a\x1b[31m", kind="pretraining", data=("b\x1b]0;x\x07\u202e",))
    (found,) = family_words([evil])
    assert "\x1b" not in found.who + found.told
    assert "\u202e" not in found.told


@pytest.mark.parametrize(
    "value", [None, 3, "x", [], [None], [{"run": "a"}], [{"run": 1, "kind": "pretraining"}]]
)
def test_what_is_no_tree_is_passed_over(value: object) -> None:
    assert read_ancestry(value) == ()


def test_keys_of_a_newer_tinychat_are_passed_over() -> None:
    row = {"run": "a", "kind": "merging", "step": 3, "parents": ["b", "c"]}
    assert read_ancestry([row, {"run": "broken"}]) == (Generation(run="a", kind="merging", step=3),)


def test_a_checkpoint_of_which_nothing_is_told_raises_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "old" / "step-00000007"
    folder.mkdir(parents=True)
    (folder / "tinychat.json").write_text(json.dumps({"format": 1, "ancestry": "none"}))
    assert ancestry_of(folder) == (Generation(run="old", step=7, kind="unknown"),)
    assert ancestry_of(tmp_path / "not there") == (
        Generation(run="not there", kind="trained elsewhere"),
    )
