"""A run of preference tuning as its folder tells it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tinychat.watch.lines import facts
from tinychat.watch.overview import Watch, parent_label
from tinychat.watch.tuning import (
    Evaluation,
    look_at_tuning,
    newest_tuning,
    plan_rows,
    tune_arguments,
    tune_plan_arguments,
)

TUNE = {"method": "auto", "picks": 3, "dpo": 9, "held_out": 3, "left_out": {"equal answers": 1},
        "examples_sha256": "", "reference_sha256": ""}  # fmt: skip


def write_run(folder: Path, name: str, created_at: str, **record: Any) -> Path:
    run = folder / name
    (run / "attempts" / "0001").mkdir(parents=True)
    told = {"format": 1, "id": name, "created_at": created_at, "version": "0", **record}
    (run / "run.json").write_text(json.dumps(told))
    status = {
        "format": 1, "state": "finished", "step": 50, "max_steps": 60, "pid": 1, "boot_id": None,
        "process_start_time": None, "host": "h", "time": 0.0, "next_beat_by": 0.0,
        "best": {"step": 25, "val_loss": 0.5}, "latest": 50,
    }  # fmt: skip
    (run / "status.json").write_text(json.dumps(status))
    for step in (0, 25, 50):
        (run / f"step-{step:08d}").mkdir()
    settings = {"format": 1, "settings": {"replay": {"max_val_loss_rise": 0.15}}}
    (run / "settings.json").write_text(json.dumps(settings))
    attempt = {"format": 1, "from_step": 0, "reason": "new", "started_at": "", "host": "h"}
    (run / "attempts" / "0001" / "attempt.json").write_text(json.dumps(attempt))
    return run


def write_rows(run: Path, log: str, rows: list[dict[str, Any]]) -> None:
    path = run / "attempts" / "0001" / f"{log}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"kind": "eval", "st')


def test_the_newest_training_is_found_among_other_runs(tmp_path: Path) -> None:
    write_run(tmp_path, "demo", "2026-01-01T00:00:00+00:00")
    assert newest_tuning(Watch(tmp_path).look()) is None
    parent = "/runs/demo/step-00000300"
    for name, day in (("a", "02"), ("b", "03")):
        write_run(tmp_path, name, f"2026-01-{day}T00:00:00+00:00", tune=TUNE, parent=parent)
    write_run(tmp_path, "later", "2026-01-04T00:00:00+00:00")
    found = newest_tuning(Watch(tmp_path).look())
    assert found is not None
    assert (found.name, found.parent) == ("b", "demo@300")


def test_it_is_measured_beside_its_parent(tmp_path: Path) -> None:
    run = write_run(tmp_path, "b", "2026-01-03T00:00:00+00:00", tune=TUNE)
    evals = [(0, 0.4, 0.0, 0.0), (25, 0.45, 0.66, 0.5), (50, 0.6, None, None)]
    names = ("step", "val_loss", "preference_accuracy", "reward_margin")
    rows = [{"kind": "eval", **dict(zip(names, each, strict=True))} for each in evals]
    write_rows(run, "metrics", [*rows, {"kind": "eval", "step": "x"}, {"kind": "train", "step": 9}])
    told = "val_loss on the old data has risen"
    write_rows(run, "events", [{"kind": "forgetting", "step": 50, "message": told}])
    (overview,) = Watch(tmp_path).look()
    tuning = look_at_tuning(overview)
    assert tuning.before == Evaluation(0, 0.4, 0.0, 0.0)
    assert tuning.now == Evaluation(50, 0.6, None, None)
    assert tuning.result == 25  # within the limit, though not the newest
    assert tuning.at(25) == Evaluation(25, 0.45, 0.66, 0.5)
    assert tuning.at(26) is None
    assert (tuning.most_rise, tuning.why) == (0.15, told)
    best = dict(facts(overview))["best"]
    assert best == "step 25, the lowest preference_loss on the held-out examples; val loss 0.500"


def test_a_damaged_run_tells_what_it_can(tmp_path: Path) -> None:
    run = write_run(tmp_path, "b", "2026-01-03T00:00:00+00:00", tune=TUNE)
    (run / "settings.json").write_text("{")
    (run / "status.json").unlink()
    (overview,) = Watch(tmp_path).look()
    tuning = look_at_tuning(overview)
    assert tuning.evaluations == ()
    assert (tuning.before, tuning.now, tuning.most_rise) == (None, None, None)
    assert tuning.result == 50
    with pytest.raises(ValueError, match="no feedback"):
        look_at_tuning(Watch(tmp_path).look_at(tmp_path / "nothing"))


def test_the_command_names_everything_by_its_full_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = tune_arguments("demo@300", Path("said.jsonl"), Path("runs"), "demo-tuned", ["--seed=1"])
    assert words == [
        "tune", "demo@300", f"--feedback={tmp_path}/said.jsonl", f"--checkpoints={tmp_path}/runs",
        "--name=demo-tuned", "--seed=1",
    ]  # fmt: skip
    assert tune_plan_arguments(words) == [*words, "--dry-run", "--json"]
    assert "--name" not in " ".join(tune_arguments("a", tmp_path, tmp_path, None))


def test_a_plan_tells_what_each_step_is_made_of_and_what_decides() -> None:
    examples: dict[str, Any] = {
        "picks": 3, "thumbs": 0, "rewrites": 1, "sft": 1, "dpo": 9, "kto": 0, "orpo": 0,
        "held_out": 3, "left_out": {"torn": 4, "undone": 1},
        "places": {"torn": ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3", "a.jsonl:9"]},
    }  # fmt: skip
    plan: dict[str, Any] = {
        "parent": "demo@300", "examples": examples, "steps": 40, "seconds": 61.0, "batch_size": 64,
        "examples_a_step": 43, "disk_bytes": 3_000_000, "writes": ["/runs/demo-tuned"],
    }  # fmt: skip
    rows = dict(plan_rows(plan))
    assert rows["learns from"] == (
        "3 picks, 1 rewrite, as 1 answer to give, 9 pairs of a better and a worse answer"
    )
    assert rows["left out"] == "4 torn (a.jsonl:1, a.jsonl:2, a.jsonl:3, …); 1 undone"
    assert rows["length"] == "40 steps, each of 43 examples and 21 rows of the old data"
    assert rows["best"] == "the lowest preference_loss on the held-out examples"
    examples["held_out"] = 0
    assert "held out" not in dict(plan_rows(plan))
    assert dict(plan_rows(plan))["best"].startswith("the newest")


def test_a_parent_is_named_as_people_do() -> None:
    assert parent_label(None) is None
    assert parent_label("/runs/demo/step-00001400") == "demo@1400"
    assert parent_label("/models/gpt2") == "gpt2"
