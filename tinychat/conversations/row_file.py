"""A file of rows that only grows, shared by threads and processes.

What `append` has acknowledged is on the medium. A line that was torn by a crash or a full disk, by
whomever, spoils no other line. Every row carries the format it was written in.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from tinychat.errors import ConversationError, FormatError
from tinychat.runs.durable import Disk
from tinychat.runs.records import encode_row

Row = dict[str, Any]

FORMAT = 1  # of every row here; a reader refuses a higher one
TEXT_CHARACTERS = 200_000  # of one message
LINE_BYTES = 16 * 1024 * 1024
FILE_BYTES = 512 * 1024 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # editors put it before a file
_TAIL_BYTES = 256  # of a row, with its id and time

_FLAGS = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def whole_text(text: str, what: str) -> str:
    """The same text. Raises ConversationError for one that no file of ours can carry."""
    if not isinstance(text, str):
        raise ConversationError(f"{what} is not a text; please give one.")
    if len(text) > TEXT_CHARACTERS:
        raise ConversationError(
            f"{what} has {len(text):,} characters; {TEXT_CHARACTERS:,} is the most: please cut it."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConversationError(
            f"{what} holds half a character at place {error.start + 1:,}; please remove it."
        ) from None
    return text


class TooLargeError(ValueError):
    """A text is longer than any message may be."""


def checked_length(text: str) -> str:
    """The same text, out of a file. Raises TooLargeError."""
    if len(text) > TEXT_CHARACTERS:
        raise TooLargeError(f"a text has {len(text):,} characters")
    return text


class RowFile:
    """Rows in one file. Give each thread's calls a lock if they share an object."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self.skipped = 0  # lines that no row could be read from, so far
        self._disk = disk
        self._seen: tuple[int, int] = (0, 0)  # the file's inode, and the bytes read of it
        self._tail = b""  # the last of those bytes: a new file may get an old one's inode

    def create(self, row: Mapping[str, Any]) -> None:
        """Make the file with its first row. Raises ConversationError, also if it is there."""
        with failures(self.path, "written"):
            make_folder(self._disk, self.path.parent)
            self._disk.write_file(self.path, self._line(row))
            self._disk.fsync(self.path)
            self._disk.fsync_folder(self.path.parent)

    def append(self, row: Mapping[str, Any], *, create: bool = False) -> None:
        """Add a row; it survives a power cut once this returns. Raises ConversationError."""
        line = self._line(row)
        with failures(self.path, "written"):
            is_new = create and not self.path.exists()
            if is_new:
                make_folder(self._disk, self.path.parent)
            flags = os.O_RDWR | os.O_APPEND | _FLAGS | (os.O_CREAT if create else 0)
            while True:
                fd = os.open(self.path, flags, 0o600)
                try:
                    self._put(fd, line)
                    is_there = not self._was_replaced(fd)
                finally:
                    os.close(fd)
                if is_there:
                    break
            self._disk.fsync(self.path)
            if is_new:
                self._disk.fsync_folder(self.path.parent)

    def news(self) -> tuple[list[Row], bool]:
        """The rows since the last call, and whether they are all rows: the file is another one.

        Lines that are no rows are skipped and counted. Raises ConversationError if the file cannot
        be read, FormatError for a row of a newer tinychat. A file that is not there has no rows.
        """
        with failures(self.path, "read"):
            try:
                fd = os.open(self.path, os.O_RDONLY | _FLAGS)
            except FileNotFoundError:
                anew = self._seen != (0, 0)
                self._seen, self._tail, self.skipped = (0, 0), b"", 0
                return [], anew
            with open(fd, "rb") as file:
                return self._news(file)

    def _news(self, file: BinaryIO) -> tuple[list[Row], bool]:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ConversationError(f"{self.path} is not a plain file; please move it away.")
        if about.st_size > FILE_BYTES:
            raise ConversationError(
                f"{self.path} is larger than {FILE_BYTES // 2**20} MB; please move it away."
            )
        inode, start = self._seen
        anew = inode != about.st_ino or about.st_size < start or not self._follows_tail(file, start)
        if anew:
            start, self._tail, self.skipped = 0, b"", 0
        file.seek(start)
        data = file.read(about.st_size - start)
        end = len(data) if _row(data[data.rfind(b"\n") + 1 :]) else data.rfind(b"\n") + 1
        rows, skipped = [], 0
        for line in data[:end].split(b"\n"):
            if not line.strip():
                continue
            row = _row(line)
            if row is None:
                skipped += 1
                continue
            if row["format"] > FORMAT:
                raise FormatError(
                    f"{self.path} has rows of format {row['format']} and was written by a newer "
                    f"tinychat; this one reads up to format {FORMAT}: please update tinychat."
                )
            rows.append(row)
        self._seen = (about.st_ino, start + end)
        self._tail = (self._tail + data[max(0, end - _TAIL_BYTES) : end])[-_TAIL_BYTES:]
        self.skipped += skipped
        return rows, anew

    def _follows_tail(self, file: BinaryIO, start: int) -> bool:
        """Whether what was read last still stands before `start`."""
        file.seek(start - len(self._tail))
        return file.read(len(self._tail)) == self._tail

    def _put(self, fd: int, line: bytes) -> None:
        """Write a line in one stroke, and again if it came behind another writer's torn one."""
        while True:
            end = os.lseek(fd, 0, os.SEEK_END)
            data = line if _ends_line(fd, end) else b"\n" + line
            if self._disk.append(fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if _ends_line(fd, os.lseek(fd, 0, os.SEEK_CUR) - len(line)):
                return

    def _was_replaced(self, fd: int) -> bool:
        """Whether another file has this name by now, as an editor's: what it knows not is lost."""
        try:
            return self.path.stat().st_ino != os.fstat(fd).st_ino
        except FileNotFoundError:
            return False  # deleted by somebody who meant all of it

    def _line(self, row: Mapping[str, Any]) -> bytes:
        line = encode_row({"format": FORMAT, **row}) + b"\n"
        if len(line) > LINE_BYTES:
            raise ConversationError(
                f"This would be {len(line):,} bytes in {self.path.name}; {LINE_BYTES:,} is the "
                "most for one entry: please make it shorter."
            )
        if _row(line) is None:  # what is acknowledged must be readable
            raise ConversationError(
                f"This cannot be kept in {self.path.name}: a setting or a name in it holds half "
                "a character."
            )
        return line


def make_folder(disk: Disk, folder: Path) -> None:
    """Make a folder and those around it, private ones, where they are missing."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        try:
            disk.make_folder(each)
        except FileExistsError:  # another process was quicker
            pass


@contextmanager
def failures(path: Path, done: str) -> Iterator[None]:
    """What the system refuses, as one sentence of ours."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno == errno.ENOENT:
            hint = "was it deleted meanwhile?"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            hint = "please free some space and try again."
        else:
            hint = "please see who may write there, and try again."
        raise ConversationError(f"{path} cannot be {done} ({why}): {hint}") from None


def _ends_line(fd: int, position: int) -> bool:
    """Whether a line of the file ends before `position`, or the file begins there."""
    if position == 0:
        return True
    os.lseek(fd, position - 1, os.SEEK_SET)
    return os.read(fd, 1) == b"\n"


def _row(line: bytes) -> Row | None:
    """The row on a line, or None. A power cut may leave a block of NULs before it."""
    if len(line) > LINE_BYTES:
        return None
    try:
        row = orjson.loads(line.removeprefix(_BYTE_ORDER_MARK).strip(b"\0 \r\n"))
    except ValueError:
        return None
    if not isinstance(row, dict) or type(row.get("format")) is not int or row["format"] < 1:
        return None
    return row
