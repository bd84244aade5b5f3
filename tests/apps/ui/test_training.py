"""From picks to a better model through the page: the plan, a real training in a process of its own,
the comparison, and the decision."""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.apps.ui.conftest import OpenContext, OpenPage, Page, Server, wait_for
from tests.apps.ui.pupil import pick_questions, train_pupil
from tests.apps.ui.sound import assert_sound
from tests.apps.ui.tabs import four_there, open_teach, open_training
from tests.conftest import until
from tinychat.conversations import Feedback, Teaching
from tinychat.runs import RunPaths, RunReader, is_process_of, list_checkpoints, send_command
from tinychat.text import prompts_of_run
from tinychat_ui.context import PageContext
from tinychat_ui.session import Session
from tinychat_ui.training import Trainee, act
from tinychat_ui.training_view import status_words, view
from tinychat_ui.trial import Trial, begin, go_on, trial_view

STEP = 120
PARENT = f"pupil@{STEP}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run `pupil`. Only to be read."""
    return train_pupil(tmp_path_factory.mktemp("trained"), STEP).parent


@pytest.fixture
def school(trained: Path, tmp_path: Path) -> Iterator[Server]:
    """A page over a copy of it, begun without a run."""
    shutil.copytree(trained, tmp_path / "checkpoints")
    server = Server(tmp_path / "checkpoints").start()
    yield server
    server.stop()
    for reader in map(RunReader, (tmp_path / "checkpoints").glob("pupil-*")):
        if reader.status is not None and is_process_of(reader.status):
            send_command(reader.paths.root, "stop", {"save": False}, by="test")
            until(lambda status=reader.status: not is_process_of(status))


def state(server: Server, run: str = "pupil-tuned") -> str:
    status = RunReader(server.checkpoints / run).status
    return "" if status is None else status.state


def pause(server: Server, run: str = "pupil-tuned") -> None:
    """Hold a run as soon as it trains, so that there is time to look at it."""
    until(lambda: (server.checkpoints / run / "run.json").exists())
    send_command(server.checkpoints / run, "pause", by="test")
    until(lambda: state(server, run) == "paused", lambda: state(server, run))


def every_byte(run: Path) -> dict[str, str]:
    files = (path for path in run.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def train_on_this(page: Page) -> None:
    page.get_by_role("button", name="Train on this").click()
    page.get_by_role("button", name="Start training").wait_for(timeout=120_000)


def rows(page: Page) -> dict[str, str]:
    names, values = (page.locator(f".train-rows {each}").all_inner_texts() for each in ("dt", "dd"))
    return dict(zip(names, values, strict=True))


def figures(page: Page) -> dict[str, str]:
    names, values = (page.locator(f".train-figures {e}").all_inner_texts() for e in ("dt", "dd"))
    return dict(zip(names, values, strict=True))


def model(page: Page, label: str) -> None:
    wait_for(page, f"document.querySelector('.tc-passport strong').innerText === '{label}'")


@pytest.mark.slow
def test_from_ten_picks_to_an_accepted_model(school: Server, open_page: OpenPage) -> None:
    before = every_byte(school.checkpoints / "pupil")
    page = open_page(school.url)
    open_teach(page)
    for place in range(10):  # with the keyboard alone
        page.keyboard.press("Enter" if place else "n")
        four_there(page)
        page.keyboard.press(str(place % 4 + 1))
        page.locator(".teach-chosen").wait_for()
    assert page.locator(".teach-counts strong").inner_text() == "10 picks, 0 thumbs, 0 rewrites"
    pick_questions(school.checkpoints, 50)  # so that it takes a while
    open_training(page)
    page.get_by_text("60 judgements to learn from").wait_for()
    train_on_this(page)
    plan = rows(page)
    assert plan["Starts from"] == f"{PARENT}, which stays as it is"
    assert plan["Learns from"].startswith("60 picks, as ")
    assert plan["Writes"].startswith("pupil-tuned, at most")
    assert_sound(page)
    pick_questions(school.checkpoints, 1)  # what is started is what was shown
    page.get_by_role("button", name="Start training").click()
    page.get_by_text("so here is a new one").wait_for()
    page.get_by_role("button", name="Start training").wait_for(timeout=120_000)
    assert rows(page)["Learns from"].startswith("61 picks, as ")
    assert not (school.checkpoints / "pupil-tuned").exists()
    page.get_by_role("button", name="Start training").click()

    pause(school)
    page.get_by_text("paused").first.wait_for()
    page.reload()
    page.wait_for_selector(".tc-send:enabled")
    open_training(page)
    page.get_by_text("paused").first.wait_for()
    school.stop()  # the training is not the server's
    assert state(school) == "paused"
    school.start()
    page.goto(school.url)
    page.wait_for_selector(".tc-send:enabled")
    open_training(page)
    page.get_by_text("paused").first.wait_for()
    assert "pupil-tuned: step" in page.locator(".teach-counts").inner_text()
    assert "Val loss on the old data" in figures(page)
    assert_sound(page)
    send_command(school.checkpoints / "pupil-tuned", "resume", by="test")
    page.get_by_role("button", name="Compare old and new").wait_for(timeout=120_000)
    assert "pupil-tuned has learnt from 61 picks" in page.locator(".train").inner_text()
    assert "examples held out" in figures(page)["Prefers what you prefer"]
    assert "before" in figures(page)["Val loss on the old data"]
    assert_sound(page)

    page.get_by_role("button", name="Compare old and new").click()
    page.wait_for_selector(".trial .compare-votes button:enabled", timeout=60_000)
    assert page.get_by_label("Blind", exact=True).is_checked()
    assert set(page.locator(".trial .compare-label").all_inner_texts()) == {""}
    assert_sound(page)
    page.keyboard.press("2")
    page.locator(".trial .compare-outcome").get_by_text("1 of 1").wait_for()
    result = page.get_by_role("button", name="Accept pupil-tuned@").inner_text().split()[1]
    names = page.locator(".trial .compare-label").all_inner_texts()
    assert sorted(each.removesuffix(" · won") for each in names) == sorted([result, PARENT])
    page.get_by_role("button", name=f"Accept {result}").click()
    model(page, result)
    page.get_by_text(f"{result} answers from here on").wait_for()
    assert [each.label for each in Teaching(school.checkpoints).decisions()] == [result]

    other = open_page(school.url)  # of somebody who knows nothing yet
    model(other, result)
    open_training(other)
    other.get_by_text(f"Starts from {result}").wait_for()
    other.get_by_text("none of them new since the last training").wait_for()
    other.get_by_text("Earlier trainings").click()
    other.get_by_role("button", name=f"Go back to {PARENT}").click()
    model(other, PARENT)
    other.get_by_text("Nothing was deleted").wait_for()
    back = f"document.activeElement.closest('li')?.dataset.label === '{result}'"
    wait_for(other, back)  # the keyboard's place stays
    assert Teaching(school.checkpoints).newest_accepted("pupil") is None
    assert (school.checkpoints / "pupil-tuned" / "run.json").exists()
    assert every_byte(school.checkpoints / "pupil") == before


@pytest.mark.slow
def test_a_training_is_stopped_gone_on_with_and_put_aside(
    school: Server, open_page: OpenPage
) -> None:
    pick_questions(school.checkpoints, 60)
    page = open_page(school.url, width=390, height=844, dark=True)
    open_training(page)
    assert_sound(page)
    train_on_this(page)
    assert_sound(page)
    page.get_by_role("button", name="Back", exact=True).tap()
    page.get_by_role("button", name="Train on this").wait_for()
    train_on_this(page)
    page.get_by_role("button", name="Start training").tap()
    pause(school)
    page.get_by_text("paused").first.wait_for()
    assert_sound(page)
    page.get_by_role("button", name="Stop", exact=True).tap()
    page.get_by_role("button", name="Go on").wait_for()
    until(lambda: state(school) == "stopped")
    stopped_at = RunReader(school.checkpoints / "pupil-tuned").status
    page.get_by_role("button", name="Go on").tap()
    page.get_by_role("button", name="Compare old and new").wait_for(timeout=120_000)
    assert stopped_at is not None
    until(lambda: state(school) == "finished")
    page.get_by_role("button", name="Compare old and new").tap()
    page.wait_for_selector(".trial .compare-votes button:enabled", timeout=60_000)
    assert_sound(page)
    page.get_by_role("button", name="Close", exact=True).tap()
    page.get_by_role("button", name=f"Go back to {PARENT}").tap()
    page.get_by_text("Nothing was deleted: pupil-tuned is kept").wait_for()
    page.get_by_role("button", name="Train on this").wait_for()
    (decision,) = Teaching(school.checkpoints).decisions()
    assert (decision.run, decision.accepted) == ("pupil-tuned", False)


@pytest.mark.slow
def test_what_is_refused_or_fails_says_why(school: Server, open_page: OpenPage) -> None:
    page = open_page(school.url)
    open_training(page)
    page.get_by_text("Nothing to learn from yet").wait_for()
    assert page.get_by_role("button", name="Train on this").is_disabled()
    feedback = Feedback(school.checkpoints)
    pick_questions(school.checkpoints, 1)
    only = feedback.entries()[0]
    same = [only.answers[0], only.answers[0]]
    feedback.undo(only.id)
    feedback.pick(only.prompt, same, 0)  # a pair of equal answers teaches nothing
    page.reload()
    page.wait_for_selector(".tc-send:enabled")
    open_training(page)
    page.get_by_role("button", name="Train on this").click()
    trouble = page.locator(".train-trouble")
    wait_for(page, "document.querySelector('.train-trouble').innerText !== ''")
    assert "nothing in it can be learnt" in trouble.inner_text()
    assert "Traceback" not in trouble.inner_text()

    pick_questions(school.checkpoints, 60)
    train_on_this(page)
    (school.checkpoints / "pupil-tuned").write_text("somebody's file")
    page.get_by_role("button", name="Start training").click()
    wait_for(page, "document.querySelector('.train-trouble').innerText !== ''")
    assert "pupil-tuned" in trouble.inner_text()
    page.get_by_role("button", name="Train on this").wait_for()
    (school.checkpoints / "pupil-tuned").unlink()

    train_on_this(page)
    page.get_by_role("button", name="Start training").click()
    pause(school)
    status = RunReader(school.checkpoints / "pupil-tuned").status
    assert status is not None
    os.kill(status.pid, signal.SIGKILL)
    page.get_by_text("is gone; it was paused").wait_for()
    assert page.get_by_role("button", name="Go on").is_visible()
    assert page.get_by_role("button", name=f"Go back to {PARENT}").is_visible()


@pytest.mark.slow
def test_a_visitor_cannot_train(trained: Path, tmp_path: Path, open_page: OpenPage) -> None:
    shutil.copytree(trained, tmp_path / "checkpoints")
    token = "a-token-that-is-long-enough"
    server = Server(tmp_path / "checkpoints", ("--token", token)).start()
    try:
        pick_questions(server.checkpoints, 3)
        assert server.process is not None
        assert server.process.stdout is not None
        link = next(line for line in server.process.stdout if "sign a browser in" in line)
        page = open_page(link.split()[-1])
        open_training(page)
        page.get_by_text("Training is for whoever is at the machine itself").wait_for()
        assert page.get_by_role("button", name="Train on this").count() == 0
        page.get_by_role("tab", name="Pick", exact=True).click()
        assert not page.get_by_role("button", name="Suggest a prompt").is_visible()
        page.keyboard.press("n")
        wait_for(page, "document.activeElement.closest('#teach-prompt') !== null")
        page.get_by_role("tab", name="Review", exact=True).click()
        page.get_by_text("reviewed at the machine itself").wait_for()
        assert page.locator(".review-list li").count() == 0
        page.goto("about:blank")  # it would complain that its server is gone
    finally:
        server.stop()


# --- without a browser ---


@pytest.fixture
def context(page_context: OpenContext, trained: Path) -> PageContext:
    return page_context(trained)


def test_whatever_a_visitor_sends_starts_and_decides_nothing(context: PageContext) -> None:
    visiting = PageContext(**{**vars(context), "local": False})
    session, trainee = Session(model=PARENT), Trainee()
    for do in ("plan", "start", "stop", "resume", "accept", "back", "use"):
        assert act(visiting, session, trainee, {"do": do, "label": PARENT}) is None
        assert "at the machine itself" in trainee.notice
    assert set(view(visiting, session, trainee)) == {"n", "phase"}
    assert context.coach.planning is None
    assert context.teaching.decisions() == []


def test_a_visitor_is_shown_no_prompt_that_others_have_judged(
    page_context: OpenContext, trained: Path, tmp_path: Path
) -> None:
    runs = shutil.copytree(trained, tmp_path / "checkpoints")
    make_training(runs, [example(("user", "My secret"))], held_out=1)
    visiting, trial = PageContext(**{**vars(page_context(runs)), "local": False}), Trial()
    begin(visiting, trial)
    for _ in go_on(visiting, trial, {}):
        pass
    assert "at the machine itself" in trial_view(visiting, trial)["notice"]
    assert trial.prompts == []


def test_there_is_nothing_to_decide_or_stop_before_a_training(context: PageContext) -> None:
    session, trainee = Session(model=PARENT), Trainee()
    for do in ("stop", "resume", "accept", "back"):
        act(context, session, trainee, {"do": do})
        assert "Nothing has been trained" in trainee.notice
    act(context, session, trainee, {"do": "start"})
    assert "no plan" in trainee.notice
    act(context, session, trainee, {"do": "something else"})
    act(context, Session(), trainee, {"do": "plan"})
    assert "no model to teach" in trainee.notice


def make_training(
    runs: Path, examples: list[dict[str, Any]], held_out: int, parent: str = PARENT
) -> Path:
    """A copy of `pupil` that says it was taught from it."""
    run = runs / "pupil-tuned"
    shutil.copytree(runs / "pupil", run)
    record = json.loads((run / "run.json").read_text())
    folder, _, step = parent.partition("@")
    tune = {"method": "auto", "held_out": held_out, "examples_sha256": "", "reference_sha256": ""}
    told = {"parent": f"{runs}/{folder}/step-{int(step):08d}", "tune": tune, "id": "another"}
    (run / "run.json").write_text(json.dumps(record | told))
    lines = [json.dumps(each, sort_keys=True, separators=(",", ":")) for each in examples]
    (run / "examples.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return run


def test_a_training_that_has_made_nothing_is_put_aside(
    page_context: OpenContext, trained: Path, tmp_path: Path
) -> None:
    runs = shutil.copytree(trained, tmp_path / "checkpoints")
    run = make_training(runs, [], held_out=0)
    for step in list_checkpoints(run):
        if step:
            shutil.rmtree(RunPaths(run).checkpoint(step))
    context, session, trainee = page_context(runs), Session(model=PARENT), Trainee()
    assert view(context, session, trainee)["phase"] == "run"
    assert status_words(context) == "pupil-tuned waits for your decision"
    act(context, session, trainee, {"do": "back"})
    assert view(context, session, trainee)["phase"] == "idle"
    assert status_words(context) == ""


def example(*turns: tuple[str, str]) -> dict[str, Any]:
    return {
        "objective": "sft", "prompt": [{"role": role, "content": said} for role, said in turns],
        "chosen": {"text": "So it is.", "ended": True}, "rejected": None, "source": "x",
    }  # fmt: skip


def test_old_and_new_are_asked_what_was_held_out_first(
    page_context: OpenContext, trained: Path, tmp_path: Path
) -> None:
    runs = shutil.copytree(trained, tmp_path / "checkpoints")
    kept = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "And you?")]
    unasked = [example(), example(("assistant", "Nobody asked"))]
    learnt, *others = prompts_of_run(runs / "pupil")
    examples = [example(("user", learnt)), example(*kept), example(*kept), *unasked]
    make_training(runs, examples, held_out=4)
    context, trial = page_context(runs), Trial()
    begin(context, trial)
    assert (trial.old, trial.new) == (PARENT, f"pupil-tuned@{STEP}")
    first = trial.prompts[0]
    assert (first.text, first.system) == ("And you?", "Be brief.")
    assert [turn.content for turn in first.before] == ["Hi", "Hello."]
    assert [each.is_held_out for each in trial.prompts[:2]] == [True, False]
    assert sorted(each.text for each in trial.prompts[1:]) == sorted(others)
    for _ in go_on(context, trial, {}):
        pass
    shown = trial_view(context, trial)
    # the same weights say the same to all
    assert "again and again" in shown["notice"]
    assert shown["same"] == "12 prompts passed over: both say the same"
    assert shown["kind"] == "Nobody has judged this prompt"
    assert not shown["can_vote"]
    assert context.votes.tallies() == {}
    assert Feedback(context.checkpoints).marks() == []


def test_a_training_whose_parent_is_gone_is_told(
    page_context: OpenContext, trained: Path, tmp_path: Path
) -> None:
    runs = shutil.copytree(trained, tmp_path / "checkpoints")
    make_training(runs, [], held_out=0, parent="gone@7")
    context, trial = page_context(runs), Trial()
    begin(context, trial)
    for _ in go_on(context, trial, {}):
        pass
    assert "gone@7 is not here any more" in trial_view(context, trial)["notice"]
    trainee, session = Trainee(), Session(model=PARENT)
    assert act(context, session, trainee, {"do": "back"}) == {"run": "gone", "step": "newest"}
