"""Crashes, full disks, two writers at once and foreign lines: what was acknowledged is there."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.conversations import Answer, Conversations, Feedback, Side, Votes
from tinychat.errors import ConversationError, FormatError, TinychatError
from tinychat.runs import Disk

MakeAnswer = Callable[..., Answer]

WRITER = """
import sys
from pathlib import Path
from tinychat.conversations import Conversations

conversation = Conversations(Path(sys.argv[1])).open(sys.argv[2])
root = conversation.branch()[0].id
for turn in range(int(sys.argv[4])):
    conversation.add("user", f"{sys.argv[3]} {turn} " + "x" * 20_000, parent=root)
    print(turn, flush=True)
"""

FULL = """
import resource, signal, sys
from pathlib import Path
from tinychat.conversations import Conversations, Feedback
from tinychat.errors import ConversationError

conversation = Conversations(Path(sys.argv[1])).open(sys.argv[2])
size = Path(sys.argv[1], ".chats", "conversations", sys.argv[2] + ".jsonl").stat().st_size
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
try:
    conversation.add("user", "x" * 1000, parent=conversation.leaf)
except ConversationError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
conversation.add("user", "there is room again", parent=conversation.leaf)
"""


def write(script: str, checkpoints: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, str(checkpoints), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def begun(store: Conversations) -> str:
    """The id of a conversation with one message."""
    conversation = store.create()
    conversation.add("user", "root", parent=None)
    return conversation.id


def file_of(checkpoints: Path, id: str) -> Path:
    return checkpoints / ".chats" / "conversations" / f"{id}.jsonl"


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is meant")
def test_killed_while_it_writes_everything_it_acknowledged_is_there(
    checkpoints: Path, begun: str
) -> None:
    for round_number in range(5):
        process = write(WRITER, checkpoints, begun, f"r{round_number}", "1000000")
        assert process.stdout is not None
        acknowledged = [process.stdout.readline() for _ in range(3 + round_number)]
        process.send_signal(signal.SIGKILL)
        acknowledged += process.stdout.readlines()
        process.wait()
        said = {int(line) for line in acknowledged if line.endswith("\n")}
        nodes = Conversations(checkpoints).open(begun).nodes()
        kept = [n.text.split()[1] for n in nodes if n.text.startswith(f"r{round_number} ")]
        assert said <= {int(turn) for turn in kept}
        assert len(kept) == len(set(kept)) <= len(said) + 1


def test_two_processes_and_two_threads_at_once_lose_nothing(
    checkpoints: Path, begun: str, make_answer: MakeAnswer
) -> None:
    processes = [write(WRITER, checkpoints, begun, f"p{i}", "30") for i in range(2)]
    conversation, feedback = Conversations(checkpoints).open(begun), Feedback(checkpoints)
    root, failures = conversation.branch()[0].id, []

    def talk(name: str) -> None:
        try:
            for turn in range(30):
                conversation.add("user", f"{name} {turn}", parent=root)
                feedback.thumb("up", [{"role": "user", "content": name}], make_answer())
                assert len(conversation.versions(root)) == 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=talk, args=(f"t{i}",)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert failures == []
    conversation.refresh()
    for view in (conversation, Conversations(checkpoints).open(begun)):
        texts = [" ".join(node.text.split()[:2]) for node in view.nodes()[1:]]
        assert sorted(texts) == sorted(f"{k}{i} {n}" for k in "pt" for i in "01" for n in range(30))
        assert view.skipped == 0
    assert feedback.counts().thumbs == 60


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_a_full_disk_is_a_sentence_and_spoils_no_other_line(checkpoints: Path, begun: str) -> None:
    process = write(FULL, checkpoints, begun)
    printed, _ = process.communicate()
    assert process.returncode == 0
    assert "cannot be written (" in printed
    assert "please free some space" in printed
    again = Conversations(checkpoints).open(begun)
    assert [node.text for node in again.branch()] == ["root", "there is room again"]
    assert again.skipped == 1  # the torn line


class Failing(Disk):
    """A disk on which one operation fails."""

    def __init__(self, operation: str) -> None:
        def fail(*args: object) -> None:
            raise OSError(30, "Read-only file system")

        setattr(self, operation, fail)


@pytest.mark.parametrize("operation", ["make_folder", "write_file", "append", "fsync"])
def test_a_disk_that_refuses_is_an_error_of_ours(
    tmp_path: Path, operation: str, make_answer: MakeAnswer
) -> None:
    disk, side = Failing(operation), Side(label="demo@1", settings={})

    def talk() -> None:
        conversation = Conversations(tmp_path / "new", disk=disk).create()
        conversation.add("user", "x", parent=None)

    acts = [talk]
    if operation != "write_file":
        ratings = Feedback(tmp_path / "other", disk=disk), Votes(tmp_path / "third", disk=disk)
        acts.append(lambda: ratings[0].thumb("up", [], make_answer()))
        acts.append(lambda: ratings[1].add("a", prompt="", seed=1, a=side, b=side, blind=True))
    for act in acts:
        with pytest.raises(ConversationError, match="Read-only file system") as caught:
            act()
        assert len(str(caught.value).splitlines()) == 1


def test_a_file_in_the_place_of_the_folder_is_an_error_of_ours(
    checkpoints: Path, make_answer: MakeAnswer
) -> None:
    checkpoints.mkdir()
    (checkpoints / ".chats").write_text("in the way")
    store, feedback = Conversations(checkpoints), Feedback(checkpoints)
    for act in (store.create, store.summaries, feedback.counts):
        with pytest.raises(TinychatError):
            act()
    with pytest.raises(TinychatError):
        feedback.thumb("up", [], make_answer())


def test_lines_that_are_torn_or_not_ours_are_passed_over_and_counted(
    store: Conversations, checkpoints: Path, begun: str
) -> None:
    path = file_of(checkpoints, begun)
    conversation = store.open(begun)
    node = json.loads(path.read_bytes().splitlines()[-1])
    strange = [
        b"not json",
        b"[1, 2]",
        b'{"no": "format"}',
        b'{"format": true, "kind": "node"}',
        b'{"format": 1, "kind": "something new", "time": 1}',
        b'{"format": 1, "kind": "title", "title": 7, "time": 1}',
        b'{"format": 1, "kind": "choice", "node": "ffffffffffff", "time": 1}',
        b'{"format": 1, "kind": "title", "title": "x", "time": null}',
        b'{"format": 1, "kind": "node", "text": "\\ud800"}',
        b"\xff\xfe",
        json.dumps(node).encode(),  # the same message twice
        json.dumps(node | {"id": "../../../../"}).encode(),
        json.dumps(node | {"id": "a" * 12, "role": "tool"}).encode(),
        json.dumps(node | {"id": "a" * 12, "text": None}).encode(),
        json.dumps(node | {"id": "a" * 12, "answer": {"mode": "chat"}}).encode(),
        b"[" * 100_000,
        b'{"format": 1, "kind": "node", "id": "torn',
    ]
    with open(path, "ab") as file:
        file.write(b"\0" * 512 + b"\n" + b"\n".join(strange))
    added = conversation.add("user", "after it all", parent=conversation.leaf)
    for view in (conversation, Conversations(checkpoints).open(begun)):
        assert [each.text for each in view.branch()] == ["root", "after it all"]
        assert view.node(added.id) == added
        assert view.skipped == len(strange) + 1
        assert view.title == "root"


def test_messages_below_a_lost_one_stay_in_their_place(
    store: Conversations, checkpoints: Path, begun: str
) -> None:
    conversation = store.open(begun)
    for text in ("lost", "kept", "and kept"):
        conversation.add("user", text, parent=conversation.leaf)
    path = file_of(checkpoints, begun)
    path.write_bytes(path.read_bytes().replace(b'"lost"', b'"lost'))
    again = Conversations(checkpoints).open(begun)
    assert [node.text for node in again.branch()] == ["root", "kept", "and kept"]
    assert again.skipped == 1


def test_a_last_line_without_its_end_is_read_and_not_spoilt(
    store: Conversations, checkpoints: Path, begun: str
) -> None:
    path = file_of(checkpoints, begun)
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    conversation = Conversations(checkpoints).open(begun)
    conversation.add("user", "next", parent=conversation.leaf)
    for view in (conversation, store.open(begun), Conversations(checkpoints).open(begun)):
        assert [node.text for node in view.branch()] == ["root", "next"]
        assert view.skipped == 0


def test_a_line_behind_another_writers_torn_one_is_written_again(
    checkpoints: Path, begun: str
) -> None:
    """The other writer dies between our look at the file's end and our write."""
    path = file_of(checkpoints, begun)

    class Torn(Disk):
        attacks = 2

        def append(self, fd: int, data: bytes) -> int:
            if self.attacks:
                self.attacks -= 1
                with open(path, "ab") as file:
                    file.write(b'{"format":1,"kind":"node","text":"abc')
            return super().append(fd, data)

    conversation = Conversations(checkpoints, disk=Torn()).open(begun)
    conversation.add("user", "survives", parent=conversation.leaf)
    again = Conversations(checkpoints).open(begun)
    assert [node.text for node in again.branch()] == ["root", "survives"]
    assert again.skipped == 2


def test_a_file_of_a_newer_tinychat_is_refused_in_one_sentence(
    checkpoints: Path, store: Conversations, begun: str, make_answer: MakeAnswer
) -> None:
    feedback, votes = Feedback(checkpoints), Votes(checkpoints)
    feedback.thumb("up", [], make_answer())
    votes.add(
        "a", prompt="", seed=1, blind=False, a=Side(label="x", settings={}),
        b=Side(label="y", settings={}),
    )  # fmt: skip
    for path in (checkpoints / ".chats").rglob("*.jsonl"):
        with open(path, "ab") as file:
            file.write(b'{"format": 2, "kind": "node"}\n')
    for look in (
        lambda: store.open(begun),
        lambda: Conversations(checkpoints).open(begun),
        feedback.entries,
        feedback.counts,
        votes.tallies,
    ):
        with pytest.raises(FormatError, match=r"format 2 .* please update tinychat") as caught:
            look()
        assert len(str(caught.value).splitlines()) == 1
    assert "please update" in store.summaries()[0].problem


@pytest.mark.parametrize("is_longer", [True, False])
def test_a_file_that_was_replaced_or_cut_is_read_anew(
    store: Conversations, checkpoints: Path, begun: str, is_longer: bool
) -> None:
    conversation = store.open(begun)
    conversation.add("user", "gone with the old file", parent=conversation.leaf)
    path = file_of(checkpoints, begun)
    head = b"\n".join(path.read_bytes().splitlines()[:2]) + b"\n"
    if is_longer:
        aside = path.with_suffix(".new")
        aside.write_bytes(head + b"\n" * 1000)
        aside.replace(path)
    else:
        path.write_bytes(head)
    conversation.refresh()
    assert [node.text for node in conversation.branch()] == ["root"]
