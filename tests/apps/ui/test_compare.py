"""Compare: two real answers side by side, the vote between them, and its tally."""

from pathlib import Path
from typing import Any

import pytest

from tests.apps.ui.conftest import OpenContext, Page, Server, wait_for
from tests.apps.ui.tabs import ask_both, open_compare
from tests.conftest import until
from tinychat.conversations import Tally, Votes
from tinychat.runs import list_checkpoints
from tinychat_ui import compare
from tinychat_ui.compare import Match
from tinychat_ui.context import PageContext
from tinychat_ui.controls import PLAIN

RULES = {**PLAIN, "max_new_tokens": 12}
RAIL = [{**PLAIN, "seed": 7}]


@pytest.fixture
def context(page_context: OpenContext, trained_runs: Path) -> PageContext:
    return page_context(trained_runs)


def ask(
    context: PageContext,
    match: Match,
    first: str = "talk@0",
    second: str = "talk@20",
    *,
    one: dict[str, Any] | None = None,
    two: dict[str, Any] | None = None,
    text: str = "My name is Anna.",
    blind: bool = False,
    swapped: bool = False,
) -> list[dict[str, Any]]:
    """What the page is shown, one view after another."""
    chosen = [(first, [one or RULES]), (second, [two or RULES])]
    asked = compare.compare(context, match, chosen, text, RAIL, blind=blind, swap=lambda: swapped)
    return [compare.view(match) for _ in asked]


def test_both_answer_one_prompt_with_one_seed(context: PageContext) -> None:
    match = Match()
    shown = ask(context, match)
    assert [pane["label"] for pane in shown[-1]["panes"]] == ["talk@0", "talk@20"]
    assert {side.sampling.seed for side in match.sides} == {7}
    assert shown[-1]["notice"] == "Seed 7, the same for both."
    for pane, answer in zip(shown[-1]["panes"], match.answers, strict=True):
        assert pane["text"] == answer.text != ""
        done = answer.completion
        assert done is not None
        assert pane["facts"].startswith(f"{len(done.ids)} tokens")
        assert not pane["trouble"]
    assert shown[0]["busy"]
    assert not shown[-1]["busy"]
    assert not any(view["can_vote"] for view in shown[:-1])
    assert shown[-1]["can_vote"]
    again = Match()
    ask(context, again)
    assert [each.text for each in again.answers] == [each.text for each in match.answers]


def test_a_base_model_continues_the_text(context: PageContext) -> None:
    match = Match()
    ask(context, match, "story@20", "talk@20", text="Anna saw")
    done = [answer.completion for answer in match.answers]
    assert [each and each.prompt.overflow for each in done] == ["slide", "stop"]


def test_two_settings_of_one_model_are_told_by_their_difference(context: PageContext) -> None:
    match = Match()
    ask(context, match, "talk@20", "talk@20", two={**RULES, "temperature": 0.0, "top_k": 0})
    assert [side.label for side in match.sides] == [
        "talk@20 · temperature 0.8 · top k 40", "talk@20 · temperature 0.0 · top k off",
    ]  # fmt: skip


def test_the_same_twice_is_no_comparison(context: PageContext) -> None:
    match = Match()
    shown = ask(context, match, "talk@20", "talk@20")
    assert "same" in shown[-1]["notice"]
    assert match.answers == []


@pytest.mark.parametrize("model", ["../talk", "nobody@3", "", None, 5, ["talk@0"], "talk@best"])
def test_only_what_is_offered_can_be_asked(context: PageContext, model: Any) -> None:
    match = Match()
    shown = ask(context, match, first=model)
    assert shown[-1]["notice"] == "Choose two models first."
    assert not shown[-1]["busy"]


@pytest.mark.parametrize("text", ["", "  \n", None, 7, "x" * 9000])
def test_a_prompt_must_be_one(context: PageContext, text: Any) -> None:
    shown = ask(context, match := Match(), text=text)
    assert "rompt" in shown[-1]["notice"]
    assert match.answers == []


def test_a_bad_number_is_told_in_a_sentence(context: PageContext) -> None:
    shown = ask(context, Match(), one={**RULES, "temperature": float("nan")})
    assert "temperature" in shown[-1]["notice"]


@pytest.mark.parametrize("swapped", [False, True])
def test_blind_tells_no_names_before_the_vote(context: PageContext, swapped: bool) -> None:
    match = Match()
    shown = ask(context, match, blind=True, swapped=swapped)
    told = str([{**view, "tallies": []} for view in shown])
    assert "talk@" not in told
    assert "tokens" not in told  # the speed of a model tells which it is
    compare.vote(context, match, "a")
    view = compare.view(match)
    labels = [pane["label"] for pane in view["panes"]]
    assert labels == (["talk@20", "talk@0"] if swapped else ["talk@0", "talk@20"])
    assert [pane["won"] for pane in view["panes"]] == [True, False]
    winner = "talk@20" if swapped else "talk@0"
    assert view["result"].startswith(f"{winner} wins 1 of 1")
    assert "1 voted blind" in view["result"]


@pytest.mark.slow
def test_votes_are_kept_and_counted_over_a_restart(context: PageContext, tmp_path: Path) -> None:
    for verdict in ("a", "b", "b", "tie", "both bad"):
        ask(context, match := Match())
        compare.vote(context, match, verdict)
    tally = Votes(tmp_path).tally("talk@0", "talk@20")
    assert tally == Tally(a_wins=1, b_wins=2, ties=1, both_bad=1, blind=0)
    assert compare.view(match)["tallies"] == [
        "talk@20 wins 2 of 5 against talk@0 (1 tie, 1 both bad)"
    ]


def test_between_equal_answers_there_is_nothing_to_vote_on(
    context: PageContext, tmp_path: Path
) -> None:
    greedy = {**RULES, "temperature": 0.0}
    match = Match()
    shown = ask(context, match, "talk@20", "talk@20", one=greedy, two={**greedy, "top_k": 5})[-1]
    assert len({pane["text"] for pane in shown["panes"]}) == 1
    assert "Both say the same" in shown["notice"]
    assert (shown["alike"], shown["can_vote"]) == (True, False)
    compare.vote(context, match, "a")
    assert Votes(tmp_path).tallies() == {}


def test_one_answer_is_judged_once(context: PageContext, tmp_path: Path) -> None:
    ask(context, match := Match())
    for verdict in ("a", "a", "b"):
        compare.vote(context, match, verdict)
    assert Votes(tmp_path).tally("talk@0", "talk@20").total == 1


@pytest.mark.parametrize("verdict", ["c", "", None, 3, ["a"], {"a": 1}])
def test_a_vote_must_be_one(context: PageContext, tmp_path: Path, verdict: Any) -> None:
    ask(context, match := Match())
    compare.vote(context, match, verdict)
    assert Votes(tmp_path).tallies() == {}


def test_a_vote_without_answers_counts_nothing(context: PageContext, tmp_path: Path) -> None:
    compare.vote(context, Match(), "a")
    assert Votes(tmp_path).tallies() == {}


def test_a_vote_can_be_taken_back(context: PageContext, tmp_path: Path) -> None:
    ask(context, match := Match(), blind=True)
    compare.vote(context, match, "a")
    compare.undo(context, match)
    assert Votes(tmp_path).tallies() == {}
    view = compare.view(match)
    assert view["can_vote"]
    compare.vote(context, match, "b")
    tally = Votes(tmp_path).tally("talk@0", "talk@20")
    assert (tally.total, tally.blind) == (1, 0)  # the names had been seen


def test_stop_ends_both_and_keeps_what_came(context: PageContext) -> None:
    match = Match()
    long = {**RULES, "max_new_tokens": 4000, "repetition_guard": False}
    chosen = [("story@0", [long]), ("story@20", [long])]
    for _ in compare.compare(context, match, chosen, "Anna saw", RAIL, blind=False):
        if all(each.text for each in match.answers) and match.answers:
            match.asking.stop()
    reasons = {each.completion and each.completion.finish_reason for each in match.answers}
    assert "cancelled" in reasons
    assert reasons <= {"cancelled", "end"}, "one may come to its own end before the stop"
    assert all(each.text for each in match.answers)
    assert context.engine.running == context.engine.waiting == 0


def test_a_browser_that_leaves_frees_the_models(context: PageContext) -> None:
    match = Match()
    long = {**RULES, "max_new_tokens": 4000}
    chosen = [("story@0", [long]), ("story@20", [long])]
    going: Any = compare.compare(context, match, chosen, "Anna saw", RAIL, blind=False)
    for _ in going:
        if match.answers and match.answers[0].text:
            break
    answers: Any = [growing._answer for growing in match.answers]  # pyright: ignore
    going.close()  # what Gradio does
    for answer in answers:
        assert list(answer) is not None  # it ends
        assert answer.completion is not None
        assert answer.completion.finish_reason == "cancelled"
    assert not match.asking.busy


def test_a_second_click_changes_nothing(context: PageContext) -> None:
    match = Match()
    match.asking.busy = True
    assert ask(context, match) == []


def test_the_models_offered_first_are_the_newest_and_the_oldest(context: PageContext) -> None:
    first, second = compare.offer(context, (None, None), "talk@20")
    assert (first["value"], second["value"]) == ("talk@20", "talk@0")
    kept = compare.offer(context, ("story@10", "gone@3"), "talk@20")
    assert [each["value"] for each in kept] == ["story@10", "talk@0"]


@pytest.mark.parametrize(
    ("tally", "words"),
    [
        (Tally(a_wins=4, ties=2, both_bad=1), "x wins 4 of 7 against y (2 ties, 1 both bad)"),
        (Tally(a_wins=1, b_wins=2, blind=3), "y wins 2 of 3 against x (3 voted blind)"),
        (Tally(a_wins=1, b_wins=1), "x and y won 1 each of 2"),
    ],
)  # fmt: skip
def test_a_tally_in_words(tally: Tally, words: str) -> None:
    assert compare.tally_words("x", "y", tally) == words


# In the browser


def pane(page: Page, name: str) -> str:
    return page.get_by_role("group", name=f"Answer {name}", exact=True).inner_text()


def test_a_blind_vote_tells_the_names_and_counts(page: Page, server: Server) -> None:
    open_compare(page)
    page.get_by_label("Blind").check()
    ask_both(page, "What is 1 + 2?")
    page.wait_for_selector(".compare-votes button:enabled")
    assert "demo" not in page.locator("#compare-panes").inner_text()
    good = "A" if pane(page, "A").strip() == "1 + 2 = 3" else "B"
    page.get_by_role("button", name=f"{good} is better").press("Enter")  # by keyboard
    outcome = page.locator(".compare-outcome:visible")
    outcome.wait_for()
    newest = f"demo@{max(list_checkpoints(server.checkpoints / 'demo'))}"
    assert page.locator(".compare-winner .compare-label").inner_text() == newest
    assert f"{newest} wins 1 of 1 against demo@0 (1 voted blind)" in outcome.inner_text()
    tally = Votes(server.checkpoints).tally(newest, "demo@0")
    assert (tally.a_wins, tally.total, tally.blind) == (1, 1, 1)
    page.get_by_role("button", name="Take back").click()
    page.wait_for_selector(".compare-votes button:enabled")
    assert Votes(server.checkpoints).tally(newest, "demo@0").total == 0


@pytest.mark.slow
def test_stop_in_the_middle_frees_both_models(page: Page, server: Server) -> None:
    open_compare(page)
    for which, name in (("first", "tale @ 60"), ("second", "tale @ 0")):
        page.locator(f"#compare-{which} input").click()
        page.locator("li[role=option]").filter(has_text=name).first.click()
    page.get_by_role("button", name="Settings of each").click()
    page.wait_for_selector(".compare-rules details summary")
    page.locator(".compare-rules details").evaluate_all("all => all.forEach(d => d.open = true)")
    for field in page.locator(".compare-rules").get_by_label("Longest answer").all():
        field.fill("4096")
        field.press("Tab")
    ask_both(page, "Tom saw")
    wait_for(page, "document.querySelectorAll('.compare-text')[0].innerText.length > 40")
    page.get_by_role("button", name="Stop", exact=True).locator("visible=true").click()
    until(server.is_idle)
    page.wait_for_selector("#compare-ask:enabled")
    assert "stopped by you" in page.locator("#compare-panes").inner_text()
