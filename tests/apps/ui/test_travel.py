"""Time travel: every kept step of a real run answers, one after another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.apps.ui.conftest import OpenContext, Page, Server, wait_for
from tests.apps.ui.tabs import arrived, open_travel, set_out
from tests.conftest import until
from tinychat.engine import Shelf
from tinychat.runs import list_checkpoints
from tinychat_ui import travel
from tinychat_ui.context import PageContext
from tinychat_ui.controls import PLAIN
from tinychat_ui.travel import Journey

RAIL = [{**PLAIN, "max_new_tokens": 12}]  # without a seed: one is drawn


@pytest.fixture
def context(page_context: OpenContext, trained_runs: Path) -> PageContext:
    return page_context(trained_runs)


def go(
    context: PageContext, run: Any = "talk", text: Any = "My name is Tom.", rail: Any = RAIL
) -> list[dict[str, Any]]:
    """What the page is shown, one view after another."""
    journey = Journey()
    return [travel.view(journey) for _ in travel.travel(context, journey, run, text, rail)]


def test_every_kept_step_answers_with_its_loss(context: PageContext) -> None:
    shown = go(context)
    last = shown[-1]
    assert [row["step"] for row in last["rows"]] == ["0", "10", "20"]
    assert [row["state"] for row in last["rows"]] == ["done"] * 3
    assert last["rows"][0]["val_loss"] == "not evaluated"
    assert all(row["val_loss"].startswith("val loss ") for row in last["rows"][1:])
    assert last["rows"][-1]["marks"] == ["best", "newest"]
    assert not last["busy"]
    assert any(row["text"] for row in last["rows"])
    assert last["notice"].startswith("Seed ")


def test_steps_come_one_after_another(context: PageContext) -> None:
    at_work = [
        [row["state"] for row in view["rows"] if row["state"] in ("loading", "answering")]
        for view in go(context)
    ]
    assert max(map(len, at_work)) == 1
    assert at_work[0] == ["loading"]


@pytest.mark.slow
def test_the_same_seed_travels_the_same_way(context: PageContext) -> None:
    seeded = [{**RAIL[0], "seed": 3}]
    texts = [[row["text"] for row in go(context, rail=seeded)[-1]["rows"]] for _ in range(2)]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 1  # the steps do not say the same


@pytest.mark.slow
def test_the_models_are_given_up(context: PageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    import gc
    import weakref

    opened: list[weakref.ref[Any]] = []
    most = 0
    real = Shelf.open

    def watched(shelf: Shelf, name: str) -> Any:
        nonlocal most
        gc.collect()
        most = max(most, sum(each() is not None for each in opened))
        model = real(shelf, name)
        opened.append(weakref.ref(model.text.decoder))
        return model

    monkeypatch.setattr(Shelf, "open", watched)
    go(context)
    gc.collect()
    assert len(opened) == 3
    # the engine's thread lets go of a model only when it has another one to work with
    assert most <= 1
    assert sum(each() is not None for each in opened) <= 1


def test_a_damaged_checkpoint_is_a_row_that_says_why(
    page_context: OpenContext, copy_of: Callable[[str], Path]
) -> None:
    run = copy_of("talk")
    weights = run / "step-00000010" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    rows = go(page_context(run.parent))[-1]["rows"]
    assert [row["state"] for row in rows] == ["done", "failed", "done"]
    assert rows[1]["trouble"].startswith("talk/step-00000010/model.safetensors is damaged")
    assert rows[1]["text"] == ""


def test_a_base_model_travels_too(context: PageContext) -> None:
    rows = go(context, "story", "Anna saw")[-1]["rows"]
    assert [row["state"] for row in rows] == ["done"] * 3


def test_stop_ends_it_and_tells_what_was_left(context: PageContext) -> None:
    journey = Journey()
    long = [{**PLAIN, "max_new_tokens": 4000}]
    for _ in travel.travel(context, journey, "story", "Anna saw", long):
        first = journey.rows[0].answer
        if first is not None and first.text:
            journey.asking.stop()
    view = travel.view(journey)
    assert [row["state"] for row in view["rows"]] == ["done", "waiting", "waiting"]
    assert "stopped by you" in view["rows"][0]["facts"]
    assert view["notice"] == "Stopped by you; 2 steps not asked."
    assert not view["busy"]
    assert context.engine.running == context.engine.waiting == 0


def test_stop_while_a_step_is_loaded_asks_nothing(context: PageContext) -> None:
    journey = Journey()
    for _ in travel.travel(context, journey, "talk", "Hello", RAIL):
        journey.asking.stop()
    assert all(row.answer is None for row in journey.rows)
    assert travel.view(journey)["notice"] == "Stopped by you; 3 steps not asked."


def test_a_browser_that_leaves_frees_the_model(context: PageContext) -> None:
    journey = Journey()
    long = [{**PLAIN, "max_new_tokens": 4000}]
    going: Any = travel.travel(context, journey, "story", "Anna saw", long)
    for _ in going:
        if journey.rows[0].answer is not None and journey.rows[0].answer.text:
            break
    (growing,) = journey.asking.going
    answer = growing._answer  # pyright: ignore[reportPrivateUsage]
    assert answer is not None
    going.close()  # what Gradio does
    assert growing.is_over
    assert list(answer) is not None  # it ends
    assert answer.completion is not None
    assert answer.completion.finish_reason == "cancelled"


@pytest.mark.parametrize("run", ["", None, "nobody", "../talk", 3, ["talk"], "talk@20"])
def test_only_runs_of_the_folder_are_travelled(context: PageContext, run: Any) -> None:
    shown = go(context, run)
    assert shown[-1]["notice"] == "Choose a run first."
    assert shown[-1]["rows"] == []


def test_a_run_without_checkpoints_says_so(
    page_context: OpenContext, copy_of: Callable[[str], Path]
) -> None:
    import shutil

    run = copy_of("talk")
    for checkpoint in run.glob("step-*"):
        shutil.rmtree(checkpoint)
    assert "no checkpoint" in go(page_context(run.parent))[-1]["notice"]


@pytest.mark.parametrize("text", ["", "  ", None, "x" * 9000])
def test_a_prompt_must_be_one(context: PageContext, text: Any) -> None:
    assert "rompt" in go(context, text=text)[-1]["notice"]


# In the browser


@pytest.mark.slow
def test_the_steps_are_walked_with_the_keyboard(page: Page, server: Server) -> None:
    open_travel(page)
    set_out(page, "What is 1 + 2?")
    arrived(page)
    rows = page.locator(".travel-rows li")
    steps = rows.locator("strong").all_inner_texts()
    kept = list_checkpoints(server.checkpoints / "demo")
    assert steps == [f"step {step}" for step in kept]
    assert "1 + 2 = 3" in rows.last.inner_text()
    assert "val loss" in rows.last.inner_text()
    large = page.locator(".travel-large")
    assert steps[-1] in large.inner_text()  # it has followed the newest
    slider = page.get_by_label("Step through")
    slider.focus()
    page.keyboard.press("Home")
    assert "step 0" in large.inner_text()
    assert (slider.get_attribute("aria-valuetext") or "").startswith("step 0, ")
    page.get_by_role("button", name="Later step").press("Enter")
    assert steps[1] in large.inner_text()
    assert rows.nth(1).get_attribute("aria-current") == "step"


@pytest.mark.slow
def test_a_damaged_step_says_why_it_cannot_answer(page: Page, server: Server) -> None:
    weights = server.checkpoints / "demo" / "step-00000100" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    open_travel(page)
    set_out(page, "Hello!")
    arrived(page)
    weights.write_bytes(whole)
    row = page.locator(".travel-rows li").filter(has_text="step 100")
    assert "cannot answer" in row.inner_text()
    assert "model.safetensors" in row.inner_text()


def test_stop_on_the_way_frees_the_model(page: Page, server: Server) -> None:
    open_travel(page, "tale")
    page.locator("#tc-rail details", has_text="More rules").locator("summary").click()
    page.locator("#tc-rail").get_by_label("Longest answer").fill("4096")
    page.keyboard.press("Tab")
    set_out(page, "Tom saw")
    wait_for(page, "(document.querySelector('.travel-text')?.innerText || '').length > 40")
    page.get_by_role("button", name="Stop", exact=True).locator("visible=true").click()
    until(server.is_idle)
    arrived(page)
    assert "Stopped by you" in page.locator(".travel-notice").inner_text()
