import gzip
from pathlib import Path

import pytest

from tinychat.errors import DataError
from tinychat.text.unpacking import unpack

BLOCK = 256 * 1024  # what is decoded at once


def text_of(path: Path) -> bytes:
    with unpack(path) as file:
        text = file.text()
        return b"".join(iter(lambda: text.read(10_000), b""))


@pytest.mark.parametrize("shift", range(6))
@pytest.mark.parametrize("cross", ["\r\n", "\r", "é", "日", "😀"])
@pytest.mark.parametrize("packing", ["utf-8", "gzip", "utf-16"])
def test_nothing_is_lost_where_blocks_meet(
    tmp_path: Path, shift: int, cross: str, packing: str
) -> None:
    text = "x" * (BLOCK - shift) + cross + "y" * BLOCK + cross
    path = tmp_path / "a.txt"
    data = text.encode("utf-16" if packing == "utf-16" else "utf-8")
    path.write_bytes(gzip.compress(data, 1) if packing == "gzip" else data)
    assert text_of(path).decode() == text.replace("\r\n", "\n")


@pytest.mark.parametrize("shift", range(5))
@pytest.mark.parametrize("lead", ["", "\ufeff"])
def test_a_byte_that_is_not_utf8_is_found_where_blocks_meet(
    tmp_path: Path, shift: int, lead: str
) -> None:
    path = tmp_path / "a.txt"
    good = lead.encode() + b"a\r\n" + b"x" * (BLOCK - shift) + b"\r\n"
    path.write_bytes(good + b"\xe6\x97x")
    with pytest.raises(DataError, match=rf"a\.txt, line 3: byte {len(good)} is not UTF-8"):
        text_of(path)


@pytest.mark.parametrize("shift", range(4))
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_half_of_a_pair_in_utf16_is_found(tmp_path: Path, shift: int, encoding: str) -> None:
    path = tmp_path / "a.txt"
    good = "\ufeffa\n" + "x" * (BLOCK // 2 - shift) + "\n"
    data = good.encode(encoding)
    path.write_bytes(data + "\ud800x".encode(encoding, "surrogatepass"))
    with pytest.raises(DataError, match=rf"a\.txt, line 3: byte {len(data)} is not UTF-16"):
        text_of(path)


def test_the_place_in_the_file_itself_is_known(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"words " * 1_000_000))
    with unpack(path) as file:
        assert file.is_gzip
        while file.stream.read(BLOCK):
            assert 0 < file.raw_position <= path.stat().st_size
        assert file.raw_position == path.stat().st_size
