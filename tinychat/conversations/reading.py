"""Judgements out of files: our own feedback.jsonl, and preference data in TRL's forms.

Lines that are torn, strange, undone or waiting for review are left out and counted, each under its
reason; what the person who named a file has to mend is an error of one sentence.
"""

import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from tinychat.conversations.answers import Answer
from tinychat.conversations.examples import Prompt, Reply
from tinychat.conversations.feedback import Entry, entry_from_row, replaced
from tinychat.conversations.judgements import (
    DUPLICATE,
    HOSTILE,
    NOT_REVIEWED,
    NOT_UNDERSTOOD,
    REPLACED,
    TOO_LARGE,
    TORN,
    UNDONE,
    Judgement,
    Judgements,
    LeaveOut,
)
from tinychat.conversations.row_file import FILE_BYTES, FORMAT, LINE_BYTES, TooLargeError
from tinychat.conversations.store import CHATS
from tinychat.conversations.trl import judgement_of
from tinychat.errors import ConversationError, FormatError, NoDataError

Progress = Callable[[str, int, int], None]
OURS = "feedback.jsonl"
_PROGRESS_LINES = 100
_ENDED = "end"  # the engine's reason for an answer that the model ended itself


def read_feedback(
    paths: Sequence[Path], progress: Progress = lambda stage, done, total: None
) -> Judgements:
    """The judgements that count, of all files together and in their order.

    A path is a file, a `.chats` folder, or a folder of runs that holds one. `progress` is told
    (stage, done, total) now and then. Raises NoDataError for a path with nothing to read,
    ConversationError for a file of which nothing is understood, FormatError for one of a newer
    tinychat.
    """
    reading = _Reading(progress)
    for path in dict.fromkeys(file.resolve() for file in map(feedback_file, paths)):
        reading.file(path)
    return reading.judgements()


def feedback_file(path: Path) -> Path:
    """The file that a path means. Raises NoDataError if it is not there."""
    if not path.is_dir():
        if not path.exists():
            raise NoDataError(f"{path} is not there; name a file of feedback, or a folder of runs.")
        return path
    for file in (path / OURS, path / CHATS / OURS):
        if file.exists():
            return file
    raise NoDataError(f"No feedback was given in {path} yet: it holds no {CHATS}/{OURS}.")


@dataclass(frozen=True)
class _BadLine:
    reason: str
    why: str = ""


class _Reading:
    """What was read so far; which of it counts is known at the end only."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._leave_out = LeaveOut()
        self._said: list[tuple[Judgement, Entry | None, str]] = []  # with its place
        self._ids: set[str] = set()
        self._undone: set[str] = set()
        self._reviewed: set[str] = set()

    def file(self, path: Path) -> None:
        """Take in one file."""
        understood, first_bad = False, ""
        for number, row in _rows(path, self._progress):
            place = f"{path.name}:{number}"
            if not isinstance(row, _BadLine):
                row = self._take(row, place, path)
            if row is None:
                understood = True
                continue
            understood = understood or row.reason == DUPLICATE
            place = f"{place} ({row.why})" if row.why else place
            self._leave_out(row.reason, place)
            first_bad = first_bad or f"{path}, line {number}: {row.why or row.reason}"
        if first_bad and not understood and path.name != OURS:
            raise ConversationError(
                f"{first_bad}; no line of this file is feedback of ours, or preference data in "
                "TRL's forms (prompt, chosen, rejected; prompt, completion, label)."
            )

    def judgements(self) -> Judgements:
        """What counts, now that all is read."""
        entries = [
            replace(entry, reviewed=entry.reviewed or entry.id in self._reviewed)
            for _, entry, _ in self._said
            if entry is not None and entry.id not in self._undone
        ]
        waiting = {entry.id for entry in entries if not entry.reviewed}
        gone = replaced(entries)
        judged: list[Judgement] = []
        waits: list[Judgement] = []
        for judgement, entry, place in self._said:
            if entry is None:
                judged.append(judgement)
            elif entry.id in self._undone:
                self._leave_out(UNDONE, place)
            elif entry.id in gone:
                self._leave_out(REPLACED, place)
            elif entry.id in waiting:
                self._leave_out(NOT_REVIEWED, place)
                waits.append(judgement)
            else:
                judged.append(judgement)
        return Judgements(
            judged=tuple(judged), left_out=self._leave_out.told(), waiting=tuple(waits)
        )

    def _take(self, row: Any, place: str, path: Path) -> _BadLine | None:
        if not isinstance(row, dict):
            return _BadLine(NOT_UNDERSTOOD, "it is not a JSON object")
        try:
            if type(row.get("format")) is int:
                return self._take_ours(row, place, path)
            self._said.append((judgement_of(row, place), None, place))
        except TooLargeError as error:
            return _BadLine(TOO_LARGE, str(error))
        except ValueError as error:
            return _BadLine(NOT_UNDERSTOOD, str(error))
        return None

    def _take_ours(self, row: dict[str, Any], place: str, path: Path) -> _BadLine | None:
        if row["format"] > FORMAT:
            raise FormatError(
                f"{path} has rows of format {row['format']} and was written by a newer tinychat; "
                f"this one reads up to format {FORMAT}: please update tinychat."
            )
        for key, ids in (("undo", self._undone), ("review", self._reviewed)):
            if isinstance(row.get(key), str):
                ids.add(row[key])
                return None
        entry = entry_from_row(row)
        judgement = _judgement(entry)
        if entry.id in self._ids:
            return _BadLine(DUPLICATE)
        self._ids.add(entry.id)
        # the ids of tokens are not needed any more, and are most of it
        entry = replace(entry, prompt=(), answers=())
        self._said.append((judgement, entry, place))
        return None


def _judgement(entry: Entry) -> Judgement:
    """Raises ValueError if it cannot be learnt from, whatever the method."""
    modes = {answer.mode for answer in entry.answers}
    if len(modes) != 1:
        raise ValueError("its answers are of a chat and of a text")
    prompt: Prompt = entry.prompt
    if modes == {"text"}:
        prompt = entry.prompt[-1]["content"] if entry.prompt else ""
    return Judgement(
        source=entry.id,
        kind=entry.kind,
        prompt=prompt,
        replies=tuple(map(_reply, entry.answers)),
        verdict=entry.verdict,
        chosen=entry.chosen,
        rewrite=None if entry.text is None else Reply(entry.text),
    )


def _reply(answer: Answer) -> Reply:
    """An answer as a whole, with what it was made to begin with: so it was judged. One that was cut
    off may end amid a character, which nobody should learn."""
    ended = answer.finish_reason == _ENDED
    return Reply(answer.text if ended else answer.text.rstrip("\ufffd"), ended)


# --- from bytes to rows -----------------------------------------------------------------------


def _rows(path: Path, progress: Progress) -> Iterator[tuple[int, Any]]:
    """The number of each line and what it holds, or a _BadLine."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with open(os.open(path, flags), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise ConversationError(f"{path} is not a plain file; please name one.")
            if about.st_size > FILE_BYTES:
                raise ConversationError(
                    f"{path} is larger than {FILE_BYTES // 2**20} MB; please cut it into several."
                )
            if path.suffix == ".json" and _begins_a_list(file):
                yield from _listed(path, file.read())
                return
            done = 0
            for number, line in _lines(file):
                done += len(line or b"")
                if number % _PROGRESS_LINES == 1:
                    progress(f"reading {path.name}", done, about.st_size)
                if line is None or line.strip():
                    yield number, _parsed(line)
    except FileNotFoundError:
        raise NoDataError(f"{path} was deleted meanwhile; nothing of it is left.") from None
    except OSError as error:
        raise ConversationError(
            f"{path} cannot be read ({error.strerror or error}): please see who may read it."
        ) from None


def _begins_a_list(file: BinaryIO) -> bool:
    head = file.read(4096).removeprefix(b"\xef\xbb\xbf")
    file.seek(0)
    return head.lstrip().startswith(b"[")


def _listed(path: Path, data: bytes) -> Iterator[tuple[int, Any]]:
    """The records of one JSON list."""
    rows = _parsed(data)
    if not isinstance(rows, list):
        why = rows.why or rows.reason if isinstance(rows, _BadLine) else "it is no list"
        raise ConversationError(f"{path} begins as a JSON list but is none: {why}.")
    yield from enumerate(rows, 1)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """The lines with their numbers from 1; None for one that is longer than any may be."""
    number = 0
    while line := file.readline(LINE_BYTES):
        number += 1
        if len(line) == LINE_BYTES and not line.endswith(b"\n"):
            while (rest := file.readline(LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield number, None
        else:
            yield number, line


def _parsed(line: bytes | None) -> Any:
    """What a line holds, or a _BadLine. A power cut may leave NULs before a row."""
    if line is None:
        return _BadLine(TOO_LARGE, f"the line is longer than {LINE_BYTES:,} bytes")
    line = line.removeprefix(b"\xef\xbb\xbf").strip(b"\0 \t\r\n")
    if not line:
        return _BadLine(TORN, "no text in it")
    try:
        return orjson.loads(line)
    except ValueError:
        return _parsed_slowly(line)


def _parsed_slowly(line: bytes) -> Any:
    """What orjson refuses: numbers that are not finite are fine, texts that are none are not."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        torn = error.end == len(line) and error.reason == "unexpected end of data"
        return _BadLine(TORN) if torn else _BadLine(HOSTILE, "its bytes are not UTF-8")
    try:
        row = json.loads(text)
    except RecursionError:
        return _BadLine(HOSTILE, "it is nested too deep")
    except json.JSONDecodeError as error:
        return _BadLine(TORN, f"not whole JSON, {error}")
    except ValueError:  # more digits than Python takes
        return _BadLine(HOSTILE, "a number in it is too long")
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return _BadLine(HOSTILE, "it holds half a character, or is nested too deep")
    return row
