"""The page as a whole: names, keyboard, widths, colours."""

from typing import Any

import pytest

from tests.apps.ui.conftest import OpenPage, Page, Server, ask

TABS = ("Chat", "Compare", "Time travel", "Teach", "API & about")

NAMELESS = """() => [...document.querySelectorAll('button, input, select, textarea, a')]
    .filter((node) => node.checkVisibility({visibilityProperty: true, opacityProperty: false}))
    .filter((node) => {
        const by = node.getAttribute('aria-labelledby');
        const named = [node.getAttribute('aria-label'),
            by && document.getElementById(by)?.innerText,
            node.labels && [...node.labels].map((label) => label.innerText).join(' '),
            ['BUTTON', 'A'].includes(node.tagName) && node.innerText, node.title];
        return !named.some((name) => name && name.trim());
    }).map((node) => node.outerHTML.slice(0, 160))"""

SMALL = """() => [...document.querySelectorAll('button, select, input[type=checkbox], summary')]
    .filter((node) => node.checkVisibility({visibilityProperty: true}))
    .filter((node) => !node.closest('[tabindex="-1"], [aria-hidden=true]'))
    .map((node) => [node.getBoundingClientRect(), node])
    .filter(([box, node]) => box.width && (box.height < 24 || box.width < 24)
        && !(node.type === 'checkbox' && node.closest('label, .tc-check').clientHeight >= 24))
    .map(([box, node]) => [box.width, box.height, node.outerHTML.slice(0, 120)])"""

FAINT = """() => {
    const parse = (color) => (color.match(/[\\d.]+/g) || []).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (node) => {
        for (; node; node = node.parentElement) {
            const [r, g, b, a] = parse(getComputedStyle(node).backgroundColor);
            if (a === undefined || a > 0.99) return [r, g, b];
        }
        return [255, 255, 255];
    };
    return [...document.querySelectorAll('body *')]
        .filter((node) => [...node.childNodes].some((c) => c.nodeType === 3 && c.data.trim()))
        .filter((node) => node.checkVisibility({visibilityProperty: true, opacityProperty: true}))
        .filter((node) => !node.closest(':disabled, .tc-dropped, script, style, .tc-sr'))
        .map((node) => {
            const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))];
            return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node];
        })
        .filter(([ratio]) => ratio < 4.5)
        .map(([ratio, node]) => [ratio.toFixed(2), node.outerHTML.slice(0, 140)]);
}"""


def open_tab(page: Page, name: str) -> None:
    """One of the tabs, on narrow screens through their menu."""
    tab = page.get_by_role("tab", name=name)
    if tab.count() == 0 or not tab.first.is_visible():
        page.locator(".tab-wrapper .overflow-menu button").first.click()
        page.locator(".overflow-dropdown button", has_text=name).click()
        return
    tab.first.click()


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


@pytest.mark.parametrize("tab", TABS)
def test_everything_that_can_be_used_has_a_name_and_room(talked: Page, tab: str) -> None:
    open_tab(talked, tab)
    for fold in talked.locator("#tc-rail summary").all():
        fold.click()
    assert talked.evaluate(NAMELESS) == []
    assert talked.evaluate(SMALL) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_in_both_colours(server: Server, open_page: OpenPage, dark: bool) -> None:
    page = open_page(server.url, dark=dark)
    ask(page, "Hello!")
    page.get_by_role("button", name="Bad answer").click()
    page.locator(".tc-reasons").wait_for()
    faint: dict[str, Any] = {}
    for tab in TABS:
        open_tab(page, tab)
        page.mouse.move(0, 0)
        if found := page.evaluate(FAINT):
            faint[tab] = found
    assert not faint


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_is_wider_than_the_screen(server: Server, open_page: OpenPage, width: int) -> None:
    page = open_page(server.url, width=width)
    ask(page, "wide" * 200)
    wide = {}
    for tab in TABS:
        open_tab(page, tab)
        room = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        if room[0] > room[1]:
            wide[tab] = room
    assert not wide


def test_on_a_phone_the_rail_is_a_drawer(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url, width=390, height=844)
    temperature = page.get_by_label("Temperature", exact=True).first
    assert not temperature.is_visible()
    menu = page.get_by_role("button", name="Model and settings")
    menu.click()
    temperature.wait_for(state="visible")
    assert menu.get_attribute("aria-expanded") == "true"
    page.keyboard.press("Escape")
    temperature.wait_for(state="hidden")


def test_the_keyboard_reaches_everything(talked: Page) -> None:
    """Tab walks through rail, tabs, conversation and box, and each place is seen."""
    talked.locator("body").click(position={"x": 640, "y": 20})
    reached, unseen = [], []
    for _ in range(60):
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
    wanted = ["Run", "Step", "Follow newest", "Balanced", "Temperature", "Top-k", "More rules"]
    wanted += ["Answer again", "Copy", "Good answer", "Message", "Send", "New conversation"]
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
