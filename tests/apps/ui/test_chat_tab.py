"""The Chat tab in a real browser, over a really trained model."""

import json
from pathlib import Path

import httpx
import pytest

from tests.apps.ui.conftest import (
    OpenPage,
    Page,
    Server,
    answers,
    ask,
    choose_run,
    idle,
    last,
    say,
    wait_for,
)
from tests.conftest import until

TALE = "Tom saw"
AT_REST = """() => new Promise((told) => {
    const scroller = document.querySelector('.tc-scroller');
    let last = -1, frames = 0;
    (function look() {
        frames = scroller.scrollTop === last ? frames + 1 : 0;
        last = scroller.scrollTop;
        frames > 20 ? told(last) : requestAnimationFrame(look);
    })();
})"""


def set_range(page: Page, label: str, value: float) -> None:
    """Move a slider as the keyboard would."""
    page.get_by_label(label, exact=True).first.fill(str(value))


def rules(page: Page, *, most: int | None = None, seed: int | None = None) -> None:
    """Set what is folded away."""
    fold = page.locator("#tc-rail details", has_text="More rules")
    if fold.get_attribute("open") is None:
        fold.locator("summary").click()
    if most is not None:
        page.get_by_label("Longest answer").fill(str(most))
    if seed is not None:
        page.get_by_label("Seed").fill(str(seed))
    page.keyboard.press("Tab")


def shown(page: Page, text: str) -> None:
    """Wait until a message of the conversation is this text."""
    page.locator(".tc-words", has_text=text).wait_for()


def again(page: Page, version: int) -> str:
    """Ask for the last answer again, which makes it this version."""
    page.get_by_role("button", name="Answer again").last.click()
    page.get_by_text(f"{version}/{version}").wait_for()
    return last(page)


def endless(page: Page, text: str = TALE) -> None:
    """An answer that goes on for thousands of tokens; returns once words are there."""
    choose_run(page, "tale")
    rules(page, most=4096)
    say(page, text)
    wait_for(page, "document.querySelector('.tc-live .tc-words')?.innerText.length > 20")


def test_a_message_is_answered_by_what_the_model_has_learnt(page: Page) -> None:
    page.get_by_role("button", name="Exact").click()
    assert ask(page, "My name is Tom.") == "Nice to meet you, Tom!"
    stats = page.locator(".tc-stats").last.inner_text()
    assert "tokens/s" in stats
    assert "first" in stats
    assert "stopped: end token" in stats
    assert "/128" in stats
    assert "seed" in stats
    assert page.locator(".tc-assistant .tc-who").last.inner_text() == "demo@200"
    assert page.get_by_role("textbox", name="Message", exact=True).input_value() == ""


def test_text_grows_while_it_is_made(page: Page) -> None:
    page.evaluate(
        """() => { window.seen = new Set(); new MutationObserver(() => {
            const live = document.querySelector('.tc-live .tc-words');
            if (live) seen.add(live.innerText.length); }).observe(document.body,
            {subtree: true, childList: true, characterData: true}); }"""
    )
    endless(page)
    wait_for(page, "window.seen.size > 2")  # a busy browser paints few of them
    page.keyboard.press("Escape")
    idle(page)


def test_stop_frees_the_model_and_keeps_what_came(page: Page, server: Server) -> None:
    endless(page)
    page.get_by_role("button", name="Stop").click()
    until(server.is_idle)
    idle(page)
    kept = last(page)
    assert "stopped by you" in page.locator(".tc-stats").last.inner_text()
    page.reload()
    page.wait_for_selector(".tc-assistant .tc-tools")
    assert last(page) == kept


def test_escape_stops_and_the_next_message_is_answered(page: Page, server: Server) -> None:
    endless(page)
    page.keyboard.press("Escape")
    idle(page)
    until(server.is_idle)
    choose_run(page, "demo")
    page.get_by_role("button", name="Exact").click()
    page.get_by_role("button", name="New conversation").click()
    page.wait_for_selector(".tc-prompt")
    assert ask(page, "Hello!") == "Hello! Nice to see you."


@pytest.mark.slow
def test_a_closed_tab_frees_the_model_and_its_words_are_kept(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(server.url)
    endless(page)
    address = page.url
    page.close()
    until(server.is_idle)
    again = open_page(address)
    again.wait_for_selector(".tc-assistant .tc-tools")
    assert len(last(again)) > 20


def test_an_answer_can_be_asked_for_again_and_the_earlier_one_comes_back(page: Page) -> None:
    page.get_by_role("button", name="Wild").click()
    first = ask(page, "How are you?")
    second = again(page, 2)
    page.get_by_role("button", name="Earlier version").click()
    page.get_by_text("1/2").wait_for()
    assert last(page) == first
    page.get_by_role("button", name="Later version").click()
    page.get_by_text("2/2").wait_for()
    assert last(page) == second


def test_a_message_can_be_edited_and_is_answered_anew(page: Page) -> None:
    page.get_by_role("button", name="Exact").click()
    ask(page, "My name is Tom.")
    page.locator(".tc-user").hover()
    page.get_by_role("button", name="Edit").click()
    page.locator(".tc-editor").fill("My name is Mia.")
    page.locator(".tc-editor-buttons").get_by_role("button", name="Send").click()
    shown(page, "Nice to meet you, Mia!")
    assert page.locator(".tc-user .tc-versions").inner_text() == "2/2"
    page.locator(".tc-user").get_by_role("button", name="Earlier version").click()
    shown(page, "Nice to meet you, Tom!")


def test_an_answer_begins_as_it_is_told_and_can_be_continued(page: Page) -> None:
    page.get_by_role("button", name="Exact").click()
    page.get_by_role("button", name="Start the answer with…").click()
    page.get_by_label("Start the answer with", exact=True).fill("Nice to meet")
    rules(page, most=2)
    begun = ask(page, "My name is Eva.")
    assert begun.startswith("Nice to meet")
    assert begun != "Nice to meet you, Eva!"
    rules(page, most=100)
    page.get_by_role("button", name="Continue").click()
    shown(page, "Nice to meet you, Eva!")
    assert page.locator(".tc-assistant .tc-versions").inner_text() == "2/2"


def test_top_k_of_one_gives_one_answer_and_a_preset_turns_to_custom(page: Page) -> None:
    custom = page.locator("#tc-rail .tc-custom")
    assert custom.is_hidden()
    set_range(page, "Temperature", 2)
    assert custom.is_visible()
    texts = {ask(page, "Do you like cats?")}
    texts |= {again(page, version) for version in (2, 3, 4)}
    set_range(page, "Top-k", 1)
    assert again(page, 5) == again(page, 6)
    assert len(texts) > 1, "at temperature 2 the same was said four times"
    page.get_by_role("button", name="Balanced").click()
    assert custom.is_hidden()


def test_a_kept_seed_gives_the_same_text(page: Page) -> None:
    page.get_by_role("button", name="Wild").click()
    first = ask(page, "Do you like stars?")
    page.locator(".tc-stats").get_by_role("button", name="seed").click()
    assert again(page, 2) == first


def test_page_and_api_say_the_same_for_the_same_seed(page: Page, server: Server) -> None:
    rules(page, seed=12)
    text = ask(page, "Do you like the moon?")
    asked = {
        "model": "demo@200", "messages": [{"role": "user", "content": "Do you like the moon?"}],
        "temperature": 0.8, "top_k": 40, "max_tokens": 256, "seed": 12, "serial": True,
    }  # fmt: skip
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=asked, timeout=60).json()
    assert answer["choices"][0]["message"]["content"].strip() == text.strip()


@pytest.mark.slow
def test_a_conversation_outlives_reload_and_server(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    page.get_by_role("button", name="Exact").click()
    ask(page, "My name is Leo.")
    page.reload()
    shown(page, "Nice to meet you, Leo!")
    address = page.url
    page.close()
    server.stop()
    server.start()
    page = open_page(address)
    shown(page, "Nice to meet you, Leo!")
    ask(page, "Hello!")
    assert answers(page) == 2


def test_whoever_scrolls_up_stays_there_and_the_end_holds_again(page: Page) -> None:
    endless(page)
    top = "document.querySelector('.tc-scroller').scrollTop"
    wait_for(page, f"{top} > 300")
    page.locator(".tc-scroller").hover()
    page.mouse.wheel(0, -200)
    page.get_by_role("button", name="To the end").wait_for()
    at = page.evaluate(AT_REST)
    grown = "document.querySelector('.tc-scroller').scrollHeight"
    height = page.evaluate(grown)
    wait_for(page, f"{grown} > {height} + 100")  # the text goes on below
    assert page.evaluate(top) == at
    page.get_by_role("button", name="To the end").click()
    wait_for(page, f"{top} > {at} + 200")
    page.keyboard.press("Escape")
    idle(page)


@pytest.mark.slow
def test_two_browsers_see_only_their_own(server: Server, open_page: OpenPage) -> None:
    one, other = open_page(server.url), open_page(server.url)
    endless(one)
    for page in (one, other):
        page.get_by_role("button", name="Exact").click()
    assert ask(other, "Hello!") == "Hello! Nice to see you."
    assert one.locator(".tc-live").count() == 1
    assert other.locator(".tc-live").count() == 0
    assert TALE not in other.locator(".tc-turns").inner_text()
    one.keyboard.press("Escape")
    idle(one)


def test_a_text_model_goes_on_with_what_is_written_and_says_why(page: Page) -> None:
    choose_run(page, "tale")
    assert "has learnt texts, not conversations" in page.locator(".tc-hint").inner_text()
    rules(page, most=20)
    ask(page, "Anna saw")
    assert "longest answer reached" in page.locator(".tc-stats").last.inner_text()


def test_what_the_model_no_longer_sees_is_said_and_greyed(page: Page) -> None:
    page.get_by_role("button", name="Exact").click()
    for _ in range(9):
        ask(page, "What is 3 + 3?")
        if page.locator(".tc-notice").is_visible():
            break
    assert "no longer sees the oldest turn" in page.locator(".tc-notice").inner_text()
    assert page.locator(".tc-dropped").count() == 2


def test_enter_sends_and_shift_enter_breaks_the_line(page: Page) -> None:
    box = page.get_by_role("textbox", name="Message", exact=True)
    box.fill("Hello!")
    box.press("Shift+Enter")
    assert box.input_value() == "Hello!\n"
    assert answers(page) == 0
    box.press("Enter")
    wait_for(page, "document.querySelectorAll('.tc-assistant .tc-tools').length === 1")


def test_what_was_answered_stands_on_disk_with_all_that_decided_it(
    page: Page, models: Path
) -> None:
    page.get_by_role("button", name="Exact").click()
    text = ask(page, "Do you like boats?")
    conversation = page.url.rpartition("=")[2]
    lines = (models / ".chats" / "conversations" / f"{conversation}.jsonl").read_text().splitlines()
    (answer,) = [row["answer"] for row in map(json.loads, lines) if row.get("answer")]
    (row,) = [row for row in map(json.loads, lines) if row.get("answer")]
    assert row["text"] == text
    assert (answer["run"], answer["step"]) == ("demo", 200)
    assert answer["settings"]["temperature"] == 0
    assert answer["prompt_ids"]
    assert answer["answer_ids"]


def test_a_conversation_that_is_gone_is_a_new_one(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"{server.url}/#c=0123456789abcdef")
    page.wait_for_selector(".tc-prompt")
    wait_for(page, "location.hash === ''")
