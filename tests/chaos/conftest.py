"""Where the experiments run in tests: the tiny model and corpus of the trainer's own tests."""

from pathlib import Path

import pytest

from tests.training.conftest import SHAPE, corpus
from tinychat.chaos.ground import PINNED, Ground

__all__ = ["corpus"]


@pytest.fixture
def ground(tmp_path: Path, corpus: Path) -> Ground:
    folder = tmp_path / "ground"
    folder.mkdir()
    shape = [flag for flag in SHAPE if flag.split("=")[0] not in {p.split("=")[0] for p in PINNED}]
    return Ground(folder, (f"--data={corpus}", *shape, *PINNED))
