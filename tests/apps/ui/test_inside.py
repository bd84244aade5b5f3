"""Look inside: a real answer's tokens, what could have come instead, and the fork there."""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.apps.ui.conftest import (
    OpenContext,
    OpenPage,
    Page,
    Server,
    answers,
    ask,
    idle,
    last,
    wait_for,
)
from tests.apps.ui.tabs import look_inside
from tinychat.conversations import Node
from tinychat.errors import SettingsError
from tinychat_ui import answers as chat
from tinychat_ui import inside
from tinychat_ui.context import Details, PageContext
from tinychat_ui.controls import PLAIN
from tinychat_ui.inside import Look
from tinychat_ui.session import Session

RULES = {**PLAIN, "max_new_tokens": 12, "seed": 5, "top_k": 5}


@pytest.fixture
def context(page_context: OpenContext, trained_runs: Path) -> PageContext:
    return page_context(trained_runs)


class Chat:
    """One browser tab's conversation, as the Chat tab leads it."""

    def __init__(self, context: PageContext, model: str = "talk@20") -> None:
        self.context = context
        self.session = Session(model=model)

    def say(self, **asked: Any) -> Node:
        """Ask, and return the answer as it is stored."""
        for _ in chat.ask(self.context, self.session, asked, [RULES]):
            pass
        assert self.session.conversation is not None
        node = self.context.conversations.open(self.session.conversation).branch()[-1]
        assert node.answer is not None
        return node

    def look(self, node: Node, *, remembered: bool = True) -> Look:
        selected = (self.session.conversation, node.id)
        context = self.context if remembered else replace(self.context, details=Details())
        found = inside.find(context, selected)
        assert found is not None
        return found


@pytest.fixture
def talk(context: PageContext) -> Chat:
    return Chat(context)


def test_an_answer_is_shown_with_the_details_that_came_with_it(talk: Chat) -> None:
    node = talk.say(do="send", text="My name is Anna.")
    assert node.answer is not None
    look = talk.look(node)
    assert [each.id for each in look.details] == list(node.answer.answer_ids)
    html, again, raw = inside.drawn(talk.context, look)
    assert html.count('role="button"') == len(node.answer.answer_ids)
    assert not again["visible"]
    assert "&lt;|assistant|&gt;" in raw
    assert raw.count("<li>") == len(node.answer.prompt_ids) + len(node.answer.answer_ids)


def test_a_chosen_token_shows_its_candidates_before_and_after_the_rules(talk: Chat) -> None:
    look = talk.look(talk.say(do="send", text="My name is Anna."))
    chosen = inside.chosen_at(look, 1)
    assert chosen is not None
    html = inside.drawn(talk.context, chosen)[0]
    assert html.count("removed by top-k") == 3  # of eight, five stay
    assert html.count("inside-fork") == sum(each.id != 4 for each in look.details[1].candidates) - 1


@pytest.mark.parametrize("index", [-1, 500, None, "1", 1.0, True, [1]])
def test_a_token_that_is_not_there_is_not_chosen(talk: Chat, index: Any) -> None:
    look = talk.look(talk.say(do="send", text="Hello"))
    assert inside.chosen_at(look, index) == look


def test_an_old_answer_is_worked_out_again(talk: Chat) -> None:
    node = talk.say(do="send", text="My name is Anna.")
    before = talk.look(node)
    old = talk.look(node, remembered=False)
    assert old.details == ()
    html, again, raw = inside.drawn(talk.context, old)
    assert "seed" in html  # it says how to get them
    assert again["visible"]
    assert raw
    looks = list(inside.worked_out(talk.context, old))
    assert looks[0] is not None
    assert looks[0].note.startswith("Working")
    new = looks[-1]
    assert new is not None
    assert [each.id for each in new.details] == [each.id for each in before.details]
    assert [each.rank for each in new.details] == [each.rank for each in before.details]
    assert new.note == ""


def test_where_the_model_answers_otherwise_the_map_ends(talk: Chat) -> None:
    node = talk.say(do="send", text="My name is Anna.")
    look = talk.look(node, remembered=False)
    ids = list(look.answer.answer_ids)
    ids[2] = ids[2] % 250 + 7  # as if it had said something else
    look = replace(look, answer=replace(look.answer, answer_ids=ids))
    *_, new = inside.worked_out(talk.context, look)
    assert new is not None
    assert len(new.details) == 2
    assert "agrees for 2 tokens" in new.note
    assert inside.drawn(talk.context, new)[0].count('role="button"') == 2


def test_a_fork_is_a_new_version_that_begins_with_the_chosen_token(talk: Chat) -> None:
    node = talk.say(do="send", text="My name is Anna.")
    look = inside.chosen_at(talk.look(node), 2)
    assert look is not None
    other = next(c.id for c in look.details[2].candidates if c.id not in (look.ids[2], 4))
    request = inside.fork_request(look, "talk@20", other)
    begin = [*look.ids[:2], other]
    assert request["begin"] == begin
    new = talk.say(**request)
    assert new.parent == node.parent
    assert new.answer is not None
    assert list(new.answer.prompt_ids[-3:]) == begin
    tokenizer = talk.context.shelf.open("talk@20").text.tokenizer
    assert new.text.startswith(tokenizer.decode(begin))
    # and from there again: what was given is part of what the next fork keeps
    forked = talk.look(new)
    assert forked.begun == tuple(begin)
    again = inside.chosen_at(forked, 3)
    assert again is not None
    token = next(c.id for c in again.details[0].candidates if c.id not in (again.ids[3], 4))
    assert inside.fork_request(again, "talk@20", token)["begin"] == [*begin, token]
    assert inside.chosen_at(forked, 1) == forked  # a given token was no choice


def test_a_base_model_forks_too(context: PageContext) -> None:
    talk = Chat(context, "story@20")
    node = talk.say(do="send", text="Anna saw")
    look = inside.chosen_at(talk.look(node), 0)
    assert look is not None
    token = next(c.id for c in look.details[0].candidates if c.id not in (look.ids[0], 4))
    new = talk.say(**inside.fork_request(look, "story@20", token))
    assert talk.look(new).begun == (token,)


@pytest.mark.parametrize("token", [None, -1, "7", 10**9, [1]])
def test_only_tokens_that_are_shown_can_be_forked_to(talk: Chat, token: Any) -> None:
    look = inside.chosen_at(talk.look(talk.say(do="send", text="Hello")), 0)
    with pytest.raises(SettingsError):
        inside.fork_request(look, "talk@20", token)


def test_another_runs_model_does_not_take_over_its_tokens(talk: Chat) -> None:
    look = inside.chosen_at(talk.look(talk.say(do="send", text="Hello")), 0)
    assert look is not None
    with pytest.raises(SettingsError, match="choose the run talk"):
        inside.fork_request(look, "story@20", look.details[0].candidates[0].id)


def test_an_answer_whose_model_is_gone_says_so(talk: Chat) -> None:
    node = talk.say(do="send", text="Hello")
    look = talk.look(node)
    gone = replace(look, answer=replace(look.answer, step=7), note="")
    *_, told = inside.worked_out(talk.context, gone)
    assert told is not None
    assert "no checkpoint '7'" in told.note
    assert "<img" not in inside.drawn(talk.context, replace(told, note="<img src=x>"))[0]


@pytest.mark.parametrize("selected", [None, ("nobody", "1"), ["../x", "y"]])
def test_nothing_selected_is_an_invitation(context: PageContext, selected: Any) -> None:
    assert inside.find(context, selected) is None
    html, again, raw = inside.drawn(context, None)
    assert "ask something first" in html
    assert not again["visible"]
    assert raw == ""


# In the browser


def picture(page: Page, name: str) -> None:
    """Kept where a person asks for it, to be looked at."""
    if folder := os.environ.get("TINYCHAT_SHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_the_heat_map_is_walked_with_the_keyboard(page: Page) -> None:
    said = ask(page, "My name is Anna.")
    look_inside(page)
    tokens = page.locator(".inside-answer .inside-token")
    assert page.locator(".inside-answer").inner_text().replace("\n", "").strip() == said
    count = tokens.count()
    for name in tokens.evaluate_all("all => all.map(each => each.ariaLabel)"):
        assert re.fullmatch(r".+, p[=<>][0-9.]+, rank \d+", name)
    stops = tokens.evaluate_all("all => all.filter(each => each.tabIndex === 0).length")
    assert stops == 1
    tokens.first.focus()
    all_tokens = "[...document.querySelectorAll('.inside-answer .inside-token')]"
    at = f"{all_tokens}.indexOf(document.activeElement)"
    for key, place in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", count - 1),
                       ("ArrowRight", count - 1), ("Home", 0)):  # fmt: skip
        page.keyboard.press(key)
        assert page.evaluate(at) == place
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector(".inside-place")
    assert page.evaluate(at) == 1  # the keyboard's place is kept
    assert tokens.nth(1).get_attribute("aria-current") == "true"
    assert page.locator(".inside-table tbody tr").count() >= 8
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    page.wait_for_selector(".inside-place small:has-text('token 3 of')")
    picture(page, "inside")


def test_a_fork_becomes_a_new_version(page: Page) -> None:
    said = ask(page, "What is 1 + 2?")
    look_inside(page)
    page.locator(".inside-answer .inside-token").first.click()
    fork = page.locator(".inside-fork").first
    fork.wait_for()
    assert (fork.get_attribute("aria-label") or "").startswith("Fork here: go on with ")
    before = answers(page)
    fork.click()
    page.get_by_text("2 / 2").or_(page.get_by_text("2/2")).first.wait_for()
    idle(page)
    assert answers(page) == before
    assert last(page) != said
    wait_for(page, "document.querySelectorAll('.inside-answer .inside-given').length === 1")


@pytest.mark.slow
def test_after_a_restart_it_is_worked_out_again(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    said = ask(page, "Hello!")
    address = page.url
    page.close()
    server.stop()
    server.start()
    page = open_page(address)
    page.wait_for_selector(".tc-assistant .tc-tools")
    page.get_by_role("button", name="Look inside").last.click()
    page.get_by_role("button", name="Work it out again").click()
    page.wait_for_selector(".inside-answer .inside-token")
    assert page.locator(".inside-answer").inner_text().replace("\n", "").strip() == said
