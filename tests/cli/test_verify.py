"""`tinychat verify`: what is whole passes, what was changed is found, and nothing is touched."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch

from tinychat.runs import RunPaths, lock_is_held

from .conftest import Tinychat

Copy = Callable[[str], Path]


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, by its sha256, and every folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else ""
        for path in folder.rglob("*")
    }


def forge(checkpoint: Path, file: str = "model.safetensors") -> None:
    """Change one number of a tensor a little, and everything that would tell of it."""
    path = checkpoint / file
    tensors = safetensors.torch.load(path.read_bytes())
    name = next(each for each in sorted(tensors) if tensors[each].numel() > 1)
    tensors[name].view(-1)[0] += 1e-6
    data = safetensors.torch.save(tensors, {"format": "pt"})
    path.write_bytes(data)
    manifest = json.loads((checkpoint / "manifest.json").read_bytes())
    manifest["files"][path.name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    text = json.dumps(manifest, indent=2) + "\n"
    (checkpoint / "manifest.json").write_text(text, encoding="utf-8")


def test_a_whole_run_passes_and_is_not_touched(copy_of: Copy, tinychat: Tinychat) -> None:
    run = copy_of("talk")
    before = tree(run)
    told = tinychat("verify", run, "--steps", "0:", "--json")
    assert told.code == 0, told.err
    document = told.json
    assert document["ok"]
    assert document["lineage"] == "bit-exact from step 0"
    assert document["damage"] == document["breaks"] == document["quarantined"] == []
    assert [each["step"] for each in document["checkpoints"]] == [0, 10, 20]
    again = document["recomputed"]
    assert (again["from_step"], again["to_step"], again["steps"]) == (0, 20, 20)
    assert (again["rows_compared"], again["checkpoints_compared"]) == (20, [0, 10, 20])
    assert again["differences"] == again["other_facts"] == []
    assert tree(run) == before
    told = tinychat("verify", run, "--steps", "15:18")
    assert told.code == 0
    assert "8 steps, from 10 to 18" in told.out, "it begins at the checkpoint before"
    assert "every bit as the run says" in told.out
    assert tree(run) == before


def test_a_flipped_bit_is_found_by_the_manifest(copy_of: Copy, tinychat: Tinychat) -> None:
    run = copy_of("story")
    weights = RunPaths(run).checkpoint(10) / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-100] ^= 1
    weights.write_bytes(data)
    told = tinychat("verify", run)
    assert told.code == 1
    assert f"{weights} is damaged: its sha256" in told.err
    assert "2 of 3 whole" in told.out
    assert tinychat("verify", weights.parent).code == 1
    assert tinychat("verify", RunPaths(run).checkpoint(20)).code == 0, "the others are whole"
    again = tinychat("verify", run, "--steps", "15:", "--json").json["recomputed"]
    assert again["from_step"] == 0, "a damaged checkpoint is no place to begin"
    assert again["differences"] == []


def test_a_log_that_was_edited_is_found_by_computing_it_again(
    copy_of: Copy, tinychat: Tinychat
) -> None:
    run = copy_of("talk")
    metrics = RunPaths(run).attempt(1).metrics
    lines = metrics.read_text("utf-8").splitlines()
    at = next(i for i, line in enumerate(lines) if json.loads(line)["step"] == 13)
    row = json.loads(lines[at])
    real, row["train_loss"] = row["train_loss"], row["train_loss"] - 1e-9
    lines[at] = json.dumps(row)
    metrics.write_text("\n".join(lines) + "\n", "utf-8")
    assert tinychat("verify", run).code == 0, "the files are whole"
    told = tinychat("verify", run, "--steps", "10:20", "--json")
    assert told.code == 1
    again = told.json["recomputed"]
    assert again["first_difference"] == {
        "step": 13, "what": "train_loss", "recorded": row["train_loss"], "computed": real
    }  # fmt: skip
    assert len(again["differences"]) == 1, "the rest is as it was"
    told = tinychat("verify", run, "--steps", "10:20")
    assert "not as the run says at 1 step, first at step 13" in told.out


def test_a_row_that_was_removed_is_missed(copy_of: Copy, tinychat: Tinychat) -> None:
    run = copy_of("talk")
    settings = json.loads(RunPaths(run).settings_json.read_bytes())
    settings["settings"]["log"]["every_steps"] = 3
    RunPaths(run).settings_json.write_text(json.dumps(settings), "utf-8")
    metrics = RunPaths(run).attempt(1).metrics

    def leave(kept: set[int]) -> None:
        rows = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
        left = [row for row in rows if row["kind"] != "train" or row["step"] in kept]
        metrics.write_text("".join(f"{json.dumps(row)}\n" for row in left), "utf-8")

    leave(set(range(3, 21, 3)))
    told = tinychat("verify", run, "--steps", "0:20", "--json")
    assert (told.code, told.json["recomputed"]["rows_missing"]) == (0, [])
    leave({3, 9, 18})
    told = tinychat("verify", run, "--steps", "0:20", "--json")
    assert (told.code, told.json["recomputed"]["rows_missing"]) == (1, [6, 12, 15])
    told = tinychat("verify", run, "--steps", "0:20")
    assert "3 rows that were written, first that of step 6" in told.out
    assert "every bit that is left as the run says" in told.out
    event = {"command": "set", "message": "log.every_steps is now 3", "kind": "command_applied"}
    with open(RunPaths(run).attempt(1).events, "a", encoding="utf-8") as events:
        events.write(json.dumps(event) + "\n")
    told = tinychat("verify", run, "--steps", "0:20")
    assert told.code == 0, "nobody knows any more which rows were written"


@pytest.mark.parametrize(
    ("file", "what"), [("model.safetensors", "weights"), ("optimizer.safetensors", "optimizer")]
)
def test_a_forged_checkpoint_is_found_by_computing_it_again(
    file: str, what: str, copy_of: Copy, tinychat: Tinychat
) -> None:
    run = copy_of("talk")
    forge(RunPaths(run).checkpoint(20), file)
    assert tinychat("verify", run).code == 0, "every hash fits"
    again = tinychat("verify", run, "--steps", "10:", "--json").json["recomputed"]
    assert [(each["step"], each["what"]) for each in again["differences"]] == [(20, what)]
    told = tinychat("verify", run, "--steps", "10:20")
    assert told.code == 1
    assert f"step 20: the checkpoint's {what} has sha256" in told.out


def test_beginning_at_a_forged_checkpoint_shows_too(copy_of: Copy, tinychat: Tinychat) -> None:
    run = copy_of("talk")
    forge(RunPaths(run).checkpoint(10))
    told = tinychat("verify", run, "--steps", "10:20", "--json")
    assert told.code == 1
    assert told.json["recomputed"]["first_difference"]["step"] <= 20
    again = tinychat("verify", run, "--steps", "0:20", "--json").json["recomputed"]
    assert [(each["step"], each["what"]) for each in again["differences"]] == [(10, "weights")]


def test_what_a_crash_leaves_is_told_and_is_no_damage(copy_of: Copy, tinychat: Tinychat) -> None:
    run = copy_of("story")
    metrics = RunPaths(run).attempt(1).metrics
    with open(metrics, "ab") as log:
        log.write(b'{"kind": "train", "step": 21, "train_lo')
    (run / ".tmp-step-00000030-abc").mkdir()
    aside = run / "bad-step-00000010-1"
    RunPaths(run).checkpoint(10).rename(aside)
    told = tinychat("verify", run)
    assert told.code == 0, told.err
    assert "1 line cut off by a crash" in told.out
    assert aside.name in told.out
    assert ".tmp-step-00000030-abc; the next start clears that" in told.out
    metrics.write_bytes(metrics.read_bytes() + b'\n{"kind": "train", "step": 2x}\n\0\0\0\n')
    told = tinychat("verify", run)
    assert told.code == 1
    assert "attempts/0001/metrics.jsonl: 2 lines are damaged" in told.err, (
        "the cut one is not done again"
    )


def test_a_line_that_was_cut_and_written_again_is_no_damage(
    copy_of: Copy, tinychat: Tinychat
) -> None:
    """As a disk that was full leaves it; a line that was only cut is one."""
    run = copy_of("story")
    metrics = RunPaths(run).attempt(1).metrics
    first, *rest = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(first[:40] + b"\n" + first + b"".join(rest))
    told = tinychat("verify", run)
    assert told.code == 0, told.err
    metrics.write_bytes(first[:40] + b"\n" + b"".join(rest))
    assert tinychat("verify", run).code == 1
    metrics.write_bytes(first + b"".join(rest))
    RunPaths(run).attempt(1).attempt_json.unlink()
    told = tinychat("verify", run)
    assert told.code == 1
    assert "attempt.json is missing" in told.err


@pytest.mark.parametrize("name", ["run.json", "settings.json", "tokenizer.json", "status.json"])
def test_each_record_is_read(name: str, copy_of: Copy, tinychat: Tinychat) -> None:
    run = copy_of("story")
    data = (run / name).read_bytes()
    (run / name).write_bytes(data.replace(b'"', b"'", 1) if name != "run.json" else data)
    if name == "run.json":  # without it the folder would be no run
        document = json.loads(data)
        (run / name).write_text(json.dumps(document | {"created_at": 7}), "utf-8")
    told = tinychat("verify", run)
    assert told.code == 1
    assert name in told.err


def test_a_row_out_of_order_is_damage(copy_of: Copy, tinychat: Tinychat) -> None:
    run = copy_of("story")
    metrics = RunPaths(run).attempt(1).metrics
    lines = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(b"".join([*lines, lines[0]]))
    told = tinychat("verify", run)
    assert told.code == 1
    assert "a row of step 1 stands after one of step 20" in told.err


def test_wrong_arguments_are_told_in_a_sentence(trained_runs: Path, tinychat: Tinychat) -> None:
    run = trained_runs / "talk"
    for words in ("ten", "5", "-1:5", "5:3", "7:7", "0:999", "1:2:3"):
        told = tinychat("verify", run, f"--steps={words}")
        assert told.code == 2, words
        assert told.err.count("\n") == 1
    assert tinychat("verify", RunPaths(run).checkpoint(20), "--steps=0:5").code == 2
    assert tinychat("verify", "nobody", "--checkpoints", trained_runs).code == 2


def test_another_machine_is_told_why_bits_may_differ(copy_of: Copy, tinychat: Tinychat) -> None:
    run = copy_of("talk")
    path = RunPaths(run).attempt(1).attempt_json
    attempt = json.loads(path.read_bytes())
    path.write_text(json.dumps(attempt | {"torch": "1.0", "device": "cuda"}), "utf-8")
    told = tinychat("verify", run, "--steps", "10:20", "--json")
    facts = told.json["recomputed"]["other_facts"]
    assert any(each.startswith("torch 1.0 -> ") for each in facts)
    out = tinychat("verify", run, "--steps", "10:20").out
    assert "bits may differ here although nothing is wrong: " in out


@pytest.mark.slow
def test_it_works_beside_a_live_trainer(live_run: Path, tinychat: Tinychat) -> None:
    before = set(tree(live_run))
    told = tinychat("verify", live_run, "--steps", "0:5", "--json")
    assert told.code == 0, told.err
    assert told.json["recomputed"]["rows_compared"] == 5
    assert lock_is_held(live_run)
    assert set(tree(live_run)) == before


def test_steps_of_which_nothing_is_kept_prove_nothing(copy_of: Copy, tinychat: Tinychat) -> None:
    log = RunPaths(copy_of("talk")).attempt(1).metrics
    lines = [line for line in log.read_bytes().splitlines() if json.loads(line)["step"] <= 10]
    log.write_bytes(b"\n".join(lines) + b"\n")
    told = tinychat("verify", log.parents[2], "--steps", "12:18")
    assert told.code == 1
    assert "nothing is kept of these steps to compare with, so nothing is proved" in told.out
