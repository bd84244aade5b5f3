"""What torchrun, torch's launcher of several processes, has told this one by its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """This process's place among those that were started together."""

    rank: int  # 0 is the one that writes
    world_size: int
    local_rank: int  # on this machine
    local_world_size: int
    restarts: int  # how often a lost process has made torchrun start all of them again


def launch_of(environ: Mapping[str, str] = os.environ) -> Launch | None:
    """None: torchrun has not started this process."""
    if "TORCHELASTIC_RUN_ID" not in environ:
        return None
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    try:
        return Launch(*(int(environ[name]) for name in names))
    except (KeyError, ValueError):  # left over from elsewhere
        return None
