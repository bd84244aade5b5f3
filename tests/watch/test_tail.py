"""Following a file that grows: torn lines, NULs, another file in its place."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinychat.watch.tail import MAX_LINE_BYTES, FileReplacedError, LogTail, parse_lines

# lines as a log may hold them after every kind of accident
LINES = st.sampled_from(
    [
        b'{"step": 1, "text": "\xe2\x80\xa2 \xf0\x9f\x99\x82"}',
        b'{"step": 2, "train_loss": null, "nonfinite": ["train_loss"]}',
        b'{"step": 3, "train_loss": NaN}',
        b'{"step": 99999999999999999999999999999999}',
        b'{"text": "\\ud800 half a pair"}',
        b"",
        b"\0\0\0\0",
        b'\0\0{"step": 4}',
        b'{"step": 5, "tra',
        b"[1, 2]",
        b'"a text"',
        b'{"step": 6},{"step": 7}',
        b"\xff\xfe not UTF-8",
        b"[" * 5000,
        b'{"step": 8}\r',
    ]
)


def read_all(tail: LogTail, limit: int = 1 << 20) -> list[dict[str, object]]:
    rows = []
    while tail.look() or tail.offset < tail.size:
        lines = tail.read(limit)
        rows += parse_lines(lines)[0] if lines else []
    return rows


@settings(deadline=None, max_examples=150)
@given(st.lists(LINES, max_size=12), st.lists(st.integers(1, 400), max_size=12), st.data())
def test_any_split_into_writes_and_reads_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[bytes],
    cuts: list[int],
    data: st.DataObject,
) -> None:
    content = b"".join(line + b"\n" for line in lines)
    whole, skipped = parse_lines(content[:-1]) if content else ([], 0)
    path = tmp_path_factory.mktemp("logs") / "log.jsonl"
    tail = LogTail(path)
    rows, passed_over, position = [], 0, 0
    for size in [*cuts, len(content)]:
        with path.open("ab") as file:
            file.write(content[position : position + size])
        position += size
        limit = data.draw(st.integers(1, 500))
        while tail.look():
            found = tail.read(limit)
            if found:
                more, count = parse_lines(found)
                rows, passed_over = rows + more, passed_over + count
    assert repr(rows) == repr(whole)
    assert passed_over == skipped


def test_what_is_no_row_is_passed_over_and_counted() -> None:
    lines = [b'{"a": 1}', b"", b"\0\0", b'{"a": ', b"[1]", b'\0{"a": 2}', b'{"a": 3}, {"a": 4}']
    assert parse_lines(b"\n".join(lines)) == ([{"a": 1}, {"a": 2}], 4)


def test_two_torn_lines_never_become_a_row() -> None:
    assert parse_lines(b'{"a": 1\n"b": 2}') == ([], 2)
    assert parse_lines(b'{"a": "x\ny"}') == ([], 2)


def test_a_torn_line_waits_for_its_rest(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n{"st')
    tail = LogTail(path)
    assert read_all(tail) == [{"step": 1}]
    assert not tail.look()
    with path.open("ab") as file:
        file.write(b'ep": 2}\n{"step": 3}')
    assert read_all(tail) == [{"step": 2}]
    assert tail.finish() == b'{"step": 3}'


@pytest.mark.parametrize("accident", ["replaced", "shrunk", "written anew"])
def test_another_file_in_its_place_is_noticed(tmp_path: Path, accident: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n')
    tail = LogTail(path)
    assert len(read_all(tail)) == 2
    other = tmp_path / "other"
    if accident == "replaced":
        other.write_bytes(b'{"step": 8}\n{"step": 9}\n')
        other.replace(path)
    elif accident == "shrunk":
        path.write_bytes(b'{"step": 1}\n')
    else:
        path.write_bytes(b'{"step": 7}\n{"step": 8}\n{"step": 9}\n')
    assert tail.look()
    with pytest.raises(FileReplacedError):
        tail.read()


def test_a_copy_that_goes_on_is_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n')
    tail = LogTail(path)
    assert read_all(tail) == [{"step": 1}]
    copy = tmp_path / "copy"
    copy.write_bytes(b'{"step": 1}\n{"step": 2}\n')
    copy.replace(path)
    assert read_all(tail) == [{"step": 2}]


def test_a_file_may_be_late_and_go_away(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    tail = LogTail(path)
    assert not tail.look()
    assert tail.problem == ""
    path.write_bytes(b'{"step": 1}\n')
    assert read_all(tail) == [{"step": 1}]
    away = path.rename(tmp_path / "away")
    assert not tail.look()
    assert "not there" in tail.problem
    away.rename(path)
    assert not tail.look()  # nothing new in it
    assert tail.problem == ""


def test_a_pipe_or_a_folder_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        tail = LogTail(tmp_path / name)
        assert not tail.look()
        assert "is not a file" in tail.problem


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with path.open("wb") as file:
        file.write(b'{"step": 1}\n')
        file.seek(MAX_LINE_BYTES + 5_000_000)  # a hole: NULs without a newline
        file.write(b'\n{"step": 2}\n')
    tail = LogTail(path)
    assert read_all(tail) == [{"step": 1}, {"step": 2}]
    assert tail.skipped == 1


def test_a_long_row_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    row = {"text": "x" * 5_000_000}
    path.write_text(json.dumps(row) + "\n")
    assert read_all(LogTail(path)) == [row]
