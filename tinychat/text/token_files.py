"""Token files: a corpus as ids, written once as a stream and read at any place.

`train.bin` holds the ids (little-endian, 2 bytes each, 4 for vocabularies above 65,536),
`train.idx` where each document begins and, last, how many tokens there are (8 bytes each), and
`train.mask` a bit for each token that is to be learnt. Only conversations have a mask; in text all
tokens but bos are to be learnt. Files are read with pread, not mapped: one that has shrunk is an
error in a sentence then, not the end of the process.
"""

import hashlib
import os
import sys
import weakref
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tinychat.errors import DataError
from tinychat.runs import Disk
from tinychat.text.chat import ChatFormat

_FLUSH_BYTES = 1024 * 1024
_BLOCK_BYTES = 1024 * 1024
_OFFSET_BYTES = 8
_NARROW_IDS = 65_536  # vocabularies up to this size take 2 bytes a token
_TO_DIGITS = bytes.maketrans(b"\x00\x01", b"01")
_TO_FLAGS = bytes.maketrans(b"01", b"\x00\x01")


@dataclass(frozen=True)
class FileCheck:
    """What a finished file must be."""

    size: int
    blake2b: str


@dataclass(frozen=True)
class WriterState:
    """How far a writer has come: what it takes to go on writing its files in another process."""

    n_tokens: int
    n_documents: int
    n_targets: int
    files: dict[str, FileCheck]  # by name
    flags: tuple[int, ...]  # of the mask, that do not fill a byte yet


class TokenWriter:
    """Writes one side of a corpus. The files are durable once `finish` has returned.

    With `state` it goes on with files that another writer began; what that one wrote later is cut
    off. Raises DataError if the files are not what they were then.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        vocab_size: int,
        chat_format: ChatFormat,
        masked: bool,
        disk: Disk,
        state: WriterState | None = None,
    ) -> None:
        self.n_tokens = state.n_tokens if state else 0
        self.n_documents = state.n_documents if state else 0
        self.n_targets = state.n_targets if state else 0
        self._bos = chat_format.bos
        self._typecode = "H" if vocab_size <= _NARROW_IDS else "I"
        self._flags = bytearray(state.flags if state else ())  # fewer than 8, to fill a byte

        def stream(kind: str) -> _Stream:
            path = folder / f"{name}.{kind}"
            return _Stream(path, disk, state.files.get(path.name) if state else None)

        self._ids = stream("bin")
        self._index = stream("idx")
        self._mask = stream("mask") if masked else None

    def begin_document(self) -> None:
        """The next token is the first of a document."""
        self._index.write(_little("Q", [self.n_tokens]))
        self.n_documents += 1

    def write(self, ids: Sequence[int], targets: Sequence[bool] | None = None) -> None:
        """Append tokens. `targets` is given if and only if the writer is masked."""
        self._ids.write(_little(self._typecode, ids))
        self.n_tokens += len(ids)
        if self._mask is None:
            self.n_targets += len(ids) - (0 if self._bos is None else ids.count(self._bos))
            return
        if targets is None or len(targets) != len(ids):
            raise ValueError("a masked writer needs a target flag for each token")
        self.n_targets += sum(targets)
        self._flags += bytes(targets)
        whole = len(self._flags) // 8 * 8
        self._mask.write(_pack(self._flags[:whole]))
        del self._flags[:whole]

    def save(self) -> WriterState:
        """Make all that was written durable; the state to go on from."""
        files = {stream.path.name: stream.save() for stream in self._streams}
        flags = tuple(self._flags)
        return WriterState(self.n_tokens, self.n_documents, self.n_targets, files, flags)

    def finish(self) -> dict[str, FileCheck]:
        """Close the files; their names with what they must be from now on."""
        self._index.write(_little("Q", [self.n_tokens]))
        if self._mask is not None:
            self._mask.write(_pack(self._flags))
        checks = {stream.path.name: stream.save() for stream in self._streams}
        self.close()
        return checks

    def close(self) -> None:
        """Let go of the files of a writer that will not be finished."""
        for stream in self._streams:
            stream.close()

    @property
    def _streams(self) -> "list[_Stream]":
        return [s for s in (self._ids, self._index, self._mask) if s is not None]


class TokenFile:
    """Reads `train.bin` and the files beside it. Can be used from several threads.

    `format` is that of the tokenizer whose ids these are. Raises DataError where the files do not
    fit each other or are shorter than they were.
    """

    def __init__(self, path: Path, chat_format: ChatFormat) -> None:
        self.path = path
        self.format = chat_format
        self._ids = _Reader(path)
        self._index = _Reader(path.with_suffix(".idx"))
        mask = path.with_suffix(".mask")
        self._mask = _Reader(mask) if mask.exists() else None
        if self._index.size < _OFFSET_BYTES or self._index.size % _OFFSET_BYTES:
            raise _damaged(self._index.path, f"it has {self._index.size} bytes")
        self.n_documents = self._index.size // _OFFSET_BYTES - 1
        self.n_tokens = self._offsets(self.n_documents, self.n_documents + 1)[0]
        self._width = 4 if self.n_tokens and self._ids.size == 4 * self.n_tokens else 2
        if self._ids.size != self._width * self.n_tokens:
            raise _damaged(path, f"{self.n_tokens:,} tokens cannot be {self._ids.size:,} bytes")
        if self._mask is not None and self._mask.size != (self.n_tokens + 7) // 8:
            raise _damaged(mask, f"{self.n_tokens:,} bits cannot be {self._mask.size:,} bytes")

    def bounds(self, document: int) -> tuple[int, int]:
        """Where a document's tokens begin and where they end."""
        if not 0 <= document < self.n_documents:
            raise ValueError(f"there is no document {document} among {self.n_documents}")
        start, stop = self._offsets(document, document + 2)
        return start, stop

    def offsets(self) -> "array[int]":
        """Where each document begins, and last the number of tokens: `n_documents + 1` numbers."""
        return self._offsets(0, self.n_documents + 1)

    def read(self, start: int, stop: int) -> "array[int]":
        """The ids from `start` up to `stop`; typecode "H" (2 bytes) or "I" (4 bytes)."""
        self._check(start, stop)
        data = self._ids.read(start * self._width, (stop - start) * self._width)
        return _from_little("H" if self._width == 2 else "I", data)

    def targets(self, start: int, stop: int) -> bytes:
        """A 1 for each token from `start` up to `stop` that is to be learnt, else a 0."""
        self._check(start, stop)
        if self._mask is None:
            return _all_but(self.format.bos, self.read(start, stop))
        first = start // 8
        data = self._mask.read(first, (stop + 7) // 8 - first)
        return _unpack(data)[start - 8 * first : stop - 8 * first]

    def close(self) -> None:
        """Let go of the files. They are let go of anyway when the object is."""
        for reader in (self._ids, self._index, self._mask):
            if reader is not None:
                reader.close()

    def _offsets(self, start: int, stop: int) -> "array[int]":
        size = (stop - start) * _OFFSET_BYTES
        return _from_little("Q", self._index.read(start * _OFFSET_BYTES, size))

    def _check(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.n_tokens:
            raise ValueError(f"tokens {start} to {stop} are not among {self.n_tokens}")


def check_file(path: Path, expected: FileCheck) -> None:
    """Read a whole file and compare. Raises DataError if one bit is not as it was written."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size != expected.size:
                raise _damaged(path, f"it should have {expected.size:,} bytes")
            digest = _digest(file, expected.size)
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    if digest.hexdigest() != expected.blake2b:
        raise _damaged(path, "its content is not what was written")


def _digest(file: BinaryIO, size: int) -> "hashlib.blake2b":
    """Of the first `size` bytes of a file."""
    digest = hashlib.blake2b(digest_size=16)
    while size and (block := file.read(min(size, _BLOCK_BYTES))):
        digest.update(block)
        size -= len(block)
    return digest


class _Stream:
    """A file that is written in large blocks, with its digest. What was `there` before is kept."""

    def __init__(self, path: Path, disk: Disk, there: FileCheck | None) -> None:
        self.path = path
        self._disk = disk
        self._held = bytearray()
        self._size = there.size if there else 0
        self._digest = hashlib.blake2b(digest_size=16)
        self._fd: int | None = disk.open_append(path)
        try:
            if there:
                with open(path, "rb") as file:
                    self._digest = _digest(file, there.size)
                if self._digest.hexdigest() != there.blake2b:
                    raise _damaged(path, "its content is not what was written")
            os.ftruncate(self._fd, self._size)
        except BaseException:
            self.close()
            raise

    def write(self, data: bytes) -> None:
        self._held += data
        if len(self._held) >= _FLUSH_BYTES:
            self._flush()

    def save(self) -> FileCheck:
        """Make durable what was written."""
        self._flush()
        self._disk.fsync(self.path)
        return FileCheck(self._size, self._digest.hexdigest())

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _flush(self) -> None:
        assert self._fd is not None  # not closed yet
        self._digest.update(self._held)
        self._size += len(self._held)
        data = bytes(self._held)
        self._held.clear()
        while data:
            data = data[self._disk.append(self._fd, data) :]


class _Reader:
    """Reads exactly what is asked for at a place of a file that was opened once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise _damaged(path, error.strerror or str(error)) from error
        self._fd = fd
        self.close = weakref.finalize(self, os.close, fd)
        self.size = os.fstat(fd).st_size

    def read(self, offset: int, size: int) -> bytes:
        data = os.pread(self._fd, size, offset)
        while len(data) < size:  # a signal may cut a read short
            more = os.pread(self._fd, size - len(data), offset + len(data))
            if not more:
                raise _damaged(self.path, f"it ends before byte {offset + size:,}")
            data += more
        return data


def _little(typecode: str, numbers: Sequence[int]) -> bytes:
    packed = array(typecode, numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _from_little(typecode: str, data: bytes) -> "array[int]":
    numbers = array(typecode)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _pack(flags: bytes | bytearray) -> bytes:
    """Eight 0/1 bytes to a byte, the first to its lowest bit."""
    if not flags:
        return b""
    number = int(flags.translate(_TO_DIGITS)[::-1], 2)
    return number.to_bytes((len(flags) + 7) // 8, "little")


def _unpack(data: bytes) -> bytes:
    """The inverse of `_pack`, for whole bytes."""
    if not data:
        return b""
    digits = format(int.from_bytes(data, "little"), f"0{8 * len(data)}b")
    return digits[::-1].encode().translate(_TO_FLAGS)


def _all_but(bos: int | None, ids: "array[int]") -> bytes:
    flags = bytearray(b"\x01" * len(ids))
    if bos is not None:
        place = -1
        for _ in range(ids.count(bos)):
            place = ids.index(bos, place + 1)
            flags[place] = 0
    return bytes(flags)


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"The token file {path} cannot be used: {reason}; prepare the corpus again.")
