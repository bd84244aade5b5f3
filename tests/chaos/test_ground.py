"""The processes of an experiment."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

# Starts something that lasts, says which process it is, and waits to be killed.
PARENT = """
import sys, time
from pathlib import Path
from tinychat.chaos.ground import Ground

sleeping = ("-c", "import time; time.sleep(600)")
child = Ground(Path(sys.argv[1]), ()).spawn("train", "x", program=sleeping)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends them")
def test_they_do_not_outlive_it(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    child.wait(60)
