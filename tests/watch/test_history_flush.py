"""A run's logs followed over a flush that fails: rows go on in new files, and are shown once."""

from pathlib import Path

import pytest

from tests.watch.test_history import begin, losses, read_all, sample, train
from tinychat.runs import RunReader, RunWriter
from tinychat.runs.durable import Disk
from tinychat.watch.history import History


class RefusingFlush(Disk):
    """A disk whose next flush of a file fails, as often as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0

    def fsync(self, path: Path) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError(5, "Input/output error")
        super().fsync(path)


@pytest.mark.parametrize("follows", [True, False], ids=["followed", "read later"])
def test_rows_in_new_files_after_a_failed_flush_are_shown_once(
    tmp_path: Path, follows: bool
) -> None:
    disk = RefusingFlush()
    run = tmp_path / "runs" / "demo"
    writer = RunWriter(run, disk)
    writer.create_run()
    begin(writer, 0)
    history = History(run)
    for step in range(1, 7):
        train(writer, step)
        sample(writer, step)
        writer.event_row("told", step=step, message=f"event {step}")
        if step == 3:
            writer.sync(step)
        if follows:
            read_all(history)
    disk.failures = 1
    with pytest.raises(OSError, match="Input/output"):
        writer.sync(6)
    train(writer, 7)
    writer.event_row("told", step=7, message="event 7")
    read_all(history)
    reader = RunReader(run)
    assert len(reader.attempts()) == 2
    assert [row["message"] for row in history.events] == [f"event {n}" for n in range(1, 8)]
    assert history.events == list(reader.rows("events"))
    assert [step for step, _ in losses(history)] == list(range(1, 8))
    assert [(each.step, len(each.samples)) for each in history.samples] == [
        (step, 1) for step in range(1, 7)
    ]
    assert not history.follow()
