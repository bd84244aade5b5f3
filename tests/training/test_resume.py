"""Going on: bit for bit after any kill, honest where bits may differ, refused where it must."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tinychat.cli.app import run as tinychat
from tinychat.runs import RunLock, RunPaths, RunReader, list_checkpoints
from tinychat.runs.layout import checkpoint_name

from .conftest import SHAPE, digests
from .rows import losses

Train = Callable[..., Path]
Resume = Callable[..., Path]
Spawn = Callable[..., "subprocess.Popen[str]"]


UNDISTURBED = ("--max-steps=120", "--model.dropout=0.1", "--checkpoint.every-steps=none")


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody has signalled."""
    folder = tmp_path_factory.mktemp("undisturbed")
    words = ["train", "--name=run", f"--data={corpus}", f"--checkpoints={folder}"]
    assert tinychat([*words, *SHAPE, *UNDISTURBED]) == 0
    return folder / "run"


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_saves_stops_and_redoes_nothing(
    number: int, undisturbed: Path, spawn: Spawn, tmp_path: Path
) -> None:
    run = tmp_path / "signalled"
    process = spawn("train", "signalled", *UNDISTURBED)
    while not (run.exists() and RunReader(run).attempts() and len(losses(run)) > 5):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(60) == 0
    status = RunReader(run).status
    assert status is not None
    assert status.state == "stopped"
    assert 0 < status.step < 120
    assert list_checkpoints(run)[-1] == status.step == losses(run)[-1][0]
    process = spawn("resume", "signalled")
    assert process.wait(120) == 0
    assert RunReader(run).attempts()[-1][1].from_step == status.step
    assert digests(run, 120) == digests(undisturbed, 120)
    assert losses(run) == losses(undisturbed)


@pytest.mark.parametrize("harm", ["truncate", "flip", "missing", "swap", "manifest"])
def test_a_damaged_checkpoint_is_found_and_the_newest_good_one_used(
    harm: str, train: Train, resume: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("damaged", "--max-steps=60", "--checkpoint.every-steps=20")
    reference = digests(run, 60)
    folder, older = RunPaths(run).checkpoint(60), RunPaths(run).checkpoint(40)
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    match harm:
        case "truncate":
            weights.write_bytes(data[: len(data) // 2])
        case "flip":
            weights.write_bytes(data[:5000] + bytes([data[5000] ^ 4]) + data[5001:])
        case "missing":
            weights.unlink()
        case "swap":
            weights.write_bytes((older / "model.safetensors").read_bytes())
        case "manifest":
            (folder / "manifest.json").write_bytes((older / "manifest.json").read_bytes())
    capsys.readouterr()
    resume("damaged")
    told = capsys.readouterr().out
    assert checkpoint_name(60) in told
    assert "resumed from step 40: bit-exact" in told
    assert digests(run, 60) == reference
    assert [p.name for p in run.iterdir() if p.name.startswith("bad-")] == [
        f"bad-{checkpoint_name(60)}-1"
    ]


def test_a_checkpoint_that_failed_for_a_moment_only_is_set_aside_whole(
    train: Train, resume: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train("passing", "--max-steps=30", "--checkpoint.every-steps=10")
    reference, real, failures = digests(run, 30), Path.read_bytes, []

    def failing(path: Path) -> bytes:
        if path.name == "model.safetensors" and "step-00000030" in str(path) and not failures:
            failures.append(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return real(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", failing)
        resume("passing")
    assert failures
    assert RunReader(run).attempts()[-1][1].from_step == 20
    aside = run / f"bad-{checkpoint_name(30)}-1"
    assert (aside / "optimizer.safetensors").exists(), "nothing of it is deleted"
    assert digests(run, 30) == reference


def test_without_any_good_checkpoint_it_refuses_and_deletes_nothing(
    train: Train, resume: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("ruined", "--max-steps=20", "--checkpoint.every-steps=10")
    for step in list_checkpoints(run):
        (RunPaths(run).checkpoint(step) / "manifest.json").write_bytes(b"{}")
    before = sorted(p.relative_to(run) for p in run.rglob("*"))
    resume("ruined", exit_code=1)
    assert "No checkpoint" in capsys.readouterr().err
    assert sorted(p.relative_to(run) for p in run.rglob("*")) == before


@pytest.mark.slow
def test_another_thread_count_is_said_for_ever_after(train: Train, resume: Train) -> None:
    run = train("threads", "--max-steps=20", "--checkpoint.every-steps=10")
    resume("threads", "--max-steps=30", "--runtime.threads=2")
    attempt = RunReader(run).attempts()[-1][1]
    assert attempt.resume_class == "B"
    assert "threads 1 -> 2" in attempt.reason
    card = json.loads((RunPaths(run).checkpoint(30) / "tinychat.json").read_text(encoding="utf-8"))
    assert card["lineage"].startswith("bit-exact until step 10 (step 10: threads 1 -> 2")


def test_changed_data_is_refused_with_both_fingerprints(
    train: Train, resume: Train, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.txt"
    own.write_bytes(corpus.read_bytes())
    train("own", "--max-steps=10", data=own)
    own.write_bytes(corpus.read_bytes().replace(b"cat", b"cow", 1))
    resume("own", "--max-steps=20", exit_code=2)
    assert "the data of own has changed" in capsys.readouterr().err


def test_settings_that_make_another_run_are_refused(
    train: Train, resume: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    train("fixed", "--max-steps=10")
    resume("fixed", "--seed=3", "--model.n-layer=4", "--max-steps=20", exit_code=2)
    told = capsys.readouterr().err
    assert "seed is 0" in told
    assert "model.n_layer is 2" in told


def test_one_trainer_a_run(train: Train, resume: Train, capsys: pytest.CaptureFixture[str]) -> None:
    run = train("busy", "--max-steps=10")
    with RunLock(run):
        resume("busy", "--max-steps=20", exit_code=1)
    assert "is held by process" in capsys.readouterr().err


def test_an_existing_name_is_refused_with_the_way_to_go_on(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("taken", "--max-steps=10")
    train("taken", "--max-steps=10", exit_code=2)
    assert f"`tinychat resume taken --checkpoints {run.parent}`" in capsys.readouterr().err


@pytest.mark.slow
def test_extending_goes_on_before_the_decay(train: Train, resume: Train) -> None:
    """warmup-stable-decay, 40 steps and then 60: the same as 60 from the start."""
    schedule = ("--optim.decay-share=0.5", "--optim.warmup-steps=5")
    straight = train("straight", "--max-steps=60", *schedule)
    run = train("extended", "--max-steps=40", *schedule)
    assert 20 in list_checkpoints(run), "the last checkpoint before the decay is pinned"
    resume("extended", "--max-steps=60")
    assert RunReader(run).attempts()[-1][1].from_step == 20
    assert [step for step, _ in losses(run)] == list(range(1, 61))
    assert digests(run, 60) == digests(straight, 60)


@pytest.mark.slow
def test_extending_goes_on_from_what_is_left_before_the_decay(train: Train, resume: Train) -> None:
    flags = ("--optim.decay-share=0.5", "--optim.warmup-steps=5", "--checkpoint.every-steps=6")
    run = train("left", "--max-steps=40", "--checkpoint.keep-last=9", *flags)
    shutil.rmtree(run / "step-00000020")
    resume("left", "--max-steps=60")
    assert RunReader(run).attempts()[-1][1].from_step == 18
    assert [step for step, _ in losses(run)] == list(range(1, 61))


@pytest.mark.parametrize(
    ("start", "said"),
    [("abc", "--from abc is no step"), ("999", "there is no such checkpoint"),
     ("0", "holds weights only")],
)  # fmt: skip
def test_a_start_that_is_not_there_is_refused_with_those_that_are(
    train: Train, resume: Train, capsys: pytest.CaptureFixture[str], start: str, said: str
) -> None:
    train("some", "--max-steps=10", "--checkpoint.every-steps=5")
    capsys.readouterr()
    resume("some", f"--from={start}", exit_code=2)
    told = capsys.readouterr().err
    assert said in told
    assert 'name a step that some can go on from (5, 10), or "latest"' in told
    assert told.count("\n") == 1


def test_damaged_checkpoints_are_told_a_line_each(
    train: Train, resume: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("hurt", "--max-steps=10", "--checkpoint.every-steps=5")
    for file in run.glob("step-*/model.safetensors"):
        file.write_bytes(b"hurt")
    capsys.readouterr()
    resume("hurt", exit_code=1)
    told = capsys.readouterr().err.splitlines()
    assert "No checkpoint of the run hurt can be used, and nothing was deleted." in told[0]
    assert [line.partition("step-")[2][:8] for line in told[1:3]] == ["00000010", "00000005"]
    assert all(len(line) < 120 and str(run) not in line for line in told)


def test_extending_other_schedules_stays_at_the_floor_unless_rewarmed(
    train: Train, resume: Train
) -> None:
    for name, flags in (("flat", ()), ("rewarmed", ("--rewarm",))):
        run = train(name, "--max-steps=20", "--optim.schedule=cosine", "--optim.warmup-steps=2")
        resume(name, "--max-steps=40", *flags)
        rates = {
            row["step"]: row["learning_rate"]
            for row in RunReader(run).rows("metrics")
            if row["kind"] == "train"
        }
        floor = rates[40]
        assert (rates[22] == floor) is (name == "flat")


def test_a_start_killed_before_it_was_born_goes_on(spawn: Spawn, tmp_path: Path) -> None:
    process = spawn("train", "unborn", "--max-steps=10")
    run = tmp_path / "unborn"
    while not (run / "settings.json").exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.wait()
    resumed = subprocess.run(
        [sys.executable, "-m", "tinychat", "resume", "unborn", "--checkpoints", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr
    assert list_checkpoints(run)[-1] == 10


@pytest.mark.slow
def test_an_extension_that_is_killed_before_the_old_end_can_be_resumed(
    train: Train, resume: Resume, spawn: Spawn, tmp_path: Path
) -> None:
    """The old end's checkpoints lie beyond the new stretch and must not push its own out."""
    schedule = ("--optim.decay-share=0.5", "--optim.warmup-steps=5", "--checkpoint.every-steps=5")
    straight = train("straight", "--max-steps=400", *schedule)
    run = train("grown", "--max-steps=300", *schedule)
    process = spawn("resume", "grown", "--max-steps=400")
    while RunReader(run).attempts()[-1][1].from_step != 150 or len(losses(run)) < 165:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    resume("grown")
    assert 150 < RunReader(run).attempts()[-1][1].from_step < 300
    assert losses(run) == losses(straight)
    assert digests(run, 400) == digests(straight, 400)


def test_a_refused_resume_changes_nothing(
    train: Train, resume: Resume, corpus: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.txt"
    own.write_bytes(corpus.read_bytes())
    run = train("kept", "--max-steps=20", data=own)
    reader = RunReader(run)
    before, status = (run / "settings.json").read_bytes(), reader.status
    assert status is not None
    resume("kept", "--max-steps=10", exit_code=2)
    resume("kept", "--device=mps", exit_code=2)
    own.write_bytes(corpus.read_bytes().replace(b"cat", b"cow", 1))
    resume("kept", "--max-steps=30", exit_code=2)
    own.write_bytes(corpus.read_bytes())
    assert (run / "settings.json").read_bytes() == before
    assert reader.status is not None
    assert replace(reader.status, seq=status.seq) == status, "finished, with latest and best"
    resume("kept", "--max-steps=30")


def test_a_run_measured_in_epochs_can_be_extended(train: Train, resume: Resume) -> None:
    run = train("epochs", "--max-epochs=0.2")
    steps = list_checkpoints(run)[-1]
    saved = json.loads((run / "settings.json").read_text("utf-8"))["settings"]
    assert (saved["max_steps"], saved["max_epochs"]) == (steps, None)
    resume("epochs", f"--max-steps={steps + 5}")
    assert losses(run)[-1][0] == steps + 5


def test_a_child_goes_on_without_its_parent(train: Train, resume: Resume) -> None:
    parent = train("parent", "--max-steps=10")
    child = train("child", "--max-steps=10", f"--init-from={parent}")
    shutil.rmtree(parent)
    resume("child", "--max-steps=15")
    assert losses(child)[-1][0] == 15


def test_damaged_settings_are_told_in_a_sentence(
    train: Train, resume: Resume, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("garbled", "--max-steps=5")
    for content in (b"", b"[]", b'{"format": 1}', b'{"format": 1, "settings": 3, "sources": {}}'):
        (run / "settings.json").write_bytes(content)
        capsys.readouterr()
        resume("garbled", exit_code=2 if content.startswith(b'{"format"') else 1)
        assert "settings.json" in capsys.readouterr().err


@pytest.mark.slow
def test_a_reader_that_leaves_does_not_end_the_training(corpus: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tinychat", "train", "--name=piped", f"--data={corpus}"]
    words += [f"--checkpoints={tmp_path}", "--max-steps=40", *SHAPE]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(120) == 0
    status = RunReader(tmp_path / "piped").status
    assert status is not None
    assert status.state == "finished"
