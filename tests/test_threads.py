"""How threads wait is settled before torch's OpenMP is loaded, and asked of OpenMP itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tinychat.threads import TURNS

CHAT = ("tinychat", "chat", "talk")
PAGE = ("tinychat_ui", "--port", "0")


def turns(words: tuple[str, ...], folder: str, **environ: str) -> int:
    """How often a waiting thread of that program looks before it sleeps."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GOMP_")}
    process = subprocess.Popen(
        [sys.executable, "-m", *words, "--checkpoints", folder],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=clean | {"OMP_DISPLAY_ENV": "verbose"} | environ,
    )  # fmt: skip
    assert process.stderr is not None
    told = ""
    try:
        for line in process.stderr:
            told += line
            if match := re.search(r"GOMP_SPINCOUNT = '(\d+)'", line):
                return int(match[1])
    finally:
        process.kill()
        process.wait()
    raise AssertionError(told)


@pytest.mark.skipif(sys.platform != "linux", reason="torch has GNU OpenMP on Linux only")
@pytest.mark.parametrize("words", [CHAT, PAGE])
def test_a_thread_that_waits_sleeps_soon(words: tuple[str, ...], trained_runs: Path) -> None:
    assert turns(words, str(trained_runs)) == TURNS


@pytest.mark.skipif(sys.platform != "linux", reason="torch has GNU OpenMP on Linux only")
def test_whoever_says_how_threads_wait_is_heard(trained_runs: Path) -> None:
    folder = str(trained_runs)
    assert turns(CHAT, folder, GOMP_SPINCOUNT="77") == 77
    assert turns(CHAT, folder, OMP_WAIT_POLICY="active") > 100 * TURNS
