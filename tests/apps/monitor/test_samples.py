"""The samples pane: which sample is shown, with which it is compared, and what changed."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.apps.monitor.driving import drive, screen_text, shown, until
from tinychat.runs import RunWriter
from tinychat.watch import history
from tinychat.watch.history import Round
from tinychat_monitor.app import MonitorApp
from tinychat_monitor.widgets.samples import Scrubber, choose, compared, sample_text

Record = Callable[..., RunWriter]


def rounds(*prompts: list[str]) -> list[Round]:
    """Rounds at steps 10, 20, ... with samples of these prompts."""
    return [
        Round(step, 0.0, [{"prompt": p, "text": f"{p} at {step} #{n}"} for n, p in enumerate(each)])
        for step, each in zip(range(10, 10_000, 10), prompts, strict=False)
    ]


def test_the_newest_round_is_shown_beside_the_one_before() -> None:
    shown = choose(rounds(["a", "b"], ["a", "b"], ["a", "b"]), None, 1)
    assert shown is not None
    assert (shown.step, shown.round, shown.rounds, shown.prompt, shown.prompts) == (30, 2, 3, 1, 2)
    assert shown.sample["text"] == "b at 30 #1"
    assert shown.earlier_step == 20
    assert shown.earlier is not None
    assert shown.earlier["text"] == "b at 20 #1"


def test_any_round_can_be_looked_at() -> None:
    made = rounds(["a"], ["a"], ["a"])
    second, between, beyond = (choose(made, step, 0) for step in (20, 15, 999))
    assert second is not None
    assert second.step == 20
    assert between is not None
    assert between.step == 20  # the first after it: the one looked at may be gone
    assert beyond is not None
    assert beyond.step == 30
    first = choose(made, 10, 5)
    assert first is not None
    assert (first.prompt, first.earlier) == (0, None)


def test_the_same_prompt_is_compared_wherever_it_was() -> None:
    made = rounds(["a", "b"], ["typed"], ["b", "a", "a"])
    of_b, of_second_a = choose(made, None, 0), choose(made, None, 2)
    assert of_b is not None
    assert of_b.earlier is not None
    assert of_b.earlier["text"] == "b at 10 #1"
    assert of_second_a is not None
    assert of_second_a.earlier is not None
    assert of_second_a.earlier["text"] == "a at 10 #0"
    typed = choose(made, 20, 0)
    assert typed is not None
    assert typed.earlier is None
    assert choose([], None, 0) is None
    assert choose([Round(1, 0.0, [])], None, 0) is None


def test_changes_are_told_by_sign_and_by_style() -> None:
    old, new = compared("a little boat sails", "a small red boat sails", lambda name: name)
    assert old.plain == "a [-little-] boat sails"
    assert new.plain == "a {+small red+} boat sails"
    assert {str(span.style) for span in old.spans} == {"red", "strike red"}
    assert {str(span.style) for span in new.spans} == {"green", "bold green"}


def test_texts_that_share_nothing_are_left_as_they_are() -> None:
    old, new = compared("one two three", "quite another thing", lambda name: name)
    assert (old.plain, new.plain) == ("one two three", "quite another thing")


def test_a_huge_sample_is_cut_and_says_so(hostile: str) -> None:
    text = sample_text({"text": "x" * 100_000})
    assert len(text) < 5000
    assert text.endswith("… 96,000 more characters")
    assert not set(sample_text({"text": hostile})) & set("\x1b\x07\u202e")
    assert sample_text({}) == ""
    assert sample_text({"text": None}) == "None"


def write_rounds(writer: RunWriter, steps: list[int]) -> None:
    for step in steps:
        for prompt in ("Once", "Who?", "Why?"):
            text = f"{prompt} says step {step} with a long tail"
            writer.sample_row(step=step, prompt=prompt, text=text, settings={}, seed=1)


def test_arrows_go_through_prompts_and_rounds(record: Record, tmp_path: Path) -> None:
    writer = record("demo", step=10)
    write_rounds(writer, [20, 30, 40])

    async def play(pilot: Pilot[None]) -> None:
        def place() -> str:
            return shown(pilot, "#sample-place")

        await until(pilot, lambda: "step 40 · round 4/4 · prompt 1/3 · newest" in place())
        assert "Once says step {+40+}" in shown(pilot, "#sample-now")
        assert "step 30:\nOnce says step [-30-]" in shown(pilot, "#sample-earlier")
        await pilot.press("right")
        assert "prompt 2/3" in place()
        assert "Who? says step {+40+}" in shown(pilot, "#sample-now")
        await pilot.press("left", "left")
        assert "prompt 3/3" in place()
        await pilot.press("up")
        assert "step 30 · round 3/4 · prompt 3/3" in place()
        assert "newest" not in place()
        write_rounds(writer, [50])
        await until(pilot, lambda: "round 3/5" in place())  # the view stays where it was
        await pilot.press("home")
        assert "step 10 · round 1/5 · prompt 1/1" in place()
        assert "no earlier sample" in shown(pilot, "#sample-earlier")
        await pilot.press("up")
        assert "round 1/5" in place()
        await pilot.press("end")
        assert "step 50 · round 5/5" in place()
        write_rounds(writer, [60])
        await until(pilot, lambda: "step 60 · round 6/6" in place())  # the newest is followed
        await pilot.press("up", "f")
        assert "newest" in place()
        await pilot.click(Scrubber, offset=(1, 0))
        assert "round 1/6" in place()
        await pilot.click(Scrubber, offset=(20, 0))
        assert "newest" in place()

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play, (80, 24))


def test_samples_that_are_not_kept_are_counted(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_SAMPLES", 2)
    write_rounds(record("demo", step=5), [10, 20, 30])

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "older samples not kept" in shown(pilot, "#sample-place"))

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play, (120, 36))


def test_ten_thousand_hostile_samples_neither_raise_nor_steer(
    record: Record, hostile: str, tmp_path: Path
) -> None:
    writer = record("demo", step=10)
    chance = random.Random(7)
    pieces = [
        hostile,
        "[/]",
        "[red]",
        "\x1b[2J",
        "\x9b31m",
        "\r\n",
        "\u2028",
        "\ud800",
        "👩‍👧",
        "ﷺ",
        "\0",
    ]
    for index in range(10_000):
        text = "".join(chance.choices(pieces, k=6))
        writer.sample_row(step=20 + index // 4, prompt=text[:9], text=text, settings={}, seed=1)

    async def play(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "round 2,501/2,501" in shown(pilot, "#sample-place"))
        for key in ("right", "up", "up", "right", "home", "end", "2", "3", "1"):
            await pilot.press(key)
            drawn = screen_text(pilot)
            assert not set(drawn) & set("\x1b\x07\u202e\x9b\0\u2028")
        assert pilot.app.is_running

    drive(MonitorApp(tmp_path, tmp_path / "demo"), play, (100, 30))
