"""Picking one of four in a row: as functions over a real engine, then with keys and taps in a
browser."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.apps.ui.conftest import OpenContext, OpenPage, Page, Server, ask, ready, wait_for
from tests.apps.ui.pupil import train_pupil
from tests.apps.ui.sound import assert_rings_are_whole, assert_sound
from tests.apps.ui.tabs import TABS, four_there, open_teach
from tests.apps.ui.tabs import ask_four as four_answers
from tests.conftest import until
from tinychat.text import prompts_of_run
from tinychat_ui.context import PageContext
from tinychat_ui.controls import PLAIN
from tinychat_ui.pick import Picking, ask_four, forget, pick, undo, view, write_better
from tinychat_ui.picker import follow
from tinychat_ui.session import Session

RAIL = [{**PLAIN, "seed": 7, "temperature": 1.2, "top_k": 0, "max_new_tokens": 12}]


@pytest.fixture(scope="module")
def pupil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A page over `pupil`, whose data has many prompts."""
    folder = tmp_path_factory.mktemp("pupil")
    train_pupil(folder)
    server = Server(folder / "checkpoints", ("pupil",)).start()
    yield server
    server.stop()


@pytest.fixture
def lesson(pupil: Server, open_page: OpenPage) -> Page:
    """The Teach tab with `pupil`."""
    page = open_page(pupil.url)
    open_teach(page)
    return page


@pytest.fixture
def context(page_context: OpenContext, trained_models: Path) -> PageContext:
    return page_context(trained_models)


def four(
    context: PageContext,
    model: str = "demo@150",
    rail: Any = None,
    text: str = "My name is Tom.",
    picking: Picking | None = None,
) -> Picking:
    picking = picking or Picking()
    for _ in ask_four(context, picking, model, text, rail or RAIL):
        assert not picking.can_pick or not picking.asking.busy
    return picking


def test_four_answers_of_four_seeds_are_picked_from(context: PageContext) -> None:
    picking = four(context)
    shown = view(picking)
    assert [answer["number"] for answer in shown["answers"]] == [1, 2, 3, 4]
    assert shown["can_pick"]
    pick(context, picking, 3)
    (entry,) = context.feedback.entries()
    assert (entry.kind, entry.chosen) == ("pick", 2)
    assert [answer.seed for answer in entry.answers] == [7, 8, 9, 10]
    assert len({answer.text for answer in entry.answers}) == 4
    prompt = list(entry.answers[0].prompt_ids)
    assert all(list(each.prompt_ids)[: len(prompt)] == prompt for each in entry.answers)
    assert entry.prompt == ({"role": "user", "content": "My name is Tom."},)
    assert (entry.answers[0].run, entry.answers[0].step) == ("demo", 150)
    shown = view(picking)
    assert [answer["chosen"] for answer in shown["answers"]] == [False, False, True, False]
    pick(context, picking, 1)  # too late
    assert context.feedback.counts().picks == 1


def test_a_kept_answer_can_be_made_again_from_what_was_kept(context: PageContext) -> None:
    picking = four(context)
    pick(context, picking, 2)
    kept = context.feedback.entries()[0].answers[0]
    again = four(context, rail=[{**RAIL[0], "seed": kept.seed}])
    assert list(again.now.whole[0].answer_ids) == list(kept.answer_ids)
    assert list(again.now.whole[0].prompt_ids) == list(kept.prompt_ids)


def test_none_of_four_may_be_good(context: PageContext) -> None:
    picking = four(context, "tale@60", [{**RAIL[0], "system": "unheard by a base model"}])
    write_better(context, picking, 3, " ")
    assert "empty" in picking.notice
    write_better(context, picking, 3, picking.now.whole[2].text)
    assert "Nothing was changed" in picking.notice
    write_better(context, picking, 9, "There is no such answer.")
    assert picking.can_pick
    write_better(context, picking, 3, "Nice to meet you.")
    (entry,) = context.feedback.entries()
    assert (entry.kind, entry.text) == ("rewrite", "Nice to meet you.")
    assert entry.answers[0].seed == picking.now.whole[2].seed
    assert view(picking)["answers"][2]["text"] == "Nice to meet you."
    assert entry.prompt == ({"role": "user", "content": "My name is Tom."},)
    assert entry.answers[0].mode == "text"
    assert not picking.can_pick


@pytest.mark.parametrize("number", [0, 5, -1, None, "1", 1.0, True, [1]])
def test_only_a_number_of_an_answer_picks(context: PageContext, number: Any) -> None:
    picking = four(context)
    pick(context, picking, number)
    assert context.feedback.entries() == []


def test_what_was_stopped_is_not_picked_from(context: PageContext) -> None:
    picking = Picking()
    long = [{**RAIL[0], "max_new_tokens": 4000}]
    for _ in ask_four(context, picking, "tale@60", "Tom saw", long):
        if picking.now.texts and picking.now.texts[0]:
            picking.stop()
    assert len(view(picking)["answers"]) == 4
    assert not picking.can_pick
    until(lambda: context.engine.running == 0)
    pick(context, picking, 1)
    assert context.feedback.entries() == []


@pytest.mark.parametrize(
    ("model", "text", "rail", "said"),
    [
        (None, "Hi", RAIL, "no model"),
        ("demo@150", "x" * 9000, RAIL, "at most 8,000"),
        (f"{os.sep}elsewhere", " ", RAIL, "type one"),
        ("demo@150", "Hi", [{**PLAIN, "temperature": 0.0}], "would be the same"),
        ("demo@150", "Hi", [{**PLAIN, "temperature": float("nan")}], "temperature"),
        ("gone@1", "Hi", RAIL, "gone"),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_sentence(
    context: PageContext, model: str | None, text: str, rail: Any, said: str
) -> None:
    picking = Picking()
    for _ in ask_four(context, picking, model, text, rail):
        pass
    assert said in picking.notice
    assert len(picking.notice.splitlines()) == 1
    assert not picking.can_pick
    assert not picking.asking.busy
    assert view(picking)["give_back"] == text  # nothing that was typed is lost


def test_prompts_are_suggested_in_the_manner_of_the_data_and_none_twice(
    context: PageContext,
) -> None:
    prompts = prompts_of_run(context.checkpoints / "demo")
    picking = four(context, text=prompts[0])
    pick(context, picking, 1)
    asked = [prompts[0]]
    for _ in prompts[1:]:
        four(context, text="", picking=picking)
        asked.append(picking.now.question)
    assert len(prompts) > 2
    assert sorted(asked) == sorted(prompts)
    other_tab = four(context, text="")
    assert other_tab.now.question != prompts[0]  # it was judged
    before = picking.now.question
    four(context, text="", picking=picking)  # none is left
    assert picking.now.question in set(prompts) - {before}
    for prompt in prompts:
        said = [{"role": "user", "content": prompt}]
        context.feedback.rewrite(said, picking.now.whole[0], "Judged, all of them.")
    late, again = Picking(), []
    for _ in prompts:
        again.append(four(context, text="", picking=late).now.question)
        assert "comes again" in view(late)["notice"]
    assert sorted(again) == sorted(prompts)


def test_a_visitor_is_suggested_nothing_out_of_the_data(context: PageContext) -> None:
    visiting = PageContext(**{**vars(context), "local": False})
    picking = four(visiting, text="")
    assert "at the machine itself" in picking.notice
    assert (picking.now.question, picking.prompts) == ("", ("", []))
    session = Session(run="demo")
    assert list(follow(visiting, session))[-1] == "demo@200"
    assert session.about is not None
    assert session.about.prompts == ()


def test_rounds_are_taken_back_one_after_another(context: PageContext) -> None:
    picking = four(context)
    assert not picking.can_undo
    pick(context, picking, 1)
    four(context, text="Hello!", picking=picking)
    write_better(context, picking, 2, "Hi there.")
    four(context, text="How are you?", picking=picking)  # skipped
    four(context, text="What is 1 + 1?", picking=picking)
    pick(context, picking, 4)
    for question, counts in (
        ("What is 1 + 1?", "1 pick, 0 thumbs, 1 rewrite"),
        ("How are you?", "1 pick, 0 thumbs, 1 rewrite"),
        ("Hello!", "1 pick, 0 thumbs, 0 rewrites"),
        ("My name is Tom.", "0 picks, 0 thumbs, 0 rewrites"),
    ):
        undo(context, picking)
        assert (picking.now.question, str(context.feedback.counts())) == (question, counts)
        assert picking.can_pick
        assert not any(answer["chosen"] for answer in view(picking)["answers"])
    assert not picking.can_undo
    pick(context, picking, 2)
    assert context.feedback.counts().picks == 1


def test_what_was_taken_back_elsewhere_can_be_picked_again(context: PageContext) -> None:
    picking = four(context)
    pick(context, picking, 1)
    forget(context, picking)
    assert not picking.can_pick
    context.feedback.undo(str(picking.now.kept))
    forget(context, picking)
    assert picking.can_pick


def test_a_model_that_is_sure_of_itself_gives_a_choice_all_the_same(context: PageContext) -> None:
    picking = four(context, "demo@200", [{**RAIL[0], "temperature": 0.001}])
    assert len({answer["text"] for answer in view(picking)["answers"]}) == 4
    assert picking.notice == ""


# --- in a browser ---


def entries(server: Server) -> list[dict[str, Any]]:
    path = server.checkpoints / ".chats" / "feedback.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def kinds(server: Server, since: int) -> list[str]:
    return [row.get("kind", "undo") for row in entries(server)[since:]]


def question(page: Page) -> str:
    return page.locator(".teach-question").inner_text()


def press_next(page: Page, key: str) -> str:
    """The next prompt by a key, and its four answers."""
    before = question(page) if page.locator(".teach-question").is_visible() else ""
    page.keyboard.press(key)
    wait_for(page, f"document.querySelector('.teach-question').innerText !== {json.dumps(before)}")
    four_there(page)
    return question(page)


def test_ten_prompts_are_picked_with_the_keyboard_alone(pupil: Server, open_page: OpenPage) -> None:
    page = open_page(pupil.url)
    tab = page.get_by_role("tab", name="Teach", exact=True)
    tab.focus()
    page.keyboard.press("Enter")
    page.locator("#teach-prompt textarea").wait_for(state="visible")
    since, asked = len(entries(pupil)), []
    for place in range(9):
        asked.append(press_next(page, "n" if place == 0 else "Enter"))
        page.keyboard.press("Enter")  # undecided: it only says what to do
        assert "Press 1 to 4" in page.locator(".teach-notice").inner_text()
        assert question(page) == asked[-1]
        page.keyboard.press(str(place % 4 + 1))
        page.locator(".teach-chosen").wait_for()
    page.keyboard.press("p")
    page.keyboard.type("1 + 1, s and u?")  # letters and digits that are keys elsewhere
    asked.append(press_next(page, "Enter"))
    page.keyboard.press("3")
    page.locator(".teach-chosen").wait_for()
    picks = entries(pupil)[since:]
    assert [row["prompt"][-1]["content"] for row in picks] == asked
    assert [row["chosen"] for row in picks] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 2]
    assert len(set(asked)) == 10
    assert asked[-1] == "1 + 1, s and u?"


def test_keys_skip_rewrite_and_undo(pupil: Server, lesson: Page) -> None:
    since = len(entries(pupil))
    first = press_next(lesson, "n")
    second = press_next(lesson, "s")
    assert second != first
    lesson.keyboard.press("r")
    field = lesson.get_by_role("textbox", name="Answer 1, written better")
    lesson.keyboard.press("Escape")
    field.wait_for(state="detached")
    lesson.locator(".teach-text").nth(1).focus()
    lesson.keyboard.press("r")
    lesson.get_by_role("textbox", name="Answer 2, written better").fill("2 u, s n")
    lesson.keyboard.press("Control+Enter")
    lesson.locator(".teach-chosen", has_text="2 u, s n").wait_for()
    assert lesson.locator(".teach-chosen .teach-mark").inner_text() == "your own words"
    lesson.keyboard.press("u")
    four_there(lesson)
    assert kinds(pupil, since) == ["rewrite", "undo"]
    lesson.keyboard.press("u")
    wait_for(lesson, f"document.querySelector('.teach-question').innerText === {json.dumps(first)}")
    lesson.keyboard.press("4")
    lesson.locator(".teach-chosen").wait_for()
    assert kinds(pupil, since) == ["rewrite", "undo", "pick"]


@pytest.mark.slow
def test_keys_can_be_switched_off(pupil: Server, lesson: Page) -> None:
    four_answers(lesson, "Hello!")
    since = len(entries(pupil))
    switch = lesson.get_by_label("Keys", exact=True)
    switch.click()
    lesson.keyboard.press("2")
    lesson.get_by_role("button", name="Answer 3 is the best").click()
    lesson.locator(".teach-chosen").wait_for()
    assert [row["chosen"] for row in entries(pupil)[since:]] == [2]
    lesson.reload()
    ready(lesson)
    open_teach(lesson)
    assert not lesson.get_by_label("Keys", exact=True).is_checked()


def test_one_of_four_is_picked_with_a_key_and_taken_back(pupil: Server, lesson: Page) -> None:
    lesson.get_by_role("button", name="Wild").click()
    four_answers(lesson, "Do you like boats?")
    before = lesson.locator(".teach-counts strong").inner_text()
    best = lesson.get_by_role("button", name="Answer 2 is the best")
    lesson.keyboard.press("2")
    lesson.locator(".teach-card.teach-chosen").wait_for()
    assert lesson.locator(".teach-card").nth(1).get_attribute("class") == "teach-card teach-chosen"
    assert best.get_attribute("aria-pressed") == "true"
    line = entries(pupil)[-1]
    assert (line["kind"], line["chosen"], len(line["answers"])) == ("pick", 1, 4)
    shown = lesson.locator(".teach-text").all_inner_texts()
    assert [answer["text"].strip() for answer in line["answers"]] == [
        text.strip() for text in shown
    ]
    lesson.get_by_role("tab", name="Review", exact=True).click()
    lesson.get_by_role("button", name="Delete the last").click()
    wait_for(lesson, f"document.querySelector('.teach-counts strong').innerText === {before!r}")
    assert entries(pupil)[-1]["undo"] == line["id"]
    lesson.get_by_role("tab", name="Pick", exact=True).click()
    best.click()  # and it can be picked again
    until(lambda: entries(pupil)[-1].get("kind") == "pick")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_keyboard_s_place_is_seen_and_kept(
    pupil: Server, open_page: OpenPage, width: int
) -> None:
    page = open_page(pupil.url, width=width)
    open_teach(page)
    four_answers(page, "Hello!")
    page.get_by_role("tab", name="Chat", exact=True).focus()
    assert_rings_are_whole(page, 26)
    page.get_by_role("button", name="Answer 2 is the best").press("Enter")
    page.locator(".teach-chosen").wait_for()
    undo = page.get_by_role("button", name="Undo", exact=True)
    undo.press("Enter")
    four_there(page)
    page.set_viewport_size({"width": 280, "height": 800})  # too narrow for all tabs
    more = page.locator("#tc-tabs > .tab-wrapper .overflow-menu")
    more.locator("> button").wait_for()  # a press waits for nothing to be seen
    more.locator("> button").press("Enter")
    more.locator(".overflow-dropdown button").last.wait_for()
    more.locator(".overflow-dropdown button").last.press("Enter")
    page.get_by_role("tab", name=TABS[-1], exact=True, selected=True).wait_for()
    wait_for(page, "document.activeElement.closest('.overflow-menu') !== null")


def test_a_digit_that_is_typed_picks_nothing(pupil: Server, lesson: Page) -> None:
    four_answers(lesson, "What is 1 + 1?")
    before = len(entries(pupil))
    lesson.locator("#teach-prompt textarea").press("3")
    lesson.get_by_role("tab", name="Chat").click()
    lesson.keyboard.press("3")
    ask(lesson, "Hello!")  # whatever the keys did is done
    assert len(entries(pupil)) == before


@pytest.mark.slow
def test_what_was_typed_outlives_a_reload(pupil: Server, lesson: Page) -> None:
    lesson.locator("#teach-prompt textarea").fill("Half a prompt")
    lesson.reload()
    ready(lesson)
    open_teach(lesson)
    assert lesson.locator("#teach-prompt textarea").input_value() == "Half a prompt"


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_taps_do_it_all(pupil: Server, open_page: OpenPage, dark: bool) -> None:
    page = open_page(pupil.url, width=390, height=844, dark=dark)
    tabs = [page.get_by_role("tab", name=name, exact=True) for name in TABS]
    assert all(tab.is_visible() for tab in tabs)
    open_teach(page)
    assert_sound(page)
    since = len(entries(pupil))
    page.get_by_role("button", name="Suggest a prompt").tap()
    four_there(page)
    assert_sound(page)
    page.get_by_role("button", name="Answer 4 is the best").tap()
    page.locator(".teach-chosen").wait_for()
    assert_sound(page)
    page.get_by_role("button", name="Undo", exact=True).tap()
    four_there(page)
    page.get_by_role("button", name="Write answer 2 better").tap()
    page.get_by_role("textbox", name="Answer 2, written better").fill("So it is.")
    assert_sound(page)
    page.get_by_role("button", name="Keep", exact=True).tap()
    page.locator(".teach-chosen", has_text="So it is.").wait_for()
    page.get_by_role("button", name="Next prompt").tap()
    four_there(page)
    page.get_by_role("button", name="Skip").tap()
    assert kinds(pupil, since) == ["pick", "undo", "rewrite"]
