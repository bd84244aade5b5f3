"""Health notes: each fires on a run that has the trouble, and not on one that has not."""

import json
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tinychat.config import OptimSettings, Settings
from tinychat.runs import RunPaths
from tinychat.watch.health import Note, health
from tinychat.watch.history import History
from tinychat.watch.overview import Overview

Loss = Callable[[int], float]
STEPS = 3000


class Run:
    """A synthetic run: what its logs say, and how it is judged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        attempt = RunPaths(folder).attempt(1)
        attempt.root.mkdir(parents=True)
        record = {"format": 1, "from_step": 0, "reason": "new", "started_at": "", "host": "here"}
        attempt.attempt_json.write_text(json.dumps(record))
        self.metrics, self.events = attempt.metrics, attempt.events
        self.settings = Settings(
            max_steps=STEPS * 2, optim=OptimSettings(schedule="cosine", min_learning_rate=1e-4)
        )

    def train(
        self,
        loss: Loss,
        *,
        steps: int = STEPS,
        speed: Loss = lambda step: 1000.0,
        rate: Loss = lambda step: 1e-3,
    ) -> None:
        rng = random.Random(1)
        rows = []
        for step in range(1, steps + 1):
            value = loss(step) + rng.gauss(0, 0.08)
            row = {"kind": "train", "step": step, "time": float(step), "train_loss": value}
            row |= {"learning_rate": rate(step), "tokens_seen": step * 10}
            row |= {"tokens_per_second": speed(step) * rng.uniform(0.85, 1.15)}
            if not math.isfinite(value):
                row |= {"train_loss": None, "nonfinite": ["train_loss"]}
            rows.append(row)
        write(self.metrics, rows)

    def evaluate(self, loss: Loss, every: int = 200, steps: int = STEPS) -> None:
        rows = [
            {"kind": "eval", "step": step, "time": float(step), "val_loss": loss(step)}
            for step in range(every, steps + 1, every)
        ]
        write(self.metrics, rows)

    def tell(self, kind: str, step: int, message: str = "", **more: Any) -> None:
        write(self.events, [{"kind": kind, "step": step, "message": message, **more}])

    def history(self) -> History:
        history = History(self.folder)
        while history.follow(10.0) or history.share < 1.0:
            pass
        assert not history.problem
        return history

    def notes(
        self,
        state: str = "training",
        *,
        step: int = STEPS,
        free_bytes: int | None = 10**12,
        settings: Settings | None = None,
    ) -> dict[str, Note]:
        overview = Overview("demo", self.folder, state, "", step=step, max_steps=STEPS * 2)
        found = health(overview, self.history(), settings or self.settings, free_bytes)
        kinds = [note.kind for note in found]
        assert len(kinds) == len(set(kinds))
        for note in found:
            assert note.sentence.endswith(".")
            assert note.sentence[0].isupper() or note.sentence[0].isdigit()
        return {note.kind: note for note in found}


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with open(path, "a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def falling(step: int) -> float:
    """An ordinary curve, which always falls a little."""
    return 2.0 + 6 * math.exp(-step / 150) - step / 10_000


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "demo")


def test_an_ordinary_run_is_healthy(run: Run) -> None:
    run.train(falling)
    run.evaluate(lambda step: falling(step) + 0.1)
    run.tell("checkpoint_saved", 2000, size_bytes=10**9)
    assert run.notes() == {}


def test_a_run_without_anything_is_healthy(run: Run, tmp_path: Path) -> None:
    assert run.notes(step=0) == {}
    overview = Overview("gone", tmp_path / "gone", "unknown", "It has not reported yet.")
    assert health(overview, History(tmp_path / "gone"), None, None) == []


@pytest.mark.parametrize("steps", [1, 2, 19, 60, 199, 201])
def test_young_runs_are_healthy(run: Run, steps: int) -> None:
    run.train(falling, steps=steps)
    run.evaluate(falling, every=20, steps=steps)
    assert run.notes(step=steps) == {}


def test_skipped_updates(run: Run) -> None:
    run.train(falling)
    run.tell("skipped", 1000)
    assert "1 update was skipped" in run.notes()["skipped"].sentence
    run.tell("skipped", 2900)
    note = run.notes()["skipped"]
    assert (note.level, note.step) == ("warning", 2900)
    assert "2 updates were skipped" in note.sentence
    assert "the last at step 2,900" in note.sentence
    assert run.notes("finished")["skipped"].level == "info"
    for step in (2998, 2999, 3000):
        run.tell("skipped", step)
    note = run.notes()["skipped"]
    assert (note.level, note.step) == ("alarm", 2998)


def test_losses_that_are_no_numbers_count_without_events(run: Run) -> None:
    run.train(lambda step: math.nan if step in (500, 700) else falling(step))
    note = run.notes()["skipped"]
    assert "2 updates were skipped" in note.sentence
    assert note.step == 700
    assert note.level == "info", "it is long ago"


def test_a_spike_is_news_for_a_while(run: Run) -> None:
    run.train(falling)
    run.tell("alert", 1000, "the loss jumped to 4", about="spike")
    assert run.notes() == {}
    run.tell("alert", 2990, "the loss jumped to 5 from about 1\x1b[2J", about="spike")
    run.tell("checkpoint_saved", 2995, size_bytes=1)
    note = run.notes()["spike"]
    assert (note.level, note.step) == ("warning", 2990)
    assert "At step 2,990 the loss jumped to 5" in note.sentence
    assert "\x1b" not in note.sentence
    assert run.notes("stopped") == {}


def test_diverging(run: Run) -> None:
    run.train(lambda step: falling(step) + max(0, step - 2000) / 500)
    note = run.notes()["diverging"]
    assert note.level == "alarm"
    assert note.step is not None
    assert 1800 < note.step < 2200
    assert "learning_rate" in note.sentence


def test_overfitting(run: Run) -> None:
    run.train(lambda step: 6 * math.exp(-step / 1500))
    run.evaluate(lambda step: 3 + abs(step - 1200) / 2000)
    note = run.notes()["overfitting"]
    assert (note.level, note.step) == ("warning", 1200)
    assert "from 3.000 at step 1,200 to 3.900" in note.sentence
    assert "`demo@1200`" in note.sentence
    assert "overfitting" in run.notes("finished")


def test_a_run_that_overfits_is_not_told_of_its_plateau_too(run: Run) -> None:
    run.train(lambda step: 6 * math.exp(-min(step, 2000) / 1500))
    run.evaluate(lambda step: 3 + abs(step - 1200) / 2000)
    assert list(run.notes()) == ["overfitting"]


def test_one_bad_evaluation_or_a_rise_of_both_is_no_overfitting(run: Run, tmp_path: Path) -> None:
    run.train(falling)
    run.evaluate(lambda step: falling(step) + (0.3 if step == STEPS else 0.1))
    assert run.notes() == {}
    other = Run(tmp_path / "both")
    other.train(lambda step: 3 + abs(step - 1200) / 10_000)
    other.evaluate(lambda step: 3 + abs(step - 1200) / 2000)
    assert "overfitting" not in other.notes()


def test_plateau(run: Run) -> None:
    run.train(lambda step: 2.0 + 6 * math.exp(-step / 150))
    run.evaluate(lambda step: max(2.1, 2.1 + 6 * math.exp(-step / 150)))
    note = run.notes()["plateau"]
    assert note.level == "info"
    assert "2.1" in note.sentence
    assert "plateau" not in run.notes("finished")
    decay = replace(run.settings.optim, schedule="warmup-stable-decay", decay_share=0.5)
    ahead = replace(run.settings, optim=decay)
    assert run.notes(settings=ahead) == {}, "it falls once more when the rate goes down"


def test_training_that_still_falls_is_no_plateau(run: Run) -> None:
    run.train(lambda step: 2.0 + 6 * math.exp(-step / 1500))
    run.evaluate(lambda step: 3.0)
    assert run.notes() == {}


def test_rate_at_its_floor(run: Run) -> None:
    run.train(falling, rate=lambda step: 1e-3 if step < 2000 else 1e-4)
    optim = replace(run.settings.optim, schedule_steps=2000)
    note = run.notes(settings=replace(run.settings, optim=optim))["rate at floor"]
    assert (note.level, note.step) == ("info", 2000)
    assert "0.0001 since step 2,000, and 3,000 steps are left" in note.sentence
    assert "rate at floor" not in run.notes("finished")
    constant = replace(run.settings.optim, min_learning_rate=2e-3)
    assert run.notes(settings=replace(run.settings, optim=constant)) == {}
    assert run.notes(step=STEPS * 2 - 50) == {}, "it is nearly done"


def test_training_became_slow(run: Run) -> None:
    run.train(falling, speed=lambda step: 51_000.0 if step < 2400 else 20_000.0)
    note = run.notes()["slow"]
    assert note.level == "warning"
    assert note.step is not None
    assert 2360 < note.step < 2440
    assert "20." in note.sentence or "19." in note.sentence
    assert run.notes("finished") == {}


def test_speed_that_recovered_is_fine(run: Run) -> None:
    run.train(falling, speed=lambda step: 1000.0 if step < 2400 or step > 2900 else 200.0)
    assert run.notes() == {}


def test_disk(run: Run) -> None:
    run.train(falling)
    run.tell("checkpoint_saved", 1000, size_bytes=10**12)
    run.tell("checkpoint_saved", 2000, size_bytes=100_000_000)
    note = run.notes(free_bytes=150_000_000)["disk"]
    assert note.level == "alarm"
    assert "150.0 MB left, and a checkpoint takes 100.0 MB" in note.sentence
    assert run.notes(free_bytes=250_000_000) == {}
    assert run.notes(free_bytes=None) == {}
    assert run.notes("finished", free_bytes=0) == {}


def test_the_most_urgent_comes_first(run: Run) -> None:
    run.train(falling, rate=lambda step: 1e-4)
    run.tell("checkpoint_saved", 2000, size_bytes=100)
    run.tell("skipped", 2900)
    assert list(run.notes(free_bytes=0)) == ["disk", "skipped", "rate at floor"]


def test_hostile_rows_never_raise(run: Run) -> None:
    run.train(falling)
    odd: list[Any] = [None, True, "x", [], {}, -5, 10**400, 1e308, [None]]
    numbers = ("train_loss", "val_loss", "learning_rate", "tokens_per_second")
    for value in odd:
        row = {"step": STEPS + 1, **dict.fromkeys(numbers, value)}
        write(run.metrics, [{"kind": "train", **row}, {"kind": "eval", **row}])
        for kind in ("skipped", "alert", "checkpoint_saved"):
            more = {"step": value, "about": value, "size_bytes": value, "message": value}
            write(run.events, [{"kind": kind, **more}])
    overview = Overview("\x1b[31m", run.folder, "training", "", step=3001, max_steps=9999)
    for note in health(overview, run.history(), run.settings, 0):
        assert "\x1b" not in note.sentence


def test_a_long_run_costs_no_more_than_a_short_one(run: Run) -> None:
    """Of all columns together a bounded number of values is looked at."""
    run.train(falling, steps=30_000)
    run.evaluate(falling, steps=30_000)
    history = run.history()
    touched = [0]

    class Counting(list[float]):
        def __getitem__(self, where: Any) -> Any:
            found = super().__getitem__(where)
            touched[0] += len(found) if isinstance(where, slice) else 1
            return found

    for column in history.train.columns.values():
        column.values = Counting(column.values)  # type: ignore[assignment]
    overview = Overview("demo", run.folder, "training", "", step=30_000, max_steps=10**6)
    assert health(overview, history, run.settings, 10**12) == []
    assert 0 < touched[0] < 5_000
