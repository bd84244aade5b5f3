"""How threads wait is settled before torch's OpenMP is loaded, and asked of OpenMP itself."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tinychat.threads import share_cores, usable_cores

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="torch has GNU OpenMP on Linux only"
)

CHAT = ("tinychat", "chat", "talk")
PAGE = ("tinychat_ui", "--port", "0")
OWN = 300_000  # how often a waiting thread of GNU OpenMP looks before it sleeps
POLICIES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")


@contextmanager
def computing(cores: int) -> Iterator[None]:
    """Other programs that do nothing but compute."""
    loop = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    others = [subprocess.Popen(loop, stdout=subprocess.PIPE) for _ in range(cores)]
    try:
        for other in others:
            assert other.stdout is not None
            other.stdout.readline()
        yield
    finally:
        for other in others:
            other.kill()
            other.communicate()


def turns(words: tuple[str, ...], folder: str, **environ: str) -> int:
    """How often a waiting thread of that program looks before it sleeps."""
    clean = {name: value for name, value in os.environ.items() if name not in POLICIES}
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


@pytest.mark.parametrize("words", [CHAT, PAGE])
def test_threads_sleep_at_once_beside_programs_that_compute(
    words: tuple[str, ...], trained_runs: Path
) -> None:
    with computing(os.cpu_count() or 1):
        assert turns(words, str(trained_runs)) == 0


def test_threads_wait_as_openmp_has_them_where_cores_are_to_spare(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cores, environ = usable_cores(), dict[str, str]()
    with computing(os.cpu_count() or 1):
        monkeypatch.setattr(os, "cpu_count", lambda: 10_000)
        share_cores(environ)
        assert not environ
        monkeypatch.setattr(os, "cpu_count", lambda: cores)
        share_cores(environ)
        assert environ["OMP_WAIT_POLICY"] == "passive"
        monkeypatch.setattr(os, "cpu_count", lambda: 10_000)
        share_cores(environ)  # of a program that this one starts, when cores are to spare again
        assert not environ


def test_whoever_says_how_threads_wait_is_heard(trained_runs: Path) -> None:
    folder = str(trained_runs)
    with computing(os.cpu_count() or 1):
        assert turns(CHAT, folder, GOMP_SPINCOUNT="77") == 77
        assert turns(CHAT, folder, OMP_WAIT_POLICY="active") > OWN
