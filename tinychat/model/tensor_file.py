"""A safetensors file, checked before anything in it is believed.

The format is a length, a JSON header that says where each tensor lies, and the tensors' bytes.
Parsers of it have been made to spend minutes and gigabytes on a few megabytes of header, so ours
comes first: the header must name exactly the tensors that the settings ask for, and they must fill
the file without gap or overlap. Only then is memory taken for them.
"""

import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tinychat.errors import CheckpointError
from tinychat.runs.records import parse

HEADER_BYTES = 1024 * 1024
"""Longest header that is read; 500 layers need about 700,000 bytes."""

DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
FLOATS = ("F32", "F16", "BF16")

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Entry:
    """What a header says of one tensor; its bytes lie at start to stop behind the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def check_header(
    data: bytes | memoryview,
    expected: Shapes,
    ignored: Shapes | None = None,
    dtypes: tuple[str, ...] = ("F32",),
    where: str = "model.safetensors",
) -> None:
    """Raises CheckpointError unless `data` holds exactly the expected tensors, in these dtypes.

    `ignored` tensors may be there too, in any dtype. Takes time and memory for the header only.
    """
    length = _header_length(bytes(data[:8]), len(data), where)
    entries = parse_header(bytes(data[8 : 8 + length]), len(data) - 8 - length, where)
    check_entries(entries, expected, ignored, dtypes, where)


def parse_header(header: bytes, size: int, where: str) -> dict[str, Entry]:
    """The tensors that a header lists, which fill the `size` bytes behind it without a gap.

    Raises CheckpointError for a header that another reader might understand differently.
    """
    if header[:1] != b"{" or b"\0" in header:  # a NUL would be another encoding of text
        raise CheckpointError(f"{where} is not a safetensors file: its header is no JSON object")
    try:
        listed = parse(header)
    except ValueError as error:
        raise CheckpointError(f"{where} is not a safetensors file: {str(error)[:200]}") from None
    if not _is_metadata(listed.pop("__metadata__", {})):
        raise CheckpointError(f"{where} is damaged: its __metadata__ is not a list of texts")
    entries = {name: _entry(name, about, where) for name, about in listed.items()}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != end:
            raise CheckpointError(
                f"{where} is damaged: {show(name)} begins at byte {show(entry.start)}, not at {end}"
            )
        end = entry.stop
    if end != size:
        raise CheckpointError(
            f"{where} is damaged: its tensors end at byte {show(end)}, the file at {size}"
        )
    return entries


def check_entries(
    entries: Mapping[str, Entry],
    expected: Shapes,
    ignored: Shapes | None = None,
    dtypes: tuple[str, ...] = FLOATS,
    where: str = "model.safetensors",
) -> None:
    """Raises CheckpointError unless these are exactly the expected tensors (and some ignored)."""
    ignored = ignored or {}
    for name in expected:
        if name not in entries:
            raise CheckpointError(f"{where} lacks {show(name)}")
    for name, entry in entries.items():
        shape = expected.get(name, ignored.get(name))
        if shape is None:
            raise CheckpointError(f"{where} holds {show(name)}, which has no place in this model")
        if entry.shape != shape:
            raise CheckpointError(
                f"{where}: {show(name)} is {show(entry.shape)}, but the settings ask for {shape}"
            )
        if name in expected and entry.dtype not in dtypes:
            raise CheckpointError(
                f"{where}: {show(name)} is stored as {entry.dtype}, not as {' or '.join(dtypes)}"
            )


@dataclass(frozen=True)
class TensorFile:
    """An open file whose header fills it exactly; nothing else is checked or read yet."""

    path: Path
    entries: Mapping[str, Entry]
    stream: BufferedReader
    start: int  # where the tensors begin

    def read(self, name: str) -> Tensor:
        """One tensor in fp32, read into memory of its own: a map would die with the file."""
        entry = self.entries[name]
        data = bytearray(entry.stop - entry.start)
        try:
            self.stream.seek(self.start + entry.start)
            complete = self.stream.readinto(data) == len(data)
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read: {error.strerror}") from None
        if not complete:
            raise CheckpointError(f"{self.path} was cut short while it was read")
        return torch.frombuffer(data, dtype=DTYPES[entry.dtype]).reshape(entry.shape).float()


@contextmanager
def open_tensor_file(path: Path) -> Iterator[TensorFile]:
    """A safetensors file with its header parsed; CheckpointError if it is no such file."""
    try:
        if not path.is_file():  # a pipe would wait for ever
            raise CheckpointError(f"{path} is not a file")
        stream = path.open("rb")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    with stream:
        try:
            size = stream.seek(0, 2)
            stream.seek(0)
            length = _header_length(stream.read(8), size, str(path))
            header = stream.read(length)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
        yield TensorFile(
            path, parse_header(header, size - 8 - length, str(path)), stream, 8 + length
        )


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 80

    def repr_int(self, x: int, level: int) -> str:
        # the inherited one fails where Python refuses to write so many digits
        return "a number of more than 20 digits" if abs(x) >= 10**20 else str(x)


def show(value: object) -> str:
    """Something from a file as it may stand in a sentence: short, with nothing a screen obeys."""
    return _Short().repr(value)


def _header_length(start: bytes, size: int, where: str) -> int:
    length = int.from_bytes(start, "little")
    if size < 8 or length > size - 8:
        raise CheckpointError(f"{where} is cut short or is not a safetensors file")
    if length > HEADER_BYTES:
        raise CheckpointError(
            f"{where} has a header of {length} bytes; more than {HEADER_BYTES} are not read"
        )
    return length


def _is_metadata(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _entry(name: str, about: Any, where: str) -> Entry:
    """One tensor of the header, each value of the right type and in agreement with the others."""
    if not isinstance(about, dict) or set(about) != {"dtype", "shape", "data_offsets"}:
        raise _wrong(name, where)
    dtype, shape, offsets = about["dtype"], about["shape"], about["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise CheckpointError(
            f"{where}: {show(name)} is stored as {show(dtype)}, which tinychat does not read"
        )
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2 or len(shape) > 8:
        raise _wrong(name, where)
    if offsets[1] - offsets[0] != prod(shape) * DTYPES[dtype].itemsize:
        raise _wrong(name, where)
    return Entry(dtype, tuple(shape), *offsets)


def _wrong(name: str, where: str) -> CheckpointError:
    return CheckpointError(f"{where} is damaged: its header contradicts itself on {show(name)}")


def _are_sizes(values: Any) -> bool:
    """Whether this is a list of numbers that can count bytes."""
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 2**62 for v in values)
