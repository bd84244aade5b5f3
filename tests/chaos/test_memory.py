"""When memory runs out, a step is done in smaller parts."""

import sys

import pytest

from tinychat.chaos.ground import Ground
from tinychat.chaos.memory import memory


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_the_micro_batch_halves_and_the_loss_stays(ground: Ground) -> None:
    outcome = memory(ground, print)
    assert outcome.passed, outcome
    assert outcome.figures["micro_batch_after"] < outcome.figures["micro_batch_before"]
