"""docs/run-directory.md names everything that is really written."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

from tinychat.runs import (
    COMMANDS,
    FORMAT,
    STATES,
    AttemptRecord,
    EvalRow,
    EventRow,
    RunLock,
    RunRecord,
    RunWriter,
    SampleRow,
    Status,
    TrainRow,
    send_command,
)
from tinychat.runs.control import Command

PAGE = (Path(__file__).parents[2] / "docs" / "run-directory.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S))


def named(section: str) -> set[str]:
    """The words that stand in code quotes in a section."""
    return set(re.findall(r"`([^`]+)`", SECTIONS[section]))


def test_every_key_of_every_record_is_named() -> None:
    for section, record in (
        ("run.json", RunRecord),
        ("status.json", Status),
        ("attempts/0001/", AttemptRecord),
        ("control/", Command),
    ):
        keys = {field.name for field in dataclasses.fields(record)}
        assert not keys - named(section), section


def test_no_key_is_named_that_a_record_lacks() -> None:
    for section, record in (("run.json", RunRecord), ("status.json", Status)):
        keys = {field.name for field in dataclasses.fields(record)}
        table = re.findall(r"^\| (`[^|]*) \|", SECTIONS[section], flags=re.M)
        assert set(re.findall(r"`([^`]+)`", " ".join(table))) == keys, section


def test_every_key_of_every_row_is_named() -> None:
    for row in (TrainRow, EvalRow, SampleRow, EventRow):
        assert not row.__annotations__.keys() - named("attempts/0001/"), row.__name__


def test_states_commands_and_arguments_are_named() -> None:
    assert ", ".join(STATES) in PAGE
    assert COMMANDS.keys() <= named("control/")
    for arguments in COMMANDS.values():
        assert arguments.keys() <= named("control/")
    assert f"at present {FORMAT}." in PAGE


def test_every_file_that_is_written_is_named(
    run: Path,
    writer: RunWriter,
    begin: Callable[[int], int],
    publish: Callable[..., Path],
    make_status: Callable[..., Status],
) -> None:
    begin(0)
    publish(300)
    writer.status(make_status())
    with RunLock(run):
        pass
    send_command(run, "pause", by="test")
    for path in (path for path in run.rglob("*") if path.is_file()):
        name = path.name
        if path.parent.name == "control":
            name = "<time_ns>-<uuid>.json"
            assert re.fullmatch(r"\d+-[0-9a-f]{32}\.json", path.name)
        assert f"`{name}`" in PAGE, path
