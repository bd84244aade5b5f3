"""Whether a run fits is told before it starts, by numbers that come true."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tinychat.chaos.disks import WatchedDisk
from tinychat.cli.app import run as tinychat
from tinychat.config import Settings
from tinychat.config.load import from_json
from tinychat.model import Decoder
from tinychat.runs import (
    CheckpointSizes,
    RunPaths,
    RunReader,
    free_at,
    list_checkpoints,
    pin,
    taken_by,
)
from tinychat.training import job
from tinychat.training.space import checkpoint_sizes, peak_of

from .conftest import SHAPE, DiskOf

Train = Callable[..., Path]
QUIET = ("--sample.every-steps=none", "--model.dropout=0.1")


class MeasuringDisk(WatchedDisk):
    """Keeps the most that a folder has taken before any operation."""

    def __init__(self) -> None:
        self.folder = Path()
        self.most = 0

    def before(self, operation: str, *args: object) -> None:
        self.most = max(self.most, taken_by(self.folder))


def settings_of(run: Path) -> Settings:
    return from_json(RunReader(run).settings).settings


def sizes_of(run: Path) -> CheckpointSizes:
    settings = settings_of(run)
    with torch.device("meta"):
        decoder = Decoder(settings.model, settings.tokenizer.vocab_size)
    tokenizer = RunPaths(run).tokenizer_json.stat().st_size
    return checkpoint_sizes(decoder, settings.optim, tokenizer)


def warnings(run: Path) -> list[str]:
    rows = RunReader(run).rows("events")
    return [row["message"] for row in rows if row["kind"] == "warning"]


@pytest.mark.parametrize(
    "flags",
    [
        ("--optim.optimizer=muon",),
        ("--optim.optimizer=adamw", "--model.tied-head=false"),
        ("--optim.optimizer=adamw", "--model.norm=layer", "--model.mlp=gelu_tanh",
         "--model.position=learned", "--model.qk-norm=false"),
    ],
    ids=["muon", "adamw", "gpt2"],
)  # fmt: skip
def test_the_size_of_a_checkpoint_is_known_before_there_is_one(
    flags: tuple[str, ...], train: Train
) -> None:
    run = train("sizes", "--max-steps=4", "--checkpoint.every-steps=1", *flags, *QUIET)
    sizes, paths = sizes_of(run), RunPaths(run)
    assert taken_by(paths.checkpoint(4)) == pytest.approx(sizes.whole, rel=0.02)
    assert taken_by(paths.checkpoint(1)) == pytest.approx(sizes.weights_only, rel=0.02)


@pytest.mark.slow
def test_the_peak_that_is_told_comes_true(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = MeasuringDisk()
    disk.folder = tmp_path / "peak"
    monkeypatch.setattr(job, "Disk", lambda: disk)
    run = train(
        "peak", "--max-steps=195", "--checkpoint.every-steps=5", "--checkpoint.every-minutes=none",
        "--eval.every-steps=110", *QUIET,
    )  # fmt: skip
    told = peak_of(settings_of(run), sizes_of(run)).n_bytes
    assert disk.most == pytest.approx(told, rel=0.1)
    assert disk.most <= told


def test_two_checkpoints_must_fit(
    disk_of: DiskOf, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = disk_of("600k")
    words = ["train", "--name=large", f"--data={corpus}", f"--checkpoints={disk}", *SHAPE, *QUIET]
    assert tinychat([*words, "--max-steps=10"]) == 2
    told = capsys.readouterr().err
    assert "large needs" in told
    assert "to save two checkpoints, and only" in told
    assert "choose another disk by --checkpoints" in told
    assert not (disk / "large" / "run.json").exists()


def test_a_peak_that_does_not_fit_is_told_and_the_run_begins(
    disk_of: DiskOf, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = disk_of("2m")
    words = ["train", "--name=tight", f"--data={corpus}", f"--checkpoints={disk}", *SHAPE, *QUIET]
    assert tinychat([*words, "--max-steps=10", "--checkpoint.every-steps=5"]) == 0
    run = disk / "tight"
    (told,) = [each for each in warnings(run) if "at its peak" in each]
    assert "free in" in told
    capsys.readouterr()
    (disk / "filler").write_bytes(bytes(free_at(disk) - 100_000))
    assert tinychat(["resume", "tight", f"--checkpoints={disk}", "--max-steps=20"]) == 2
    told = capsys.readouterr().err
    assert "to save its next checkpoint" in told
    assert f"tinychat runs --prune --yes tight --checkpoints {disk}" in told
    assert "keep-last" not in told, "what no setting helps"
    assert list_checkpoints(run)[-1] == 10
    (disk / "filler").unlink()
    assert tinychat(["resume", "tight", f"--checkpoints={disk}", "--max-steps=12"]) == 0


def test_a_disk_without_a_free_byte_can_be_pruned(
    disk_of: DiskOf, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = disk_of("4m")
    words = ["train", "--name=full", f"--data={corpus}", f"--checkpoints={disk}", *SHAPE, *QUIET]
    assert tinychat([*words, "--max-steps=6", "--checkpoint.every-steps=2"]) == 0
    run = RunPaths(disk / "full")
    assert list_checkpoints(run.root)[-1] == 6
    for name in (".tmp-step-00000008-aa", ".del-step-00000001-aa"):
        shutil.copytree(run.checkpoint(6), run.root / name)
    with open(disk / "filler", "wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    assert free_at(disk) == 0
    capsys.readouterr()
    assert tinychat(["runs", "--prune", "--yes", "full", f"--checkpoints={disk}"]) == 0
    assert "freed " in capsys.readouterr().out
    assert free_at(disk) > 0
    assert not [path.name for path in run.root.iterdir() if path.name.startswith(".")]


def test_what_is_pinned_counts(train: Train) -> None:
    run = train("kept", "--max-steps=4", "--checkpoint.every-steps=2", *QUIET)
    assert not warnings(run)
    sizes, settings = sizes_of(run), settings_of(run)
    pin(run, 2)
    more = peak_of(settings, sizes, pins=1).n_bytes - peak_of(settings, sizes).n_bytes
    assert more == sizes.whole
