"""Files that are deleted, replaced and made anew under those who read and write them."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.conversations import Answer, Feedback, read_feedback
from tinychat.errors import NoDataError
from tinychat.runs import Disk

MakeAnswer = Callable[..., Answer]
HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def path(checkpoints: Path) -> Path:
    return checkpoints / ".chats" / "feedback.jsonl"


@pytest.mark.parametrize("more", [0, 1, 3])
def test_a_file_that_was_made_anew_in_the_same_place_is_read_from_its_beginning(
    feedback: Feedback, path: Path, make_answer: MakeAnswer, more: int, tmp_path: Path
) -> None:
    """Written over, it has the inode of the old one, as a file that was deleted and made anew
    often has; it may be as long, or longer."""
    other = Feedback(tmp_path / "other")
    for number in range(2):
        feedback.rewrite(HI, make_answer(), f"old {number}")
    assert feedback.counts().rewrites == 2
    for number in range(2 + more):
        other.rewrite(HI, make_answer(), f"new {number}")
    path.write_bytes((tmp_path / "other" / ".chats" / "feedback.jsonl").read_bytes())
    assert [entry.text for entry in feedback.entries()] == [f"new {n}" for n in range(2 + more)]
    assert feedback.counts().rewrites == 2 + more
    assert feedback.skipped == 0


def test_deleting_the_file_forgets_all_of_it_and_the_next_judgement_makes_it_anew(
    feedback: Feedback, checkpoints: Path, path: Path, make_answer: MakeAnswer
) -> None:
    old = feedback.rewrite(HI, make_answer(), "old")
    assert feedback.counts().rewrites == 1
    path.unlink()
    assert feedback.entries() == feedback.marks() == []
    with pytest.raises(NoDataError):
        read_feedback([checkpoints])
    new = feedback.rewrite(HI, make_answer(), "new")
    feedback.undo(new)
    assert feedback.marks() == []
    assert old not in path.read_text()
    path.unlink()
    path.parent.rmdir()
    feedback.rewrite(HI, make_answer(), "newest")
    assert [mark.said for mark in feedback.marks()] == ["newest"]


def test_what_is_written_while_an_editor_saves_the_file_is_in_the_new_one(
    checkpoints: Path, path: Path, make_answer: MakeAnswer
) -> None:
    class Editor(Disk):
        saves = 0

        def append(self, fd: int, data: bytes) -> int:
            if self.saves:
                self.saves -= 1
                aside = path.with_suffix(".swp")
                aside.write_bytes(path.read_bytes())
                os.replace(aside, path)
            return super().append(fd, data)

    disk = Editor()
    feedback = Feedback(checkpoints, disk=disk)
    feedback.rewrite(HI, make_answer(), "first")
    disk.saves = 2
    feedback.rewrite(HI, make_answer(), "second")
    assert disk.saves == 0
    for view in (feedback, Feedback(checkpoints)):
        assert [mark.said for mark in view.marks()] == ["first", "second"]
        assert view.skipped == 0


def test_readers_amid_writing_and_deleting_never_fail_and_see_whole_judgements(
    checkpoints: Path, path: Path, make_answer: MakeAnswer
) -> None:
    feedback, failures, over = Feedback(checkpoints), [], threading.Event()
    feedback.rewrite(HI, make_answer(), "0")

    def read() -> None:
        view = Feedback(checkpoints)
        try:
            while not over.is_set():
                assert all(entry.text for entry in view.entries())
                try:
                    judged = read_feedback([checkpoints])
                except NoDataError:
                    continue  # amid a deletion
                assert set(judged.left_out) <= {"torn"}
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(1, 60):
        feedback.rewrite(HI, make_answer(), str(number))
        if number % 20 == 0:
            path.unlink()
    over.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert [mark.said for mark in feedback.marks()] == [str(n) for n in range(41, 60)]
