"""The conversations panel: its doings as functions, then in a real browser."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Locator

from tests.apps.ui.conftest import (
    OpenContext,
    OpenPage,
    Page,
    Server,
    ask,
    choose_run,
    ready,
    wait_for,
)
from tinychat_ui.context import PageContext
from tinychat_ui.conversations_panel import Listing, act, document, view


@pytest.fixture
def context(page_context: OpenContext, tmp_path: Path) -> PageContext:
    return page_context(tmp_path)


def said(context: PageContext, *texts: str) -> str:
    conversation = context.conversations.create()
    for text in texts:
        conversation.add("user", text, parent=conversation.leaf)
    return conversation.id


def test_the_list_marks_the_open_one_and_the_newest_comes_first(context: PageContext) -> None:
    first, second = said(context, "one"), said(context, "two", "more")
    shown = view(context, Listing(), first)["rows"]
    assert [(row["id"], row["title"], row["current"]) for row in shown] == [
        (second, "two", False),
        (first, "one", True),
    ]
    assert shown[0]["about"] == "just now · 2 messages"


def test_a_search_shows_where_the_words_stand(context: PageContext) -> None:
    said(context, "about cats")
    dogs = said(context, "about\ndogs")
    shown = view(context, Listing(words="DOGS"), None)
    assert [(row["id"], row["excerpt"]) for row in shown["rows"]] == [(dogs, "about dogs")]
    assert (
        view(context, Listing(words="mice"), None)["nothing"] == "No conversation has these words."
    )
    assert view(context, Listing(), None)["nothing"] == ""


def test_opening_and_deleting_ask_the_chat_for_it(context: PageContext) -> None:
    id, other = said(context, "precious"), said(context, "other")
    listing = Listing()
    request, _ = act(context, listing, None, {"do": "open", "id": id})
    assert request is not None
    assert (request["do"], request["conversation"]) == ("open", id)
    assert act(context, listing, id, {"do": "delete", "id": other})[0] is None  # another is open
    request, _ = act(context, listing, id, {"do": "delete", "id": id})
    assert request is not None
    assert request["conversation"] is None
    assert view(context, listing, None)["rows"] == []
    assert view(context, listing, None)["deleted"] == "precious"
    request, _ = act(context, listing, None, {"do": "restore"})
    assert request is not None
    assert request["conversation"] == id
    shown = view(context, listing, id)
    assert [row["title"] for row in shown["rows"]] == ["precious"]
    assert shown["deleted"] == ""


@pytest.mark.parametrize(
    "asked",
    [
        {"do": "open", "id": "../../etc/passwd"},
        {"do": "open"},
        {"do": "delete", "id": "0" * 16},
        {"do": "rename", "id": None, "title": "x"},
        {"do": "markdown", "id": ["x"]},
        {"do": "json", "id": {}},
    ],
)
def test_what_is_not_there_is_told_in_a_sentence(
    context: PageContext, asked: dict[str, object]
) -> None:
    said(context, "stays")
    listing = Listing()
    assert act(context, listing, None, asked) == (None, None)
    shown = view(context, listing, None)
    assert shown["notice"].startswith("There is no such conversation")
    assert [row["title"] for row in shown["rows"]] == ["stays"]
    act(context, listing, None, {"do": "new"})
    assert view(context, listing, None)["notice"] == ""


@pytest.mark.parametrize("asked", [{}, {"do": "restore"}, {"do": None}, {"do": "format disk"}])
def test_what_is_no_doing_does_nothing(context: PageContext, asked: dict[str, object]) -> None:
    id = said(context, "stays")
    assert act(context, Listing(), id, asked) == (None, None)


def test_a_title_without_words_is_refused(context: PageContext) -> None:
    id, listing = said(context, "old"), Listing()
    act(context, listing, None, {"do": "rename", "id": id, "title": "  "})
    assert "at least one word" in view(context, listing, None)["notice"]
    request, _ = act(context, listing, None, {"do": "rename", "id": id, "title": "new"})
    assert request is not None
    assert request["do"] == "reload"
    assert context.conversations.open(id).title == "new"


def test_a_broken_conversation_is_listed_with_its_reason_and_can_be_deleted(
    context: PageContext,
) -> None:
    good, bad = said(context, "good"), said(context, "bad")
    path = context.checkpoints / ".chats" / "conversations" / f"{bad}.jsonl"
    path.write_bytes(b'{"format": 9}\n')
    rows = {row["id"]: row for row in view(context, Listing(), None)["rows"]}
    assert rows[bad]["broken"]
    assert "please update tinychat" in rows[bad]["about"]
    assert not rows[good]["broken"]
    act(context, Listing(), None, {"do": "delete", "id": bad})
    assert [row["id"] for row in view(context, Listing(), None)["rows"]] == [good]


def test_documents_have_harmless_names_and_everything_in_them(context: PageContext) -> None:
    id = said(context, "<b>../x</b>\nsecond line")
    markdown, everything = document(context, id, "markdown"), document(context, id, "json")
    assert markdown["name"].endswith(".md")
    assert "/" not in markdown["name"]
    assert "> second line" in markdown["text"]
    assert json.loads(everything["text"])["nodes"][0]["text"] == "<b>../x</b>\nsecond line"
    assert markdown["n"] != everything["n"]


# --- in a browser ---


def row(page: Page, title: str) -> Locator:
    return page.locator(".talks-row", has=page.locator(".talks-title", has_text=title))


def unfold(page: Page, title: str) -> None:
    page.get_by_role("button", name=f"More about: {title}").click()


def begin(page: Page, text: str) -> str:
    """A conversation of its own with this message."""
    if page.locator(".tc-turn").count():
        page.get_by_role("button", name="New", exact=True).click()
        wait_for(page, "document.querySelectorAll('.tc-turn').length === 0")
    answer = ask(page, text)
    row(page, text).wait_for()
    return answer


@pytest.mark.slow
def test_conversations_are_listed_searched_renamed_opened_and_survive_a_restart(
    server: Server, page: Page, open_page: OpenPage
) -> None:
    begin(page, "A zebra called Anna.")
    begin(page, "A list of cats")
    row(page, "A list of cats").locator("[aria-current]").wait_for()

    search = page.get_by_role("searchbox", name="Search conversations")
    search.fill("ZEBRA")
    wait_for(page, "document.querySelectorAll('.talks-row').length === 1")
    row(page, "A zebra called Anna.").locator(".talks-open").click()
    page.locator(".tc-user", has_text="A zebra called Anna.").wait_for()
    search.fill("")
    row(page, "A list of cats").wait_for()

    unfold(page, "A zebra called Anna.")
    page.get_by_role("button", name="Rename: A zebra called Anna.").click()
    page.get_by_role("textbox", name="New title").fill("<i>Anna</i> & I")
    page.keyboard.press("Enter")
    row(page, "<i>Anna</i> & I").wait_for()
    wait_for(page, "document.title.startsWith('<i>Anna</i> & I')")

    server.stop()
    server.start()
    again = open_page(server.url)
    row(again, "<i>Anna</i> & I").locator(".talks-open").click()
    again.locator(".tc-user", has_text="A zebra called Anna.").wait_for()
    ask(again, "Hello!")


def test_deleting_can_be_undone(page: Page) -> None:
    begin(page, "A list that is deleted")
    unfold(page, "A list that is deleted")
    page.get_by_role("button", name="Delete: A list that is deleted").click()
    wait_for(page, "document.querySelectorAll('.tc-turn').length === 0")
    row(page, "A list that is deleted").wait_for(state="detached")
    wait_for(page, "document.activeElement.innerText === 'Undo'")
    page.keyboard.press("Enter")
    page.locator(".tc-user", has_text="A list that is deleted").wait_for()
    row(page, "A list that is deleted").wait_for()


def test_a_document_is_saved_without_any_route_for_files(page: Page) -> None:
    answer = begin(page, "A list, saved!")
    unfold(page, "A list, saved!")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with page.expect_download() as download:
        page.get_by_role("button", name="Markdown: A list, saved!").click()
    assert download.value.suggested_filename.startswith("a-list-saved-")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert f"> {answer}" in text
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON: A list, saved!").click()
    node = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))["nodes"][-1]
    assert node["answer"]["run"] == "demo"
    assert len(node["answer"]["prompt_ids"]) > 2
    paths = {url.split("/gradio_api/")[-1].split("?")[0] for url in asked if "blob:" not in url}
    assert paths <= {"queue/join", "queue/data", "app_id"}


@pytest.mark.slow
def test_two_visitors_pages_keep_their_own_place(server: Server, open_page: OpenPage) -> None:
    one, two = open_page(server.url), open_page(server.url)
    begin(one, "A list of stars")
    choose_run(two, "tale")
    ready(two)
    assert two.locator(".tc-turn").count() == 0
    row(one, "A list of stars").locator("[aria-current]").wait_for()
    assert two.locator(".talks-row [aria-current]").count() == 0


def test_on_a_phone_the_drawer_stays_for_tools_and_goes_for_a_conversation(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(server.url, width=390)
    ask(page, "A list on a phone")
    page.get_by_role("button", name="Model and settings").click()
    unfold(page, "A list on a phone")
    page.get_by_role("button", name="Rename: A list on a phone").click()
    page.get_by_role("textbox", name="New title").fill("Sums")
    page.keyboard.press("Enter")
    row(page, "Sums").locator(".talks-open").click()
    wait_for(page, "getComputedStyle(document.querySelector('#tc-rail')).visibility === 'hidden'")
    page.locator(".tc-user", has_text="A list on a phone").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
