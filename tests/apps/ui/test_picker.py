"""Which model answers: chosen, followed while it trains, hurt, pruned, or not there yet."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.apps.ui.conftest import (
    SHAPE,
    OpenContext,
    OpenPage,
    Page,
    Server,
    ask,
    choose_run,
    idle,
    say,
    train,
    wait_for,
    write_endless,
    write_talks,
)
from tests.conftest import until
from tinychat.runs import RunPaths, list_checkpoints
from tinychat.watch.states import LIVE
from tinychat_ui.context import PageContext, Runs
from tinychat_ui.picker import follow
from tinychat_ui.session import Session


def answering(page: Page) -> str:
    """The model that the head of the page names."""
    return page.locator(".tc-passport strong").inner_text()


def names(page: Page, model: str) -> None:
    """Wait until the head of the page names this model."""
    wait_for(page, f"document.querySelector('.tc-passport strong')?.innerText === '{model}'")


def begins_with(context: PageContext, first: str | None = None) -> str:
    """The model that answers in a page that is opened now, and what is said about it."""
    told: dict[str, Any] = {**vars(context), "first": first, "runs": Runs(context.checkpoints)}
    session = Session()
    for _ in follow(PageContext(**told), session):
        pass
    return f"{session.model} {session.note}".strip()


def change(run: Path, **record: Any) -> None:
    path = run / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | record))


def test_a_page_begins_with_what_was_begun_or_decided_last(
    page_context: OpenContext, trained_models: Path, tmp_path: Path
) -> None:
    runs = shutil.copytree(trained_models, tmp_path / "checkpoints")
    context, tale = page_context(runs), RunPaths(runs / "tale").checkpoint(60)
    shutil.copytree(runs / "tale", runs / "tale-tuned")
    tune = {"method": "auto", "examples_sha256": "", "reference_sha256": ""}
    change(runs / "tale-tuned", parent=str(tale), tune=tune, id="x", created_at="2990-01-01T00:00Z")
    assert begins_with(context) == "demo@200"  # nobody has accepted the newest
    context.teaching.accept("tale-tuned", 50, "tale@60")
    assert begins_with(context) == "tale-tuned@50"
    assert begins_with(context, "tale") == (
        "tale-tuned@50 The page was started for tale: tale-tuned@50, which was accepted, answers "
        "in its place."
    )
    assert begins_with(context, "tale@latest") == "tale@60"
    assert begins_with(context, "demo") == "demo@200"
    context.teaching.refuse("tale-tuned", 50, "tale@60")
    assert begins_with(context) == "tale@60"
    context.teaching.accept("tale-tuned", 60, "tale@60")
    change(runs / "demo", created_at="2989-01-01T00:00Z")  # a run that was begun since
    assert begins_with(context) == "demo@200"
    shutil.rmtree(runs / "demo")
    shutil.rmtree(runs / "tale")
    assert begins_with(context) == "tale-tuned@60"


@pytest.fixture
def live_run(models: Path, tmp_path: Path) -> Iterator[Path]:
    """A run that trains in a process of its own, and saves a checkpoint again and again."""
    words = ["train", "--name", "live", "--data", str(write_endless(tmp_path / "tale.txt"))]
    words += [*SHAPE, "--checkpoints", str(models), "--max-steps=1000000"]
    words += ["--checkpoint.every-steps=15", "--eval.every-steps=none", "--sample.every-steps=none"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tinychat", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"COLUMNS": "100"},
    )  # fmt: skip
    run = models / "live"
    until(lambda: len(list_checkpoints(run)) > 1)
    yield run
    process.kill()
    process.wait()
    shutil.rmtree(run)


def test_run_and_step_are_chosen_and_the_passport_tells(page: Page) -> None:
    steps = page.get_by_label("Step", exact=True).locator("option").all_inner_texts()
    assert steps[0] == "newest"
    assert steps[1].startswith("best: ")
    assert any(text.startswith("200 · val loss") for text in steps)
    names(page, "demo@200")
    told = page.locator(".tc-passport").inner_text()
    for word in ("parameters", "val loss", "fp32", "cpu", "context 128"):
        assert word in told
    page.get_by_label("Step", exact=True).select_option("50")
    names(page, "demo@50")
    assert not page.get_by_label("Follow newest").is_checked()
    ask(page, "Hello!")
    assert page.locator(".tc-assistant .tc-who").last.inner_text() == "demo@50"
    page.get_by_label("Follow newest").check()
    names(page, "demo@200")
    assert "finished" in page.locator(".tc-training").inner_text()


def test_a_training_run_is_followed_but_never_amid_an_answer(page: Page, live_run: Path) -> None:
    page.get_by_label("Run", exact=True).locator("option", has_text="live").wait_for(
        state="attached"
    )
    choose_run(page, "live")
    first = answering(page)
    wait_for(page, f"document.querySelector('.tc-passport strong').innerText !== '{first}'")
    assert page.locator(".tc-training").inner_text()[2:].split("\n")[0] in LIVE

    page.locator("#tc-rail summary", has_text="More rules").click()
    page.get_by_label("Longest answer").fill("4096")
    page.keyboard.press("Tab")
    live = page.locator(".tc-live")
    for _ in range(5):  # until a checkpoint comes while it speaks; a young model may end soon
        say(page, "Tom saw")
        wait_for(page, "document.querySelector('.tc-live .tc-words')?.innerText.length > 20")
        speaking = page.locator(".tc-assistant .tc-who").last.inner_text()
        known = max(list_checkpoints(live_run))
        until(lambda known=known: max(list_checkpoints(live_run)) > known or not live.count())
        if now := answering(page) if live.count() else "":
            break
        idle(page)
    assert now == speaking
    page.keyboard.press("Escape")
    idle(page)
    assert page.locator(".tc-assistant .tc-who").last.inner_text() == speaking
    wait_for(page, f"document.querySelector('.tc-passport strong').innerText !== '{speaking}'")
    page.get_by_text("answers now").first.wait_for()


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_with_its_reason(page: Page, models: Path) -> None:
    hurt = models / "hurt"
    shutil.copytree(models / "demo", hurt)
    weights = RunPaths(hurt).checkpoint(200) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    page.get_by_label("Run", exact=True).locator("option", has_text="hurt").wait_for(
        state="attached"
    )
    choose_run(page, "hurt")
    assert answering(page).startswith("hurt@1")
    trouble = page.locator(".tc-trouble").inner_text()
    assert "hurt@200 is passed over" in trouble
    assert "model.safetensors" in trouble
    shutil.rmtree(hurt)


@pytest.mark.slow
def test_a_step_that_is_pruned_is_said_and_the_newest_answers(page: Page, models: Path) -> None:
    thin = models / "thin"
    shutil.copytree(models / "demo", thin)
    page.get_by_label("Run", exact=True).locator("option", has_text="thin").wait_for(
        state="attached"
    )
    choose_run(page, "thin")
    page.get_by_label("Step", exact=True).select_option("50")
    names(page, "thin@50")
    shutil.rmtree(RunPaths(thin).checkpoint(50))
    names(page, "thin@200")
    assert "Step 50 is not kept any more" in page.locator(".tc-trouble").inner_text()
    shutil.rmtree(thin)


@pytest.mark.slow
def test_without_a_checkpoint_the_page_says_how_and_comes_alive(
    browser: object, tmp_path: Path, open_page: OpenPage
) -> None:
    runs = tmp_path / "checkpoints"
    server = Server(runs).start()
    try:
        page = open_page(server.url, wait=False)
        page.get_by_role("heading", name="There is no model to talk to yet").wait_for()
        assert "tinychat train" in page.locator(".tc-empty .tc-code").inner_text()
        assert page.get_by_role("button", name="Send", exact=True).is_disabled()
        quiet = ["--sample.every-steps=none", "--eval.every-steps=none"]
        talks = write_talks(tmp_path / "talks.jsonl")
        train(runs, "first", talks, "--max-steps=10", *quiet)
        names(page, "first@10")
        ask(page, "Hello!")
        page.close()
    finally:
        server.stop()
