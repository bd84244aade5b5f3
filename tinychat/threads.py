"""How the threads of this process wait for each other."""

import os

# GNU OpenMP, which computes for torch on Linux, has a thread that waits turn round 300,000 times
# before it sleeps, and meanwhile it keeps a core from whoever it waits for, as soon as another
# program computes. With 3,000 a run alone lost up to three tenths; docs/experiments.md has what
# was measured. OpenMP of other systems does not read this.
TURNS = 10_000


def wait_briefly() -> None:
    """Have threads sleep soon where they wait, unless the environment says how they do. Only what
    is said before torch is loaded counts."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(TURNS))
