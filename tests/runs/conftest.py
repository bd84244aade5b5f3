"""Runs to test with: real folders, written by the real writer."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinychat.chaos.disks import JournalDisk, RefusingDisk
from tinychat.runs import (
    AttemptRecord,
    Disk,
    RunRecord,
    RunWriter,
    Status,
    process_identity,
    publish_checkpoint,
)


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    """The writer of a new run named demo, before its first attempt."""
    writer = RunWriter(tmp_path / "demo")
    writer.create_run()
    writer.write_settings({"seed": 1})
    writer.write_tokenizer("{}")
    writer.write_run(RunRecord(id="1", created_at="2026-01-01T00:00:00+00:00", version="0.1"))
    return writer


@pytest.fixture
def run(writer: RunWriter) -> Path:
    return writer.paths.root


@pytest.fixture
def begin(writer: RunWriter) -> Callable[[int], int]:
    """Begin an attempt at a step."""

    def begin(from_step: int) -> int:
        return writer.begin_attempt(
            AttemptRecord(
                from_step=from_step,
                reason="resume" if from_step else "new",
                started_at="2026-01-01T00:00:00+00:00",
                host="here",
            )
        )

    return begin


@pytest.fixture
def train(writer: RunWriter) -> Callable[..., None]:
    """Write one train row; its loss tells rows of the same step apart."""

    def train(step: int, loss: float = 1.0) -> None:
        writer.train_row(
            step=step,
            train_loss=loss,
            learning_rate=1e-3,
            grad_norm=0.5,
            tokens_seen=step * 100,
            tokens_per_second=1000.0,
            step_seconds=0.1,
        )

    return train


@pytest.fixture
def publish(run: Path) -> Callable[..., Path]:
    """Publish a checkpoint whose bytes tell its step."""

    def publish(step: int, *, disk: Disk | None = None, salt: str = "") -> Path:
        files = {
            name: f"{name} {step} {salt} ".encode() * 50
            for name in ("model.safetensors", "optimizer.safetensors", "state.json", "config.json")
        }
        return publish_checkpoint(run, step, files, disk=disk)

    return publish


@pytest.fixture
def make_status() -> Callable[..., Status]:
    """A status of this very process, beating now."""

    def make_status(**changes: Any) -> Status:
        now = time.time()
        told = {"state": "training", "step": 7, "max_steps": 100, "time": now}
        return Status(**{**process_identity(), **told, "next_beat_by": now + 60, **changes})

    return make_status


class Recording(JournalDisk):
    """Tells the order of the operations."""

    @property
    def operations(self) -> list[tuple[str, str]]:
        """(operation, name of the file it ends in)."""
        return [(operation, self._name(operation, args)) for operation, *args in self.log]

    @staticmethod
    def _name(operation: str, args: list[Any]) -> str:
        return args[-1 if operation in ("rename", "replace") else 0].name


@pytest.fixture
def refusing() -> type[RefusingDisk]:
    return RefusingDisk


@pytest.fixture
def recording() -> type[Recording]:
    return Recording
