"""Commands from a screen: sent, pending, answered, overdue, and never answered."""

import time
from pathlib import Path
from typing import Any

import pytest

from tinychat.errors import RunError, SettingsError
from tinychat.runs import ControlInbox, Row, RunRecord, RunWriter, Status, process_identity
from tinychat.watch import requests
from tinychat.watch.requests import Requests


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    """A run that this very process trains."""
    writer = RunWriter(tmp_path / "demo")
    writer.create_run()
    writer.write_run(RunRecord(id="1", created_at="2026-01-01T00:00:00+00:00", version="0.1"))
    tell(writer)
    return writer


def tell(writer: RunWriter, **changes: Any) -> None:
    now = time.time()
    told: dict[str, Any] = {"state": "training", "step": 5, "max_steps": 9, "time": now}
    identity: Any = process_identity()
    writer.status(Status(**{**identity, **told, "next_beat_by": now + 600, **changes}))


def answer(id_: str, kind: str = "command_applied", message: str = "done") -> Row:
    return {"kind": kind, "step": 5, "message": message, "id": id_, "command": "?"}


def test_a_command_arrives_and_is_pending_until_it_is_answered(writer: RunWriter) -> None:
    asked = Requests(writer.paths.root, "monitor@here")
    pause = asked.send("pause")
    sample = asked.send("sample", {"prompt": "Hello"})
    taken = ControlInbox(writer.paths.root).poll()
    assert [(each.command, each.by, each.id) for each in taken] == [
        ("pause", "monitor@here", pause.id),
        ("sample", "monitor@here", sample.id),
    ]
    assert taken[1].args == {"prompt": "Hello"}
    others = [answer("other"), {"kind": "start"}, {"kind": "warning", "id": pause.id}]
    assert asked.update(others, 0.1) == []
    assert asked.pending == [pause, sample]
    assert asked.update([*others, answer(pause.id, message="paused at step 5")], 0.1) == [pause]
    assert (pause.answer, pause.result) == ("applied", "paused at step 5")
    assert asked.pending == [sample]
    refused = answer(sample.id, "command_refused", "no samples: it has no prompt")
    assert asked.update([refused], 0.1) == [sample]
    assert (sample.answer, sample.result) == ("refused", "no samples: it has no prompt")
    assert asked.update([refused], 0.1) == asked.pending == []


def test_overdue_after_two_steps(writer: RunWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(requests.time, "monotonic", lambda: clock[0])
    asked = Requests(writer.paths.root, "me")
    pending = asked.send("checkpoint")
    clock[0] += 4
    asked.update([], 1.0)
    assert not pending.overdue
    clock[0] += 2
    asked.update([], 1.0)
    assert pending.overdue
    asked.update([], 60.0)
    assert not pending.overdue
    asked.update([], None)
    assert pending.overdue
    assert asked.pending == [pending]


@pytest.mark.parametrize("state", ["finished", "stopped", "failed", "crashed"])
def test_nobody_is_asked_who_cannot_obey(writer: RunWriter, state: str) -> None:
    if state == "crashed":
        tell(writer, pid=2**22 + 1)
    else:
        tell(writer, state=state)
    with pytest.raises(RunError, match=f"demo has {state}"):
        Requests(writer.paths.root, "me").send("pause")
    assert ControlInbox(writer.paths.root).poll() == []


def test_a_trainer_that_ended_first_counts_as_a_refusal(
    writer: RunWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(requests.time, "monotonic", lambda: clock[0])
    asked = Requests(writer.paths.root, "me")
    stop, pause = asked.send("stop"), asked.send("pause")
    tell(writer, state="stopped")
    assert asked.update([], 0.1) == []
    clock[0] += 60
    assert asked.update([answer(stop.id)], 0.1) == [stop, pause]
    assert (stop.answer, pause.answer) == ("applied", "refused")
    assert "ended before it answered" in pause.result


def test_what_nobody_answers_until_it_has_expired_may_be_asked_again(
    writer: RunWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(requests.time, "monotonic", lambda: clock[0])
    asked = Requests(writer.paths.root, "me")
    pause = asked.send("pause")
    clock[0] += 600
    assert asked.update([], 0.1) == []
    clock[0] += 10
    assert asked.update([], 0.1) == [pause]
    assert (pause.answer, asked.pending) == ("refused", [])
    assert "expired" in pause.result


def test_what_cannot_be_sent_says_why(writer: RunWriter, tmp_path: Path) -> None:
    asked = Requests(writer.paths.root, "me")
    with pytest.raises(SettingsError, match="did you mean pause"):
        asked.send("pauze")
    with pytest.raises(SettingsError, match="takes no 'colour'"):
        asked.send("pause", {"colour": "red"})
    control = writer.paths.control
    control.rmdir()
    control.write_text("")
    with pytest.raises(OSError):
        asked.send("pause")
    assert asked.pending == []
