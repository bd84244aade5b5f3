"""Lines that prove those before them."""

import errno
import json
from pathlib import Path

import pytest

from tinychat.errors import FormatError
from tinychat.runs import Disk, RunWriter, chained, read_chain
from tinychat.runs.records import encode_row


def lines(count: int) -> list[bytes]:
    before, found = "", []
    for number in range(count):
        row = chained({"format": 1, "number": number, "text": "Grüße\u2028 \x85"}, before)
        before = row["digest"]
        found.append(encode_row(row))
    return found


def numbers(*parts: bytes) -> list[int]:
    data = b"".join(part + b"\n" for part in parts)
    return [row["number"] for row in read_chain(data, "file")]


def test_what_was_written_is_read() -> None:
    whole = lines(4)
    assert numbers(*whole) == [0, 1, 2, 3]
    assert [row["number"] for row in read_chain(b"\n".join(whole), "file")] == [0, 1, 2, 3]


def test_a_torn_line_is_passed_over_and_one_that_stands_twice_counts_once() -> None:
    first, second, third = lines(3)
    assert numbers(first, second[:20], second, third[:-1]) == [0, 1]
    assert numbers(first, second, second, second[:9], third) == [0, 1, 2]


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found[1:],
        lambda found: [found[0], *found[2:]],
        lambda found: [found[1], found[0], found[2]],
        lambda found: [found[0].replace(b"0", b"7", 1), *found[1:]],
        lambda found: [found[0], found[1].replace(b"Gr", b"gr"), found[2]],
        lambda found: [*found[:2], found[0]],
        lambda found: [],
    ],
)
def test_what_was_changed_taken_out_or_put_in_is_found(change: object) -> None:
    with pytest.raises(ValueError, match=r"not what was written|empty"):
        numbers(*change(lines(3)))  # type: ignore[operator]


def test_a_line_of_a_newer_tinychat_is_told() -> None:
    with pytest.raises(FormatError, match="newer tinychat"):
        numbers(encode_row(chained({"format": 2}, "")))


class Doubtful(Disk):
    """The first flush fails, and nobody knows what is on the medium."""

    def __init__(self) -> None:
        self.refused = False

    def fsync(self, path: Path) -> None:
        if not self.refused:
            self.refused = True
            raise OSError(errno.EIO, "Input/output error")
        super().fsync(path)


def test_a_line_that_is_not_known_to_be_safe_is_written_again(tmp_path: Path) -> None:
    first, second = lines(2)
    path = tmp_path / "run" / "examples.jsonl"
    path.parent.mkdir()
    path.write_bytes(first + b"\n")
    writer = RunWriter(path.parent, Doubtful())

    def twice(action: object) -> object:
        try:
            return action()  # type: ignore[operator]
        except OSError:
            return action()  # type: ignore[operator]

    writer.patiently = twice  # type: ignore[assignment]
    writer.add_example(second)
    assert path.read_bytes().count(b"\n") == 3
    assert [json.loads(line)["number"] for line in path.read_bytes().splitlines()] == [0, 1, 1]
    assert [row["number"] for row in read_chain(path.read_bytes(), "file")] == [0, 1]
