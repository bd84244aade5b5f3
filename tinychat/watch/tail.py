"""Following files that only grow: what is new of one, and what is new of a run's log.

A file may also be torn, hold a block of NULs, be replaced by another, shrink, or go away for a
while; none of that is an error here except that a file is no longer the one read so far.
"""

import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from tinychat.runs import Row

BLOCK_BYTES = 256 * 1024
MAX_LINE_BYTES = 32 * 1024 * 1024  # a longer line is passed over
_SEEN_BYTES = 1024  # a file is known again by so many bytes before the place where we stand

Signature = tuple[int, int, int]  # which file it is, its size, when it was changed


def signature(path: Path) -> Signature | None:
    """Another one whenever the file may be another; None if there is none to be seen."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_ctime_ns  # a change of rights counts too


class FileReplacedError(Exception):
    """The file is not the one that was read so far: read it anew from its beginning."""


class LogTail:
    """One append-only file, read from where the last reading ended.

    `offset` counts the bytes read, `size` those known to be there. Beyond the first `counts` bytes,
    if that is given, nothing counts: what stood there stands in another file. `skipped` counts
    lines that were too long to read. `problem` says in one sentence why nothing can be read now.
    """

    def __init__(self, path: Path, counts: int | None = None) -> None:
        self.path = path
        self.counts = counts
        self.offset = 0
        self.size = 0
        self.skipped = 0
        self.problem = ""
        self._signature: Signature | None = None
        self._seen = b""  # the last bytes before `offset`
        self._rest: list[bytes] = []  # of a line whose end is not there yet
        self._rest_bytes = 0
        self._too_long = False

    def look(self) -> bool:
        """Whether there may be something new. One stat; never raises."""
        try:
            about = self.path.stat()
        except FileNotFoundError:
            self.problem = f"{self.path} is not there any more." if self.offset else ""
            return False
        except OSError as error:
            self.problem = f"{self.path} cannot be read: {error.strerror}."
            return False
        if not stat.S_ISREG(about.st_mode):  # opening a pipe would wait for ever
            self.problem = f"{self.path} is not a file."
            return False
        signature, size = (about.st_ino, about.st_size, about.st_mtime_ns), self._of(about)
        changed = signature != self._signature or self.offset < size
        self._signature, self.size, self.problem = signature, size, ""
        return changed

    def _of(self, about: os.stat_result) -> int:
        return about.st_size if self.counts is None else min(about.st_size, self.counts)

    def read(self, limit: int = BLOCK_BYTES) -> bytes:
        """The lines that the next `limit` bytes end, joined by newlines; b"" if they end none.

        Raises FileReplacedError if the file is not the one read so far.
        """
        try:
            data = self._read_on(limit)
        except OSError as error:
            self.problem = f"{self.path} cannot be read: {error.strerror}."
            return b""
        head, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._keep(data)
            return b""
        if self._too_long:  # what is left of the line that was given up
            _, _, head = head.partition(b"\n")
            self._too_long = False
        lines = b"".join((*self._rest, head))
        self._rest, self._rest_bytes = [], 0
        self._keep(rest)
        return lines

    def finish(self) -> bytes:
        """What stands after the last newline, once nobody writes to this file any more."""
        rest, self._rest, self._rest_bytes = b"".join(self._rest), [], 0
        return rest

    def _read_on(self, limit: int) -> bytes:
        with open(self.path, "rb", buffering=0) as file:
            self.size = self._of(os.fstat(file.fileno()))
            file.seek(self.offset - len(self._seen))
            if self.size < self.offset or file.read(len(self._seen)) != self._seen:
                raise FileReplacedError
            new = file.read(min(limit, self.size - self.offset))
        self.offset += len(new)
        self._seen = (self._seen + new[-_SEEN_BYTES:])[-_SEEN_BYTES:]
        return new

    def _keep(self, rest: bytes) -> None:
        if self._too_long or not rest:
            return
        self._rest.append(rest)
        self._rest_bytes += len(rest)
        if self._rest_bytes > MAX_LINE_BYTES:
            self._rest, self._rest_bytes, self._too_long = [], 0, True
            self.skipped += 1


class AttemptsLog:
    """One log of a run, read attempt by attempt in order."""

    def __init__(self, name: str) -> None:
        self.name = name  # "metrics.jsonl"
        self.skipped_where = ""
        self._numbers: list[int] = []
        self._tails: list[LogTail] = []
        self._at = 0  # the attempt being read
        self._skipped = 0

    @property
    def skipped(self) -> int:
        """Lines that were passed over because they are no JSON objects, or no rows."""
        return self._skipped + sum(tail.skipped for tail in self._tails)

    @property
    def offset(self) -> int:
        return sum(tail.offset for tail in self._tails)

    @property
    def size(self) -> int:
        """Of all there is to read; of a file that cannot be read, what was read of it."""
        return sum(
            tail.offset if tail.problem else max(tail.size, tail.offset) for tail in self._tails
        )

    @property
    def problem(self) -> str:
        return next((tail.problem for tail in self._tails if tail.problem), "")

    def add(self, number: int, folder: Path, counts: int | None = None) -> None:
        """A later attempt; `counts` is how many bytes of its log count, None all."""
        self._numbers.append(number)
        self._tails.append(LogTail(folder / self.name, counts))

    def look(self) -> None:
        """See what changed. Raises FileReplacedError if that is more than a growing last file."""
        for index, tail in enumerate(self._tails):
            if tail.look() and (index < self._at or tail.size <= tail.offset):
                tail.read(0)
                if index < self._at and tail.offset < tail.size:
                    raise FileReplacedError

    def read(self) -> tuple[int, list[Row]] | None:
        """(attempt, its next rows), None at the end. Raises FileReplacedError."""
        while self._at < len(self._tails):
            tail = self._tails[self._at]
            if tail.offset < tail.size and not tail.problem:
                return self._rows(tail.read())
            if self._at == len(self._tails) - 1:
                return None
            rest = tail.finish()
            if rest:
                return self._rows(rest)
            self._at += 1
        return None

    def skip(self, count: int) -> None:
        """Count rows of the attempt being read that could not be used."""
        if count:
            self._skipped += count
            self.skipped_where = f"{self.name} of attempt {self._numbers[self._at]}"

    def _rows(self, lines: bytes) -> tuple[int, list[Row]]:
        rows, skipped = parse_lines(lines) if lines else ([], 0)
        self.skip(skipped)
        return self._numbers[self._at], rows


def parse_lines(lines: bytes) -> tuple[list[Row], int]:
    """The rows on lines joined by newlines, and how many lines hold anything else.

    Joined into one list they are read at twice the speed; line by line where that fails.
    """
    try:
        rows = orjson.loads(b"[%b]" % lines.replace(b"\n", b","))
    except ValueError:
        rows = []
    if len(rows) == lines.count(b"\n") + 1 and _all_rows(rows):
        return rows, 0
    parsed = [_parse_line(line) for line in lines.split(b"\n") if line.strip(b" \r\t")]
    rows = [row for row in parsed if row is not None]
    return rows, len(parsed) - len(rows)


def _all_rows(rows: Sequence[Any]) -> bool:
    return set(map(type, rows)) == {dict}


def _parse_line(line: bytes) -> Row | None:
    """The row on a line, or None. A power cut may leave a block of NULs before it."""
    line = line.strip(b"\0 \r\t")
    try:
        row = orjson.loads(line)
    except ValueError:
        try:
            row = json.loads(line)  # it takes half a surrogate pair
        except (ValueError, RecursionError):
            return None
    return row if isinstance(row, dict) else None
