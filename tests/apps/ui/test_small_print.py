"""What the page says beside the answers: seeds, beginnings, addresses, lists to type into."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.apps.ui.conftest import ARGUMENTS, CHROMIUM, Browser, OpenPage, Server, ask, ready
from tests.apps.ui.tabs import open_compare, open_tab

NARROW = """() => new Set([...document.querySelectorAll('#tc-rail .tc-presets .tc-choice')]
    .map((each) => each.offsetTop)).size"""


@pytest.fixture
def with_scrollbars(browser: Browser) -> Iterator[Browser]:
    """A Chromium that shows its scrollbars, as the ones of people do."""
    assert CHROMIUM is not None
    shown = browser.browser_type.launch(
        executable_path=CHROMIUM, args=ARGUMENTS, ignore_default_args=["--hide-scrollbars"]
    )
    yield shown
    shown.close()


@pytest.mark.slow
def test_a_kept_seed_is_shown_beside_the_box_and_let_go_there(page: Page) -> None:
    ask(page, "Hello!")
    pinned = page.locator(".tc-pinned")
    expect(pinned).to_be_hidden()
    page.locator(".tc-stats").get_by_role("button", name="seed").click()
    seed = page.get_by_label("Seed").input_value()
    expect(pinned).to_have_text(f"Seed {seed} is kept: let go")
    page.reload()
    ready(page)
    expect(pinned).to_have_text(f"Seed {seed} is kept: let go")
    pinned.click()
    expect(pinned).to_be_hidden()
    assert page.get_by_label("Seed").input_value() == ""


def test_the_beginning_of_an_answer_is_for_one_answer(page: Page) -> None:
    page.get_by_role("button", name="Start the answer with…").click()
    begin = page.get_by_label("Start the answer with", exact=True)
    begin.fill("Nice")
    assert ask(page, "Hello!").startswith("Nice")
    expect(begin).to_be_hidden()
    assert begin.input_value() == ""


def test_a_model_to_compare_can_be_found_by_typing(page: Page) -> None:
    open_compare(page)
    box = page.locator("#compare-first input")
    box.click()
    box.press("ControlOrMeta+A")
    box.press_sequentially("150", delay=50)
    found = page.locator("ul [role=option]")
    expect(found).to_have_text([re.compile(r"demo @ 150")])
    expect(box).to_have_value("150")
    box.press("Enter")
    expect(box).to_have_value(re.compile(r"demo @ 150"))


def test_the_address_of_the_api_is_the_one_that_the_browser_has(page: Page, server: Server) -> None:
    open_tab(page, "API & about")
    text = page.locator(".tc-prose").last
    expect(text).to_contain_text(f"curl {server.url}/v1/chat/completions")
    expect(text).to_contain_text(f'base_url="{server.url}/v1"')


def test_presets_stand_on_one_line_beside_a_scrollbar(
    server: Server, with_scrollbars: Browser
) -> None:
    page = with_scrollbars.new_page(viewport={"width": 1280, "height": 500})
    page.goto(server.url)
    ready(page)
    assert page.locator("#tc-rail").evaluate("(rail) => rail.offsetWidth - rail.clientWidth") > 1
    assert page.evaluate(NARROW) == 1


def test_the_words_in_an_empty_search_box_can_be_read_in_the_dark(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(server.url, dark=True)
    colours = page.evaluate(
        """() => { const box = document.querySelector('.talks input');
            return [getComputedStyle(box, '::placeholder').color,
                getComputedStyle(document.querySelector('.tc-soft, .tc-note')).color]; }"""
    )
    assert colours[0] == colours[1]
