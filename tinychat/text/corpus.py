"""The files of a corpus: which there are, what each holds, and the fingerprint of it all.

A source is one path that was given (a file or a folder) or a built-in corpus. Scanning reads
every byte once, for the fingerprint, and decides how each file is read and which side it belongs
to by its name; counting and dividing documents is the charge of `split`.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from tinychat.config import DataSettings
from tinychat.errors import DataError, NoDataError
from tinychat.text.built_in import SMALL_TALK, conversations_of, is_built_in, title_of
from tinychat.text.chat import Conversation
from tinychat.text.formats import detect
from tinychat.text.items import Item
from tinychat.text.reading import Advance, Tally, read_items
from tinychat.text.shapes import Shape

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, the bytes done, and all bytes of the stage."""

Side = Literal["train", "valid"]
Form = Literal["text", "chat"]

_BLOCK_BYTES = 1024 * 1024
_NAMED_SIDES = {
    "train": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
}
_PART_OF_NAME = re.compile(r"[a-z0-9]+")
_ABOUT = frozenset({"readme", "license", "licence"})  # files about a set, beside its own


@dataclass(frozen=True)
class CorpusFile:
    """One file, or one side of a built-in corpus (`path` is None)."""

    path: Path | None
    shape: Shape
    side: Side | None  # None: to be divided
    n_bytes: int
    digest: str
    modified_ns: int = 0
    strict: bool = False
    built_in: tuple[Conversation, ...] = field(default=(), repr=False)
    title: str = ""  # of a built-in corpus

    @property
    def name(self) -> str:
        return str(self.path) if self.path else f"{self.title}, {self.side}"

    def items(self, tally: Tally | None = None, advance: Advance | None = None) -> Iterator[Item]:
        """All that the file holds, in order. Raises DataError if it changed since the scan.

        `advance` is called with the raw bytes of the file that were read since its last call;
        together they are `n_bytes`.
        """
        if self.path is None:
            yield from self.built_in
            if advance:
                advance(self.n_bytes)
            return
        try:
            yield from read_items(self.path, self.shape, tally, advance, strict=self.strict)
            found = self.path.stat()
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if (found.st_size, found.st_mtime_ns) != (self.n_bytes, self.modified_ns):
            raise DataError(f"{self.path} was changed while it was read; start again.")


@dataclass(frozen=True)
class Source:
    """What one given path led to."""

    name: str
    files: tuple[CorpusFile, ...]


@dataclass(frozen=True)
class Corpus:
    """All sources. The fingerprint depends on content and form only, never on names of paths."""

    sources: tuple[Source, ...]
    form: Form
    fingerprint: str
    hints: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[CorpusFile, ...]:
        return tuple(file for source in self.sources for file in source.files)

    @property
    def n_bytes(self) -> int:
        return sum(file.n_bytes for file in self.files)

    @classmethod
    def scan(
        cls, data: DataSettings, progress: Progress | None = None, *, undivided: bool = False
    ) -> "Corpus":
        """Find and read all files below `data.paths`, or what is built in under such a name; none
        given: the built-in small talk.

        With `undivided` names say nothing about training and validation. Raises DataError for a
        path that is not there, a file that is neither text nor records in a known shape, and for
        text and conversations mixed.
        """
        words = data.paths or (SMALL_TALK,)
        paths = [word for word in words if not is_built_in(word)]
        named = dict.fromkeys(word for word in words if is_built_in(word))
        hints: list[str] = []
        found = _choose([_find(path, hints) for path in paths], hints, undivided=undivided)
        total = sum(entry.path.stat().st_size for _, entries in found for entry in entries)
        meter = Meter(progress, "reading", total)
        sources = []
        for given, entries in found:
            scanned = [_scan_file(entry, data, meter) for entry in entries]
            hints += [hint for _, file_hints in scanned for hint in file_hints]
            sources.append(Source(str(given), tuple(file for file, _ in scanned)))
        if paths:
            meter.finish()
            hints += _unused(data, sources)
        sources += map(_built_in_source, named)
        form = _form_of(sources)
        return cls(tuple(sources), form, _fingerprint(sources), tuple(hints))


def form_of_path(word: str, data: DataSettings) -> Form | None:
    """What lies there, told from the first file alone; None where it cannot be read."""
    if is_built_in(word):
        return "chat"
    try:
        _, entries = _find(word, [])
        shape = detect(entries[0].path, data).shape
    except (DataError, OSError):
        return None
    return "chat" if shape.holds_conversations else "text"


class Meter:
    """Adds up one stage and tells a listener, at most once a megabyte."""

    def __init__(self, progress: Progress | None, stage: str, total: int) -> None:
        self._progress = progress
        self._stage = stage
        self._total = total
        self._done = 0
        self._told = 0

    def add(self, n_bytes: int) -> None:
        self._done += n_bytes
        if self._progress and self._done - self._told >= _BLOCK_BYTES:
            self._told = self._done
            self._progress(self._stage, min(self._done, self._total), self._total)

    def finish(self) -> None:
        if self._progress:
            self._progress(self._stage, self._total, self._total)


# --- finding files ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    path: Path
    side: str | None  # as its name says, "test" included


_Found = tuple[Path, list[_Entry]]


def _find(name: str, hints: list[str]) -> _Found:
    """The file, or all files below the folder in a fixed order; hidden ones and links are not."""
    if not name:
        raise NoDataError("An empty path was given; name a file or a folder.")
    if "://" in name:
        raise NoDataError(f"{name} is an address, and nothing is fetched; give a file or a folder.")
    try:
        given = Path(name).expanduser()
    except RuntimeError as error:
        raise NoDataError(f"{name} cannot be found: {error}.") from None
    if given.is_file():
        return given, [_Entry(given, _side_in_name(given))]
    if not given.is_dir():
        raise NoDataError(f"{given} is neither a file nor a folder; check the path.")
    entries: list[_Entry] = []
    links = 0
    for folder, subfolders, names in os.walk(given, onerror=_cannot_look):
        links += sum(Path(folder, name).is_symlink() for name in (*subfolders, *names))
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file() and not path.is_symlink():
                entries.append(_Entry(path, _named_side(given, path)))
    if links:
        hints.append(f"{given}: {links:,} link{'s' * (links > 1)} left out; give their targets")
    if not entries:
        raise NoDataError(f"The folder {given} holds no files.")
    return given, sorted(entries, key=lambda entry: entry.path.relative_to(given).parts)


def _cannot_look(error: OSError) -> None:
    raise _unreadable(Path(str(error.filename)), error)


def _named_side(given: Path, path: Path) -> str | None:
    """What the file's own name says, else the innermost folder that says something."""
    folders = [*path.relative_to(given).parts[-2::-1], given.resolve().name]
    named = (_NAMED_SIDES.get(name.lower()) for name in folders)
    return _side_in_name(path) or next(filter(None, named), None)


def _side_in_name(path: Path) -> str | None:
    """The one side that a part of a file's name says: wiki.test.raw, dialogues_train.txt."""
    parts = _PART_OF_NAME.findall(path.stem.lower())
    sides = {_NAMED_SIDES[part] for part in parts if part in _NAMED_SIDES}
    return sides.pop() if len(sides) == 1 else None


def _choose(found: list[_Found], hints: list[str], *, undivided: bool) -> list[_Found]:
    """Leave out what is doubled, empty, or beside files that are named train and valid."""
    found = [(given, _once(entries, found[:i], hints)) for i, (given, entries) in enumerate(found)]
    found = [(given, _without_pages_about_it(entries, hints)) for given, entries in found]
    found = [(given, entries) for given, entries in found if entries]
    sides = {entry.side for _, entries in found for entry in entries}
    if undivided or "train" not in sides or not sides & {"valid", "test"}:
        if sides - {None} and not undivided:
            named = " and ".join(sorted(filter(None, sides)))
            never = "valid or test" if "train" in sides else "train"
            told = f"file names say {named} but never {never}"
            hints.append(f"{told}, so all files are divided as usual")
        return [(given, [replace(e, side=None) for e in entries]) for given, entries in found]
    kept: list[_Found] = []
    unnamed: list[_Entry] = []
    for given, entries in found:
        named = any(entry.side for entry in entries)
        good: list[_Entry] = []
        for entry in entries:
            if entry.side == "test" and "valid" in sides:
                hints.append(f"{entry.path} is left out: there is a validation file")
            elif named and entry.side is None:
                unnamed.append(entry)
            else:
                good.append(replace(entry, side="valid") if entry.side == "test" else entry)
        if good:
            kept.append((given, good))
    if unnamed:
        some = ", ".join(str(entry.path) for entry in unnamed[:3])
        more = f" and {len(unnamed) - 3:,} more" if len(unnamed) > 3 else ""
        hints.append(f"left out, because other files are named train and valid: {some}{more}")
    return kept


def _once(entries: list[_Entry], earlier: list[_Found], hints: list[str]) -> list[_Entry]:
    seen = {entry.path.resolve() for _, others in earlier for entry in others}
    kept: list[_Entry] = []
    for entry in entries:
        if entry.path.resolve() in seen:
            hints.append(f"{entry.path} was given twice and is read once")
        else:
            kept.append(entry)
    return kept


def _without_pages_about_it(entries: list[_Entry], hints: list[str]) -> list[_Entry]:
    about = [entry for entry in entries if entry.path.stem.lower() in _ABOUT]
    if len(about) == len(entries):
        return entries
    hints += [f"{entry.path} is left out: it tells about the rest" for entry in about]
    return [entry for entry in entries if entry not in about]


# --- reading them once ------------------------------------------------------------------------


def _scan_file(
    entry: _Entry, data: DataSettings, meter: Meter
) -> tuple[CorpusFile, tuple[str, ...]]:
    digest = hashlib.blake2b(digest_size=16)
    path = entry.path
    try:
        detected = detect(path, data)
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                meter.add(len(block))
    except OSError as error:
        raise _unreadable(path, error) from error
    side: Side | None = None
    if entry.side is not None:
        side = "train" if entry.side == "train" else "valid"
    return (
        CorpusFile(
            path,
            detected.shape,
            side,
            found.st_size,
            digest.hexdigest(),
            found.st_mtime_ns,
            data.strict,
        ),
        detected.hints,
    )


def _form_of(sources: list[Source]) -> Form:
    files = [file for source in sources for file in source.files if file.n_bytes]
    chats = [file for file in files if file.shape.holds_conversations]
    texts = [file for file in files if not file.shape.holds_conversations]
    if chats and texts:
        raise DataError(
            f"{chats[0].name} holds conversations but {texts[0].name} is {texts[0].shape}; a run "
            "learns one or the other, so give only the files you mean."
        )
    return "chat" if chats else "text"


def _unused(data: DataSettings, sources: Sequence[Source]) -> Iterator[str]:
    """What was asked for and has no meaning for these files."""
    shapes = [file.shape for source in sources for file in source.files]
    if data.take and all(shape.kind != "chosen" for shape in shapes):
        yield f"none of this is preference data, so `take` = {data.take} changes nothing"
    fields = (data.user_field, data.assistant_field, data.text_field)
    if any(fields) and all(shape.layout is None for shape in shapes):
        yield "none of this has fields, so the names given for them change nothing"


def _fingerprint(sources: Sequence[Source]) -> str:
    files = [
        [[file.side, _identity(file.shape), file.n_bytes, file.digest] for file in source.files]
        for source in sources
    ]
    return hashlib.blake2b(json.dumps(files).encode(), digest_size=16).hexdigest()


def _identity(shape: Shape) -> dict[str, Any]:
    """What of a shape is not as usual: a field added one day changes no older fingerprint."""
    values = {field.name: (getattr(shape, field.name), field.default) for field in fields(shape)}
    return {name: value for name, (value, usual) in values.items() if value != usual}


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read: {error.strerror or error}.")


# --- built-in corpora -------------------------------------------------------------------------


def _built_in_source(word: str) -> Source:
    title = title_of(word)
    train, valid = conversations_of(word)
    files = (_built_in_file(title, "train", train), _built_in_file(title, "valid", valid))
    return Source(title, files)


def _built_in_file(title: str, side: Side, talks: Sequence[Conversation]) -> CorpusFile:
    data = b"".join(map(conversation_bytes, talks))
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    return CorpusFile(
        None,
        Shape("messages", "lines", "messages"),
        side,
        len(data),
        digest,
        built_in=tuple(talks),
        title=title,
    )


def conversation_bytes(conversation: Conversation) -> bytes:
    """A conversation's content as bytes that no other conversation has."""
    turns = [[message.role, message.content] for message in conversation.messages]
    return json.dumps(turns, ensure_ascii=False).encode() + b"\n"
