"""What a status is worth, told of processes that really live and really die."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import psutil
import pytest

from tinychat.runs import (
    STATES,
    ProcessIdentity,
    Status,
    is_process_of,
    process_identity,
    true_state,
)

CHILD = """
import json, sys
from tinychat.runs import process_identity
print(json.dumps(process_identity()), flush=True)
sys.stdin.read()
"""

MakeStatus = Callable[..., Status]
LIVE = sorted(set(STATES) - {"finished", "stopped", "failed"})


def start_child() -> tuple[subprocess.Popen[str], ProcessIdentity]:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    return child, json.loads(child.stdout.readline())


@pytest.mark.parametrize("state", LIVE)
def test_a_killed_process_has_crashed(make_status: MakeStatus, state: str) -> None:
    child, identity = start_child()
    status = make_status(state=state, **identity)
    assert true_state(status).state == state
    child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert true_state(status).state == "crashed"  # nobody has collected it yet
    child.communicate()
    told = true_state(status)
    assert told.state == "crashed"
    assert f"Process {child.pid} is gone" in told.reason


def test_a_process_that_got_the_same_number_is_another_one(make_status: MakeStatus) -> None:
    identity = process_identity()
    started = identity["process_start_time"]
    assert started is not None
    assert true_state(make_status()).state == "training"
    assert true_state(make_status(process_start_time=started - 60)).state == "crashed"
    assert true_state(make_status(boot_id="before"), boot_id="after").state == "crashed"
    assert true_state(make_status(boot_id=None, process_start_time=None)).state == "training"


def test_a_beat_that_is_overdue_means_stalled(make_status: MakeStatus) -> None:
    status = make_status(time=100.0, next_beat_by=103.0)
    assert true_state(status, now=104.0).state == "training"
    assert true_state(status, now=90.0).state == "training"
    told = true_state(status, now=160.0)
    assert told.state == "stalled"
    assert "No beat for 60 s; it was training" in told.reason
    assert "2 h" in true_state(status, now=100.0 + 7300).reason


@pytest.mark.skipif(sys.platform == "win32", reason="nothing suspends a process there")
def test_a_suspended_process_is_stalled_before_its_beat_is_due(make_status: MakeStatus) -> None:
    child, identity = start_child()
    status = make_status(**identity)
    soon = status.time + 5
    try:
        assert true_state(status, now=soon).state == "training"
        child.send_signal(signal.SIGSTOP)
        while psutil.Process(child.pid).status() != psutil.STATUS_STOPPED:
            pass
        told = true_state(status, now=soon)
        assert told.state == "stalled"
        assert f"`kill -CONT {child.pid}`" in told.reason
        child.send_signal(signal.SIGCONT)
        while psutil.Process(child.pid).status() == psutil.STATUS_STOPPED:
            pass
        assert true_state(status, now=soon).state == "training"
    finally:
        child.kill()
        child.communicate()


def test_a_process_is_recognised_beyond_doubt_or_not_at_all(make_status: MakeStatus) -> None:
    assert is_process_of(make_status())
    started = process_identity()["process_start_time"]
    assert started is not None
    for change in (
        {"process_start_time": started - 1},
        {"process_start_time": None},
        {"boot_id": "another"},
        {"host": "elsewhere"},
        {"pid": 2**22 + 1},
    ):
        assert not is_process_of(make_status(**change)), change


def test_on_another_host_only_the_beat_counts(make_status: MakeStatus) -> None:
    status = make_status(host="elsewhere", pid=2**22 + 1, time=100.0, next_beat_by=103.0)
    assert true_state(status, now=101.0) == ("training", "On elsewhere.")
    assert true_state(status, now=200.0).state == "other host"


@pytest.mark.parametrize("state", ["finished", "stopped", "failed"])
def test_a_run_that_ended_is_believed(make_status: MakeStatus, state: str) -> None:
    told = make_status(state=state, message="Done.", next_beat_by=0.0, host="elsewhere", pid=1)
    assert true_state(told) == (state, "Done.")


def test_identity_is_of_this_process() -> None:
    assert process_identity()["pid"] == os.getpid()
    assert process_identity() == process_identity()
