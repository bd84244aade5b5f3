"""The page as a whole: names, keyboard, widths, colours."""

import pytest

from tests.apps.ui.conftest import OpenPage, Page, Server, ask
from tests.apps.ui.sound import assert_sound
from tests.apps.ui.tabs import ask_four, compare, look_inside, open_tab, open_teach, travel


@pytest.fixture
def talked(page: Page) -> Page:
    """A page with an answer on it."""
    ask(page, "Hello!")
    page.mouse.move(0, 0)
    return page


def test_it_has_one_heading_and_its_parts_are_landmarks(talked: Page) -> None:
    assert talked.locator("h1").all_inner_texts() == ["tinychat"]
    assert talked.locator("main").count() >= 1
    assert talked.get_by_role("log", name="Conversation").count() == 1
    assert talked.evaluate("document.documentElement.lang") == "en"
    assert talked.title().endswith("tinychat")


@pytest.mark.parametrize(
    ("width", "dark"),
    [
        (390, True),
        pytest.param(768, False, marks=pytest.mark.slow),
        (1280, False),
        pytest.param(1280, True, marks=pytest.mark.slow),
    ],
)
def test_every_tab_is_sound(server: Server, open_page: OpenPage, width: int, dark: bool) -> None:
    """With answers on each, in both colours, from a phone to a desktop."""
    page = open_page(server.url, width=width, dark=dark)
    for fold in page.locator("#tc-rail summary").all():
        if fold.is_visible():  # on a phone they are in the drawer
            fold.click()
    ask(page, "Hello!")
    page.get_by_role("button", name="Bad answer").click()
    page.locator(".tc-reasons").wait_for()
    assert_sound(page)
    look_inside(page)
    page.locator(".inside-answer .inside-token").first.click()
    page.wait_for_selector(".inside-place")
    assert_sound(page)
    page.get_by_role("button", name="Close", exact=True).click()
    ask(page, "wide" * 200)
    assert_sound(page)
    compare(page, "Hello!")
    assert_sound(page)
    travel(page, "Hello!")
    assert_sound(page)
    open_teach(page)
    ask_four(page, "Hello!")
    assert_sound(page)
    open_tab(page, "API & about")
    page.get_by_role("tabpanel").first.wait_for()
    assert_sound(page)


def test_on_a_phone_the_rail_is_a_drawer(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url, width=390, height=844)
    temperature = page.get_by_label("Temperature", exact=True).first
    assert not temperature.is_visible()
    menu = page.get_by_role("button", name="Model and settings")
    menu.click()
    temperature.wait_for(state="visible")
    assert_sound(page)
    assert menu.get_attribute("aria-expanded") == "true"
    page.keyboard.press("Escape")
    temperature.wait_for(state="hidden")


def test_the_keyboard_reaches_everything(talked: Page) -> None:
    """Tab walks through rail, tabs, conversation and box, and each place is seen."""
    talked.locator("body").click(position={"x": 640, "y": 20})
    reached, unseen = [], []
    wanted = ["Run", "Step", "Follow newest", "Balanced", "Temperature", "Top-k", "More rules"]
    wanted += ["Answer again", "Copy", "Good answer", "Message", "Send", "New conversation"]
    for _ in range(400):  # other tests' conversations stand in the rail too
        if set(wanted) <= set(reached):
            break
        talked.keyboard.press("Tab")
        name, ring = talked.evaluate(
            """() => { const node = document.activeElement; const style = getComputedStyle(node);
            const label = node.getAttribute('aria-label') || node.labels?.[0]?.innerText
                || node.innerText || node.tagName;
            const box = node.closest('.tc-entry');
            if (node === document.body) return ['', true];
            return [label.trim(), style.outlineStyle !== 'none' || style.boxShadow !== 'none'
                || (box && getComputedStyle(box).boxShadow !== 'none')]; }"""
        )
        reached.append(name)
        if not ring:
            unseen.append(name)
    assert [name for name in wanted if name not in reached] == []
    assert unseen == []


def test_dark_colours_are_a_choice_that_stays(page: Page) -> None:
    shade = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(shade)
    page.get_by_role("button", name="Dark colours").click()
    dark = page.evaluate(shade)
    assert dark != before
    page.reload()
    page.wait_for_selector(".tc-send:enabled")
    assert page.evaluate(shade) == dark
