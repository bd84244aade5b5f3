"""SIGKILL at chosen moments of a tune, from the first look at the reference to the last save: what
is gone on with ends in the same bits as what nobody killed, and the parent is as it was."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.cli.app import run as tinychat
from tinychat.runs import RunPaths, RunReader

from .conftest import digests
from .rows import losses
from .tuning import digest_of, judge

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no SIGKILL")

FLAGS = (
    "--max-steps=6", "--eval.every-steps=2", "--checkpoint.every-steps=2", "--runtime.threads=1",
    "--tune.chosen-weight=0.5",
)  # fmt: skip
KILLING = """
import importlib, os, signal, sys
module, path, number = sys.argv[1], sys.argv[2].split("."), int(sys.argv[3])
holder = importlib.import_module(module)
for each in path[:-1]:
    holder = getattr(holder, each)
real, calls = getattr(holder, path[-1]), [0]
def counted(*args, **kwargs):
    calls[0] += 1
    if calls[0] == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)
setattr(holder, path[-1], counted)
from tinychat.cli.app import run
sys.exit(run(sys.argv[4:]))
"""
OFTEN = (("tinychat.training.preferences.updates", "preference_losses", 3),)  # in a step
SELDOM = (
    ("tinychat.training.preferences.sequences", "log_probs", 2),  # half of the reference is known
    ("tinychat.training.preferences.evaluation", "preference_losses", 3),  # in an evaluation
    ("tinychat.runs.writer", "RunWriter.write_run", 1),  # what it learns from is there, no run.json
    ("tinychat.training.recorder", "publish_checkpoint", 2),  # the start was evaluated just now
    ("tinychat.conversations", "read_feedback", 1),
    ("tinychat.training.preferences.sequences", "log_probs", 1),
    ("tinychat.runs.writer", "RunWriter.write_examples", 1),
    ("tinychat.runs.writer", "RunWriter.begin_attempt", 1),
    ("tinychat.training.recorder", "publish_checkpoint", 1),
    ("tinychat.training.recorder", "publish_checkpoint", 4),
    ("tinychat.training.updates", "take_step", 5),
    *(("tinychat.runs.durable", "Disk.rename", number) for number in (2, 7)),  # of 9
    *(("tinychat.runs.durable", "Disk.write_file", number) for number in range(3, 64, 10)),  # 80
)

Checkpoints = Callable[[], Path]


@pytest.fixture(scope="module")
def whole(trained_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a parent, judgements, and a run that learnt from them; only to be read."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(trained_runs / "talk", folder / "talk")
    judge(folder)
    words = ["tune", "talk", "--checkpoints", str(folder), "--name", "tuned", *FLAGS]
    assert tinychat(words) == 0
    return folder


def killed(folder: Path, moment: tuple[str, str, int], *words: str) -> bool:
    """Whether the command came to that moment, and died of it."""
    asked = [sys.executable, "-c", KILLING, *map(str, moment), *words, "--checkpoints", str(folder)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def go_on(folder: Path, moment: tuple[str, str, int] | None) -> bool:
    """The same command, or resume where there is something to go on with."""
    begun = (folder / "tuned" / "settings.json").exists()
    words = ["resume", "tuned"] if begun else ["tune", "talk", "--name", "tuned", *FLAGS]
    if moment is not None:
        return killed(folder, moment, *words)
    assert tinychat([*words, "--checkpoints", str(folder)]) == 0
    return False


@pytest.mark.parametrize(
    "moment", [*OFTEN, *(pytest.param(each, marks=pytest.mark.slow) for each in SELDOM)]
)
def test_a_kill_costs_no_bit(whole: Path, tmp_path: Path, moment: tuple[str, str, int]) -> None:
    for name in ("talk", ".chats"):
        shutil.copytree(whole / name, tmp_path / name)
    before = digest_of(tmp_path / "talk")
    assert go_on(tmp_path, moment), "the moment never came"
    go_on(tmp_path, moment)  # and again, wherever it stands now
    if (tmp_path / "tuned" / "run.json").exists():  # it has its own copy by now
        shutil.rmtree(tmp_path / ".chats")
    go_on(tmp_path, None)
    run, reference = tmp_path / "tuned", whole / "tuned"
    assert digests(run, 6) == digests(reference, 6)
    assert losses(run) == losses(reference)
    for name in ("examples.jsonl", "reference.json"):
        assert (run / name).read_bytes() == (reference / name).read_bytes()
    status, other = RunReader(run).status, RunReader(reference).status
    assert status is not None
    assert other is not None
    assert (status.state, status.best) == (other.state, other.best)
    assert digest_of(tmp_path / "talk") == before
    assert RunPaths(run).run_json.exists()
