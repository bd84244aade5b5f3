"""A full disk holds a run up and costs nothing."""

import os
import sys

from tinychat.chaos.full_disk import full_disk
from tinychat.chaos.ground import Ground


def test_a_full_disk_in_mid_run_pauses_it(ground: Ground) -> None:
    outcome = full_disk(ground, print)
    if sys.platform != "linux" or os.geteuid() != 0:
        assert "needs" in outcome.left_out
    else:
        assert outcome.left_out.startswith("cannot mount") or outcome.passed, outcome
