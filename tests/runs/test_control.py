"""The mailbox: order, at most once, and what is no command."""

import json
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinychat.errors import SettingsError
from tinychat.runs import COMMANDS, ControlInbox, RunWriter, send_command, wait_for_ack


def drop(run: Path, name: str, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    (run / "control" / name).write_bytes(data)


def request(**changes: Any) -> str:
    told = {"id": "1", "command": "pause", "args": {}, "by": "test", "at": 0.0}
    return json.dumps({**told, "expires": time.time() + 60, **changes})


def test_commands_come_in_the_order_they_were_sent(run: Path) -> None:
    sent = [
        send_command(run, "pause", {"free": True}, by="test"),
        send_command(run, "resume", by="test"),
        send_command(run, "sample", {"prompt": "Hello 🙂\n"}, by="test"),
        send_command(run, "stop", by="test"),
        send_command(run, "set", {"setting": "log.every", "value": 5}, by="test"),
    ]
    inbox = ControlInbox(run)
    commands = inbox.poll()
    assert [command.id for command in commands] == sent
    assert [command.args for command in commands] == [
        {"free": True},
        {},
        {"prompt": "Hello 🙂\n"},
        {"save": True},
        {"setting": "log.every", "value": 5},
    ]
    assert os.listdir(run / "control") == []
    assert inbox.poll() == inbox.refusals() == []


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"set"}))
def test_every_other_command_can_be_sent_without_arguments(run: Path, command: str) -> None:
    send_command(run, command, by="test")
    inbox = ControlInbox(run)
    assert [taken.command for taken in inbox.poll()] == [command]
    assert inbox.refusals() == []


@pytest.mark.parametrize(
    ("command", "args", "match"),
    [
        ("puase", {}, "did you mean pause"),
        ("explode", {}, "there are pause"),
        ("pause", {"free": "yes"}, "cannot take free"),
        ("resume", {"now": True}, "takes no 'now'"),
        ("set", {"value": 3}, "needs 'setting'"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_it_is_sent(
    run: Path, command: str, args: dict[str, Any], match: str
) -> None:
    with pytest.raises(SettingsError, match=match):
        send_command(run, command, args, by="test")
    assert os.listdir(run / "control") == []


MALFORMED = {
    "empty": "",
    "not JSON": "{",
    "not an object": "[1]",
    "deep": "[" * 50_000,
    "binary": b"\xff\x00\xfe",
    "giant": " " * 100_000 + request(),
    "a key twice": '{"id": "1", "id": "1"}',
    "no id": request(id=None),
    "unknown command": request(command="explode"),
    "unknown argument": request(args={"x": 1}),
    "args of the wrong kind": request(args=[1]),
    "argument of the wrong kind": request(args={"free": 1}),
    "expires of the wrong kind": request(expires="never"),
    "never a number": request().replace('"at": 0.0', '"at": NaN'),
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_file_is_set_aside_and_reported(run: Path, content: str | bytes) -> None:
    drop(run, "1-x.json", content)
    drop(run, "2-y.json", request(id="2"))
    inbox = ControlInbox(run)
    assert [command.id for command in inbox.poll()] == ["2"]
    (refusal,) = inbox.refusals()
    assert refusal.reason.startswith("1-x.json is no command: ")
    assert inbox.refusals() == inbox.poll() == []
    (kept,) = os.listdir(run / "control")
    assert kept.startswith("refused-1-x.json")


def test_a_refusal_names_the_id_when_there_is_one(run: Path) -> None:
    drop(run, "1-x.json", request(id="77", command="explode"))
    inbox = ControlInbox(run)
    assert inbox.poll() == []
    (refusal,) = inbox.refusals()
    assert (refusal.id, refusal.command) == ("77", "explode")


def test_links_pipes_and_folders_are_set_aside(run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_text(request(), encoding="utf-8")
    (run / "control" / "1.json").symlink_to(tmp_path / "elsewhere.json")
    os.mkfifo(run / "control" / "2.json")
    (run / "control" / "3.json").mkdir()
    inbox = ControlInbox(run)
    assert inbox.poll() == []
    assert len(inbox.refusals()) == 3
    assert (tmp_path / "elsewhere.json").exists()


def test_what_is_being_written_or_foreign_is_left_alone(run: Path) -> None:
    names = {".tmp-1-x.json-00ff", "notes.txt", "refused-1-x.json-00ff", ".DS_Store"}
    for name in names:
        drop(run, name, request())
    inbox = ControlInbox(run)
    assert inbox.poll() == inbox.refusals() == []
    assert set(os.listdir(run / "control")) == names


def test_an_expired_command_is_reported_and_gone(run: Path) -> None:
    sent = send_command(run, "stop", by="test", expires_in_seconds=-1)
    inbox = ControlInbox(run)
    assert inbox.poll() == []
    (refusal,) = inbox.refusals()
    assert (refusal.id, refusal.command) == (sent, "stop")
    assert os.listdir(run / "control") == []


def test_an_id_comes_once(run: Path) -> None:
    inbox = ControlInbox(run)
    for name in ("1.json", "2.json", "3.json"):
        drop(run, name, request())
    assert len(inbox.poll()) == 1
    drop(run, "4.json", request())
    assert inbox.poll() == inbox.refusals() == []
    assert os.listdir(run / "control") == []


def test_a_storm_of_everything(run: Path) -> None:
    chance = random.Random(5)
    good = []
    for number in range(500):
        what = chance.choice(["good", "good", "malformed", "late", "double"])
        name = f"{number:04d}-{chance.random()}.json"
        if what == "malformed":
            drop(run, name, chance.choice(list(MALFORMED.values())))
        elif what == "late":
            drop(run, name, request(id=f"late {number}", expires=1.0))
        elif what == "double" and good:
            drop(run, name, request(id=chance.choice(good)))
        else:
            good.append(str(number))
            drop(run, name, request(id=str(number), command=chance.choice(["pause", "resume"])))
    inbox = ControlInbox(run)
    taken = [command.id for _ in range(3) for command in inbox.poll()]
    assert taken == good
    assert all(name.startswith("refused-") for name in os.listdir(run / "control"))


def test_a_run_without_mailbox_has_no_commands(tmp_path: Path) -> None:
    assert ControlInbox(tmp_path / "nowhere").poll() == []


def test_the_answer_is_waited_for(
    run: Path, writer: RunWriter, begin: Callable[[int], int]
) -> None:
    begin(0)
    ids = [send_command(run, "pause", by="test") for _ in range(2)]
    inbox = ControlInbox(run)

    def trainer() -> None:
        answered = 0
        while answered < 2:
            for command in inbox.poll():
                kind = "command_refused" if answered else "command_applied"
                more = {"id": command.id, "command": command.command}
                writer.event_row(kind, step=3, message="", **more)
                answered += 1

    thread = threading.Thread(target=trainer)
    thread.start()
    answers = [wait_for_ack(run, sent, timeout_seconds=60) for sent in ids]
    thread.join()
    assert [answer and answer["kind"] for answer in answers] == [
        "command_applied",
        "command_refused",
    ]
    assert wait_for_ack(run, "unheard of", timeout_seconds=0) is None


def test_every_command_of_the_contract_exists() -> None:
    known = {"pause", "resume", "checkpoint", "sample", "evaluate", "undo", "stop", "set"}
    assert set(COMMANDS) == known
