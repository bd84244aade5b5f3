import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinychat.errors import DataError
from tinychat.runs import Disk
from tinychat.text import TokenFile, tinychat_format
from tinychat.text.token_files import TokenWriter, check_file

Documents = list[tuple[list[int], list[bool]]]


def write(
    folder: Path, documents: Documents, *, vocab_size: int = 1000, masked: bool = True
) -> TokenFile:
    folder.mkdir(parents=True, exist_ok=True)
    writer = TokenWriter(
        folder,
        "train",
        vocab_size=vocab_size,
        chat_format=tinychat_format(),
        masked=masked,
        disk=Disk(),
    )
    for ids, targets in documents:
        writer.begin_document()
        writer.write(ids, targets if masked else None)
    checks = writer.finish()
    for name, check in checks.items():
        check_file(folder / name, check)
    return TokenFile(folder / "train.bin", tinychat_format())


@settings(max_examples=100, deadline=None)
@given(
    documents=st.lists(st.lists(st.tuples(st.integers(0, 65_535), st.booleans()), max_size=40)),
    data=st.data(),
)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[list[tuple[int, bool]]],
    data: st.DataObject,
) -> None:
    split = [([i for i, _ in d], [t for _, t in d]) for d in documents]
    file = write(tmp_path_factory.mktemp("x"), split, vocab_size=65_536)
    ids = [i for d in documents for i, _ in d]
    targets = [t for d in documents for _, t in d]
    assert (file.n_documents, file.n_tokens) == (len(split), len(ids))
    assert [file.read(*file.bounds(i)).tolist() for i in range(len(split))] == [d for d, _ in split]
    assert file.offsets().tolist() == [*(file.bounds(i)[0] for i in range(len(split))), len(ids)]
    start = data.draw(st.integers(0, len(ids)))
    stop = data.draw(st.integers(start, len(ids)))
    assert file.read(start, stop).tolist() == ids[start:stop]
    assert file.targets(start, stop) == bytes(targets[start:stop])


@pytest.mark.parametrize(("vocab_size", "width"), [(65_536, 2), (65_537, 4)])
def test_large_vocabularies_take_four_bytes(tmp_path: Path, vocab_size: int, width: int) -> None:
    ids = [0, 6, vocab_size - 1]
    file = write(tmp_path, [(ids, [])], vocab_size=vocab_size, masked=False)
    assert file.read(0, 3).itemsize == width
    assert file.read(0, 3).tolist() == ids
    expected = b"".join(i.to_bytes(width, "little") for i in ids)
    assert (tmp_path / "train.bin").read_bytes() == expected


def test_in_text_all_but_bos_is_learnt(tmp_path: Path) -> None:
    file = write(tmp_path, [([0, 7, 8, 4], []), ([0, 9, 4], [])], masked=False)
    assert list(file.targets(0, 7)) == [0, 1, 1, 1, 0, 1, 1]
    assert list(file.targets(3, 6)) == [1, 0, 1]


def test_an_empty_file_can_be_read(tmp_path: Path) -> None:
    file = write(tmp_path, [])
    assert (file.n_documents, file.n_tokens) == (0, 0)
    assert file.read(0, 0).tolist() == []
    assert file.targets(0, 0) == b""


def test_places_outside_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, [([1, 2, 3], [True] * 3)])
    for start, stop in ((-1, 2), (2, 1), (0, 4)):
        with pytest.raises(ValueError, match="tokens"):
            file.read(start, stop)
    for document in (-1, 1):
        with pytest.raises(ValueError, match="document"):
            file.bounds(document)


@pytest.mark.parametrize("name", ["train.bin", "train.idx", "train.mask"])
def test_a_file_that_shrinks_while_open_is_an_error_not_a_crash(tmp_path: Path, name: str) -> None:
    file = write(tmp_path, [([1] * 10_000, [True] * 10_000)] * 10)
    os.truncate(tmp_path / name, 3)
    reads = {
        "train.bin": lambda: file.read(90_000, 100_000),
        "train.idx": lambda: file.bounds(9),
        "train.mask": lambda: file.targets(90_000, 100_000),
    }
    with pytest.raises(DataError, match=name):
        reads[name]()


@pytest.mark.parametrize("name", ["train.bin", "train.idx", "train.mask"])
@pytest.mark.parametrize("change", ["shorter", "longer", "empty", "missing"])
def test_files_that_do_not_fit_are_refused(tmp_path: Path, name: str, change: str) -> None:
    write(tmp_path, [([1] * 100, [True] * 100)] * 3).close()
    path = tmp_path / name
    data = path.read_bytes()
    path.write_bytes({"shorter": data[:-1], "longer": data + b"x"}.get(change, b""))
    if change == "missing":
        path.unlink()
        if name == "train.mask":
            TokenFile(tmp_path / "train.bin", tinychat_format())  # its manifest tells, see prepare
            return
    with pytest.raises(DataError, match=name.replace("idx", r"(idx|bin)")):
        TokenFile(tmp_path / "train.bin", tinychat_format())


def test_each_flipped_bit_is_found(tmp_path: Path) -> None:
    writer = TokenWriter(
        tmp_path, "train", vocab_size=500, chat_format=tinychat_format(), masked=True, disk=Disk()
    )
    writer.begin_document()
    writer.write([7, 8, 9] * 200, [True, False, True] * 200)
    chance = random.Random(5)
    for name, check in writer.finish().items():
        path = tmp_path / name
        good = path.read_bytes()
        for _ in range(30):
            bit = chance.randrange(8 * len(good))
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            path.write_bytes(bad)
            with pytest.raises(DataError, match="content"):
                check_file(path, check)


def test_many_threads_may_read(tmp_path: Path) -> None:
    ids = [random.Random(6).randrange(60_000) for _ in range(20_000)]
    file = write(tmp_path, [(ids, [True] * len(ids))], vocab_size=60_000)
    with ThreadPoolExecutor(8) as pool:
        parts = pool.map(lambda i: file.read(i, i + 100).tolist(), range(0, 19_900, 7))
    assert all(part == ids[i : i + 100] for i, part in zip(range(0, 19_900, 7), parts, strict=True))


class ShortWrites(Disk):
    """A disk that takes only a few bytes of each write."""

    def append(self, fd: int, data: bytes) -> int:
        return super().append(fd, data[: max(1, len(data) // 2)])


def test_short_writes_lose_nothing(tmp_path: Path) -> None:
    writer = TokenWriter(
        tmp_path,
        "train",
        vocab_size=500,
        chat_format=tinychat_format(),
        masked=False,
        disk=ShortWrites(),
    )
    writer.begin_document()
    writer.write([7] * 1000)
    writer.finish()
    assert TokenFile(tmp_path / "train.bin", tinychat_format()).read(0, 1000).tolist() == [7] * 1000
