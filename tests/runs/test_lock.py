"""The lock between real processes."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinychat.errors import RunBusyError, RunError
from tinychat.runs import RunLock, lock_is_held

HOLDER = """
import sys, time
from pathlib import Path
from tinychat.errors import RunBusyError
from tinychat.runs import RunLock
try:
    with RunLock(Path(sys.argv[1])):
        print("won", flush=True)
        sys.stdin.read()
except RunBusyError as error:
    print(error, flush=True)
"""

FORKING = """
import os, sys, time
from pathlib import Path
from tinychat.runs import RunLock
with RunLock(Path(sys.argv[1])):
    child = os.fork()
    if child == 0:
        os.close(1)
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    time.sleep(60)
"""


def start(run: Path, code: str = HOLDER) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.slow
def test_of_ten_at_once_exactly_one_wins(run: Path) -> None:
    for _ in range(3):
        processes = [start(run) for _ in range(10)]
        said = [first_line(process) for process in processes]
        winner = said.index("won")
        assert said.count("won") == 1
        named = f"held by process {processes[winner].pid} on "
        assert all(named in line for line in said if line != "won")
        for process in processes:
            process.communicate()
        assert not lock_is_held(run)


def test_a_killed_holder_frees_the_lock(run: Path) -> None:
    process = start(run)
    assert first_line(process) == "won"
    assert lock_is_held(run)
    assert lock_is_held(run)  # looking changes nothing
    with pytest.raises(RunBusyError, match=f"process {process.pid}"), RunLock(run):
        pass
    process.kill()
    process.communicate()
    assert not lock_is_held(run)
    with RunLock(run):
        assert lock_is_held(run)


def test_a_forked_child_does_not_hold_it(run: Path) -> None:
    process = start(run, FORKING)
    child = int(first_line(process))
    process.kill()
    process.wait()
    try:
        with RunLock(run):
            pass
    finally:
        os.kill(child, 9)
        process.communicate()


@pytest.mark.parametrize("content", [b"", b"garbage \xff", b'{"pid": 1}', b'{"pid": %d}', b"[]"])
def test_what_stands_in_the_file_decides_nothing(run: Path, content: bytes) -> None:
    if b"%d" in content:
        content = content % os.getpid()
    (run / "lock").write_bytes(content)
    assert not lock_is_held(run)
    with RunLock(run):
        (run / "lock").write_bytes(content)
        with pytest.raises(RunBusyError, match="another process"), RunLock(run):
            pass


def test_a_lock_whose_file_was_removed_is_no_longer_held(run: Path) -> None:
    with RunLock(run) as lock:
        assert lock.still_held()
        (run / "lock").unlink()
        assert not lock.still_held()
        with RunLock(run) as other:
            assert other.still_held()
            assert not lock.still_held()
    assert not lock.still_held()


def test_a_run_that_cannot_be_locked_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be locked"), RunLock(tmp_path / "nowhere"):
        pass
    assert not lock_is_held(tmp_path / "nowhere")


@pytest.mark.parametrize("refused", ["write", "ftruncate"])
def test_a_full_disk_can_be_locked_and_let_go(
    run: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(f"tinychat.runs.lock.os.{refused}", refuse)
        with RunLock(run) as lock:
            assert lock_is_held(run)
            assert lock.still_held()
        assert not lock_is_held(run)
