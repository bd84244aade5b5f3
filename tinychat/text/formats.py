"""How one file is to be read, told from its content: plain text, turns, JSON, a table, parquet.

`detect` looks at the beginning and the first records and decides once a file. How records are
found is the charge of `records`, what their fields mean that of `shapes`, reading whole files that
of `reading`, choosing files that of `corpus`.
"""

import io
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from tinychat.config import DataSettings
from tinychat.errors import DataError
from tinychat.text.plain import SEPARATOR
from tinychat.text.recognition import has_words, is_message, shape_of
from tinychat.text.records import LARGEST_RECORD, Layout, parse_line, read_records, text_lines
from tinychat.text.shapes import PLAIN, BadRecord, Shape, shown
from tinychat.text.turns import sniff_turns
from tinychat.text.unpacking import Unpacked, is_parquet, unpack

_SNIFFED_RECORDS = 100
_FEW_LETTERS = 10  # on average, of a field that may be half of what was meant
_JSON_ENDINGS = frozenset({".json", ".jsonl", ".ndjson"})
_TABLE_ENDINGS = frozenset({".csv", ".tsv"})
_TEXT_ENDINGS = frozenset({".txt", ".md"})


@dataclass(frozen=True)
class Detected:
    """What `detect` found: the shape, and remarks for the person who gave the file."""

    shape: Shape
    hints: tuple[str, ...] = ()


def detect(path: Path, data: DataSettings) -> Detected:
    """Tell from the content how a file is to be read, as far as the settings leave it open.

    Raises DataError, naming the file, for what is not text, and for records in no known shape.
    """
    if is_parquet(path):
        return _records(path, "parquet", data)
    with unpack(path) as file:
        head = file.head()
        hints = _hints_of_packing(path, file)
        found = _detect_text(path, file, head, data)
    if found.shape.layout is None and b"\r\n" in head:
        hints.append(f"{path} has Windows line ends (\\r\\n), which are read as \\n")
    return Detected(found.shape, (*hints, *found.hints))


def _hints_of_packing(path: Path, file: Unpacked) -> list[str]:
    hints = []
    if file.encoding != "utf-8":
        hints.append(f"{path} is UTF-16 and is read as such")
    if file.is_gzip and path.suffix.lower() != ".gz":
        hints.append(f"{path} is packed with gzip, though its name does not say so")
    return hints


def _detect_text(path: Path, file: Unpacked, head: bytes, data: DataSettings) -> Detected:
    ending = _ending(path)
    start = head.lstrip()[:1]
    if data.format == "text" or not start:
        return Detected(PLAIN)
    if data.format == "turns":
        return Detected(_turns(path, head))
    must = data.format == "json" or ending in _JSON_ENDINGS
    layout = _json_layout(path, file, must=must) if start in (b"{", b"[") else None
    if layout is not None:
        if ending in _TEXT_ENDINGS and data.format == "auto":
            hint = f"{path} looks like JSON but is named {ending}, so it is read as plain text"
            return Detected(PLAIN, (f"{hint}; add --format json to have its records read",))
        hint = f"{path} holds JSON objects spread over several lines, and each is taken as a record"
        found = _records(path, layout, data)
        return replace(found, hints=(*found.hints, hint)) if layout == "values" else found
    if data.format == "json":
        raise DataError(
            f"{path} is to be read as JSON (--format json) but does not begin with {{ or [."
        )
    if ending in _TABLE_ENDINGS:
        return _records(path, "table", data)
    return _detect_lines(path, head, ending)


def _detect_lines(path: Path, head: bytes, ending: str) -> Detected:
    turns = sniff_turns(head)
    if turns == "eou":
        return Detected(Shape("eou"))
    if turns == "turns":
        hint = f"{path} has marks such as `User:` but is read as plain text"
        return Detected(PLAIN, (f"{hint}; add --format turns to make conversations of it",))
    if ending in _JSON_ENDINGS or ending == ".parquet":
        return Detected(
            PLAIN, (f"{path} is named {ending} but holds plain text, and is read as such",)
        )
    return Detected(PLAIN)


def _turns(path: Path, head: bytes) -> Shape:
    kind = sniff_turns(head)
    if kind is None:
        raise DataError(
            f"{path} is to be read as turns (--format turns), but its first lines have "
            "neither __eou__ nor `User:` and `Assistant:` (or <|user|> and <|assistant|>)."
        )
    return Shape(kind, separated=kind == "turns" and SEPARATOR in head)


def _ending(path: Path) -> str:
    """Of the name, in lower case; that of gzip is looked through."""
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return name.suffix.lower()


# --- JSON -------------------------------------------------------------------------------------


def _json_layout(path: Path, file: Unpacked, *, must: bool) -> Layout | None:
    """How JSON lies in a text that begins with a bracket; None if it is none.

    With `must` (by its name or as asked for) even a little JSON makes it a file of JSON.
    """
    first, good, seen = _sniff_lines(file.stream)
    if seen == 1 and isinstance(first, list):
        return "lines" if not first or is_message(first[0]) else "array"
    if good and (good * 2 >= seen or (must and isinstance(first, dict | list))):
        return "lines"
    for layout in ("array", "values"):
        if _begins_as(path, layout, records=1 if must else 3):
            return layout
    if good and must:
        return "lines"
    if must:
        reason = first.reason if isinstance(first, BadRecord) else "no object"
        raise DataError(f"{path}, line 1: {reason}; mend it there.")
    return None


def _sniff_lines(stream: io.BufferedReader) -> tuple[Any, int, int]:
    """The first line's value, how many of the first lines are whole objects or lists, of how many.

    Lines that cannot be held are not looked at.
    """
    first: Any = None
    good = seen = size = 0
    for _, line in islice(text_lines(stream), _SNIFFED_RECORDS):
        value = parse_line(line)
        first = value if not seen else first
        good += isinstance(value, dict | list)
        seen += 1
        size += len(line)
        if size >= LARGEST_RECORD:
            break
    return first, good, seen


def _begins_as(path: Path, layout: Layout, *, records: int) -> bool:
    """Whether the first records can be read in this way, and look like records."""
    try:
        found = [record for _, record in islice(read_records(path, layout), records)]
    except DataError:
        return False
    # The elements of one conversation are messages; as a value it is whole.
    return bool(found) and all(
        isinstance(record, dict | list | BadRecord) and not is_message(record) for record in found
    )


def _records(path: Path, layout: Layout, data: DataSettings) -> Detected:
    """The shape of the records, and a hint where one field of several was taken for the text."""
    records: list[Any] = []
    place = 0

    def at(position: int) -> None:
        nonlocal place
        place = position

    for _, record in islice(read_records(path, layout, at), _SNIFFED_RECORDS):
        records.append(record)
        if place >= LARGEST_RECORD:  # enough to hold
            break
    if not records and layout in ("table", "parquet"):
        raise DataError(f"{path} is a table without rows; give one with a header and rows.")
    shape = shape_of(str(path), layout, records, data)
    objects = [record for record in records if isinstance(record, dict)]
    others = sorted(
        key
        for key in {key for o in objects for key in o} - {shape.asked}
        if has_words(key, objects, _FEW_LETTERS)
    )
    if shape.kind != "text" or shape.asked == "text" or data.text_field or not others:
        return Detected(shape)
    told = f"{path}: of its fields only `{shown(shape.asked)}` is learnt, as text; for others "
    told += f"({', '.join(map(shown, others[:6]))}) name --user-field and --assistant-field"
    return Detected(shape, (told,))
