"""`tinychat chaos`: the table, the exit code, and what it leaves behind."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.chaos import matrix
from tinychat.chaos.ground import Ground
from tinychat.chaos.matrix import Experiment
from tinychat.chaos.outcome import Outcome, Tell

from .conftest import Tinychat
from .terminal import Terminal

Run = Callable[[Ground, Tell, float], Outcome]


def passes(ground: Ground, tell: Tell, seconds: float) -> Outcome:
    (ground.folder / "file").write_text("something")
    tell("half of it")
    return Outcome("passes", 1200, {"bits_different": 0, "loss_difference": 1.25e-7}, seconds)


def fails(ground: Ground, tell: Tell, seconds: float) -> Outcome:
    (ground.folder / "file").write_text("evidence")
    return Outcome("fails", 3, {"bits_different": 2}, 1.0, ("2 bits differ",))


def raises(ground: Ground, tell: Tell, seconds: float) -> Outcome:
    raise ValueError("not foreseen")


def lacks(ground: Ground, tell: Tell, seconds: float) -> Outcome:
    return Outcome("lacks", 0, {}, 0.0, left_out="this is no Linux")


def interrupted(ground: Ground, tell: Tell, seconds: float) -> Outcome:
    process = ground.spawn("train", "endless", "--max-steps=1000000")
    assert process.poll() is None
    processes.append(process.pid)
    raise KeyboardInterrupt


def deaf(ground: Ground, tell: Tell, seconds: float) -> Outcome:
    """As a training in this process is, which takes a Ctrl+C for a wish to save and stop."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)
    tell("half of it")
    raise AssertionError("it was not heard")


processes: list[int] = []


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the experiments by these."""

    def replace(*runs: Run) -> None:
        found = tuple(Experiment(run.__name__, f"it {run.__name__}", 1.0, run) for run in runs)
        monkeypatch.setattr(matrix, "EXPERIMENTS", found)

    return replace


def test_what_passes_leaves_nothing(
    only: Callable[..., None], tinychat: Tinychat, tmp_path: Path
) -> None:
    only(passes, lacks)
    told = tinychat("chaos", "--checkpoints", tmp_path / "new", "--minutes", 1)
    assert told.code == 0, "what cannot be run here is no failure"
    lines = [" ".join(line.split()) for line in told.out.splitlines()]
    assert "passes passed 1,200 30s bits different 0, loss difference 1.25e-07" in lines
    assert "lacks left out 0 0s this is no Linux" in lines
    assert told.err.splitlines() == ["1 of 2, passes: it passes", "2 of 2, lacks: it lacks"]
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    kept = tinychat("chaos", "--checkpoints", tmp_path, "--keep", "--json").json
    assert kept["ok"]
    assert (Path(kept["folder"]) / "passes" / "file").exists()
    assert [each["passed"] for each in kept["experiments"]] == [True, False]
    assert (tmp_path / "mine").is_dir()


def test_what_fails_is_named_and_kept(
    only: Callable[..., None], tinychat: Tinychat, tmp_path: Path
) -> None:
    only(passes, fails, raises)
    told = tinychat("chaos", "--checkpoints", tmp_path)
    assert told.code == 1
    assert "fails: 2 bits differ" in told.err
    assert "raises: ValueError('not foreseen')" in told.err
    (folder,) = tmp_path.iterdir()
    assert f"the runs are kept in {folder}" in told.err
    assert sorted(path.name for path in folder.iterdir()) == ["fails", "raises"]


def test_an_interrupt_shows_what_was_done_and_stops_all(
    only: Callable[..., None], tinychat: Tinychat, tmp_path: Path
) -> None:
    import psutil

    only(passes, interrupted, fails)
    told = tinychat("chaos", "--checkpoints", tmp_path, "--json")
    assert told.code == 130
    assert [each["experiment"] for each in told.json["experiments"]] == ["passes"]
    assert told.json["not_reached"] == ["interrupted", "fails"]
    assert not psutil.pid_exists(processes.pop())
    assert not list(tmp_path.iterdir())


def test_an_interrupt_is_heard_that_a_training_took_for_its_own(
    only: Callable[..., None], tinychat: Tinychat, tmp_path: Path
) -> None:
    only(deaf, passes)
    told = tinychat("chaos", "--checkpoints", tmp_path, "--json")
    assert told.code == 130
    assert told.json["not_reached"] == ["deaf", "passes"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_real_one_cleanly(number: int, tmp_path: Path) -> None:
    terminal = Terminal("chaos", "--checkpoints", str(tmp_path))
    try:
        terminal.read_until("kills: its unhurt twin")
        terminal.process.send_signal(number)
        terminal.read_until("interrupted; this is what was done before")
        assert terminal.process.wait(60) == 130
        assert not list(tmp_path.iterdir())
    finally:
        terminal.process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "2000"])
def test_minutes_out_of_bounds(minutes: str, tinychat: Tinychat) -> None:
    told = tinychat("chaos", f"--minutes={minutes}")
    assert told.code == 2
    assert "at most 1440" in told.err


@pytest.mark.slow
def test_the_real_ones_pass(tinychat: Tinychat, tmp_path: Path) -> None:
    told = tinychat("chaos", "--checkpoints", tmp_path, "--minutes", 1, "--json")
    assert told.code == 0, told.err
    assert all(each["passed"] or each["left_out"] for each in told.json["experiments"])
    assert not list(tmp_path.iterdir())
