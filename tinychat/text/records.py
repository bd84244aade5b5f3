"""From a file to its records: JSON lines, a JSON array, JSON over several lines, tables, parquet.

Every reader gives (number, record) one after the other and holds no more than one in memory. A
record is what JSON made of it, or a `BadRecord`; its number is the line it begins in, of parquet
the row. What the fields of a record mean is the charge of `shapes`.
"""

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tinychat.errors import DataError
from tinychat.text.shapes import BadRecord, Layout, shown
from tinychat.text.unpacking import Unpacked, unpack

LARGEST_RECORD = 32 * 1024 * 1024  # bytes of one record

_BLOCK_BYTES = 256 * 1024
_LONGEST_WORD = 16  # of JSON, such as -Infinity or \\ud83d\\ude00
_ROWS = 256  # of parquet held at once
_LONGEST_HEADER = 1024 * 1024  # characters of a table's first line
_SPACE = " \t\r\n"
_DELIMITERS = ",;\t|"


def read_records(
    path: Path, layout: Layout, at: Callable[[int], None] | None = None
) -> Iterator[tuple[int, Any]]:
    """(number, record) of everything in a file.

    `at` is told how many of the file's bytes have been read, before each record. Raises DataError,
    naming file and line, where the file cannot be read on.
    """
    if layout == "parquet":
        yield from _parquet(path, at)
        return
    with unpack(path) as file:
        for found in _READERS[layout](file):
            if at:
                at(file.raw_position)
            yield found


# --- JSON -------------------------------------------------------------------------------------


class _Json:
    """Decodes JSON and notices what the standard decoder passes over."""

    def __init__(self) -> None:
        # All numbers as float: nobody reads them here, and a huge int would be refused.
        self._decoder = json.JSONDecoder(parse_int=float, object_pairs_hook=self._object)
        self._doubled: str | None = None

    def decode(self, text: str, start: int = 0) -> tuple[Any, int]:
        """The value that begins at `start`, and where it ends. Raises ValueError."""
        self._doubled = None
        try:
            value, end = self._decoder.raw_decode(text, start)
        except RecursionError:
            raise ValueError("too deeply nested") from None
        if self._doubled is not None:
            return BadRecord(f"the key `{shown(self._doubled)}` stands twice in one object"), end
        return value, end

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = {key.lower(): value for key, value in pairs}
        if len(made) != len(pairs):
            keys = [key.lower() for key, _ in pairs]
            self._doubled = next(key for key in keys if keys.count(key) > 1)
        return made


def parse_line(line: bytes, decoder: _Json | None = None) -> Any:
    """The JSON value of one line, the keys of objects in lower case, or a BadRecord."""
    decoder = decoder or _Json()
    if len(line) >= LARGEST_RECORD:
        return BadRecord(f"the line is longer than {LARGEST_RECORD:,} bytes")
    try:
        text = line.decode("utf-8").strip(_SPACE)
        value, end = decoder.decode(text)
        if end < len(text):
            return BadRecord(f"not JSON (more follows at character {end + 1})")
        return value
    except UnicodeDecodeError as error:
        return BadRecord(f"not UTF-8 at byte {error.start} of the line")
    except json.JSONDecodeError as error:
        return BadRecord(f"not JSON ({_reason(error)} at character {error.pos + 1})")
    except ValueError as error:
        return BadRecord(f"not JSON ({error})")


def _reason(error: ValueError) -> str:
    """What the decoder says, without the place, which is told in another way."""
    words = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return words.removesuffix(" at").removesuffix(" starting")


def text_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(number, line) of each line that is not blank, holding no more than one in memory.

    Of a line longer than LARGEST_RECORD only its start is given.
    """
    number = 0
    while line := stream.readline(LARGEST_RECORD):
        number += 1
        if line.strip():
            yield number, line
        while len(line) >= LARGEST_RECORD and not line.endswith(b"\n"):
            line = stream.readline(LARGEST_RECORD)


def _lines(file: Unpacked) -> Iterator[tuple[int, Any]]:
    decoder = _Json()
    for number, line in text_lines(file.stream):
        yield number, parse_line(line, decoder)


def _values(file: Unpacked) -> Iterator[tuple[int, Any]]:
    """JSON values one after the other, however they are spread over lines."""
    text = _Window(file)
    while text.skip(_SPACE):
        yield text.line, text.take_value()


def _array(file: Unpacked) -> Iterator[tuple[int, Any]]:
    """The elements of one JSON array."""
    text = _Window(file)
    text.skip(_SPACE)
    text.expect("[", "an array")
    text.skip(_SPACE)
    while not text.begins_with("]"):
        yield text.line, text.take_value()
        text.skip(_SPACE)
        if not text.begins_with("]"):
            text.expect(",", "a comma or the end of the array")
            text.skip(_SPACE)
    text.expect("]", "the end of the array")
    if text.skip(_SPACE):
        raise text.broken("more follows the end of the array")


class _Window:
    """The part of a text that is being parsed, growing as it must."""

    def __init__(self, file: Unpacked) -> None:
        self._name = file.name
        self._stream = io.BufferedReader(file.text(), _BLOCK_BYTES)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._json = _Json()
        self._text = ""
        self._place = 0
        self._ended = False
        self.line = 1

    def skip(self, characters: str) -> bool:
        """Go on to the next character that is none of these; False at the end of the text."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in characters:
                self.line += self._text[self._place] == "\n"
                self._place += 1
            if self._place < len(self._text):
                return True
            if not self._grow(_BLOCK_BYTES):
                return False

    def begins_with(self, character: str) -> bool:
        return self._text.startswith(character, self._place)

    def expect(self, character: str, what: str) -> None:
        """Take this character. Raises DataError if another one or none is there."""
        if not self.begins_with(character):
            raise self.broken(f"{what} was expected")
        self._place += 1

    def take_value(self) -> Any:
        """The JSON value here. Raises DataError where it is none, or is too large."""
        while True:
            try:
                value, end = self._json.decode(self._text, self._place)
                if end < len(self._text) or not self._grow(_BLOCK_BYTES):
                    break  # whole: a number at the end of what is known might go on
            except ValueError as error:
                held = len(self._text) - self._place
                if self._may_be_cut(error):
                    if held >= LARGEST_RECORD:
                        raise self.broken(f"no record ends within {held:,} characters") from None
                    if self._grow(max(held, _BLOCK_BYTES)):
                        continue
                known = isinstance(error, json.JSONDecodeError)
                where = error.pos if known else self._place
                self.line += self._text.count("\n", self._place, where)
                raise self.broken(_reason(error)) from None
        self.line += self._text.count("\n", self._place, end)
        self._place = end
        return value

    def _may_be_cut(self, error: ValueError) -> bool:
        """Whether the value may only go on beyond what is known."""
        return isinstance(error, json.JSONDecodeError) and (
            error.msg.startswith("Unterminated") or error.pos > len(self._text) - _LONGEST_WORD
        )

    def broken(self, reason: str) -> DataError:
        cut_off = self._place >= len(self._text.rstrip(_SPACE)) and self._ended
        told = "the file ends too early" if cut_off else reason
        return DataError(
            f"{self._name}, line {self.line}: the JSON is broken here ({told}), and nothing after "
            "it can be read; mend it there."
        )

    def _grow(self, n_bytes: int) -> bool:
        """Read on, forgetting what has been parsed; False at the end of the text."""
        read = self._stream.read(n_bytes)
        self._ended = not read
        self._text = self._text[self._place :] + self._decoder.decode(read, final=self._ended)
        self._place = 0
        return not self._ended


# --- tables -----------------------------------------------------------------------------------


def _table(file: Unpacked) -> Iterator[tuple[int, Any]]:
    """The rows of a table with a header, as objects; the delimiter is told from the header."""
    csv.field_size_limit(LARGEST_RECORD)
    text = io.TextIOWrapper(io.BufferedReader(file.text(), _BLOCK_BYTES), "utf-8", newline="")
    first = ""
    skipped = 0
    while not first.strip():
        first = text.readline(_LONGEST_HEADER)
        skipped += 1
        if not first:
            return
    if len(first) >= _LONGEST_HEADER:
        raise DataError(f"{file.name}, line {skipped}: this is no header of a table; give one.")
    delimiter = max(_DELIMITERS, key=lambda sign: len(_header(first, sign)))
    names = [name.strip().lower() for name in _header(first, delimiter)]
    _refuse_doubled(file.name, names)
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    while True:
        number = skipped + rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise DataError(
                    f"{file.name}, line {number}: a quotation mark is opened and never closed; "
                    "close it, or double it where it is part of the text."
                ) from None
            yield number, BadRecord(f"not a row of the table ({error})")
            continue
        if row:
            yield number, _row(names, row)


def _refuse_doubled(name: str, columns: list[str]) -> None:
    if doubled := [column for column in columns if columns.count(column) > 1]:
        raise DataError(
            f"{name} has two columns named `{shown(doubled[0])}`; rename one (case does not count)."
        )


def _header(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _row(names: list[str], row: list[str]) -> dict[str, Any] | BadRecord:
    if len(row) != len(names):
        return BadRecord(
            f"{len(row)} column{'s' * (len(row) > 1)}, where the header has {len(names)}"
        )
    return dict(zip(names, row, strict=True))


# --- parquet ----------------------------------------------------------------------------------


def _parquet(path: Path, at: Callable[[int], None] | None) -> Iterator[tuple[int, Any]]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet, types
    except ImportError:
        raise DataError(
            f"{path} is a parquet file, and reading it needs pyarrow: pip install 'tinychat[data]'."
        ) from None
    number, n_bytes = 0, path.stat().st_size
    try:
        with open(path, "rb") as raw, parquet.ParquetFile(raw) as file:
            rows = max(file.metadata.num_rows, 1)
            # times, decimals and bytes are nothing to learn, and some have no Python form
            unfit = (types.is_temporal, types.is_decimal, types.is_binary, types.is_large_binary)
            columns = [f.name for f in file.schema_arrow if not any(is_(f.type) for is_ in unfit)]
            _refuse_doubled(str(path), [column.lower() for column in columns])
            for batch in file.iter_batches(_ROWS, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    if at:
                        at(n_bytes * number // rows)
                    yield number, {str(key).lower(): value for key, value in row.items()}
    except (arrow.ArrowException, ValueError, OverflowError) as error:
        reason = str(error).partition("\n")[0][:200].rstrip(". ")
        raise DataError(f"{path} cannot be read as parquet ({reason}); get it once more.") from None


_READERS = {"lines": _lines, "array": _array, "values": _values, "table": _table}
