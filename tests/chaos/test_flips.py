"""Damage to a checkpoint is found before a tensor is used."""

import pytest

from tinychat.chaos.flips import flips
from tinychat.chaos.ground import Ground
from tinychat.runs import checkpoints


@pytest.mark.parametrize(
    ("count", "every"), [(130, 50), pytest.param(1000, 1, marks=pytest.mark.slow)]
)
@pytest.mark.timeout(1800)
def test_damage_is_found_and_the_checkpoint_before_is_used(
    count: int, every: int, ground: Ground
) -> None:
    outcome = flips(ground, print, count=count, every=every)
    assert outcome.passed, outcome
    figures = outcome.figures
    assert figures["flips"] == count
    assert figures["cuts"] > 4000 // every
    assert figures["found"] == outcome.tried == figures["flips"] + figures["cuts"]
    assert figures["fell_back"] + figures["refused_as_newer"] == outcome.tried


@pytest.mark.slow
def test_it_sees_wrong_bytes(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the sha256 check a flipped bit is used."""
    monkeypatch.setattr(checkpoints, "_read_verified", lambda path, size, digest: path.read_bytes())
    outcome = flips(ground, print, count=26, every=10**9)
    assert outcome.figures["wrong"] > 0
    assert any("wrong bytes were used" in told for told in outcome.failures)
