"""Every disk that a power cut may leave, and the model of a disk that tells which those are."""

from pathlib import Path

import pytest

from tinychat.chaos.disks import JournalDisk
from tinychat.chaos.medium import Tree, replay
from tinychat.chaos.power import power
from tinychat.runs import LineLog, replace_file


@pytest.mark.slow
def test_no_power_cut_costs_what_was_acknowledged(tmp_path: Path) -> None:
    outcome = power(tmp_path, print)
    assert outcome.passed, outcome
    figures = outcome.figures
    assert figures["disk_states"] == outcome.tried > 1000
    assert figures["mutants"] == figures["mutants_caught"] + figures["harmless"]
    assert figures["mutants_caught"] > 40


def states(disk: JournalDisk, root: Path) -> set[Tree]:
    return set(replay(disk.log, root).top.possible())


def test_what_a_replaced_file_may_be(tmp_path: Path) -> None:
    disk, path = JournalDisk(), tmp_path / "a"
    replace_file(disk, path, b"old!")
    assert states(disk, tmp_path) == {(("a", b"old!"),)}
    replace_file(disk, path, b"new!", sync=False)
    found = states(disk, tmp_path)
    aside = disk.log[-1][1].name
    contents = (b"new!", b"", bytes(4), b"ne")
    assert found == {
        (("a", b"old!"),),
        *((("a", content),) for content in contents),
        *(((aside, content), ("a", b"old!")) for content in contents),
    }


@pytest.mark.parametrize("synced", [True, False])
def test_what_a_log_may_hold(tmp_path: Path, synced: bool) -> None:
    disk = JournalDisk()
    log = LineLog(tmp_path / "log", disk)
    disk.fsync_folder(tmp_path)
    log.append(b"one")
    log.sync()
    log.append(b"two")
    if synced:
        log.sync()
    log.close()
    ends = [b"two\n"] if synced else [b"two\n", b"", bytes(4), b"tw"]
    assert states(disk, tmp_path) == {(("log", b"one\n" + end),) for end in ends}
