"""Two tiny real runs, one of conversations and one of text, trained once for all who read."""

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest

from tinychat.cli.app import run as tinychat

# Test processes side by side: threads that wait for one another would take most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAYON_NUM_THREADS", "1")

hypothesis.settings.register_profile("tinychat", deadline=None)  # no test depends on speed
hypothesis.settings.load_profile("tinychat")

TINY = {
    "model.n-layer": 1, "model.n-head": 2, "model.n-embd": 32, "model.context-length": 64,
    "tokenizer.vocab-size": 300, "batch-size": 4, "max-steps": 20, "eval.every-steps": 10,
    "checkpoint.every-steps": 10, "sample.every-steps": 10, "sample.max-new-tokens": 12,
    "runtime.threads": 1, "runtime.dtype": "fp32", "runtime.autotune": "false",
}  # fmt: skip


Value = TypeVar("Value")


def until(condition: Callable[[], Value | None], told: Callable[[], str] | None = None) -> Value:
    """What a condition gives once it holds; the time is only how long a failure takes."""
    deadline = time.monotonic() + 120
    while not (value := condition()):
        assert time.monotonic() < deadline, told() if told else "it never came"
        time.sleep(0.02)
    return value


def tiny(**changed: object) -> list[str]:
    """Flags of the smallest run that does everything; `max_steps=5`, `eval__every_steps=1`."""
    values = TINY | {k.replace("__", ".").replace("_", "-"): v for k, v in changed.items()}
    return [f"--{name}={value}" for name, value in values.items()]


def write_corpora(folder: Path) -> tuple[Path, Path]:
    """(conversations as JSON lines, text): small, seeded, and enough for a validation split."""
    import json

    rng = random.Random("corpora of the command line's tests")
    names, things = ["Anna", "Tom", "Mia", "Leo"], ["cats", "boats", "the moon", "apples"]
    pairs = [(rng.choice(names), rng.choice(things), n) for n in range(120)]
    talks = folder / "talks.jsonl"
    lines = [
        [
            {"role": "user", "content": f"My name is {name} and I like {thing}."},
            {"role": "assistant", "content": f"Hello {name}! I like {thing} too, {n} of them."},
        ]
        for name, thing, n in pairs
    ]
    talks.write_text("".join(json.dumps({"messages": m}) + "\n" for m in lines), encoding="utf-8")
    story = folder / "story.txt"
    texts = [f"{name} saw {n} {thing} and went home." for name, thing, n in pairs]
    story.write_text("\n<|endoftext|>\n".join(texts), encoding="utf-8")
    return talks, story


@pytest.fixture(scope="session")
def trained_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoints folder with the runs `talk` (chat) and `story` (base). Only to be read."""
    folder = tmp_path_factory.mktemp("trained")
    talks, story = write_corpora(folder)
    runs = folder / "checkpoints"
    for name, data in (("talk", talks), ("story", story)):
        words = ["train", "--name", name, "--data", str(data), "--checkpoints", str(runs), *tiny()]
        assert tinychat(words) == 0
    return runs


@pytest.fixture
def copy_of(trained_runs: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of one of the trained runs, for a test that hurts it."""

    def copy(name: str) -> Path:
        target = tmp_path / "checkpoints" / name
        shutil.copytree(trained_runs / name, target)
        return target

    return copy


@pytest.fixture(scope="session")
def trained_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The best checkpoint of the demo, which takes minutes to train, unless TINYCHAT_DEMO names a
    trained one; for slow tests, and only to be read."""
    import teaching

    if run := os.environ.get("TINYCHAT_DEMO"):
        return teaching.best_of(run, Path())
    folder = tmp_path_factory.mktemp("demo") / "checkpoints"
    words = ["train", "--preset=demo", "--name=demo", "--checkpoints", str(folder)]
    assert tinychat([*words, "--runtime.autotune=false"]) == 0
    return teaching.best_of("demo", folder)
