"""Prompts to judge answers by: in the manner of the data, never twice while others are left."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tinychat.text import prompts_of_run, suggest

CopyOf = Callable[[str], Path]


def test_a_chat_run_gives_what_its_validation_data_begins_with(trained_runs: Path) -> None:
    prompts = prompts_of_run(trained_runs / "talk")
    assert len(prompts) >= 5
    assert len(set(prompts)) == len(prompts)
    told = (trained_runs.parent / "talks.jsonl").read_text(encoding="utf-8").splitlines()
    asked = {json.loads(line)["messages"][0]["content"] for line in told}
    assert set(prompts) <= asked
    assert prompts == prompts_of_run(trained_runs / "talk")


def test_a_text_run_gives_beginnings(trained_runs: Path) -> None:
    prompts = prompts_of_run(trained_runs / "story")
    told = (trained_runs.parent / "story.txt").read_text(encoding="utf-8")
    assert prompts
    assert all(prompt.strip() in told for prompt in prompts)


def test_without_its_corpus_a_run_gives_what_it_was_asked_while_it_trained(
    trained_runs: Path, copy_of: CopyOf
) -> None:
    run = copy_of("talk")  # nothing is prepared beside it
    samples = run / "attempts" / "0001" / "samples.jsonl"
    rows = samples.read_text(encoding="utf-8").splitlines()
    asked = {json.loads(line)["prompt"] for line in rows}
    assert set(prompts_of_run(run)) == asked
    samples.unlink()
    assert prompts_of_run(run) == []
    shutil.copytree(trained_runs / ".cache", run.parent / ".cache")
    assert prompts_of_run(run)
    for corpus in (run.parent / ".cache").glob("*/valid.idx"):
        corpus.write_bytes(b"torn")
    assert prompts_of_run(run) == []


def test_what_is_no_run_gives_nothing(tmp_path: Path) -> None:
    assert prompts_of_run(tmp_path) == []
    assert suggest([], ()) is None


def test_nothing_is_suggested_twice_while_others_are_left() -> None:
    asked: list[str] = []
    for _ in range(3):
        found = suggest(["a", "b", "c"], asked)
        assert found is not None
        asked.append(found)
    assert sorted(asked) == ["a", "b", "c"]
    assert {suggest(["a", "b", "c"], asked, "b") for _ in range(50)} == {"a", "c"}
    assert suggest(["a"], ["a"], "a") == "a"
