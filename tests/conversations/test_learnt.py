"""Counting what no training has had."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tinychat.conversations import Answer, Feedback, not_learnt_yet

PROMPT = [{"role": "user", "content": "Hello!"}]


def make_run(
    checkpoints: Path, name: str, parent: str = "", *, feedback: str = "", **tune: object
) -> Path:
    """The records of a run that began now; `tune` is what its record says of its tuning."""
    run = checkpoints / name
    run.mkdir(parents=True)
    grown = f"{checkpoints}/{parent}/step-00000300" if parent else None
    begun = datetime.now(UTC).isoformat()
    record: dict[str, object] = {
        "format": 1,
        "id": name,
        "created_at": begun,
        "version": "0",
        "parent": grown,
    }
    if tune:
        record["tune"] = {"method": "auto", "examples_sha256": "", "reference_sha256": "", **tune}
    (run / "run.json").write_text(json.dumps(record))
    paths = [feedback] if feedback else []
    settings = {"format": 1, "settings": {"tune": {"feedback": paths}}}
    (run / "settings.json").write_text(json.dumps(settings))
    return run


def test_it_counts_what_came_after_the_newest_training_of_the_family(
    feedback: Feedback, checkpoints: Path, make_answer: Callable[..., Answer]
) -> None:
    make_run(checkpoints, "demo")
    make_run(checkpoints, "other")
    assert not_learnt_yet(feedback, checkpoints, "demo") == 0
    feedback.thumb("up", PROMPT, make_answer())
    feedback.thumb("up", PROMPT, make_answer())
    assert not_learnt_yet(feedback, checkpoints, "demo") == 2
    make_run(checkpoints, "demo-tuned", "demo", feedback=str(checkpoints))
    feedback.thumb("up", PROMPT, make_answer())
    for run in ("demo", "demo-tuned"):
        assert not_learnt_yet(feedback, checkpoints, run) == 1
    assert not_learnt_yet(feedback, checkpoints, "other") == 3
    assert not_learnt_yet(feedback, checkpoints, "a model from elsewhere") == 3


def test_what_a_run_has_a_copy_of_is_learnt_and_what_waits_is_not_counted(
    feedback: Feedback, checkpoints: Path, make_answer: Callable[..., Answer]
) -> None:
    make_run(checkpoints, "demo")
    path = checkpoints / ".chats" / "feedback.jsonl"
    run = make_run(checkpoints, "demo-live", "demo", feedback=str(path))
    first = feedback.thumb("up", PROMPT, make_answer())  # learnt while the run goes on
    second = feedback.thumb("up", PROMPT, make_answer())
    feedback.thumb("up", PROMPT, make_answer(), reviewed=False)
    assert not_learnt_yet(feedback, checkpoints, "demo") == 2
    (run / "examples.jsonl").write_text(f'{{"source": "{first}"}}\n{{"sour')
    assert not_learnt_yet(feedback, checkpoints, "demo") == 1
    feedback.undo(second)
    assert not_learnt_yet(feedback, checkpoints, "demo") == 0


def test_what_was_accepted_after_a_training_is_new_though_it_was_said_before(
    feedback: Feedback, checkpoints: Path, make_answer: Callable[..., Answer]
) -> None:
    make_run(checkpoints, "demo")
    said = feedback.thumb("up", PROMPT, make_answer(), reviewed=False)
    make_run(checkpoints, "demo-tuned", "demo", feedback=str(checkpoints))
    assert not_learnt_yet(feedback, checkpoints, "demo") == 0
    feedback.review(said)
    assert not_learnt_yet(feedback, checkpoints, "demo") == 1
    assert not_learnt_yet(Feedback(checkpoints), checkpoints, "demo") == 1  # as it lies on disk


def test_a_run_that_follows_has_only_what_it_has_learnt(
    feedback: Feedback, checkpoints: Path, make_answer: Callable[..., Answer]
) -> None:
    make_run(checkpoints, "demo")
    feedback.thumb("up", PROMPT, make_answer())  # before it began: it learns from what comes
    make_run(checkpoints, "demo-live", "demo", feedback=str(checkpoints), follows=True)
    assert not_learnt_yet(feedback, checkpoints, "demo") == 1


def test_what_was_said_after_a_training_has_read_is_new_though_its_run_is_younger(
    feedback: Feedback, checkpoints: Path, make_answer: Callable[..., Answer]
) -> None:
    make_run(checkpoints, "demo")
    read_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    feedback.thumb("up", PROMPT, make_answer())
    make_run(checkpoints, "demo-tuned", "demo", feedback=str(checkpoints), read_at=read_at)
    assert not_learnt_yet(feedback, checkpoints, "demo") == 1


def test_training_on_other_files_or_of_other_families_does_not_count(
    feedback: Feedback, checkpoints: Path, make_answer: Callable[..., Answer], tmp_path: Path
) -> None:
    feedback.thumb("up", PROMPT, make_answer())
    elsewhere = tmp_path / "pairs.jsonl"
    elsewhere.write_text("{}\n")
    make_run(checkpoints, "demo")
    make_run(checkpoints, "other-tuned", "other", feedback=str(checkpoints))
    make_run(checkpoints, "demo-pairs", "demo", feedback=str(elsewhere))
    make_run(checkpoints, "demo-gone", "demo", feedback=str(tmp_path / "gone.jsonl"))
    (make_run(checkpoints, "demo-hurt", "demo") / "settings.json").write_text("{")
    assert not_learnt_yet(feedback, checkpoints, "demo") == 1


def test_runs_that_come_from_each_other_end_no_search(
    feedback: Feedback, checkpoints: Path, make_answer: Callable[..., Answer]
) -> None:
    make_run(checkpoints, "a", "b", feedback=str(checkpoints))
    make_run(checkpoints, "b", "a")
    feedback.thumb("up", PROMPT, make_answer())
    assert not_learnt_yet(feedback, checkpoints, "a") == 1
