"""Recorded runs for the monitor to look at."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinychat.runs import (
    AttemptRecord,
    BestCheckpoint,
    RunRecord,
    RunWriter,
    Status,
    process_identity,
    publish_checkpoint,
)


@pytest.fixture(autouse=True)
def own_preferences(tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any) -> Path:
    """A home of the test's own: nobody's theme is read or changed."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    return home


@pytest.fixture
def status() -> Callable[..., Status]:
    """A status of this very process, beating now."""

    def status(state: str, step: int, **changes: Any) -> Status:
        now = time.time()
        told: dict[str, Any] = {
            "state": state,
            "step": step,
            "max_steps": 5000,
            "time": now,
            "next_beat_by": now + 600,
            "tokens_seen": step * 1000,
            "eta_seconds": 3700.0,
            "best": BestCheckpoint(step=step, val_loss=1.5),
        }
        return Status(**{**process_identity(), **told, **changes})

    return status


@pytest.fixture
def train() -> Callable[..., None]:
    """Write one train row."""

    def train(writer: RunWriter, step: int, loss: float) -> None:
        writer.train_row(
            step=step,
            train_loss=loss,
            learning_rate=3e-4,
            grad_norm=0.5,
            tokens_seen=step * 1000,
            tokens_per_second=51234.0,
            step_seconds=0.1,
            memory_bytes=1_500_000_000,
        )

    return train


@pytest.fixture
def hostile() -> str:
    """Text that would steer a terminal, or a screen that obeys markup."""
    return "[@click=app.quit]press[/] \x1b]0;owned\x07 \u202e [/oops]"


@pytest.fixture
def record(
    tmp_path: Path, status: Callable[..., Status], train: Callable[..., None], hostile: str
) -> Callable[..., RunWriter]:
    """Record a run of that name; later ones are newer."""
    born = 0

    def record(name: str, state: str = "training", step: int = 1250, **changes: Any) -> RunWriter:
        nonlocal born
        born += 1
        writer = RunWriter(tmp_path / name)
        writer.create_run()
        created_at = f"2026-01-{born:02d}T00:00:00+00:00"
        writer.write_run(RunRecord(id=name, created_at=created_at, version="0.1"))
        writer.begin_attempt(
            AttemptRecord(from_step=0, reason="new", started_at=created_at, host="here")
        )
        writer.eval_row(step=step, val_loss=1.75, bits_per_byte=1.02)
        train(writer, step, 1.842)
        writer.sample_row(step=step, prompt="Hello", text=hostile, settings={}, seed=1)
        writer.log_line(f"step {step} {hostile}")
        publish_checkpoint(tmp_path / name, step, {"model.safetensors": b"x"})
        writer.status(status(state, step, **changes))
        return writer

    return record
