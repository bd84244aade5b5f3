"""Many trainers want the same run at once."""

import os

import pytest

from tinychat.chaos.ground import Ground
from tinychat.chaos.locks import locks


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.timeout(1800)
def test_one_runs_and_the_others_say_who_holds_it(rounds: int, ground: Ground) -> None:
    outcome = locks(ground, print, rounds=rounds)
    assert outcome.passed, outcome
    assert outcome.tried == 10 * rounds


@pytest.mark.slow
def test_it_sees_two_trainers_at_once(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """In processes whose kernel locks nothing."""
    (ground.folder / "sitecustomize.py").write_text("import fcntl\nfcntl.flock = lambda *_: None\n")
    monkeypatch.setenv("PYTHONPATH", str(ground.folder), prepend=os.pathsep)
    outcome = locks(ground, print, rounds=1, trainers=2)
    assert outcome.failures, outcome
