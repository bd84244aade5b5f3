"""How an answer is kept, however it ends: functions over a real engine and trained models."""

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.apps.ui.conftest import OpenContext
from tests.conftest import until
from tinychat.conversations import CUT_OFF, FAILED, Conversations, Node
from tinychat.engine import Sampling, TokenDetail
from tinychat_ui import answers, asking
from tinychat_ui.compare import Match, compare
from tinychat_ui.context import PageContext
from tinychat_ui.controls import PLAIN
from tinychat_ui.picker import follow, pick, pick_last, picker_view
from tinychat_ui.session import Session
from tinychat_ui.transcript import view

RAIL = [{**PLAIN, "seed": 7, "max_new_tokens": 4096}]
SHORT = [{**PLAIN, "seed": 7, "max_new_tokens": 3}]


@pytest.fixture
def context(page_context: OpenContext, trained_models: Path) -> PageContext:
    return page_context(trained_models)


def choose(context: PageContext, session: Session, run: str, step: str = "newest") -> None:
    pick(context, session, {"run": run, "step": step})
    list(follow(context, session))


@pytest.fixture
def session(context: PageContext) -> Session:
    """A tab that is answered by the model that never ends."""
    session = Session()
    choose(context, session, "tale")
    return session


def until_words(views: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Take views until the answer has some words."""
    return next(v for v in views if v["busy"] and len(v["turns"][-1]["text"]) > 20)


def on_disk(tmp_path: Path, session: Session) -> Node:
    """The newest message, as another process would read it."""
    assert session.conversation is not None
    return Conversations(tmp_path).open(session.conversation).branch()[-1]


@pytest.mark.slow
def test_whoever_leaves_has_not_stopped_it(
    context: PageContext, session: Session, tmp_path: Path
) -> None:
    views = answers.ask(context, session, {"do": "send", "text": "Tom saw"}, RAIL)
    until_words(views)
    views.close()  # type: ignore[attr-defined]
    node = on_disk(tmp_path, session)
    assert len(node.text) > 20
    assert node.answer is not None
    assert node.answer.finish_reason == CUT_OFF
    assert "you" not in view(context, session)["turns"][-1]["stats"]
    until(lambda: context.engine.running == 0)


def test_stop_is_still_told_as_such(context: PageContext, session: Session, tmp_path: Path) -> None:
    views = answers.ask(context, session, {"do": "send", "text": "Tom saw"}, RAIL)
    until_words(views)
    answers.stop(session)
    last = list(views)[-1]
    assert "stopped by you" in last["turns"][-1]["stats"]


def test_what_came_so_far_is_on_disk_while_it_grows(
    context: PageContext, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_KEPT_SECONDS", 0.0)
    monkeypatch.setattr(answers, "_KEPT_SHARE", 1.0)
    views = answers.ask(context, session, {"do": "send", "text": "Tom saw"}, RAIL)
    shown = until_words(views)["turns"][-1]["text"]
    next(views)
    node = on_disk(tmp_path, session)
    assert node.text.startswith(shown[:20])
    assert node.answer is not None
    assert node.answer.finish_reason == CUT_OFF
    answers.stop(session)
    list(views)
    whole = on_disk(tmp_path, session)
    assert whole.id == node.id
    assert whole.answer is not None
    assert whole.answer.finish_reason == "cancelled"
    assert whole.text.startswith(node.text)
    assert len(view(context, session)["turns"][-1]["versions"]) == 1


def test_a_growing_answer_is_not_written_all_the_time(
    context: PageContext, session: Session, tmp_path: Path
) -> None:
    long = [{**PLAIN, "seed": 7, "max_new_tokens": 1500}]
    list(answers.ask(context, session, {"do": "send", "text": "Tom saw"}, long))
    (file,) = (tmp_path / ".chats" / "conversations").iterdir()
    whole = on_disk(tmp_path, session).answer
    assert whole is not None
    times, seconds = 0, 1.0
    while seconds < whole.stats["seconds"]:
        times, seconds = times + 1, seconds * 1.5
    rows = file.read_text().count('"role": "assistant"')
    assert 1 <= rows <= times + 1


def test_nobody_is_told_that_it_cannot_be_kept_when_nobody_is_there(
    context: PageContext, session: Session, tmp_path: Path
) -> None:
    views = answers.ask(context, session, {"do": "send", "text": "Tom saw"}, RAIL)
    until_words(views)
    (file,) = (tmp_path / ".chats" / "conversations").iterdir()
    file.unlink()
    views.close()  # type: ignore[attr-defined]  # a further view would be a RuntimeError
    assert not session.asking


def test_an_engine_that_fails_leaves_what_came(
    context: PageContext, session: Session, tmp_path: Path
) -> None:
    views = answers.ask(context, session, {"do": "send", "text": "Tom saw"}, RAIL)
    until_words(views)

    def fail(*_: object) -> None:
        raise RuntimeError("the card has fallen off")

    decoder = context.shelf.open("tale").text.decoder
    hook = next(decoder.children()).register_forward_pre_hook(fail)
    try:
        last = list(views)[-1]
    finally:
        hook.remove()
    assert "fallen off" in last["notice"]
    node = on_disk(tmp_path, session)
    assert len(node.text) > 20
    assert node.answer is not None
    assert node.answer.finish_reason == FAILED
    assert "cut off: it failed" in last["turns"][-1]["stats"]


def test_who_waits_is_told_how_many_are_before_them(context: PageContext, session: Session) -> None:
    model = context.shelf.open("tale").text
    rules = Sampling(max_new_tokens=4096, seed=1)
    busy = context.engine.ask(model, model.fit("Tom saw", 64), rules, serial=True)
    until(lambda: context.engine.running == 1)
    views = answers.ask(context, session, {"do": "send", "text": "Anna saw"}, SHORT)
    waiting = next(v for v in views if "before you" in v["turns"][-1].get("waiting", ""))
    assert waiting["turns"][-1]["waiting"] == "waiting, 1 before you …"
    busy.cancel()
    last = list(views)[-1]
    assert "longest answer reached" in last["turns"][-1]["stats"]


def test_the_line_under_a_continued_answer_says_that_it_counts_the_piece(
    context: PageContext, session: Session
) -> None:
    first = list(answers.ask(context, session, {"do": "send", "text": "Tom saw"}, SHORT))[-1]
    assert first["turns"][-1]["stats"].startswith("3 tokens ·")
    asked = {"do": "continue", "id": first["turns"][-1]["id"]}
    more = list(answers.ask(context, session, asked, SHORT))[-1]
    assert more["turns"][-1]["stats"].startswith("3 tokens in this piece ·")


def test_a_text_model_says_once_what_it_does(context: PageContext, session: Session) -> None:
    assert str(view(context, session)).count("has learnt texts") == 1


def test_a_conversation_brings_back_the_model_that_answered_it_last(
    context: PageContext, session: Session
) -> None:
    choose(context, session, "demo", "50")
    list(answers.ask(context, session, {"do": "send", "text": "Hello!"}, SHORT))
    assert session.conversation is not None
    talk = context.conversations.open(session.conversation)
    choose(context, session, "tale")
    pick_last(context, session, talk)
    list(follow(context, session))
    assert (session.model, session.step, session.note) == ("demo@50", "50", "")
    choose(context, session, "demo")
    list(answers.ask(context, session, {"do": "send", "text": "Hello!"}, SHORT))
    choose(context, session, "tale")
    pick_last(context, session, context.conversations.open(session.conversation))
    assert (session.run, session.step) == ("demo", "newest")


def test_a_conversation_whose_model_is_gone_says_which(
    context: PageContext, session: Session, tmp_path: Path
) -> None:
    choose(context, session, "demo", "50")
    list(answers.ask(context, session, {"do": "send", "text": "Hello!"}, SHORT))
    assert session.conversation is not None
    (path,) = (tmp_path / ".chats" / "conversations").iterdir()
    path.write_text(path.read_text().replace('"step": 50', '"step": 51'))
    choose(context, session, "tale")
    pick_last(context, session, Conversations(tmp_path).open(session.conversation))
    assert session.run == "tale"
    assert "demo@51" in picker_view(context, session)["trouble"]
    assert "is gone" in picker_view(context, session)["trouble"]


def test_a_closed_tab_holds_no_model(context: PageContext) -> None:
    match = Match()
    chosen = [("tale@60", RAIL), ("tale@0", RAIL)]
    views = compare(context, match, chosen, "Tom saw", RAIL, blind=False)
    while not match.answers or not match.answers[-1].text:
        next(views)
    held = [weakref.ref(growing._answer) for growing in match.answers]  # pyright: ignore
    views.close()  # type: ignore[attr-defined]
    del views
    until(lambda: context.engine.running == 0)
    gc.collect()
    assert [ref() for ref in held] == [None, None]
    assert isinstance(match.asking, asking.Asking)


def test_only_the_newest_answers_keep_their_details(context: PageContext) -> None:
    token = TokenDetail(id=0, logprob=0.0, rank=1, entropy=0.0, candidates=())
    for place in range(6):
        context.details.keep(str(place), [token] * 10_000)
    assert [len(context.details.of(str(place))) for place in range(6)] == [0, 0, *[10_000] * 4]
    context.details.keep("5", [token])  # again, and shorter: room for more
    context.details.keep("6", [token] * 9_999)
    assert [bool(context.details.of(str(place))) for place in range(7)] == [
        False,
        False,
        *[True] * 5,
    ]


def test_whoever_looks_from_elsewhere_learns_no_folder(
    context: PageContext, tmp_path: Path
) -> None:
    elsewhere = PageContext(**{**vars(context), "first": str(tmp_path / "models" / "gpt2")})
    root, far = context.checkpoints, tmp_path / "models"
    said = f"{root / 'demo' / 'step-00000050'} is damaged; there is no run x in {root}."
    assert str(root.parent) not in elsewhere.told(said)
    assert elsewhere.told(said).startswith("demo/step-00000050 is damaged")
    assert str(far) not in elsewhere.told(f"{far / 'gpt2' / 'config.json'} is damaged")
    session = Session()
    list(follow(elsewhere, session))
    shown = picker_view(elsewhere, session)
    assert shown["run"] == "…/gpt2"
    assert "…/gpt2 is passed over" in shown["trouble"]
    assert str(tmp_path) not in str(shown)
    refused = dict(session.refused)
    assert list(follow(elsewhere, session)) == []  # and is not tried again every two seconds
    assert session.refused == refused
