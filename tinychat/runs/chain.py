"""Lines of a file that only grows, each with a digest of itself and of all before it.

So whoever reads them later knows that nothing was changed, taken out or put in between. A line that
a crash tore is passed over; one that stands twice, because the disk would not say that it is safe,
counts once.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from tinychat.runs.reader import Row, parse_line
from tinychat.runs.records import check_format, encode_row

DIGEST = "digest"
_BYTES = 8


def chained(row: Mapping[str, Any], before: str) -> Row:
    """A row with its digest; `before` is that of the row before it, "" for a first one."""
    data = bytes.fromhex(before) + encode_row(row)
    return {**row, DIGEST: hashlib.blake2b(data, digest_size=_BYTES).hexdigest()}


def read_chain(data: bytes, where: str) -> Iterator[Row]:
    """The rows of such a file. Raises ValueError, with the line, where it is not what was written,
    and FormatError for one of a newer tinychat."""
    before = ""
    for place, line in enumerate(data.splitlines(), 1):
        row = parse_line(line)
        if row is None or (before and row.get(DIGEST) == before):
            continue
        check_format(row, where)
        told = row.get(DIGEST)
        if chained({key: row[key] for key in row if key != DIGEST}, before)[DIGEST] != told:
            raise ValueError(f"line {place} or one before it is not what was written")
        before = str(told)
        yield row
    if not before:
        raise ValueError("it is empty")
