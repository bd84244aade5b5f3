"""`runs` and `show`: true states, whatever the folder looks like."""

import json
from collections.abc import Callable
from pathlib import Path

from tinychat.runs import RunPaths, RunReader

from .conftest import Tinychat

Copy = Callable[[str], Path]


def test_no_runs_yet(tinychat: Tinychat, tmp_path: Path) -> None:
    found = tinychat("runs", "--checkpoints", tmp_path / "nothing")
    assert found.code == 0
    assert "no runs" in found.out
    assert "tinychat train" in found.out
    assert tinychat("runs", "--checkpoints", tmp_path, "--json").json["runs"] == []


def test_runs_newest_first_with_state_and_losses(tinychat: Tinychat, trained_runs: Path) -> None:
    found = tinychat("runs", "--checkpoints", trained_runs)
    header, *lines = found.out.splitlines()
    assert header.split() == ["run", "state", "step", "train", "val", "tok/s", "ETA", "age"]
    assert {line.split()[0] for line in lines} == {"story", "talk"}
    for line in lines:
        assert "✓ finished" in line
        assert "20/20" in line
    rows = tinychat("runs", "--checkpoints", trained_runs, "--json").json["runs"]
    dates = [row["created_at"] for row in rows]
    assert dates == sorted(dates, reverse=True)
    for row in rows:
        last = RunReader(trained_runs / row["name"]).last("metrics", "eval")
        assert last is not None
        assert (row["state"], row["step"], row["max_steps"]) == ("finished", 20, 20)
        assert row["val_loss"] == last["val_loss"]
        assert row["train_loss"] > 0
        assert row["best"]["step"] in (10, 20)
        assert row["age_seconds"] >= 0


def test_a_run_whose_process_is_gone_has_crashed(tinychat: Tinychat, copy_of: Copy) -> None:
    run = copy_of("talk")
    change_status(run, state="training", pid=2**22 + 7)
    row = tinychat("runs", "--checkpoints", run.parent, "--json").json["runs"][0]
    assert row["state"] == "crashed"
    assert row["eta_seconds"] is None
    found = tinychat("show", run)
    assert "✗ crashed" in found.out
    assert "go on:  tinychat resume talk" in found.out


def test_a_loss_that_is_no_number_is_said(tinychat: Tinychat, copy_of: Copy) -> None:
    run = copy_of("talk")
    append(run, "metrics.jsonl", {"kind": "train", "step": 21, "train_loss": None,
                                  "nonfinite": ["train_loss"]})  # fmt: skip
    assert "NaN/∞" in tinychat("runs", "--checkpoints", run.parent).out
    assert "NaN/∞ nats per token" in tinychat("show", run).out
    assert tinychat("show", run, "--json").json["nonfinite"] == ["train_loss"]


def test_damaged_files_hide_no_other_run(tinychat: Tinychat, copy_of: Copy) -> None:
    good, bad = copy_of("talk"), copy_of("story")
    (bad / "run.json").write_text("{", encoding="utf-8")
    rows = tinychat("runs", "--checkpoints", good.parent, "--json").json["runs"]
    assert [(row["name"], row["state"]) for row in rows] == [
        ("talk", "finished"),
        ("story", "unknown"),
    ]
    assert "damaged" in rows[1]["reason"]
    assert tinychat("runs", "--checkpoints", good.parent).code == 0
    found = tinychat("show", bad)
    assert found.code == 1
    assert "damaged" in found.err
    (good / "status.json").write_text("\0\0", encoding="utf-8")
    (good / "settings.json").unlink()
    found = tinychat("show", good)
    assert found.code == 0
    assert "? unknown" in found.out


def test_show_tells_it_all(tinychat: Tinychat, trained_runs: Path) -> None:
    found = tinychat("show", "talk", "--checkpoints", trained_runs)
    assert found.code == 0
    assert found.err == ""
    assert "\x1b" not in found.out
    for piece in (
        "talk   ✓ finished   step 20/20 (100%)", "── train loss", "● val loss", "┤",
        "bits per byte", "best",
        "0, 10, 20 (the latest); weights only: 0", "attempt", "1: from step 0, new",
        "model.n_embd", "32", "command line", "optim.learning_rate", "preset demo",
        "samples of step 20", "› ", "last events", "checkpoint_saved", "tinychat chat talk",
    ):  # fmt: skip
        assert piece in found.out, piece
    assert "model.norm " not in found.out, "what is as by default is left out"


def test_show_as_json(tinychat: Tinychat, trained_runs: Path) -> None:
    found = tinychat("show", "talk@10", "--checkpoints", trained_runs, "--json").json
    reader = RunReader(trained_runs / "talk")
    assert found["run"]["id"] == reader.run.id
    assert [c["step"] for c in found["checkpoints"]] == [0, 10, 20]
    assert [c["weights_only"] for c in found["checkpoints"]] == [True, False, False]
    assert found["best"]["step"] == 20
    assert found["latest"] == 20
    assert len(found["train_curve"]) == 20
    assert [p["step"] for p in found["val_curve"]] == [10, 20]
    assert found["settings"]["model"]["n_embd"] == 32
    changed = {row["name"]: row for row in found["changed_settings"]}
    assert changed["model.n_embd"] == {
        "name": "model.n_embd", "value": 32, "source": "command line",
    }  # fmt: skip
    assert {sample["step"] for sample in found["samples"]} == {20}
    assert found["events"][-1]["kind"] == "checkpoint_saved"
    assert found["attempts"][0]["number"] == 1


def test_a_long_curve_as_json_keeps_every_spike(tinychat: Tinychat, copy_of: Copy) -> None:
    run = copy_of("talk")
    for step in range(21, 3000):
        loss = 99.0 if step == 2345 else 0.5 if step == 1234 else 2 + step % 7 / 10
        append(run, "metrics.jsonl", {"kind": "train", "step": step, "train_loss": loss})
    curve = tinychat("show", run, "--json").json["train_curve"]
    assert 300 < len(curve) <= 500
    assert {"step": 2345, "train_loss": 99.0} in curve
    assert {"step": 1234, "train_loss": 0.5} in curve
    steps = [point["step"] for point in curve]
    assert steps == sorted(steps)
    assert "lowest and highest of up to" in tinychat("show", run).out


def test_a_run_without_rows_is_shown(tinychat: Tinychat, copy_of: Copy) -> None:
    run = copy_of("talk")
    for name in ("metrics", "samples", "events"):
        (RunPaths(run).attempt(1).root / f"{name}.jsonl").write_bytes(b"\0\0torn")
    found = tinychat("show", run)
    assert found.code == 0
    assert "no loss has been written yet" in found.out
    assert tinychat("show", run, "--json").json["train_curve"] == []
    append(run, "metrics.jsonl", {})
    append(run, "metrics.jsonl", {"kind": "train", "step": 1, "train_loss": 3.0})
    found = tinychat("show", run)
    assert (found.code, "3" in found.out.split("┤")[0]) == (0, True)


def test_words_of_a_model_steer_no_terminal(tinychat: Tinychat, copy_of: Copy) -> None:
    run = copy_of("talk")
    evil = "\x1b]0;owned\x07\x1b[2J\u202etxt"
    append(run, "samples.jsonl", {"step": 20, "prompt": evil, "text": evil})
    append(run, "events.jsonl", {"kind": evil, "step": 20, "message": evil})
    for flags in ([], ["--json"]):
        found = tinychat("show", run, *flags)
        assert found.code == 0
        assert not set(evil[:1] + "\x07\u202e") & set(found.out)
    assert found.json["samples"][-1]["text"] == evil


def append(run: Path, name: str, row: dict[str, object]) -> None:
    path = RunPaths(run).attempt(1).root / name
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def change_status(run: Path, **values: object) -> None:
    path = RunPaths(run).status_json
    status = json.loads(path.read_text(encoding="utf-8")) | values
    path.write_text(json.dumps(status), encoding="utf-8")
