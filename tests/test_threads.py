"""How threads wait is settled before torch's OpenMP is loaded, and asked of OpenMP itself."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tinychat import threads
from tinychat.threads import CHOSEN, LOOKS, computing, share_cores

CHAT = ("tinychat", "chat", "talk")
PAGE = ("tinychat_ui", "--port", "0")
SAID = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS", CHOSEN)
LOOP = "import os; os.nice(19); print(flush=True)\nwhile True: pass"  # nice to the other tests


@contextmanager
def busy(cores: int) -> Iterator[None]:
    """Other programs that do nothing but compute."""
    others = [
        subprocess.Popen([sys.executable, "-c", LOOP], stdout=subprocess.PIPE) for _ in range(cores)
    ]
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
    clean = {name: value for name, value in os.environ.items() if name not in SAID}
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
def test_threads_sleep_at_once_beside_programs_that_compute(
    words: tuple[str, ...], trained_runs: Path
) -> None:
    with busy(os.cpu_count() or 1):
        assert turns(words, str(trained_runs)) == 0


@pytest.mark.parametrize(
    ("others", "cores", "gives_way"),
    [(0, 1, False), (0, 4, False), (1, 4, True), (1, 5, False), (4, 8, False), (5, 8, True)],
)
def test_whoever_has_cores_of_its_own_keeps_openmp_s_way(
    others: int, cores: int, gives_way: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "computing", lambda: others)
    monkeypatch.setattr(threads, "usable_cores", lambda: 4)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    environ: dict[str, str] = {}
    share_cores(environ)
    assert (environ.get("OMP_WAIT_POLICY") == "passive") == gives_way


@pytest.mark.parametrize(
    "said",
    [{"GOMP_SPINCOUNT": "77"}, {"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "passive"}],
)
@pytest.mark.parametrize("others", [0, 1000])
def test_whoever_says_how_threads_wait_is_heard(
    said: dict[str, str], others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "computing", lambda: others)
    environ = dict(said)
    share_cores(environ)
    assert environ == said


def test_what_a_program_chose_for_itself_binds_none_that_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environ: dict[str, str] = {}
    monkeypatch.setattr(threads, "computing", lambda: 1000)
    share_cores(environ)
    assert environ["OMP_WAIT_POLICY"] == "passive"
    told = environ | {"OMP_WAIT_POLICY": "active"}
    monkeypatch.setattr(threads, "computing", lambda: 0)
    share_cores(environ)
    assert not environ
    share_cores(told)  # by somebody, in between
    assert told == {"OMP_WAIT_POLICY": "active"}


@pytest.mark.parametrize(
    ("running", "others"),
    [([4] * LOOKS, 3), ([9, 3, 9, 4, 9], 2), ([9, 9, 1], 0), ([1], 0), ([0], 0), ([], 0)],
)
def test_the_fewest_of_some_looks_count(
    running: list[int], others: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter(f"0.85 2.35 2.41 {each}/128 4711\n" for each in running)
    monkeypatch.setattr(Path, "read_text", lambda *_: next(looks, "what else there may be"))
    assert computing(tmp_path / "loadavg") == others
    assert next(looks, None) is None


def test_a_system_that_does_not_tell_has_nobody(tmp_path: Path) -> None:
    assert computing(tmp_path / "none") == 0
