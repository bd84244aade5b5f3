"""What is told when a run goes on under other circumstances, and what is told of it later."""

import dataclasses
import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tinychat.config.classes import CIRCUMSTANCES, names_of, rule_of
from tinychat.runs import AttemptRecord, Disk, RunPaths, RunReader, breaks, lineage_line, stretches
from tinychat.training import job, updates
from tinychat.training.batches import Batch
from tinychat.training.lineage import Facts, other_code, what_changed
from tinychat.training.start import settle_facts

from .conftest import poison

Train = Callable[..., Path]

RECORD = AttemptRecord(
    from_step=0, reason="new", started_at="", host="here", version="0.1", git_commit="aaaa",
    device="cpu", dtype="fp32", threads=1, micro_batch_size=8, attention="sdpa", torch="2.13",
    processor="one", cpu_flags=("AVX2",), data_fingerprint="aaaa",
    settings={"max_steps": 20, "runtime.threads": 1},
)  # fmt: skip
OTHER = {str: "other", int: 5, float: 0.5, bool: True, tuple: ("other",)}


@pytest.mark.parametrize("name", [*names_of("B", CIRCUMSTANCES), "data_fingerprint"])
def test_each_circumstance_that_decides_bits_is_compared(name: str) -> None:
    before = getattr(RECORD, name)
    now = replace(RECORD, **{name: OTHER[type(before)]})
    resume_class, (told,) = what_changed(RECORD, now)
    assert told.startswith(f"{name} ")
    assert resume_class == rule_of(name, CIRCUMSTANCES).resume_class
    assert what_changed(RECORD, RECORD) == ("A", [])


@pytest.mark.parametrize("name", ["version", "git_commit", "host"])
def test_other_code_is_told_and_ends_nothing(name: str) -> None:
    now = replace(RECORD, **{name: "other"})
    assert what_changed(RECORD, now) == ("A", [])
    assert other_code(RECORD, now) == [f"{name} {getattr(RECORD, name)} -> other"]


def test_every_fact_of_here_and_now_goes_into_the_record(tmp_path: Path) -> None:
    from tinychat.config import Settings

    facts = settle_facts(tmp_path, Settings(), ()).to_record()
    assert set(facts) == set(names_of("B", CIRCUMSTANCES))
    assert all(value not in ("", None, ()) for value in facts.values()), facts
    assert {f.name for f in dataclasses.fields(Facts)} == {
        "runtime",
        "micro_batch_size",
        "rate_factor",
        "world_size",
    }


def test_settings_are_told_once_and_an_old_record_is_taken_at_its_word() -> None:
    longer = {"max_steps": 30, "runtime.threads": 2}
    now = replace(RECORD, threads=2, settings=longer)
    assert what_changed(RECORD, now) == ("B", ["threads 1 -> 2", "max_steps 20 -> 30"])
    old = replace(RECORD, settings={}, processor="", data_fingerprint=None)
    now = replace(RECORD, settings=longer, changed=("max_steps 20 -> 30",))
    assert what_changed(old, now) == ("B", ["max_steps 20 -> 30"])


def test_only_the_attempts_behind_the_weights_count() -> None:
    def attempt(from_step: int, resume_class: str | None, why: str = "") -> AttemptRecord:
        reason = f"resume: {why}" if why else "new"
        return replace(RECORD, from_step=from_step, resume_class=resume_class, reason=reason)

    chain = [
        (1, attempt(0, None)),
        (2, attempt(20, "B", "threads 1 -> 2")),  # given up: the next one begins where it did
        (3, attempt(20, "A")),
        (4, attempt(30, "B", "dtype fp32 -> bf16")),
        (5, attempt(50, "B", "given up too")),
        (6, attempt(40, "C", "data a -> b")),
    ]
    assert lineage_line(chain[:1]) == "bit-exact from step 0"
    assert lineage_line(chain[:2]) == "bit-exact until step 20 (step 20: threads 1 -> 2)"
    assert lineage_line(chain[:3]) == "bit-exact from step 0"
    assert [(each.step, each.resume_class) for each in breaks(chain)] == [(30, "B"), (40, "C")]
    told = [(each.number, each.from_step, each.last_step) for each in stretches(chain)]
    assert told == [(1, 0, 20), (3, 20, 30), (4, 30, 40), (6, 40, None)]
    assert [each.number for each in stretches(chain, 25)] == [1, 3]
    assert stretches(chain, 0) == []


def test_new_data_is_refused_until_it_is_accepted_and_then_held_to(
    train: Train, resume: Train, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.txt"
    own.write_bytes(corpus.read_bytes())
    run = train("own", "--max-steps=6", "--optim.schedule=cosine", data=own)
    first = RunReader(run).run.data_fingerprint
    own.write_bytes(corpus.read_bytes() + b"\n<|endoftext|>\nthe cow ate the moon.\n" * 20)
    capsys.readouterr()
    resume("own", "--max-steps=9", exit_code=2)
    told = capsys.readouterr().err
    assert f"it was {str(first)[:12]}" in told
    assert "--accept-new-data" in told
    before = (run / "settings.json").read_bytes(), len(RunReader(run).attempts())
    resume("own", "--accept-new-data", exit_code=2)
    assert "would learn nothing of the new data" in capsys.readouterr().err
    assert RunReader(run).lineage == "bit-exact from step 0"
    assert ((run / "settings.json").read_bytes(), len(RunReader(run).attempts())) == before
    resume("own", "--max-steps=9", "--accept-new-data")
    attempt = RunReader(run).attempts()[-1][1]
    second = attempt.data_fingerprint
    assert attempt.resume_class == "C"
    assert second not in (None, first)
    change = f"data_fingerprint {str(first)[:12]} -> {str(second)[:12]}"
    assert change in attempt.reason
    card = json.loads((RunPaths(run).checkpoint(9) / "tinychat.json").read_bytes())
    assert card["lineage"].startswith(f"bit-exact until step 6 (step 6: {change}")
    assert card["data_fingerprint"] == second
    assert RunReader(run).run.data_fingerprint == first, "run.json is written once"
    resume("own", "--max-steps=12")  # held to what was accepted, without the flag
    assert RunReader(run).attempts()[-1][1].resume_class == "B"
    own.write_bytes(corpus.read_bytes())
    capsys.readouterr()
    resume("own", "--max-steps=15", exit_code=2)
    assert f"it was {str(second)[:12]}" in capsys.readouterr().err


def test_a_stretch_at_the_step_where_its_attempt_began_keeps_the_earlier_break(
    train: Train, resume: Train, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other data and threads, then memory runs out twice, then a roll-back: all at one step."""
    own = tmp_path / "own.txt"
    own.write_bytes(corpus.read_bytes())
    run = train("own", "--max-steps=6", "--optim.schedule=cosine", data=own)
    own.write_bytes(corpus.read_bytes().replace(b"cat", b"cow"))
    real = updates.Updates.gradients

    def with_little_memory(made: updates.Updates, batch: Batch) -> torch.Tensor:
        if made.facts.micro_batch_size > 2:
            raise torch.OutOfMemoryError
        return real(made, batch)

    with monkeypatch.context() as patched:
        patched.setattr(updates.Updates, "gradients", with_little_memory)
        poison(patched, range(1, 10))  # two whole steps and a part of the third
        resume("own", "--max-steps=9", "--accept-new-data", "--runtime.threads=2",
               "--optim.max-bad-steps=2", "--eval.every-steps=none")  # fmt: skip
    found = breaks(RunReader(run).attempts())
    assert [(each.step, each.resume_class) for each in found] == [(6, "C")]
    for change in ("data_fingerprint", "threads 1 -> 2", "micro_batch_size 8 -> 2", "rate_factor"):
        assert change in found[0].why
    card = json.loads((RunPaths(run).checkpoint(9) / "tinychat.json").read_bytes())
    assert card["lineage"] == RunReader(run).lineage


def test_new_files_after_a_failed_flush_keep_the_break(
    train: Train, resume: Train, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first flush after a resume fails, so that another attempt begins where that one did."""
    own = tmp_path / "own.txt"
    own.write_bytes(corpus.read_bytes())
    flags = ("--optim.schedule=cosine", "--checkpoint.every-steps=none")
    run = train("flushed", "--max-steps=6", *flags, data=own)
    own.write_bytes(corpus.read_bytes().replace(b"cat", b"cow"))
    failed: list[Path] = []

    class Failing(Disk):
        def fsync(self, path: Path) -> None:
            if path.name == "metrics.jsonl" and not failed:
                failed.append(path)
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            super().fsync(path)

    monkeypatch.setattr(job, "Disk", Failing)
    resume("flushed", "--max-steps=9", "--accept-new-data")
    assert [attempt.from_step for _, attempt in RunReader(run).attempts()] == [0, 6, 6]
    (found,) = breaks(RunReader(run).attempts())
    assert (found.step, found.resume_class) == (6, "C")
    assert "data_fingerprint" in found.why
    rows = [row["step"] for row in RunReader(run).rows("metrics") if row["kind"] == "train"]
    assert rows == list(range(1, 10))


def test_memory_that_has_room_again_for_the_old_rows_breaks_nothing(
    train: Train, resume: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train("same", "--max-steps=6", "--checkpoint.every-steps=3", "--micro-batch-size=4")
    real = updates.Updates.gradients

    def with_little_memory(made: updates.Updates, batch: Batch) -> torch.Tensor:
        if made.facts.micro_batch_size > 4:
            raise torch.OutOfMemoryError
        return real(made, batch)

    monkeypatch.setattr(updates.Updates, "gradients", with_little_memory)
    resume("same", "--micro-batch-size=8", "--from=3")
    first, wide, narrow = (attempt for _, attempt in RunReader(run).attempts())
    assert (wide.resume_class, narrow.resume_class, narrow.from_step) == ("B", "A", 3)
    assert narrow.micro_batch_size == first.micro_batch_size
    assert RunReader(run).lineage == "bit-exact from step 0"


def test_files_that_moved_are_found_again_by_their_new_path(
    train: Train, resume: Train, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.txt"
    own.write_bytes(corpus.read_bytes())
    run = train("moved", "--max-steps=4", data=own)
    (tmp_path / "there").mkdir()
    own.rename(tmp_path / "there" / "mine.txt")
    monkeypatch.chdir(tmp_path / "there")
    resume("moved", "--data.paths=mine.txt", "--log.every-steps=2")
    attempt = RunReader(run).attempts()[-1][1]
    assert (attempt.resume_class, attempt.reason) == ("A", "resume")
    saved = RunReader(run).settings["settings"]
    assert saved["data"]["paths"] == [str(tmp_path / "there" / "mine.txt")]


def test_another_tinychat_is_named_and_ends_no_exactness(
    train: Train, resume: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("older", "--max-steps=4", "--checkpoint.every-steps=2")
    version = RunReader(run).attempts()[0][1].version
    monkeypatch.setattr("tinychat.training.attempts.__version__", "99.0")
    capsys.readouterr()
    resume("older", "--from=2")
    events = [row["message"] for row in RunReader(run).rows("events") if row["kind"] == "resume"]
    assert events[0].startswith("resumed from step 2: bit-exact")
    assert f"version {version} -> 99.0" in events[0]
    assert RunReader(run).lineage == "bit-exact from step 0"


def test_what_a_lost_record_would_have_told_is_not_taken_for_granted(
    train: Train, resume: Train
) -> None:
    run = train("lost", "--max-steps=8", "--checkpoint.every-steps=4", "--optim.schedule=cosine")
    RunPaths(run).attempt(1).attempt_json.unlink()
    resume("lost", "--max-steps=10")
    told = "the record of attempt 1 is lost"
    assert told in RunReader(run).lineage
    resume("lost", "--max-steps=12")
    assert RunReader(run).attempts()[-1][1].reason.count(told) == 0, "it is said once"
    assert told in RunReader(run).lineage
