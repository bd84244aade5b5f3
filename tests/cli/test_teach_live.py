"""`teach --live`: a copy that learns after each judgement."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import until
from tinychat.conversations import Feedback, Teaching
from tinychat.runs import RunReader, true_state

from .teacher import Teacher, contents


@pytest.fixture
def live(runs: Path) -> Iterator[Callable[..., Teacher]]:
    """A program that teaches a copy which learns after each judgement."""
    begun: list[Teacher] = []

    def begin(*words: str, name: str = "talk") -> Teacher:
        begun.append(Teacher(runs, "--live", *words, name=name))
        return begun[-1]

    yield begin
    for teacher in begun:
        teacher.process.kill()
        teacher.process.communicate()


def state_of(run: Path) -> str:
    status = RunReader(run).status
    return "" if status is None else true_state(status).state


def kinds_of(run: Path) -> list[str]:
    """What the run has written of judgements."""
    return [json.loads(line)["kind"] for line in (run / "examples.jsonl").read_text().splitlines()]


def test_a_copy_learns_after_each_judgement(live: Callable[..., Teacher], runs: Path) -> None:
    before = contents(runs / "talk")
    teacher, copy = live(), runs / "talk-live"
    teacher.pick_shortest()
    teacher.pick_shortest()  # which waits for what the first one has taught
    learnt = [event for event in teacher.seen if event["kind"] == "learnt"]
    assert [event["step"] for event in learnt] == [1]
    assert learnt[0]["val_loss"] > 0
    first, second = Feedback(runs).entries()
    assert {answer.label for answer in first.answers} == {"talk@20"}
    assert {answer.label for answer in second.answers} == {"talk-live@1"}
    teacher.until("asks_prompt")
    until(lambda: len(kinds_of(copy)) == 3)  # else it would never be learnt
    teacher.say("u")
    assert teacher.until("undone")["id"] == second.id
    teacher.until("asks_key")
    teacher.say("2")
    teacher.until("asks_prompt")
    teacher.say("Hello")
    learnt_again = teacher.until("learnt")
    assert learnt_again["step"] == 2
    assert "t" not in teacher.until("asks_key")["keys"]
    teacher.say("q")
    teacher.until("asks_key")
    teacher.say("a")
    assert teacher.until("accepted")["parent"] == "talk@20"
    teacher.process.communicate()
    assert teacher.process.returncode == 0
    assert state_of(copy) == "stopped"
    assert kinds_of(copy) == ["follows", "lesson", "lesson", "taken_back", "lesson"]
    taught = Teaching(runs).newest_accepted("talk")
    assert taught is not None
    assert taught.label == "talk-live@2"
    assert contents(runs / "talk") == before
    again = live(name="talk-live")  # it goes on
    again.pick_shortest()
    again.until("asks_prompt")
    again.say("Hi")
    assert again.until("learnt")["step"] == 3
    again.until("asks_key")
    assert again.end() == 0  # without a decision
    newest = Teaching(runs).newest_accepted("talk")
    assert newest is not None
    assert newest.step == 2


@pytest.mark.slow
def test_a_copy_whose_process_is_killed_learns_no_more_and_the_talk_goes_on(
    live: Callable[..., Teacher], runs: Path
) -> None:
    teacher, copy = live(), runs / "talk-live"
    teacher.pick_shortest()
    teacher.until("asks_prompt")
    status = RunReader(copy).status
    assert status is not None
    os.kill(status.pid, signal.SIGKILL)
    until(lambda: state_of(copy) == "crashed")
    teacher.say("Hello")
    assert "it learns no more" in teacher.until("refused")["message"]
    teacher.until("asks_key")
    teacher.say("1")
    teacher.until("kept")
    teacher.say("q")
    teacher.process.communicate("a\n")
    assert len(Feedback(runs).entries()) == 2
    again = live(name="talk-live")  # what it missed is learnt now
    again.until("asks_prompt")
    assert [row["step"] for row in RunReader(copy).rows("metrics") if row["kind"] == "train"] == [
        1,
        2,
    ]


@pytest.mark.slow
def test_a_copy_ends_with_its_teacher(live: Callable[..., Teacher], runs: Path) -> None:
    teacher, copy = live(), runs / "talk-live"
    teacher.until("asks_prompt")
    teacher.process.kill()
    until(lambda: state_of(copy) == "stopped")


@pytest.mark.slow
def test_a_copy_that_forgets_too_much_is_told(runs: Path, live: Callable[..., Teacher]) -> None:
    rough = ["--optim.learning-rate=0.3", "--optim.min-learning-rate=0.3"]
    rough += ["--replay.max-val-loss-rise=0.01", "--until-eof", "--device=cpu", "--dtype=fp32"]
    words = ["tune", "talk", "--follow", "--name=talk-live", "--checkpoints", str(runs), *rough]
    begun = subprocess.Popen(
        [sys.executable, "-m", "tinychat", *words],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    until(lambda: begun.poll() is not None or state_of(runs / "talk-live") == "paused")
    begun.communicate()
    assert begun.returncode == 0
    teacher = live(name="talk-live")
    teacher.pick_shortest()
    teacher.until("asks_prompt")
    teacher.say("Hello")
    assert "val_loss on the old data has risen" in teacher.until("refused")["message"]
    teacher.until("asks_key")
    assert teacher.end() == 0
    assert {answer.label for answer in Feedback(runs).entries()[-1].answers} == {"talk-live@0"}
