"""A scripted teacher at the page, with the real demo: ten picks with the keyboard, a training, a
comparison, and a model that answers as he likes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import teaching

from tests.apps.ui.conftest import OpenPage, Page, Server, wait_for
from tests.apps.ui.tabs import four_there
from tests.training.tuning import digest_of
from tinychat.cli.app import run as tinychat
from tinychat.conversations import Feedback, Teaching
from tinychat.runs import RunPaths, RunReader

PICKS = 10
VOTES = 2
PATIENCE = 600_000  # milliseconds; the time is only how long a failure takes


@pytest.fixture
def school(trained_demo: Path, tmp_path: Path) -> Iterator[Server]:
    """A page over a copy of the demo."""
    shutil.copytree(trained_demo.parent, tmp_path / "checkpoints" / "demo")
    server = Server(tmp_path / "checkpoints").start()
    yield server
    server.stop()


def press(page: Page, role: Literal["tab", "button"], name: str) -> None:
    """By keyboard, once it can be pressed."""
    page.get_by_role(role, name=name, exact=True, disabled=False).press("Enter")


def keep_seed(page: Page) -> None:
    """So that each run of the test is offered the same answers."""
    page.locator("#tc-rail summary", has_text="More rules").press("Enter")
    page.get_by_label("Seed (empty").fill("1")
    page.keyboard.press("Tab")


def teach(page: Page, teacher: teaching.Teacher) -> None:
    """Type prompts, and pick with keys where some answers are as he likes them and some are not."""
    picked = 0
    for prompt in teaching.prompts(0).judged:
        page.keyboard.press("p")
        page.keyboard.type(prompt)
        page.keyboard.press("Enter")
        asked = f"document.querySelector('.teach-question').innerText === {json.dumps(prompt)}"
        wait_for(page, asked)
        four_there(page)
        texts = page.locator(".teach-text").all_inner_texts()
        liked = [place for place, text in enumerate(texts, 1) if teacher.likes(text)]
        good = [place for place in liked if teaching.is_sound(texts[place - 1])]
        if not good or len(liked) == len(texts):
            continue
        page.keyboard.press(str(good[0]))
        page.locator(".teach-chosen").wait_for()
        picked += 1
        if picked == PICKS:
            return
    raise AssertionError(f"only {picked} prompts had answers to choose between")


def vote(page: Page, teacher: teaching.Teacher) -> None:
    """For the answer that he likes, by a key."""
    page.wait_for_selector(".trial .compare-votes button:enabled", timeout=PATIENCE)
    liked = [teacher.likes(text) for text in page.locator(".trial .compare-text").all_inner_texts()]
    page.keyboard.press("0" if liked[0] == liked[1] else "1" if liked[0] else "2")
    page.locator(".trial .compare-outcome").wait_for()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_picks_make_a_model_that_answers_as_its_teacher_likes(
    school: Server, open_page: OpenPage
) -> None:
    teacher, runs = teaching.TEACHERS[0], school.checkpoints
    untouched = digest_of(runs / "demo")
    page = open_page(school.url)
    keep_seed(page)
    press(page, "tab", "Teach")
    page.locator("#teach-prompt textarea").wait_for()
    teach(page, teacher)
    assert str(Feedback(runs).counts()) == f"{PICKS} picks, 0 thumbs, 0 rewrites"

    press(page, "tab", "Train")
    press(page, "button", "Train on this")
    start = page.get_by_role("button", name="Start training")
    start.wait_for(timeout=PATIENCE)
    plan = page.locator(".train-rows").inner_text()
    assert f"{PICKS} picks" in plan
    assert "which stays as it is" in plan
    start.press("Enter")
    compare = page.get_by_role("button", name="Compare old and new")
    compare.wait_for(timeout=PATIENCE)
    assert "Val loss on the old data" in page.locator(".train-figures").inner_text()

    compare.press("Enter")
    for number in range(VOTES):
        if number:
            page.keyboard.press("n")
        vote(page, teacher)
        kind = page.locator(".trial .tc-note").first.inner_text()
        assert kind.startswith(("Judged, but held out", "Nobody has judged"))
    accept = page.get_by_role("button", name="Accept demo-tuned@")
    result = accept.inner_text().split()[1]
    accept.press("Enter")
    page.locator(".trial").wait_for(state="hidden")
    wait_for(page, f"document.querySelector('.tc-passport strong').innerText === '{result}'")
    (decision,) = Teaching(runs).decisions()
    assert (decision.label, decision.accepted) == (result, True)

    unseen = teaching.prompts(0).unseen
    old, new = (teaching.Model(checkpoint_of(runs, label)) for label in (decision.parent, result))
    before, after = (teaching.share(each.answers(unseen), teacher.likes) for each in (old, new))
    assert before < 0.4
    assert after >= 0.8
    evals = [row for row in RunReader(runs / decision.run).rows("metrics") if row["kind"] == "eval"]
    losses = {row["step"]: row["val_loss"] for row in evals}
    assert losses[decision.step] - losses[0] < 0.15
    assert digest_of(runs / "demo") == untouched
    assert tinychat(["verify", "demo", "--checkpoints", str(runs)]) == 0


def checkpoint_of(runs: Path, label: str) -> Path:
    run, _, step = label.partition("@")
    return RunPaths(runs / run).checkpoint(int(step))
