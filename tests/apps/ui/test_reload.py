"""A reload changes nothing: the model, what was typed; and says the truth of what it cut off."""

import pytest
from playwright.sync_api import Page, expect

from tests.apps.ui.conftest import (
    OpenPage,
    Server,
    ask,
    choose_run,
    idle,
    last,
    ready,
    say,
    wait_for,
)


def names(page: Page, model: str) -> None:
    """Wait until the head of the page names this model."""
    wait_for(page, f"document.querySelector('.tc-passport strong')?.innerText === '{model}'")


def most(page: Page, tokens: int) -> None:
    """The longest answer."""
    page.locator("#tc-rail summary", has_text="More rules").click()
    page.get_by_label("Longest answer").fill(str(tokens))
    page.keyboard.press("Tab")


def test_run_step_and_draft_outlive_a_reload(page: Page) -> None:
    choose_run(page, "tale")
    page.get_by_label("Step", exact=True).select_option("50")
    names(page, "tale@50")
    page.get_by_role("textbox", name="Message", exact=True).fill("Once there")
    page.reload()
    names(page, "tale@50")
    assert not page.get_by_label("Follow newest").is_checked()
    box = page.get_by_role("textbox", name="Message", exact=True)
    expect(box).to_have_value("Once there")
    ready(page)
    box.press("End")
    box.press("Enter")
    page.locator(".tc-user", has_text="Once there").wait_for()
    page.keyboard.press("Escape")
    idle(page)
    page.reload()
    ready(page)
    expect(box).to_have_value("")


@pytest.mark.slow
def test_a_page_that_was_begun_with_another_run_begins_with_that(
    page: Page, models: object, server: Server
) -> None:
    choose_run(page, "tale")
    page.evaluate(
        """() => { for (const store of [localStorage, sessionStorage]) {
            const kept = JSON.parse(store.getItem('tinychat.model'));
            store.setItem('tinychat.model', JSON.stringify({...kept, begun: 'another'})); } }"""
    )
    page.reload()
    names(page, "demo@200")


@pytest.mark.slow
def test_a_new_tab_has_what_was_chosen_last_until_another_would_be_the_first(page: Page) -> None:
    choose_run(page, "tale")
    tab = page.context.new_page()
    tab.goto(page.url)
    names(tab, "tale@60")
    page.evaluate(
        """() => { const kept = JSON.parse(localStorage.getItem('tinychat.model'));
            const old = {...kept, first: 'other@9'};
            localStorage.setItem('tinychat.model', JSON.stringify(old)); }"""
    )
    tab = page.context.new_page()
    tab.goto(page.url)
    names(tab, "demo@200")
    page.reload()
    names(page, "tale@60")


@pytest.mark.slow
def test_a_reload_amid_an_answer_is_no_stop_by_the_person(page: Page) -> None:
    choose_run(page, "tale")
    most(page, 4096)
    say(page, "Tom saw")
    wait_for(page, "document.querySelector('.tc-live .tc-words')?.innerText.length > 20")
    page.reload()
    page.locator(".tc-stats", has_text="cut off: the page or server went away").wait_for()
    assert len(last(page)) > 20


@pytest.mark.slow
def test_a_conversation_of_the_list_brings_its_model(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    page.get_by_label("Step", exact=True).select_option("50")
    names(page, "demo@50")
    ask(page, "Do you like the list?")
    page.get_by_role("button", name="New", exact=True).click()
    page.wait_for_selector(".tc-prompt")
    choose_run(page, "tale")
    page.locator(".talks-open", has_text="Do you like the list?").first.click()
    names(page, "demo@50")
    expect(page.get_by_label("Step", exact=True)).to_have_value("50")
