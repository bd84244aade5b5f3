"""What is set in the whole process for a runtime."""

import subprocess
import sys

SCRIPT = """
import sys, torch
from tinychat.model import Runtime
plain = Runtime("cpu", "fp32", 1)
plain.apply()
assert "torch._inductor" not in sys.modules, "it takes a second"
Runtime("cpu", "fp32", 1, compile=True).apply()
assert torch.are_deterministic_algorithms_enabled()
plain.apply()
assert not torch.are_deterministic_algorithms_enabled()
"""


def test_only_what_is_compiled_is_held_to_equal_bits() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
