"""Learn after each answer, in a browser: a copy takes a step at each judgement, and back."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps.ui.conftest import OpenContext, OpenPage, Page, Server, wait_for
from tests.apps.ui.pupil import train_pupil
from tests.apps.ui.sound import assert_sound
from tests.apps.ui.tabs import four_there, open_teach, open_training
from tests.conftest import until
from tinychat.conversations import Feedback
from tinychat.runs import RunReader, is_process_of, send_command
from tinychat.watch.launch import launch
from tinychat.watch.tuning import tune_arguments
from tinychat_ui.context import PageContext
from tinychat_ui.live import Learner, act, view
from tinychat_ui.session import Session

STEP = 120


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run `pupil`. Only to be read."""
    return train_pupil(tmp_path_factory.mktemp("trained"), STEP).parent


@pytest.fixture
def school(trained: Path, tmp_path: Path) -> Iterator[Server]:
    """A page over a copy of it."""
    shutil.copytree(trained, tmp_path / "checkpoints")
    server = Server(tmp_path / "checkpoints", ("pupil",)).start()
    yield server
    server.stop()
    status = RunReader(tmp_path / "checkpoints" / "pupil-live").status
    if status is not None and is_process_of(status):
        send_command(tmp_path / "checkpoints" / "pupil-live", "stop", by="test")
        until(lambda: not is_process_of(status))


def answers(page: Page, label: str) -> None:
    """Until this model answers."""
    told = f"document.querySelector('.tc-passport strong').innerText === '{label}'"
    page.wait_for_function(told, timeout=120_000)


def steps(page: Page, words: str) -> None:
    wait_for(page, f"document.querySelector('.live').innerText.includes('{words} so far')")


def pick(page: Page, key: str) -> None:
    page.keyboard.press("n")
    four_there(page)
    page.keyboard.press(key)
    page.locator(".teach-chosen").wait_for()


@pytest.mark.slow
def test_each_judgement_is_a_step_that_can_be_taken_back(
    school: Server, open_page: OpenPage
) -> None:
    page = open_page(school.url)
    open_teach(page)
    switch = page.get_by_role("switch", name="Learn after each answer")
    page.get_by_text(f"pupil@{STEP} stays as it is").wait_for()
    assert not switch.is_checked()  # nobody learns unasked
    switch.click()
    answers(page, "pupil-live@0")
    steps(page, "0 steps")
    assert "a copy of pupil" in page.locator(".live").inner_text()
    assert "beyond +0.15" in page.locator(".live").inner_text()
    assert_sound(page)
    page.locator(".teach-stage").click()
    for number in (1, 2):
        pick(page, str(number))
        answers(page, f"pupil-live@{number}")
    steps(page, "2 steps")
    cost = r"Val loss on the old data \d+\.\d+ \([+-]?\d+\.\d+\); beyond \+0\.15"
    assert re.search(cost, page.locator(".live").inner_text())
    assert_sound(page)
    page.keyboard.press("u")  # the judgement, and with it its step
    steps(page, "1 step")
    answers(page, "pupil-live@1")
    assert Feedback(school.checkpoints).counts().picks == 1
    page.get_by_role("button", name="Take the last step back").click()
    steps(page, "0 steps")
    page.get_by_text("Step 1 is taken back, as was asked for").wait_for()
    assert Feedback(school.checkpoints).counts().picks == 1  # it was meant as it was said

    page.reload()  # and the server may go: the copy is a run of its own
    page.wait_for_selector(".tc-send:enabled")
    open_teach(page)
    steps(page, "0 steps")
    assert switch.is_checked()
    page.locator(".teach-stage").click()
    pick(page, "3")
    steps(page, "1 step")
    switch.click()
    page.get_by_text("is kept: compare it and accept it under Train").wait_for()
    status = RunReader(school.checkpoints / "pupil-live").status
    assert status is not None
    until(lambda: not is_process_of(status))
    open_training(page)
    page.get_by_text("pupil-live has learnt from 1 judgement").wait_for()
    page.get_by_role("button", name="Accept pupil-live@1").click()
    page.get_by_text("pupil-live@1 answers from here on").wait_for()
    answers(page, "pupil-live@1")


@pytest.mark.slow
def test_where_too_much_is_forgotten_the_step_is_taken_back_and_it_ends(
    school: Server, open_page: OpenPage
) -> None:
    runs = school.checkpoints
    harsh = ["--optim.learning-rate=0.3", "--optim.min-learning-rate=0.3", "--runtime.threads=1"]
    feedback = Feedback(runs).path
    begin = tune_arguments(f"pupil@{STEP}", feedback, runs, "pupil-live", ["--follow", *harsh])
    launch(begin, runs)
    reader = RunReader(runs / "pupil-live")
    until(lambda: reader.status is not None and reader.status.state == "paused")
    page = open_page(school.url)
    open_teach(page)
    switch = page.get_by_role("switch", name="Learn after each answer")
    page.get_by_role("button", name="Let pupil-live answer").click(timeout=120_000)
    answers(page, "pupil-live@0")
    steps(page, "0 steps")
    page.locator(".teach-stage").click()
    pick(page, "1")
    said = page.locator(".live").get_by_text("pupil-live learns no more: val_loss on the old data")
    said.wait_for(timeout=120_000)
    assert not switch.is_checked()
    assert_sound(page)
    open_training(page)
    page.locator(".train-why", has_text="val_loss on the old data has risen by").wait_for()
    assert page.get_by_role("button", name="Accept").count() == 0  # nothing of it is left
    page.get_by_role("button", name=f"Go back to pupil@{STEP}").click()
    answers(page, f"pupil@{STEP}")
    page.get_by_role("tab", name="Pick", exact=True).click()
    page.get_by_text(f"pupil@{STEP} stays as it is").wait_for()
    assert not said.is_visible()


@pytest.fixture
def context(page_context: OpenContext, trained: Path) -> PageContext:
    return page_context(trained)


def test_a_visitor_switches_nothing_on(context: PageContext) -> None:
    visiting = PageContext(**{**vars(context), "local": False})
    session, learner = Session(model=f"pupil@{STEP}"), Learner()
    for do in ("on", "off", "undo", "use"):
        assert act(visiting, session, learner, {"do": do}) is None
        assert "at the machine itself" in learner.notice
    assert set(view(visiting, session, learner)) == {"n", "local"}
    assert context.coach.starting is None


def test_there_is_nothing_to_take_back_before_it_learns(context: PageContext) -> None:
    session, learner = Session(), Learner()
    for do in ("off", "undo", "use"):
        act(context, session, learner, {"do": do})
        assert "Nothing learns" in learner.notice
    act(context, session, learner, {"do": "on"})
    assert "no model to teach" in learner.notice
    shown = view(context, session, learner)
    assert (shown["on"], shown["starting"]) == (False, False)
