"""The rows at the top of a run: what they say, and what they leave out where there is no room."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tinychat.runs import AttemptRecord, RunWriter, Status
from tinychat.watch.details import RunLook, RunWatch
from tinychat.watch.health import Note
from tinychat_monitor.widgets.headline import Now, Part, fit, headline, remarks, trend

Record = Callable[..., RunWriter]
Train = Callable[..., None]
MakeStatus = Callable[..., Status]
NOON = time.mktime((2026, 5, 20, 12, 0, 0, 0, 0, -1))  # a Wednesday, local time


def look_at(run: Path) -> RunLook:
    watch = RunWatch(run)
    while (look := watch.look()).history.share < 1.0:
        pass
    return look


def rows(look: RunLook, width: int = 80, now: Now | None = None) -> list[str]:
    drawn = headline(look, now or Now(time.time()), width, lambda name: "#ffffff")
    assert all(row.cell_len <= width for row in drawn)
    return [row.plain for row in drawn]


def with_overview(look: RunLook, **changes: Any) -> RunLook:
    return replace(look, overview=replace(look.overview, **changes))


def at_noon(look: RunLook, eta_seconds: float | None) -> RunLook:
    """The same run, whose last beat told this at noon."""
    assert look.overview.status is not None
    beat = replace(look.overview.status, time=NOON)
    return with_overview(look, status=beat, eta_seconds=eta_seconds)


@pytest.fixture
def training(record: Record, tmp_path: Path) -> RunLook:
    record("demo")
    return look_at(tmp_path / "demo")


def test_it_says_what_is_how_far_and_how_well(training: RunLook) -> None:
    first, second, third, *notes = rows(training, 100)
    assert "demo  ● TRAINING" in first
    assert "1.5 GB" in first
    assert time.strftime("%H:%M") in first or "beat 0s" in first  # a minute may pass
    assert second.startswith("step 1,250/5,000  ━")
    assert "25%" in second
    assert "loss 1.842" in third
    assert "val 1.750 @1,250" in third
    assert "best 1.500 @1,250" in third
    assert "lr 0.0003  |g| 0.50  51.2k tok/s" in third
    assert notes == []


def test_the_progress_bar_is_as_long_as_the_share(training: RunLook) -> None:
    bar = [character for character in rows(training, 100)[1] if character in "━─"]
    assert bar.count("━") == math.floor(len(bar) / 4)


def test_a_narrow_screen_keeps_what_matters(training: RunLook) -> None:
    first, second, third = rows(training, 60)
    assert "demo  ● TRAINING" in first
    assert "step 1,250/5,000" in second
    assert "ETA" in second
    assert "loss 1.842" in third
    assert "val 1.750" in third
    for width in range(1, 60):
        rows(training, width)


def test_the_eta_has_a_clock_time_and_says_how_sure_it_is(training: RunLook) -> None:
    now = Now(NOON)
    assert "ETA 5h12m  (17:12)" in rows(at_noon(training, 18720), 100, now)[1]
    assert "(Thu 13:00)" in rows(at_noon(training, 90_000), 100, now)[1]
    assert "(2026-06-20)" in rows(at_noon(training, 31 * 86_400), 100, now)[1]
    later = rows(at_noon(training, 18720), 100, Now(NOON + 60))[1]
    assert "ETA 5h11m  (17:12)" in later  # between two beats it runs down, the end stays
    few = with_overview(at_noon(training, 60), step=100)
    assert "ETA ~1m00s" in rows(few, 100, now)[1]
    fewer = with_overview(at_noon(training, 60), step=9)
    assert "ETA" not in rows(fewer, 100, now)[1]


def test_steps_are_counted_from_where_the_process_began(
    record: Record, train: Train, status: MakeStatus, tmp_path: Path
) -> None:
    writer = record("demo")
    writer.begin_attempt(AttemptRecord(from_step=1250, reason="resume", started_at="", host="here"))
    train(writer, 1255, 1.8)
    writer.status(status("training", 1255))
    assert "ETA" not in rows(look_at(tmp_path / "demo"), 100)[1]  # 5 steps tell nothing
    writer.status(status("training", 1300))
    assert "ETA ~1h01m" in rows(look_at(tmp_path / "demo"), 100)[1]


def test_a_pause_holds_the_eta(training: RunLook) -> None:
    paused = with_overview(at_noon(training, None), state="paused")
    for passed in (0, 3600):
        now = Now(NOON + passed, eta_seconds=18720)
        assert "5h12m left" in rows(paused, 100, now)[1]
    # opened while it is paused: from the last step's time
    assert "~6m15s left" in rows(paused, 100, Now(NOON))[1]


def test_what_was_asked_stands_beside_the_state(training: RunLook) -> None:
    now = Now(time.time(), asked=["pause…"], frozen=True, readonly=True)
    first = rows(training, 100, now)[0]
    assert "● TRAINING  pause…  FROZEN  [read only]" in first
    assert "pause…" in rows(training, 40, now)[0]


def test_losses_that_are_no_numbers_are_said(record: Record, train: Train, tmp_path: Path) -> None:
    writer = record("demo")
    train(writer, 1251, float("nan"))
    assert "loss NaN/∞" in rows(look_at(tmp_path / "demo"))[2]


@pytest.mark.parametrize("state", ["crashed", "failed"])
def test_a_dead_run_says_so_and_what_to_do(record: Record, tmp_path: Path, state: str) -> None:
    told = {"process_start_time": 1.0} if state == "crashed" else {"message": "No space left."}
    record("demo", "training" if state == "crashed" else state, **told)
    look = look_at(tmp_path / "demo")
    first, second, _, note = rows(look)
    assert f"✗ {state.upper()}" in first
    assert "ETA" not in second
    assert note.startswith(f"✗ {state.upper()}: r goes on from step 1,250.")
    readonly = rows(look, 120, Now(time.time(), readonly=True))[3]
    assert "`tinychat resume demo` goes on" in readonly


def test_the_worst_note_stands_first_and_the_others_are_counted(training: RunLook) -> None:
    notes = [
        Note("disk", "info", "Disk is filling.", None),
        Note("spike", "alarm", "The loss jumped.\x1b[2J", 5),
        Note("plateau", "warning", "No better for long.", 7),
    ]
    look = replace(training, notes=notes)
    assert [note.kind for note in remarks(look)] == ["spike", "plateau", "disk"]
    note = rows(look)[3]
    assert note.startswith("✗ The loss jumped.␛[2J")
    assert note.endswith("(+2 more: 2)")
    assert rows(look, 30)[3].endswith("(+2 more: 2)")


def test_what_was_passed_over_is_said(record: Record, tmp_path: Path) -> None:
    record("demo")
    log = tmp_path / "demo" / "attempts" / "0001" / "metrics.jsonl"
    log.write_bytes(b"no json\n" + log.read_bytes())
    note = rows(look_at(tmp_path / "demo"), 120)[3]
    assert "1 damaged line passed over (metrics.jsonl of attempt 1)" in note


def test_hostile_names_are_inert(record: Record, hostile: str, tmp_path: Path) -> None:
    record("a [bold]\x1b[2J name", message=hostile)
    drawn = "\n".join(rows(look_at(tmp_path / "a [bold]\x1b[2J name"), 200))
    assert "a [bold]␛[2J name" in drawn
    assert not set(drawn) & set("\x1b\x07\u202e")


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ((), ""),
        ((1.0, 2.0, 3.0), ""),
        ((3.0, 2.9, 2.5, 2.4, 2.0, 1.9), "falling"),
        ((1.9, 2.0, 2.4, 2.5, 2.9, 3.0), "rising"),
        ((2.0, 2.001, 2.0, 2.0, 2.0, 2.001), "flat"),
        ((2.0, 1.0, 3.0, 2.0, 2.0, 2.0, 1.2, 3.2, 2.2), "flat"),  # less than its noise
    ],
)
def test_where_the_loss_is_going(losses: tuple[float, ...], told: str) -> None:
    assert trend(losses) == told


def test_rows_lose_their_least_important_part_first() -> None:
    left = [Part(1, "name"), Part(0, "state"), Part(2, "device")]
    right = [Part(3, "beat")]
    assert fit(left, right, 30).plain == "name  state  device       beat"
    assert fit(left, right, 20).plain == "name  state  device"
    assert fit(left, right, 12).plain == "name  state"
    assert fit(left, right, 6).plain == "state"
    assert fit(left, right, 3).plain == "sta"


def test_it_says_how_far_back_the_run_is_bit_exact(training: RunLook) -> None:
    assert "bit-exact  " in rows(training, 100)[0]
    number, attempt = training.attempts[-1]
    later = replace(attempt, from_step=1200, resume_class="B", reason="resume: threads 1 -> 2")
    broken = replace(training, attempts=[(number, attempt), (number + 1, later)])
    assert "bit-exact until 1,200" in rows(broken, 100)[0]
    assert "bit-exact" not in rows(broken, 44)[0], "it goes first where there is no room"


def test_what_a_fine_tune_forgets_and_a_tuned_run_prefers_stands_in_the_numbers(
    training: RunLook,
) -> None:
    start = {"kind": "eval", "step": 0, "val_loss": 3.0, "replay_val_loss": 1.0}
    now = {"kind": "eval", "step": 50, "val_loss": 1.5, "replay_val_loss": 1.125}
    child = with_overview(training, eval=now, start=start)
    assert "old 1.125 (+0.125)" in rows(child, 120)[2]
    start = {"kind": "eval", "step": 0, "val_loss": 3.0}
    now = {"kind": "eval", "step": 50, "val_loss": 3.25, "preference_accuracy": 0.8}
    tuned = with_overview(training, eval=now | {"reward_margin": 1.5}, start=start)
    numbers = rows(tuned, 120)[2]
    assert "+0.250 since start" in numbers
    assert "margin +1.50  acc 80%" in numbers
    assert "val 3.250" in rows(tuned, 40)[2], "what every run has stays longest"
