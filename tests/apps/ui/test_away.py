"""A server that goes away: the page says so, loses nothing that was typed or said, and goes on."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.apps.ui.conftest import Browser, Server, choose_run, last, ready, say, wait_for

AWAY = re.compile("cannot reach its server")


@pytest.fixture
def mortal(models: Path) -> Iterator[Server]:
    """A server of this test's own."""
    server = Server(models, ("demo",)).start()
    yield server
    server.stop()


@pytest.fixture
def page(mortal: Server, browser: Browser) -> Iterator[Page]:
    """Its page. The browser complains of a server that is gone, and is right."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(mortal.url)
    ready(page)
    yield page
    context.close()


def kill(server: Server) -> None:
    """As a power cut would."""
    assert server.process is not None
    server.process.kill()
    server.process.communicate(timeout=30)
    server.process = None


def is_back(page: Page) -> None:
    """Until the page is whole again."""
    expect(page.locator(".tc-away")).to_be_hidden(timeout=60_000)
    ready(page)


@pytest.mark.slow
def test_it_is_said_in_one_line_and_what_was_typed_and_sent_stays(
    page: Page, mortal: Server
) -> None:
    box = page.get_by_role("textbox", name="Message", exact=True)
    expect(page.locator(".tc-away")).to_be_hidden()
    box.fill("My name is Tom.")
    kill(mortal)
    page.get_by_role("button", name="Send", exact=True).click()
    line = page.get_by_role("status").filter(has_text=AWAY)
    expect(line).to_be_visible(timeout=30_000)
    expect(box).to_have_value("My name is Tom.")
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_disabled()
    page.set_viewport_size({"width": 390, "height": 800})
    expect(line).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": 1280, "height": 800})
    mortal.start()
    is_back(page)
    expect(box).to_have_value("My name is Tom.")
    page.get_by_role("button", name="Exact").click()
    page.get_by_role("button", name="Send", exact=True).click()
    page.locator(".tc-words", has_text="Nice to meet you, Tom!").wait_for()
    expect(box).to_have_value("")


def test_a_server_that_is_killed_amid_an_answer_has_kept_most_of_it(
    page: Page, mortal: Server, models: Path
) -> None:
    choose_run(page, "tale")
    page.locator("#tc-rail summary", has_text="More rules").click()
    page.get_by_label("Longest answer").fill("4096")
    page.keyboard.press("Tab")
    say(page, "Tom saw")
    wait_for(page, "document.querySelector('.tc-live .tc-words')?.innerText.length > 20")
    conversation = page.url.rpartition("=")[2]
    file = models / ".chats" / "conversations" / f"{conversation}.jsonl"
    while not any(json.loads(row).get("answer") for row in file.read_text().splitlines()):
        assert page.locator(".tc-live").count() == 1
    kill(mortal)
    mortal.start()
    is_back(page)
    page.locator(".tc-stats", has_text="cut off: the page or server went away").wait_for()
    assert len(last(page)) > 20
