"""`tinychat chaos`: the table, the exit code, and what it leaves behind."""

import math
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tinychat.chaos import calls, matrix
from tinychat.chaos.calls import HastyDisk
from tinychat.chaos.ground import Ground
from tinychat.chaos.matrix import Experiment
from tinychat.chaos.outcome import Tell, Trial

from .conftest import Tinychat
from .terminal import Terminal

Run = Callable[[Ground, Tell, float], Trial]


def passes(ground: Ground, tell: Tell, seconds: float) -> Trial:
    (ground.folder / "file").write_text("something")
    tell("half of it")
    return Trial("passes", 1200, {"bits_different": 0, "loss_difference": 1.25e-7}, seconds)


def fails(ground: Ground, tell: Tell, seconds: float) -> Trial:
    (ground.folder / "file").write_text("evidence")
    return Trial("fails", 3, {"bits_different": 2}, 1.0, ("2 bits differ",))


def raises(ground: Ground, tell: Tell, seconds: float) -> Trial:
    raise ValueError("not foreseen")


def lacks(ground: Ground, tell: Tell, seconds: float) -> Trial:
    return Trial("lacks", 0, {}, 0.0, left_out="this is no Linux")


def interrupted(ground: Ground, tell: Tell, seconds: float) -> Trial:
    process = ground.spawn("train", "endless", "--max-steps=1000000")
    assert process.poll() is None
    processes.append(process.pid)
    raise KeyboardInterrupt


class Signalled(HastyDisk):
    """From its 150th operation on somebody insists on an end."""

    number: int = signal.SIGINT

    def before(self, operation: str, *args: Any) -> None:
        super().before(operation, *args)
        if self.count >= 150:
            signal.raise_signal(self.number)


def trains(ground: Ground, tell: Tell, seconds: float) -> Trial:
    """Trains in this very process."""
    return calls.calls(replace(ground, model=matrix.SMALL_MODEL), tell, every=1000)


def swallows(ground: Ground, tell: Tell, seconds: float) -> Trial:
    with suppress(KeyboardInterrupt):  # as a destructor does
        signal.raise_signal(signal.SIGINT)
    tell("half of it")
    raise AssertionError("it was not heard")


processes: list[int] = []


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the experiments by these."""

    def put(*runs: Run) -> None:
        found = tuple(Experiment(run.__name__, f"it {run.__name__}", 1.0, run) for run in runs)
        monkeypatch.setattr(matrix, "EXPERIMENTS", found)

    return put


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


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unhurt twin, once for all."""
    return Ground(tmp_path_factory.mktemp("twin"), matrix.SMALL_MODEL).train("twin", *calls.FLAGS)


@pytest.fixture
def undisturbed() -> Iterator[None]:
    """Signals do what they do in a shell, however the tests were started."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    yield
    assert all(signal.getsignal(number) is signal.SIG_DFL for number in numbers)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("undisturbed")
def test_any_signal_ends_it_in_the_middle_of_training_however_often_it_comes(
    number: int,
    trained: Path,
    only: Callable[..., None],
    tinychat: Tinychat,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Ground, "train", lambda *_, **__: trained)
    monkeypatch.setattr(Signalled, "number", number)
    monkeypatch.setattr(calls, "HastyDisk", Signalled)
    only(trains, passes)
    told = tinychat("chaos", "--checkpoints", tmp_path, "--json")
    assert told.code == 130
    assert told.json["not_reached"] == ["trains", "passes"]
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("undisturbed")
def test_an_interrupt_that_something_swallowed_is_heard(
    only: Callable[..., None], tinychat: Tinychat, tmp_path: Path
) -> None:
    only(swallows, passes)
    told = tinychat("chaos", "--checkpoints", tmp_path, "--json")
    assert told.code == 130
    assert told.json["not_reached"] == ["swallows", "passes"]


def test_a_signal_ends_the_real_one_cleanly(tmp_path: Path) -> None:
    terminal = Terminal("chaos", "--checkpoints", str(tmp_path))
    try:
        terminal.read_until("kills: its unhurt twin")
        terminal.process.terminate()
        terminal.read_until("interrupted; this is what was done before")
        assert terminal.process.wait(60) == 130
        assert not list(tmp_path.iterdir())
    finally:
        terminal.close()


def test_all_has_no_limit_and_takes_none(
    only: Callable[..., None], tinychat: Tinychat, tmp_path: Path
) -> None:
    only(lacks)
    assert tinychat("chaos", "--all", "--checkpoints", tmp_path, "--json").json["minutes"] is None
    told = tinychat("chaos", "--all", "--minutes=5", "--checkpoints", tmp_path)
    assert told.code == 2
    assert "leave out --minutes" in told.err


@pytest.mark.parametrize(
    ("seconds", "kills", "signals", "rounds", "every"),
    [(1.0, 10, 5, 2, 70), (math.inf, 100, 30, 20, 1)],
)
def test_how_much_fits(
    seconds: float, kills: int, signals: int, rounds: int, every: int,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    planned: dict[str, int] = {}

    def plan(name: str) -> Callable[..., Trial]:
        def run(*_: object, **given: int) -> Trial:
            planned.update({f"{name} {key}": value for key, value in given.items()})
            return Trial(name, 0, {}, 0.0)

        return run

    for module in (matrix.kills, matrix.terms, matrix.locks, matrix.calls, matrix.flips):
        name = module.__name__.rpartition(".")[2]
        monkeypatch.setattr(module, name, plan(name))
    for experiment in matrix.EXPERIMENTS:
        if experiment.name in ("kills", "terms", "locks", "calls", "flips"):
            experiment.run(Ground(tmp_path, matrix.MODEL), print, seconds)
    assert planned["kills count"] == kills
    assert planned["terms count"] == signals
    assert planned["locks rounds"] == rounds
    assert planned["calls every"] == every


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
