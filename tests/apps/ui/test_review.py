"""The list of all that was said about answers: as functions, then in a browser."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.apps.ui.conftest import OpenContext, OpenPage, Server, wait_for
from tests.apps.ui.sound import assert_sound
from tests.apps.ui.tabs import open_review
from tinychat.conversations import Answer, Feedback
from tinychat_ui.context import PageContext
from tinychat_ui.review import Reviewing, act, view


@pytest.fixture
def context(page_context: OpenContext, tmp_path: Path) -> PageContext:
    """No model at all: what was said once is reviewed without one."""
    return page_context(tmp_path)


def answer(text: str) -> Answer:
    return Answer(
        text=text, prompt_ids=[1, 2], answer_ids=[3], run="demo", step=5, seed=1,
        settings={"top_k": 40}, finish_reason="end",
    )  # fmt: skip


def say(feedback: Feedback, *, reviewed: bool = True) -> dict[str, str]:
    """One judgement of each kind; their ids."""
    asked = [{"role": "user", "content": "Sing <b>loud</b>"}]
    said = [answer("La"), answer("Lu")]
    return {
        "pick": feedback.pick(asked, said, 1, reviewed=reviewed),
        "thumb": feedback.thumb("down", asked, said[0], reason="wrong", reviewed=reviewed),
        "rewrite": feedback.rewrite(asked, said[0], "Do re mi", reviewed=reviewed),
    }


def done(context: PageContext, reviewing: Reviewing, do: str, **asked: Any) -> dict[str, Any]:
    act(context, reviewing, {"do": do, **asked})
    return view(context, reviewing)


def verdicts(shown: dict[str, Any], which: str = "entries") -> list[str]:
    return [entry["verdict"] for entry in shown[which]]


def test_the_newest_come_first_and_can_be_filtered(context: PageContext) -> None:
    assert view(context, Reviewing())["entries"] == []
    say(context.feedback)
    reviewing = Reviewing()
    shown = view(context, reviewing)
    assert verdicts(shown) == ["written better", "thumb down, wrong", "picked 2 of 2"]
    assert shown["kinds"] == {"all": 3, "pick": 1, "thumb": 1, "rewrite": 1}
    for kind, verdict in (("thumb", "thumb down, wrong"), ("rewrite", "written better")):
        assert verdicts(done(context, reviewing, "filter", kind=kind)) == [verdict]
    done(context, reviewing, "filter", kind="other")
    assert reviewing.kind == "rewrite"
    assert shown["unread"] == ""
    with open(context.feedback.path, "ab") as file:
        file.write(b'\0\0\n{"format": 1, "kind": "nothing we know"}\n')
    assert view(context, reviewing)["unread"].startswith("2 lines of it are not shown here")
    assert len(done(context, reviewing, "filter", kind="all")["entries"]) == 3


def test_a_long_list_is_shown_in_parts(context: PageContext) -> None:
    for _ in range(35):
        say(context.feedback)
    reviewing = Reviewing()
    shown = view(context, reviewing)
    assert (len(shown["entries"]), shown["hidden"]) == (100, 5)
    shown = done(context, reviewing, "more")
    assert (len(shown["entries"]), shown["hidden"]) == (105, 0)


@pytest.mark.parametrize("kind", ["pick", "thumb", "rewrite"])
def test_what_was_deleted_can_be_put_back(context: PageContext, kind: str) -> None:
    id = say(context.feedback)[kind]
    before = next(entry for entry in context.feedback.entries() if entry.id == id)
    reviewing = Reviewing()
    shown = done(context, reviewing, "delete", id=id)
    assert id not in [entry["id"] for entry in shown["entries"]]
    assert shown["can_restore"]
    assert "undone already" in done(context, reviewing, "delete", id=id)["notice"]
    shown = done(context, reviewing, "restore")
    assert not shown["can_restore"]
    again = context.feedback.entries()[-1]
    assert (again.kind, again.text, again.chosen, again.reason, again.answers) == (
        before.kind, before.text, before.chosen, before.reason, before.answers,
    )  # fmt: skip
    assert done(context, reviewing, "restore")["notice"] == ""


def test_the_last_of_our_own_is_taken_back_and_no_visitors(context: PageContext) -> None:
    say(context.feedback)
    visitor = say(context.feedback, reviewed=False)
    reviewing = Reviewing()
    for left in (2, 1, 0):
        assert len(done(context, reviewing, "last")["entries"]) == left
    assert done(context, reviewing, "last")["notice"] == "There is nothing to take back."
    assert {mark.id for mark in context.feedback.marks()} == set(visitor.values())


def test_what_visitors_said_stands_apart_until_it_is_accepted(context: PageContext) -> None:
    say(context.feedback)
    visitor = say(context.feedback, reviewed=False)
    reviewing = Reviewing()
    shown = view(context, reviewing)
    assert shown["waiting_words"] == "3 judgements of visitors"
    assert len(shown["entries"]) == len(shown["waiting"]) == 3
    shown = done(context, reviewing, "accept", id=visitor["pick"])
    assert verdicts(shown).count("picked 2 of 2") == 2
    assert "already" in done(context, reviewing, "accept", id=visitor["pick"])["notice"]
    shown = done(context, reviewing, "delete", id=visitor["thumb"])
    assert verdicts(shown, "waiting") == ["written better"]
    assert verdicts(done(context, reviewing, "restore"), "waiting")[0] == "thumb down, wrong"
    assert done(context, reviewing, "delete all")["waiting"] == []
    say(context.feedback, reviewed=False)
    shown = done(context, reviewing, "accept all")
    assert (len(shown["entries"]), shown["waiting"]) == (7, [])


def test_a_visitor_sees_and_judges_nothing_that_others_said(context: PageContext) -> None:
    ids = say(context.feedback)
    say(context.feedback, reviewed=False)
    visiting = PageContext(**{**vars(context), "local": False})
    reviewing = Reviewing()
    for do in ("last", "delete", "restore", "accept", "accept all", "delete all"):
        assert set(done(visiting, reviewing, do, id=ids["pick"])) == {"n", "local"}
        assert "at the machine itself" in reviewing.notice
    assert len(context.feedback.marks()) == 6
    assert sum(mark.reviewed for mark in context.feedback.marks()) == 3


def test_feedback_of_a_newer_tinychat_is_told(context: PageContext) -> None:
    say(context.feedback)
    with open(context.checkpoints / ".chats" / "feedback.jsonl", "ab") as file:
        file.write(b'{"format": 2}\n')
    assert "please update tinychat" in view(context, Reviewing())["notice"]
    assert "please update tinychat" in done(context, Reviewing(), "last")["notice"]


# --- in a browser ---


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_the_list_is_worked_through_in_a_browser(
    server: Server, open_page: OpenPage, width: int, dark: bool
) -> None:
    feedback = Feedback(server.checkpoints)
    before = {mark.id for mark in feedback.marks()}
    say(feedback)
    visitor = say(feedback, reviewed=False)
    page = open_page(server.url, width=width, dark=dark)
    open_review(page)
    apart = page.get_by_role("region", name="From visitors")
    apart.locator("li").first.wait_for()
    assert "of visitors to review" in page.locator(".teach-counts").inner_text()
    assert_sound(page)
    assert page.locator("#teach-said b").count() == 0
    apart.locator(f'[data-id="{visitor["pick"]}"]').get_by_role("button", name="Accept").click()
    page.locator(f'[aria-label="Judgements"] [data-id="{visitor["pick"]}"]').wait_for()
    apart.get_by_role("button", name="Delete all").click()
    apart.wait_for(state="hidden")
    page.get_by_role("button", name="Rewrites").click()
    wait_for(page, "[...document.querySelectorAll('.review-list li strong')].every("
                   "(node) => node.innerText === 'written better')")  # fmt: skip
    newest = page.locator('[aria-label="Judgements"] li').first
    id = newest.get_attribute("data-id")
    newest.get_by_role("button", name="Delete").click()
    page.locator(f'[data-id="{id}"]').wait_for(state="detached")
    page.locator(".review-notice").get_by_role("button", name="Undo").click()
    page.get_by_text("It is back").wait_for()
    assert_sound(page)
    said = {mark.kind for mark in feedback.marks() if mark.id not in before}
    assert said == {"pick", "thumb", "rewrite"}
    assert all(mark.reviewed for mark in feedback.marks())
    rows = (server.checkpoints / ".chats" / "feedback.jsonl").read_text().splitlines()
    assert visitor["pick"] in [json.loads(row).get("review") for row in rows]
