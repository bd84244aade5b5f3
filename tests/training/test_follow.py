"""A run that learns from each judgement as it comes, waits for the next, and takes steps back."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import until
from tinychat.cli.app import run as tinychat
from tinychat.conversations import Feedback
from tinychat.runs import (
    RunPaths,
    RunReader,
    list_checkpoints,
    lock_is_held,
    pin,
    prune,
    send_command,
    unpin,
    wait_for_ack,
)

from .conftest import digests
from .tuning import answer, asked, digest_of, judge

RUN = "talk-live"
FLAGS = ("--runtime.threads=1", "--sample.every-steps=none")


@pytest.fixture
def checkpoints(trained_runs: Path, tmp_path: Path) -> Path:
    """A folder of runs with one that talks, and nothing said yet."""
    shutil.copytree(trained_runs / "talk", tmp_path / "talk")
    return tmp_path


class Teacher:
    """Who judges while a run follows."""

    def __init__(self, checkpoints: Path, name: str = RUN) -> None:
        self.feedback = Feedback(checkpoints)
        self.run = checkpoints / name
        self.reader = RunReader(self.run)

    def pick(self, number: int) -> str:
        said = [f"I like {number} cats", f"Hello {number} boats", "the moon", "the moon"]
        prompt = asked(f"Hello number {number}")
        return self.feedback.pick(prompt, [answer(each) for each in said], number % 2)

    def waits_at(self, step: int) -> None:
        """Wait until the run waits for a judgement after so many steps."""

        def waits() -> bool:
            status = self.reader.status
            if status is None or status.state in ("failed", "finished"):
                return False
            return (status.state, status.step) == ("paused", step) and status.latest == step

        until(waits, lambda: f"{self.reader.status} {self.reader.log_tail(20)}")

    def ends(self) -> None:
        def ended() -> bool:
            status = self.reader.status
            return status is not None and status.state in ("finished", "failed")

        until(ended)

    def undo(self, judgement: str | None = None) -> tuple[str, str]:
        """The answer to the command: its kind and its message."""
        sent = send_command(self.run, "undo", {"judgement": judgement}, by="test")
        row = wait_for_ack(self.run, sent, 120)
        assert row is not None
        return row["kind"], row["message"]

    def rows(self, kind: str) -> list[dict[str, Any]]:
        return [row for row in self.reader.rows("metrics") if row["kind"] == kind]

    def lines(self) -> list[dict[str, Any]]:
        text = (self.run / "examples.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


Script = Callable[[Teacher], None]


def follow(checkpoints: Path, script: Script, *words: str, name: str = RUN) -> Teacher:
    """Start or resume the run in this thread, and teach it in another until it is stopped."""
    teacher, failures = Teacher(checkpoints, name), []

    def teach() -> None:
        try:
            until(lambda: lock_is_held(teacher.run))
            script(teacher)
        except BaseException as error:
            failures.append(error)
        finally:
            if lock_is_held(teacher.run):
                send_command(teacher.run, "stop", by="test")

    thread = threading.Thread(target=teach)
    thread.start()
    begin = ["resume", name] if teacher.run.exists() else ["tune", "talk", "--follow", *FLAGS]
    begin += [] if teacher.run.exists() else ["--name", name]
    code = tinychat([*begin, "--checkpoints", str(checkpoints), *words])
    thread.join()
    assert failures == []
    assert code == 0
    return teacher


def test_each_judgement_is_a_step_that_is_evaluated_and_saved(checkpoints: Path) -> None:
    judge(checkpoints, picks=3, thumbs=2, rewrites=1)  # said before: nothing of it is learnt
    before = digest_of(checkpoints / "talk")

    def script(teacher: Teacher) -> None:
        teacher.waits_at(0)
        teacher.pick(1)
        teacher.waits_at(1)
        teacher.feedback.rewrite(asked("Hi"), answer("moon"), "Good morning!")
        teacher.waits_at(2)
        teacher.feedback.thumb("down", asked("Hi"), answer("moon"))
        teacher.pick(2)  # both at once
        teacher.waits_at(4)

    teacher = follow(checkpoints, script)
    status = teacher.reader.status
    assert status is not None
    assert (status.state, status.step) == ("stopped", 4)
    assert [row["step"] for row in teacher.rows("eval")] == [0, 1, 2, 3, 4]
    assert all(row["val_loss"] > 0 for row in teacher.rows("eval"))
    assert [row["step"] for row in teacher.rows("train")] == [1, 2, 3, 4]
    assert list_checkpoints(teacher.run) == [0, 1, 2, 3, 4]
    kinds = [mark.kind for mark in teacher.feedback.marks()][-4:]
    assert kinds == ["pick", "rewrite", "thumb", "pick"]
    first, *lessons = teacher.lines()
    assert len(first["since"]) == 6
    assert [row["source"] for row in lessons] == [m.id for m in teacher.feedback.marks()][-4:]
    assert [len(row["examples"]) for row in lessons] == [2, 1, 1, 2]  # equal answers make no pair
    assert lessons[0]["reference"][0][0] < 0
    record = teacher.reader.run.tune
    assert record is not None
    assert record.follows
    assert digest_of(checkpoints / "talk") == before


def test_it_goes_on_with_what_was_said_while_it_was_stopped(checkpoints: Path) -> None:
    def first(teacher: Teacher) -> None:
        teacher.waits_at(0)  # there was no feedback at all when it began
        teacher.pick(1)
        teacher.waits_at(1)

    def second(teacher: Teacher) -> None:
        teacher.waits_at(3)

    teacher = follow(checkpoints, first)
    teacher.pick(2)
    teacher.pick(3)
    follow(checkpoints, second)
    assert [row["step"] for row in teacher.rows("train")] == [1, 2, 3]
    assert {record.resume_class for _, record in teacher.reader.attempts()} <= {None, "A"}


def test_what_waits_for_review_is_not_learnt_before(checkpoints: Path) -> None:
    def script(teacher: Teacher) -> None:
        teacher.waits_at(0)
        visitors = teacher.feedback.thumb("up", asked("Hi"), answer("Hello"), reviewed=False)
        teacher.pick(1)
        teacher.waits_at(1)
        teacher.feedback.review(visitors)
        teacher.waits_at(2)
        assert teacher.lines()[-1]["source"] == visitors

    follow(checkpoints, script)


def test_what_teaches_nothing_is_told_and_passed_over(checkpoints: Path) -> None:
    def script(teacher: Teacher) -> None:
        teacher.waits_at(0)
        teacher.feedback.pick(asked("Hi"), [answer("same"), answer("same")], 0)
        teacher.feedback.pick(asked("cats " * 200), [answer("yes"), answer("no")], 0)
        teacher.waits_at(1)

    teacher = follow(checkpoints, script)
    assert [row["kind"] for row in teacher.lines()] == ["follows", "passed_over", "lesson"]
    told = [row["message"] for row in teacher.reader.rows("events") if row["kind"] == "feedback"]
    assert any("teaches nothing: equal answers" in message for message in told)
    assert any("was shortened to the context of" in message for message in told)
    follow(checkpoints, lambda again: again.waits_at(1))  # nor after a resume


@pytest.mark.parametrize("how", ["by command", "by feedback"])
def test_a_step_that_is_taken_back_is_as_if_it_had_never_been(checkpoints: Path, how: str) -> None:
    def script(teacher: Teacher) -> None:
        teacher.waits_at(0)
        teacher.pick(1)
        teacher.waits_at(1)
        wrong = teacher.pick(2)
        teacher.waits_at(2)
        if how == "by command":
            kind, message = teacher.undo(wrong)
            assert kind == "command_applied"
            assert "step 2 is taken back" in message
        else:
            teacher.feedback.undo(wrong)
        teacher.waits_at(1)
        assert [row["step"] for row in teacher.rows("eval")] == [0, 1]
        assert list_checkpoints(teacher.run) == [0, 1]
        teacher.pick(3)
        teacher.waits_at(2)

    def never(teacher: Teacher) -> None:
        teacher.waits_at(0)
        teacher.pick(1)
        teacher.waits_at(1)
        teacher.pick(3)
        teacher.waits_at(2)

    teacher = follow(checkpoints, script)
    other = follow(checkpoints, never, name="other")
    for step in (1, 2):
        assert digests(teacher.run, step) == digests(other.run, step)
    assert [row["kind"] for row in teacher.lines()][-2:] == ["taken_back", "lesson"]
    lineage = teacher.reader.lineage
    assert "bit-exact from step 0" in lineage
    follow(checkpoints, lambda again: again.waits_at(4))  # by the two that the other one was given


def test_steps_are_taken_back_one_by_one_as_far_as_they_are_kept(checkpoints: Path) -> None:
    def script(teacher: Teacher) -> None:
        teacher.waits_at(0)
        assert teacher.undo() == ("command_refused", "no step was done that could be taken back")
        picks = [teacher.pick(number) for number in range(5)]
        teacher.waits_at(5)
        kind, message = teacher.undo(picks[0])
        assert kind == "command_refused"
        assert "learnt by an earlier step" in message
        assert teacher.undo("nobody")[1].startswith("nobody was not learnt")
        assert [teacher.undo()[0] for _ in range(2)] == ["command_applied"] * 2
        teacher.waits_at(3)
        shutil.rmtree(RunPaths(teacher.run).checkpoint(2))
        kind, message = teacher.undo()
        assert kind == "command_refused"
        assert "step-00000002" in message
        teacher.feedback.undo(picks[2])  # it is told, and the run goes on
        teacher.pick(6)
        teacher.waits_at(4)

    teacher = follow(checkpoints, script)
    warnings = [row["message"] for row in teacher.reader.rows("events") if row["kind"] == "warning"]
    assert len([message for message in warnings if "was undone, but" in message]) == 1
    assert [row["kind"] for row in teacher.lines()][-2:] == ["kept", "lesson"]


def test_a_pinned_step_stays_and_nothing_goes_back_to_weights_alone(checkpoints: Path) -> None:
    def script(teacher: Teacher) -> None:
        teacher.waits_at(0)
        for number in (1, 2):
            teacher.pick(number)
            teacher.waits_at(number)
        pin(teacher.run, 2)
        assert "is pinned" in teacher.undo()[1]
        unpin(teacher.run, 2)
        prune(teacher.run, {0, 2}, {1})
        assert "holds weights only" in teacher.undo()[1]
        teacher.pick(3)
        teacher.waits_at(3)

    teacher = follow(checkpoints, script)
    assert [row["kind"] for row in teacher.lines()] == ["follows", *["lesson"] * 3]


def test_a_step_that_forgets_too_much_is_taken_back_and_the_run_ends(checkpoints: Path) -> None:
    def script(teacher: Teacher) -> None:
        teacher.waits_at(0)
        teacher.pick(1)
        teacher.ends()

    flags = ("--replay.max-val-loss-rise=0.05", "--optim.learning-rate=0.3")
    teacher = follow(checkpoints, script, *flags)
    status = teacher.reader.status
    assert status is not None
    assert (status.state, status.step) == ("finished", 0)
    (told,) = (row for row in teacher.reader.rows("events") if row["kind"] == "forgetting")
    assert "val_loss on the old data has risen" in told["message"]
    assert list(RunReader(teacher.run).rows("metrics"))[-1]["step"] == 0
    assert [row["kind"] for row in teacher.lines()] == ["follows", "lesson", "taken_back"]


def test_a_take_back_that_was_killed_on_the_way_is_finished(checkpoints: Path) -> None:
    def script(teacher: Teacher) -> None:
        teacher.waits_at(0)
        teacher.pick(1)
        teacher.waits_at(1)
        teacher.pick(2)
        teacher.waits_at(2)
        shutil.copytree(teacher.run, checkpoints / "saved")
        teacher.undo()
        teacher.waits_at(1)

    teacher = follow(checkpoints, script)
    # as it was before, but for the line that says so: it is written first
    saved = checkpoints / "saved"
    shutil.copy(teacher.run / "examples.jsonl", saved / "examples.jsonl")
    again = follow(checkpoints, lambda again: again.waits_at(1), name="saved")
    assert digests(again.run, 1) == digests(teacher.run, 1)
    assert [row["step"] for row in again.rows("train")] == [1]


def test_a_torn_line_was_never_learnt_and_a_changed_one_is_refused(
    checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(teacher: Teacher) -> None:
        teacher.waits_at(0)
        teacher.pick(1)
        teacher.waits_at(1)

    teacher = follow(checkpoints, script)
    path = teacher.run / "examples.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[1][:40])

    def second(again: Teacher) -> None:
        again.waits_at(1)
        again.pick(2)
        again.waits_at(2)

    follow(checkpoints, second)
    for hurt in (whole.replace(b"cats", b"dogs"), b"", b"\n".join(whole.splitlines()[1:])):
        path.write_bytes(hurt)
        capsys.readouterr()
        code = tinychat(["resume", RUN, "--checkpoints", str(checkpoints)])
        told = capsys.readouterr().err
        assert code == 1, hurt
        assert "examples.jsonl" in told
        assert "Traceback" not in told
    path.unlink()
    assert tinychat(["resume", RUN, "--checkpoints", str(checkpoints)]) == 1


def test_its_steps_can_be_computed_again(
    checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(teacher: Teacher) -> None:
        teacher.waits_at(0)
        for step in range(3):
            teacher.pick(step)
            teacher.waits_at(step + 1)
        teacher.undo()
        teacher.waits_at(2)
        teacher.pick(4)
        teacher.waits_at(3)

    follow(checkpoints, script)
    capsys.readouterr()
    words = ["verify", RUN, "--steps", "0:3", "--json", "--checkpoints", str(checkpoints)]
    assert tinychat(words) == 0
    again = json.loads(capsys.readouterr().out)["recomputed"]
    assert (again["to_step"], again["checkpoints_compared"]) == (3, [1, 2, 3])
    assert again["differences"] == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--follow", "--dry-run"], "--follow has none"),
        (["--follow", "--eval.every-steps=2"], "eval.every_steps to 1"),
        (["--follow", "--max-epochs=2"], "max_epochs"),
        (["--tune.follow"], "checkpoint.every_steps"),
    ],
)
def test_what_cannot_be_is_refused(
    checkpoints: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    judge(checkpoints)
    assert tinychat(["tune", "talk", "--checkpoints", str(checkpoints), *words]) == 2
    assert told in capsys.readouterr().err
    assert not (checkpoints / RUN).exists()


def test_other_runs_take_nothing_back(
    train: Callable[..., Path], resume: Callable[..., Path]
) -> None:
    run = train("plain", "--max-steps=4")
    sent = send_command(run, "undo", by="test")
    resume("plain", "--max-steps=6")
    row = wait_for_ack(run, sent, 1)
    assert row is not None
    assert row["kind"] == "command_refused"
    assert "tinychat tune --follow" in row["message"]


def start(checkpoints: Path, name: str) -> subprocess.Popen[bytes]:
    """The run in a process of its own, new or resumed, which ends with this one."""
    words = ["tune", "talk", "--follow", "--name", name, *FLAGS]
    if RunPaths(checkpoints / name).run_json.exists():
        words = ["resume", name]
    words += ["--checkpoints", str(checkpoints), "--until-eof"]
    return subprocess.Popen(
        [sys.executable, "-m", "tinychat", *words],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ,
    )  # fmt: skip


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_bit_for_bit(checkpoints: Path) -> None:
    whole, hurt = start(checkpoints, "whole"), start(checkpoints, "hurt")
    teachers = [Teacher(checkpoints, name) for name in ("whole", "hurt")]
    moments = random.Random("kill -9")
    try:
        for teacher in teachers:
            teacher.waits_at(0)
        for number in range(1, 4):
            judgement = teachers[0].pick(number)
            # somewhere between the judgement and the end of its step
            lines = len(teachers[1].lines())
            if number % 2:
                until(lambda lines=lines: len(teachers[1].lines()) > lines)
            for _ in range(moments.randrange(3)):
                teachers[1].reader.log_tail(5)
            hurt.kill()
            hurt.wait()
            hurt = start(checkpoints, "hurt")
            for teacher in teachers:
                teacher.waits_at(number)
        teachers[0].feedback.undo(judgement)
        for teacher in teachers:
            teacher.waits_at(2)
    finally:
        for process in (whole, hurt):
            assert process.stdin is not None
            process.stdin.close()  # which ends them
            process.wait()
    for step in range(1, 3):
        assert digests(teachers[0].run, step) == digests(teachers[1].run, step)
    for teacher in teachers:
        status = teacher.reader.status
        assert status is not None
        assert status.state == "stopped"
        assert "bit-exact from step 0" in teacher.reader.lineage
