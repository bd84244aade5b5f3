"""Decisions on taught models, and which of them answers."""

from pathlib import Path

import pytest

from tinychat.conversations import Teaching
from tinychat.errors import ConversationError


@pytest.fixture
def teaching(checkpoints: Path) -> Teaching:
    return Teaching(checkpoints)


def newest(teaching: Teaching, run: str) -> str | None:
    found = teaching.newest_accepted(run)
    return found and found.label


def test_what_was_accepted_last_answers_for_all_that_it_comes_from(
    teaching: Teaching, checkpoints: Path
) -> None:
    assert newest(teaching, "demo") is None
    teaching.accept("demo-tuned", 40, "demo@900")
    teaching.refuse("demo-tuned-2", 30, "demo-tuned@40")
    for view in (teaching, Teaching(checkpoints)):
        assert newest(view, "demo") == "demo-tuned@40"
        assert newest(view, "demo-tuned") is None
    teaching.accept("demo-tuned-3", 30, "demo-tuned-2@30")
    for run in ("demo", "demo-tuned", "demo-tuned-2"):
        assert newest(teaching, run) == "demo-tuned-3@30"


def test_one_can_always_go_back(teaching: Teaching) -> None:
    teaching.accept("pirate", 40, "demo@900")
    teaching.accept("poet", 40, "demo@900")
    assert newest(teaching, "demo") == "poet@40"
    teaching.refuse("poet", 40, "demo@900")
    assert newest(teaching, "demo") == "pirate@40"
    teaching.refuse("pirate", 40, "demo@900")
    assert newest(teaching, "demo") is None
    teaching.accept("poet", 40, "demo@900")
    assert newest(teaching, "demo") == "poet@40"
    assert newest(teaching, "pirate") is None  # another one that comes from the same


def test_models_that_come_from_each_other_end_no_search(teaching: Teaching) -> None:
    teaching.accept("a", 1, "b@1")
    teaching.accept("b", 2, "a@1")
    teaching.accept("c", 3, "c@1")
    assert newest(teaching, "b") == "a@1"
    assert newest(teaching, "c") is None


def test_lines_that_are_no_decisions_are_passed_over_and_counted(
    teaching: Teaching, checkpoints: Path
) -> None:
    teaching.accept("demo-tuned", 40, "demo@900")
    path = checkpoints / ".chats" / "teaching.jsonl"
    good = path.read_bytes()
    bad = [good.replace(b"true", b"1"), good.replace(b"taught", b"note"), b'{"format":1}\n']
    path.write_bytes(b"".join(bad) + good + b'{"format":1,"kind":"tau')
    again = Teaching(checkpoints)
    assert [each.label for each in again.decisions()] == ["demo-tuned@40"]
    assert again.skipped == len(bad)
    again.refuse("demo-tuned", 40, "demo@900")  # a torn line spoils no other
    assert newest(Teaching(checkpoints), "demo") is None


def test_a_name_that_no_file_can_carry_is_refused(teaching: Teaching, checkpoints: Path) -> None:
    with pytest.raises(ConversationError, match="half a character"):
        teaching.accept("\ud800", 1, "demo@900")
    assert not checkpoints.exists()
