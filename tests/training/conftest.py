"""Real runs of a tiny model on a few hundred sentences, in this process or in one of their own."""

import gc
import hashlib
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest
import torch

from tinychat.cli.app import run as tinychat
from tinychat.runs import RunPaths
from tinychat.training import updates

SHAPE = [
    "--model.n-layer=2", "--model.n-head=2", "--model.n-embd=32", "--model.context-length=32",
    "--tokenizer.vocab-size=300", "--batch-size=8", "--runtime.threads=1",
    "--runtime.autotune=false",
    "--sample.max-new-tokens=8",
]  # fmt: skip


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few hundred small documents."""
    rng = random.Random("corpus")
    heroes = ["the cat", "a small dog", "my sister", "the old king", "a red bird"]
    deeds = ["ate", "saw", "found", "lost", "painted"]
    things = ["a blue boat", "the moon", "seven apples", "his hat", "a long road"]
    documents = [
        " ".join(
            f"{rng.choice(heroes)} {rng.choice(deeds)} {rng.choice(things)}." for _ in range(4)
        )
        for _ in range(300)
    ]
    path = tmp_path_factory.mktemp("corpus") / "sentences.txt"
    path.write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def chat_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Instructions and answers, as columns."""
    import json

    path = tmp_path_factory.mktemp("chat") / "sums.jsonl"
    rows = [
        {"instruction": f"What is {a} plus {b}?", "response": f"It is {a + b}."}
        for a in range(15)
        for b in range(15)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.fixture
def train(tmp_path: Path, corpus: Path) -> Callable[..., Path]:
    """Train in this process; returns the run's folder."""

    def start(name: str, *flags: str, data: Path | None = None, exit_code: int = 0) -> Path:
        words = ["train", "--name", name, "--data", str(data or corpus)]
        shape = [w for w in SHAPE if w.split("=")[0] not in {f.split("=")[0] for f in flags}]
        words += ["--checkpoints", str(tmp_path), *shape, *flags]
        assert tinychat(words) == exit_code
        return tmp_path / name

    return start


@pytest.fixture
def resume(tmp_path: Path) -> Callable[..., Path]:
    """Resume in this process."""

    def start(name: str, *flags: str, exit_code: int = 0) -> Path:
        assert tinychat(["resume", name, "--checkpoints", str(tmp_path), *flags]) == exit_code
        return tmp_path / name

    return start


@pytest.fixture
def spawn(tmp_path: Path, corpus: Path) -> Callable[..., subprocess.Popen[str]]:
    """Train or resume in a process of its own, which a test may kill."""

    def start(
        command: str, name: str, *flags: str, folder: Path = tmp_path
    ) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "tinychat", command]
        if command == "train":
            words += ["--name", name, "--data", str(corpus), *SHAPE]
        else:
            words += [name]
        words += ["--checkpoints", str(folder), *flags]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    return start


DiskOf = Callable[[str], Path]


@pytest.fixture
def disk_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiskOf]:
    """Mount a disk of that size; returns its folder."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs Linux and root")
    mounted = []

    def mount(size: str) -> Path:
        folder = tmp_path_factory.mktemp("disk")
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.skip("no disk can be mounted here")
        mounted.append(folder)
        return folder

    yield mount
    gc.collect()  # token files stay open as long as anybody knows them
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def digests(run: Path, step: int) -> dict[str, str]:
    """What decides whether two runs ended in the same weights and memory."""
    folder = RunPaths(run).checkpoint(step)
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("model.safetensors", "optimizer.safetensors")
    }


def poison(
    monkeypatch: pytest.MonkeyPatch, steps: Collection[int], factor: float = math.nan
) -> None:
    """From the outside: the loss of some updates becomes NaN, gradients with it."""
    real, done = updates.summed_loss, [0]

    def poisoned(*args: object) -> torch.Tensor:
        loss = real(*args)  # type: ignore[arg-type]
        if torch.is_grad_enabled():
            done[0] += 1
            if done[0] in steps:
                return loss * factor
        return loss

    monkeypatch.setattr(updates, "summed_loss", poisoned)
