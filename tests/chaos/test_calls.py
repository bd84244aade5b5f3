"""Each file operation of a run fails in turn, and the run ends as if none had."""

import pytest

from tinychat.chaos.calls import calls
from tinychat.chaos.ground import Ground
from tinychat.training import patience


@pytest.mark.slow
@pytest.mark.parametrize("every", [73, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.timeout(3600)
def test_a_failing_operation_changes_no_bit(every: int, ground: Ground) -> None:
    waits = patience.FIRST_WAIT_SECONDS
    outcome = calls(ground, print, every=every)
    assert outcome.passed, outcome
    figures = outcome.figures
    assert figures["operations"] > 400
    assert outcome.tried >= 2 * figures["operations"] // every
    assert abs(figures["eio"] - figures["enospc"]) <= 1, "each error in turn"
    assert figures["eio"] + figures["enospc"] == outcome.tried
    assert figures["healed"] + figures["restarted"] == outcome.tried
    assert figures["healed"] > outcome.tried // 4, "most single failures are waited for"
    assert waits == patience.FIRST_WAIT_SECONDS
