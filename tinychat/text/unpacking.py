"""From a file to a stream of UTF-8 bytes: gzip unpacked, UTF-16 decoded, the byte order mark gone.

What a file is, is told from its first bytes and never from its name. What holds no text is refused
here with its name. What the text means is the charge of `formats`.
"""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tinychat.errors import DataError
from tinychat.text.mojibake import Garbled

HEAD_BYTES = 64 * 1024  # how much of a text is looked at to tell what it is

_BLOCK_BYTES = 256 * 1024
_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_BYTE_ORDER_MARK = codecs.BOM_UTF8
_UTF_16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_MAGIC = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF-": "a PDF",
    b"PK\x03\x04": "a ZIP archive (as .docx and .xlsx are)",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"BZh91AY&SY": "packed with bzip2",
    b"\xfd7zXZ\0": "packed with xz",
    b"ARROW1": "an Arrow file",
    _PARQUET: "a parquet file inside gzip",
    _GZIP: "packed with gzip twice",
}


class Unpacked:
    """An open file as UTF-8 bytes. `raw_position` says how far into the file itself reading got."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self.name = name
        self._file = file
        head = file.read(4)
        file.seek(0)
        self.is_gzip = head.startswith(_GZIP)
        stream = _buffered(_Gunzipped(name, file)) if self.is_gzip else _buffered(file)
        mark = stream.peek(4)[:2]
        self.encoding = _UTF_16.get(mark, "utf-8")
        if mark in _UTF_16:
            stream = _buffered(_Utf16(name, stream, self.encoding))
        if stream.peek(HEAD_BYTES).startswith(_BYTE_ORDER_MARK):
            stream.read(len(_BYTE_ORDER_MARK))
            self.skipped = len(_BYTE_ORDER_MARK)
        else:
            self.skipped = 0
        self.stream: io.BufferedReader = stream

    @property
    def raw_position(self) -> int:
        return self._file.tell()

    def head(self) -> bytes:
        """The first 64 KB, which stay to be read. Raises DataError for what is no text."""
        head = self.stream.peek(HEAD_BYTES)[:HEAD_BYTES]
        for magic, what in _MAGIC.items():
            if head.startswith(magic):
                raise DataError(f"{self.name} is {what}, not text; convert or unpack it first.")
        if head[257:262] == b"ustar":
            raise DataError(f"{self.name} is a tar archive, not text; unpack it first.")
        if b"\0" in head:
            raise DataError(
                f"{self.name} is a binary file (a zero byte at offset {head.index(0)}), not UTF-8 "
                "text; leave it out or convert it."
            )
        return head

    def text(self, garbled: Garbled | None = None) -> "PlainText":
        """What is left as checked UTF-8 with plain line ends."""
        return PlainText(self.name, self.stream, self.skipped, garbled)


@contextmanager
def unpack(path: Path) -> Iterator[Unpacked]:
    """Open a file as UTF-8 text.

    Reading raises DataError, naming the file, where its packing is damaged.
    """
    with open(path, "rb", buffering=0) as file:
        yield Unpacked(str(path), file)


def is_parquet(path: Path) -> bool:
    """Whether a file begins as parquet does."""
    with open(path, "rb") as file:
        return file.read(len(_PARQUET)) == _PARQUET


class _Decoded(io.RawIOBase):
    """What becomes of another stream, block by block."""

    def __init__(self, name: str, stream: BinaryIO) -> None:
        self._name = name
        self._stream = stream
        self._line = 1  # where the next block begins
        self._ready = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        while not self._ready and not self._ended:
            self._ready = memoryview(self._next())
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _next(self) -> bytes:
        """The next block, which may be empty; sets `_ended` with the last one."""
        raise NotImplementedError


class PlainText(_Decoded):
    """Text with each line end as one newline, its UTF-8 checked on the way.

    Raises DataError at the first byte that is not UTF-8, naming file, line and byte offset.
    """

    def __init__(
        self, name: str, stream: BinaryIO, offset: int = 0, garbled: Garbled | None = None
    ) -> None:
        super().__init__(name, stream)
        self._offset = offset  # of `_part` in the file
        self._part = b""  # of a character or a line end that goes on
        self._garbled = garbled

    def _next(self) -> bytes:
        read = self._stream.read(_BLOCK_BYTES)
        self._ended = not read
        block = self._part + read
        self._part = b""
        if not self._ended:
            whole = _whole_characters(block)
            block, self._part = block[:whole], block[whole:]
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError as error:
            line = self._line + block.count(b"\n", 0, error.start)
            raise DataError(
                f"{self._name}, line {line}: byte {self._offset + error.start} is not UTF-8 "
                f"({error.reason}); save the file as UTF-8."
            ) from None
        if self._garbled is not None:
            self._garbled.look(text, self._line)
        self._offset += len(block)
        self._line += block.count(b"\n")
        return block.replace(b"\r\n", b"\n")


def _whole_characters(block: bytes) -> int:
    """How much of a block can be taken before the next one is known."""
    if block.endswith(b"\r"):
        return len(block) - 1
    for back in range(1, min(4, len(block)) + 1):
        byte = block[-back]
        if byte >= 0xC0:  # begins a character of several bytes
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(block) - back if size > back else len(block)
        if byte < 0x80:
            break
    return len(block)


def _buffered(raw: Any) -> io.BufferedReader:
    return io.BufferedReader(raw, HEAD_BYTES)


class _Gunzipped(io.RawIOBase):
    """What a gzip file holds. Raises DataError where it is damaged or cut off."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self._name = name
        self._gzip = gzip.GzipFile(fileobj=file)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        try:
            data = self._gzip.read(len(buffer))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"{self._name} is a damaged or cut off gzip file ({error}); get it once more."
            ) from None
        buffer[: len(data)] = data
        return len(data)


class _Utf16(_Decoded):
    """UTF-16 with its mark as UTF-8. Raises DataError where it is broken."""

    def __init__(self, name: str, stream: BinaryIO, encoding: str) -> None:
        super().__init__(name, stream)
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._offset = len(stream.read(2))

    def _next(self) -> bytes:
        block = self._stream.read(_BLOCK_BYTES)
        self._ended = not block
        held = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(block, final=self._ended)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(self._encoding, "replace")
            line = self._line + before.count("\n")
            raise DataError(
                f"{self._name}, line {line}: byte {self._offset - held + error.start} is not "
                f"UTF-16 ({error.reason}); save the file as UTF-8."
            ) from None
        self._offset += len(block)
        self._line += text.count("\n")
        return text.encode("utf-8")
