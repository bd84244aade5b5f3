"""What a person does on each tab."""

from tests.apps.ui.conftest import Page, wait_for

TABS = ("Chat", "Teach", "Compare", "Time travel", "API & about")


def open_tab(page: Page, name: str) -> None:
    """One of the tabs, on narrow screens through their menu."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if tab.count() == 0 or not tab.first.is_visible():
        page.locator(".tab-wrapper .overflow-menu button").first.click()
        page.locator(".overflow-dropdown button", has_text=name).click()
        return
    tab.first.click()


def open_compare(page: Page) -> None:
    """Until the two models are offered."""
    open_tab(page, "Compare")
    wait_for(page, "document.querySelector('#compare-second input')?.value === 'demo @ 0'")


def ask_both(page: Page, text: str) -> None:
    """Send a prompt to the two models that are chosen."""
    page.get_by_label("Prompt for both").fill(text)
    page.get_by_role("button", name="Ask both").click()


def compare(page: Page, text: str) -> None:
    """Both answers of the models that are offered first."""
    open_compare(page)
    ask_both(page, text)
    page.wait_for_selector(".compare-votes button:enabled", timeout=60_000)


def open_travel(page: Page, run: str = "demo") -> None:
    """Until a run is chosen."""
    open_tab(page, "Time travel")
    wait_for(page, "document.querySelector('#travel-run input')?.value === 'demo'")
    if run != "demo":
        page.locator("#travel-run input").click()
        page.locator("li[role=option]").filter(has_text=run).click()


def set_out(page: Page, text: str) -> None:
    """Send a prompt to every step of the run."""
    page.get_by_label("Prompt for all steps").fill(text)
    page.get_by_role("button", name="Travel", exact=True).click()


def arrived(page: Page) -> None:
    """Until every step has answered, or the journey was stopped."""
    page.wait_for_selector(".travel-rows li")
    page.wait_for_selector("#travel-ask:enabled", timeout=60_000)


def travel(page: Page, text: str) -> None:
    """The answers of all steps of `demo`."""
    open_travel(page)
    set_out(page, text)
    arrived(page)


def open_teach(page: Page) -> None:
    """Until a prompt can be typed."""
    open_tab(page, "Teach")
    page.locator("#teach-prompt textarea").wait_for(state="visible")


def open_review(page: Page) -> None:
    """All that was said about answers."""
    open_teach(page)
    page.get_by_role("tab", name="Review", exact=True).click()
    page.locator("#teach-said").wait_for(state="visible")


def open_training(page: Page) -> None:
    """The part that makes a better model."""
    open_teach(page)
    page.get_by_role("tab", name="Train", exact=True).click()
    wait_for(
        page, "document.querySelector('.train section:not([hidden]), .train > p:not([hidden])')"
    )


def ask_four(page: Page, text: str) -> None:
    """Four answers that can be picked from."""
    page.locator("#teach-prompt textarea").fill(text)
    page.locator("#teach-ask").click()
    four_there(page)


def four_there(page: Page) -> None:
    """Until one of four can be picked."""
    wait_for(page, "document.querySelectorAll('.teach-best:enabled').length === 4")


def look_inside(page: Page) -> None:
    """The tokens of the last answer."""
    page.get_by_role("button", name="Look inside").last.click()
    page.wait_for_selector(".inside-answer .inside-token")
