"""`teach`: four answers, a judgement, a better model, and the way back."""

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tinychat.conversations import Feedback, Teaching, Votes
from tinychat.runs import RunReader, inspect_run, pinned

from .conftest import Result, Tinychat
from .teacher import QUICK, Teacher, contents
from .terminal import Terminal

CtrlC, CtrlD = "\x03", "\x04"


@pytest.fixture
def lines(tinychat: Tinychat, runs: Path, monkeypatch: pytest.MonkeyPatch) -> Tinychat:
    """Teach with lines from a pipe."""

    def call(text: str, *flags: object, name: object = "talk") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return tinychat("teach", name, "--checkpoints", runs, "--seed", 1, *QUICK, *flags)

    return call


@pytest.fixture
def teacher(runs: Path) -> Iterator[Teacher]:
    teacher = Teacher(runs)
    yield teacher
    teacher.process.kill()
    teacher.process.communicate()


def test_a_line_asks_and_a_line_judges(lines: Tinychat, runs: Path) -> None:
    found = lines("My name is Mia.\n2\n\n1\nHello\nr Good morning, Mia!\n\ns\nHi\n3\nq\n")
    assert found.code == 0
    shown = [line for line in found.out.splitlines() if line[:1].isdigit()]
    assert len(shown) == 5 * 4
    first, second, third, fourth = Feedback(runs).entries()
    assert (first.kind, first.chosen, first.of) == ("pick", 1, 4)
    assert first.prompt == ({"role": "user", "content": "My name is Mia."},)
    assert [answer.seed for answer in first.answers] == [1, 2, 3, 4]
    assert len({answer.text for answer in first.answers}) == 4
    assert (second.kind, second.chosen) == ("pick", 0)
    assert second.prompt[0]["content"].startswith("My name is ")  # as in the data
    assert (third.kind, third.text) == ("rewrite", "Good morning, Mia!")
    assert fourth.chosen == 2
    assert all(entry.reviewed for entry in (first, second, third, fourth))


def test_suggested_prompts_do_not_come_again_while_others_are_left(
    lines: Tinychat, runs: Path
) -> None:
    lines("\n1\n\n1\n\n1\n")
    lines("\n1\n\n1\n")  # not even in another talk
    asked = [entry.prompt[0]["content"] for entry in Feedback(runs).entries()]
    assert len(set(asked)) == len(asked) == 5


def test_what_was_judged_is_taken_back_and_judged_again(lines: Tinychat, runs: Path) -> None:
    found = lines("u\nHello\n2\nHi\n1\nBye\nu\n4\n3\nu\nu\ns\n1\nq\n")
    assert "nothing was judged in this talk" in found.err
    assert "once more: Hi" in found.err
    entries = [(e.prompt[0]["content"], e.chosen) for e in Feedback(runs).entries()]
    # "Bye" was put aside while "Hi" was judged again; then both were taken back, "Hi" for good
    assert entries == [("Hello", 1), ("Bye", 0)]
    assert found.err.count("back to: Bye") == 2


def test_what_was_deleted_elsewhere_hinders_no_undo(teacher: Teacher, runs: Path) -> None:
    teacher.pick_shortest()
    teacher.pick_shortest()
    first, second = Feedback(runs).entries()
    Feedback(runs).undo(second.id)  # as on the page
    teacher.until("asks_prompt")
    teacher.say("u")
    assert teacher.until("undone")["id"] == first.id
    assert teacher.end() == 0
    assert Feedback(runs).entries() == []


def test_a_key_that_is_none_is_told_and_the_input_may_end_anywhere(
    lines: Tinychat, runs: Path
) -> None:
    found = lines("Hello\n7\nbest\n1")
    assert found.code == 0
    assert "'7' is none of these" in found.err
    assert "r rewrite" in found.err
    assert len(Feedback(runs).entries()) == 1


def test_a_text_of_several_lines_is_a_prompt_or_a_rewrite(lines: Tinychat, runs: Path) -> None:
    assert lines("```\nOne\nTwo\n```\nr\n```\nThree\nFour\n```\nq\n").code == 0
    (entry,) = Feedback(runs).entries()
    assert entry.prompt[0]["content"] == "One\nTwo"
    assert entry.text == "Three\nFour"


def test_a_prompt_that_is_too_long_is_told_before_it_is_judged(lines: Tinychat, runs: Path) -> None:
    found = lines(f"{'I like cats. ' * 200}\n1\nHello\n2\nq\n")
    assert found.code == 0
    assert found.err.count("the prompt is too long: the model does not see its first") == 1
    assert len(Feedback(runs).entries()) == 2


def test_a_base_model_goes_on_with_what_is_typed(
    tinychat: Tinychat, copy_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = copy_of("story").parent
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Anna saw\n1\nMia\n2\n")))
    assert tinychat("teach", "story", "--checkpoints", runs, "--seed", 1, *QUICK).code == 0
    first, second = Feedback(runs).entries()
    assert {answer.mode for answer in (*first.answers, *second.answers)} == {"text"}
    assert second.prompt == ({"role": "user", "content": "Mia"},)


def test_what_cannot_be_is_refused_before_the_talk(lines: Tinychat, runs: Path) -> None:
    assert lines("", "--temperature", 0).code == 2
    assert "raise it" in lines("", "--temperature", 0).err
    assert lines("", name="nothing").code == 2
    assert not (runs / ".chats").exists()


def test_training_without_a_judgement_is_refused_in_a_sentence(lines: Tinychat, runs: Path) -> None:
    found = lines("t\nq\n")
    assert found.code == 2
    assert "feedback" in found.err.lower()
    assert "Traceback" not in found.err
    assert not (runs / "talk-tuned").exists()


@pytest.mark.slow
def test_a_program_teaches_compares_and_accepts(teacher: Teacher, runs: Path) -> None:
    before = contents(runs / "talk")
    counts = [teacher.pick_shortest()["counts"] for _ in range(6)]
    assert counts[-1] == "6 picks, 0 thumbs, 0 rewrites; 6 since the last training"
    teacher.until("asks_prompt")
    teacher.say("t")
    plan = teacher.until("plan")
    assert (plan["run"], plan["parent"]) == ("talk-tuned", "talk@20")
    assert plan["examples"]["picks"] == 6
    teacher.until("asks_key")
    teacher.say("n")
    assert not (runs / "talk-tuned").exists()  # a plan starts nothing
    teacher.until("asks_prompt")
    teacher.say("t")
    teacher.until("asks_key")
    teacher.say("y")
    trained = teacher.until("trained")
    assert trained["run"] == "talk-tuned"
    assert trained["val_loss_before"] > 0
    reader = RunReader(runs / "talk-tuned")
    assert reader.status is not None
    assert reader.status.state == "finished"
    teacher.until("asks_key")
    teacher.say("b")
    while (event := teacher.until("asks_key"))["keys"].get("1"):
        pair = next(each for each in reversed(teacher.seen) if each["kind"] == "pair")
        assert pair["names"] == ["", ""]  # blind
        assert pair["answers"][0] != pair["answers"][1]
        teacher.say("1")
    assert event["keys"] == {"a": "accept", "g": "go back", "l": "decide later"}
    tally = next(each for each in reversed(teacher.seen) if each["kind"] == "tally")
    kept = Votes(runs).tally("talk@20", f"talk-tuned@{trained['step']}")
    assert kept.blind == kept.total == tally["new"] + tally["old"]
    assert (kept.a_wins, kept.b_wins) == (tally["old"], tally["new"])
    teacher.say("a")
    assert teacher.until("accepted")["step"] == trained["step"]
    assert pinned(runs / trained["run"]) == {trained["step"]}, "it stays, whatever comes after it"
    assert "; 0 since the last training" in teacher.until("asks_prompt")["message"]
    teacher.say("Hello")
    teacher.until("asks_key")
    teacher.say("1")
    teacher.until("kept")
    assert teacher.end() == 0
    assert Feedback(runs).entries()[-1].model == f"talk-tuned@{trained['step']}"
    assert inspect_run(runs / "talk", lambda *_: None).damage == []
    assert contents(runs / "talk") == before  # the parent is as it was


def test_who_was_accepted_answers_the_next_time(
    lines: Tinychat, runs: Path, copy_of: Callable[[str], Path]
) -> None:
    (runs / "talk-tuned").symlink_to(runs / "talk")
    Teaching(runs).accept("talk-tuned", 10, "talk@20")
    assert "talk-tuned@10, accepted as talk, is taught here." in lines("").err
    assert "talk@20 is taught here." in lines("", name="talk@20").err
    (runs / "talk-tuned").unlink()
    gone = lines("Hello\n")
    assert "is gone, so talk answers" in gone.err
    assert "the answers to 'Hello' were judged: nothing is kept" in gone.err
    assert "talk@20 is taught here." in gone.err


def test_a_person_picks_with_single_keys(runs: Path) -> None:
    terminal = Terminal("teach", "talk", "--checkpoints", str(runs), "--seed", "1", *QUICK)
    try:
        terminal.read_until("talk@20 is taught here.*prompt › ")
        terminal.type("Hello\n")
        terminal.read_until("1-4.* best.*q.* end")
        terminal.type("\x1b[A9?")  # an arrow and a 9 are no keys here
        terminal.read_until("say which is best.*1-4.* best")
        terminal.insist(CtrlC, r"\(q leaves\)")
        terminal.type("2")
        terminal.read_until("kept: 2 is the best.*1 pick, .*prompt › ")
        terminal.type("\n")
        terminal.read_until("1-4.* best")
        terminal.type("r")
        terminal.read_until("your answer › ")
        terminal.type("Guten Tag!\n")
        terminal.read_until("kept: your own.*1 pick, 0 thumbs, 1 rewrite.*prompt › ")
        terminal.type("u\n")
        terminal.read_until("taken back.*1-4.* best")
        terminal.type("s")
        terminal.read_until("skipped.*1 pick, 0 thumbs, 0 rewrites.*prompt › ")
        terminal.type("q\n")
        assert terminal.process.wait(timeout=60) == 0
    finally:
        terminal.close()
    (entry,) = Feedback(runs).entries()
    assert (entry.kind, entry.chosen) == ("pick", 1)


def test_ctrl_c_ends_answers_that_come_and_ctrl_d_leaves(copy_of: Callable[[str], Path]) -> None:
    runs = copy_of("story").parent
    endless = ["--max-new-tokens", "1000000", "--no-repetition-guard"]  # for hours
    terminal = Terminal("teach", "story", "--checkpoints", str(runs), *endless)
    try:
        terminal.read_until("prompt › ")
        terminal.type("Anna saw\n")
        terminal.read_until(r" 1.* [a-zA-Z]{2}.* 4")  # they have begun
        terminal.insist(CtrlC, "stopped; there is nothing to judge.*prompt › ")
        terminal.type(CtrlD)
        assert terminal.process.wait(timeout=60) == 0
    finally:
        terminal.close()
    assert not (runs / ".chats").exists()


@pytest.mark.slow
def test_ctrl_c_saves_a_training_and_it_is_gone_on_with(runs: Path, lines: Tinychat) -> None:
    lines("".join(f"My name is {name}.\n1\n" for name in ("Mia", "Tom", "Leo", "Anna", "Bo")))
    terminal = Terminal("teach", "talk", "--checkpoints", str(runs), "--seed", "1", *QUICK)
    tuned = RunReader(runs / "talk-tuned")
    try:
        terminal.read_until("prompt › ")
        terminal.type("t\n")
        terminal.read_until("starts from.*talk@20.*train now.*y.* yes")
        terminal.type("y")
        terminal.read_until("step 0: checkpoint saved")
        terminal.insist(CtrlC, "is saved at step .*prompt › ")
        assert tuned.status is not None
        assert tuned.status.state == "stopped"
        terminal.type("t\n")
        terminal.read_until("go on with talk-tuned.*y.* yes")
        terminal.type("y")
        terminal.read_until("has learnt; val_loss.*look")
        assert tuned.status.state == "finished"
        terminal.type("s")
        terminal.read_until("answer from here on.*a.* accept.*g.* go back.*l.* decide later")
        terminal.type("l")
        terminal.read_until("nothing is decided, talk@20 goes on.*prompt › ")
        terminal.type("d\n")
        terminal.read_until("has learnt; val_loss.*look")
        assert terminal.leave() == 0  # wherever a key is heard
    finally:
        terminal.close()
    assert Teaching(runs).decisions() == []
    later = lines("d\ns\ng\n")
    assert "waits for your decision: d decides" in later.err
    assert "talk@20 answers from here on" in later.err
    (decision,) = Teaching(runs).decisions()
    assert (decision.run, decision.parent, decision.accepted) == ("talk-tuned", "talk@20", False)
