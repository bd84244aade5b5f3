"""Ways to run the real command line: in this process, in one of its own, and beside a live run."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import tiny, until, write_corpora
from tinychat.cli.app import run
from tinychat.runs import RunReader, lock_is_held

Tinychat = Callable[..., "Result"]


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout; fails if there is anything else."""
        return json.loads(self.out)


@pytest.fixture
def tinychat(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tinychat:
    """Run a command in this process."""
    monkeypatch.setenv("COLUMNS", "100")

    def call(*words: object) -> Result:
        capsys.readouterr()
        code = run([str(word) for word in words])
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return call


@pytest.fixture
def piped(tinychat: Tinychat, trained_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Tinychat:
    """Chat with lines from a pipe; always the likeliest tokens, unless told otherwise."""

    def call(name: str, text: str, *flags: object) -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        words = ["chat", name, "--checkpoints", trained_runs, "--max-new-tokens", 8]
        words += [] if "--temperature" in flags else ["--temperature", 0]
        return tinychat(*words, *flags)

    return call


def spawn(*words: object, cwd: Path | None = None, stdin: str = "") -> Result:
    """Run a command in a process of its own, as a shell would."""
    done = subprocess.run(
        [sys.executable, "-m", "tinychat", *map(str, words)],
        input=stdin, capture_output=True, encoding="utf-8", cwd=cwd, timeout=300, check=False,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def live_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run that trains in another process until it is stopped."""
    folder = tmp_path_factory.mktemp("live")
    talks, _ = write_corpora(folder)
    words = ["train", "--name", "live", "--data", talks, "--checkpoints", folder / "checkpoints"]
    words += tiny(
        max_steps=1_000_000, eval__every_steps="none", sample__every_steps="none",
        checkpoint__every_steps="none",
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "tinychat", *map(str, words)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | {"COLUMNS": "100"},
    )  # fmt: skip
    run_folder = folder / "checkpoints" / "live"
    try:
        until(lambda: process.poll() is not None or _is_training(run_folder))
        assert process.poll() is None, process.communicate()[1]
        yield run_folder
    finally:
        process.kill()
        process.communicate()


def _is_training(run_folder: Path) -> bool:
    status = RunReader(run_folder).status
    return lock_is_held(run_folder) and status is not None and status.state == "training"


@pytest.fixture
def runs(copy_of: Callable[[str], Path], trained_runs: Path) -> Path:
    """A folder of runs that a test may write to, with `talk` in it."""
    folder = copy_of("talk").parent
    (folder / ".cache").symlink_to(trained_runs / ".cache")
    return folder
