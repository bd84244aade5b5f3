"""Which document is for training and which for validation.

The survey reads a corpus once, counts it, and decides; `sided_items` then gives every conversation
or piece of text with its side, the same in every pass. A document's side depends on its content and
the seed, so that equal documents are on one side whatever their order. A source with fewer than
10 documents is cut by position instead, its last part for validation.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tinychat.config import DataSettings
from tinychat.errors import DataError, NoDataError
from tinychat.text.corpus import (
    Corpus,
    CorpusFile,
    Meter,
    Progress,
    Side,
    Source,
    conversation_bytes,
)
from tinychat.text.items import Item, Piece, content_bytes
from tinychat.text.reading import Tally

FEW_DOCUMENTS = 10  # below this a source is cut by position

_HASH_BYTES = 8


@dataclass(frozen=True)
class FileReport:
    """What one file turned out to hold."""

    name: str
    holds: str  # "plain text", "JSON lines, messages" and so on
    side: Side | None
    n_bytes: int
    documents: int
    bad_records: int
    bad_reasons: tuple[str, ...]  # of the first three, `file:line: reason`
    lone_surrogates: int  # replaced by U+FFFD
    turns: int = 0  # of its conversations, as they stand in the file
    left_out: dict[str, int] = field(default_factory=dict)  # good records of no use, by reason
    unanswered: int = 0  # conversations that lost a question at their end
    garbled: str = ""  # a remark on text whose encoding was once mistaken

    @property
    def remarks(self) -> list[str]:
        """Sentences about what was not taken as it stands, for people."""
        told: list[str] = []
        if self.bad_records:
            first = "; ".join(self.bad_reasons)
            bad = f"{self.bad_records:,} bad record{'s' * (self.bad_records > 1)}"
            told.append(f"{bad} left out ({first})")
        if self.left_out:
            reasons = ", ".join(f"{count:,} for {why}" for why, count in self.left_out.items())
            told.append(f"{self.name}: conversations are left out, {reasons}")
        if self.garbled:
            told.append(f"{self.name}: {self.garbled}")
        return told


@dataclass(frozen=True)
class SourceSplit:
    """How one source is divided: by the files' names, document by document, or at a character."""

    rule: str  # for people
    train_documents: int
    valid_documents: int
    is_valid: bytes | None = None  # a byte for each document: 1 if it is for validation, else 0
    cut: int | None = None  # so many characters are for training


@dataclass(frozen=True)
class Survey:
    """What the corpus holds and how it is divided, a split for each source."""

    files: tuple[FileReport, ...]
    splits: tuple[SourceSplit, ...]
    text_bytes: int
    max_documents: int | None = None  # as it was given

    @property
    def train_documents(self) -> int:
        return sum(split.train_documents for split in self.splits)

    @property
    def valid_documents(self) -> int:
        return sum(split.valid_documents for split in self.splits)

    @property
    def rule(self) -> str:
        """How it is divided, in words."""
        rules = list(dict.fromkeys(split.rule for split in self.splits if split.rule))
        if self.max_documents is not None:
            rules.append(f"no more than {self.max_documents:,} documents are read")
        return "; ".join(rules)


def survey(
    corpus: Corpus,
    data: DataSettings,
    *,
    seed: int,
    progress: Progress | None = None,
    reports: list[FileReport] | None = None,
) -> Survey:
    """Count and divide. `data.validation_share` of the documents, at least one, is for validation.

    No more than `data.max_documents` are read, of files that are named train and valid that many of
    each. `reports` is filled on the way, to be looked at where it fails. Raises DataError when too
    many records are bad or a side is left with nothing.
    """
    share = data.validation_share
    meter = Meter(progress, "counting", corpus.n_bytes)
    reports = [] if reports is None else reports
    splits: list[SourceSplit] = []
    text_bytes = 0
    left = dict.fromkeys(("train", "valid", None), data.max_documents)
    for source in corpus.sources:
        documents = _Documents(seed, share)
        named = {"train": 0, "valid": 0}
        full = False
        for file in source.files:
            report, n_bytes = _survey_file(file, documents, left[file.side], meter.add)
            reports.append(report)
            text_bytes += n_bytes
            if (quota := left[file.side]) is not None:
                left[file.side] = quota - report.documents
                full = quota == report.documents
            if file.side is not None:
                named[file.side] += report.documents
        if any(file.side is not None for file in source.files):
            split = SourceSplit(
                "training and validation as they are named", named["train"], named["valid"]
            )
        elif full and not documents.count:
            split = SourceSplit("", 0, 0, b"")  # enough had been read before
        else:
            split = _split(source, documents, share, chat=corpus.form == "chat")
        splits.append(split)
    meter.finish()
    found = Survey(tuple(reports), tuple(splits), text_bytes, data.max_documents)
    if not found.train_documents or not found.valid_documents:
        raise DataError(
            f"The corpus has {found.train_documents} documents for training and "
            f"{found.valid_documents} for validation, and each needs one; give more text."
        )
    return found


def sided_items(corpus: Corpus, found: Survey) -> Iterator[tuple[Side, Item]]:
    """Everything with its side, in the order of the corpus. A document that is cut goes to both."""
    counts = iter(report.documents for report in found.files)
    for source, split in zip(corpus.sources, found.splits, strict=True):
        files = [(file, next(counts)) for file in source.files]
        if split.cut is not None:
            yield from _cut_at(files, split.cut)
            continue
        index = -1
        for file, count in files:
            for item in first_documents(file.items(), count):
                if begins_document(item):
                    index += 1
                if file.side is not None:
                    yield file.side, item
                else:
                    assert split.is_valid is not None  # a divided source has one for each document
                    yield ("valid" if split.is_valid[index] else "train"), item


def begins_document(item: Item) -> bool:
    """Whether an item is a conversation or the first piece of a text document."""
    return not isinstance(item, Piece) or item.first


def first_documents(items: Iterator[Item], count: int | None) -> Iterator[Item]:
    """The items of the first `count` documents; None: of all."""
    if count == 0:
        return  # before a byte is read
    begun = 0
    for item in items:
        if begins_document(item):
            if begun == count:
                return
            begun += 1
        yield item
        if begun == count and not isinstance(item, Piece):
            return  # without looking at the next one, which would be counted


def _cut_at(files: list[tuple[CorpusFile, int]], cut: int) -> Iterator[tuple[Side, Item]]:
    position = 0
    for file, count in files:
        for item in first_documents(file.items(), count):
            assert isinstance(item, Piece)  # conversations are never cut
            here = max(cut - position, 0)
            if head := item.text[:here]:
                yield "train", Piece(head, item.first)
            if tail := item.text[here:]:  # the first piece beyond the cut begins a document
                yield "valid", Piece(tail, item.first or position <= cut)
            position += len(item.text)


class _Documents:
    """The side of each document of one source, told while they are read: a byte for each.

    A document is for validation if its hash is below a limit. Where chance leaves none, the one
    with the lowest hash is, and all that equal it.
    """

    def __init__(self, seed: int, share: float) -> None:
        self._key = str(seed).encode()
        self._limit = int(share * 256**_HASH_BYTES)
        self._lowest = 256**_HASH_BYTES
        self._current = None
        self._flags = bytearray()
        self.count = 0
        self.characters: list[int] = []  # of the first documents, which may be all

    def add(self, item: Item, data: bytes) -> None:
        if begins_document(item):
            self.end_document()
            self._current = hashlib.blake2b(key=self._key, digest_size=_HASH_BYTES)
            self.count += 1
            if self.count <= FEW_DOCUMENTS:
                self.characters.append(0)
        assert self._current is not None  # the first piece of a file begins a document
        self._current.update(data)
        if self.count <= FEW_DOCUMENTS and isinstance(item, Piece):
            self.characters[-1] += len(item.text)

    def end_document(self) -> None:
        if self._current is None:
            return
        value = int.from_bytes(self._current.digest(), "little")
        self._current = None
        if value < self._lowest:
            if self._lowest >= self._limit:  # what was the lowest is not; this happens seldom
                self._flags = self._flags.replace(b"\1", b"\0")
            self._lowest = value
        self._flags.append(value < self._limit or value == self._lowest)

    def is_valid(self) -> bytes:
        """A 1 for each document that is for validation, else a 0."""
        return bytes(self._flags)


def _survey_file(
    file: CorpusFile, documents: _Documents, most: int | None, advance: Callable[[int], None]
) -> tuple[FileReport, int]:
    tally = Tally()
    before = documents.count
    n_bytes = 0
    for item in first_documents(file.items(tally, advance), most):
        n_bytes += content_bytes(item)
        data = item.text.encode() if isinstance(item, Piece) else conversation_bytes(item)
        documents.add(item, data)
    documents.end_document()
    return report_on(file, tally, documents.count - before), n_bytes


def report_on(file: CorpusFile, tally: Tally, documents: int) -> FileReport:
    """What a file that was read turned out to hold. Raises DataError if too much of it is bad."""
    _refuse_many_bad(file, tally)
    return FileReport(
        name=file.name,
        holds=str(file.shape) if file.path else "conversations",
        side=file.side,
        n_bytes=file.n_bytes,
        documents=documents,
        bad_records=tally.bad,
        bad_reasons=tuple(tally.reasons),
        lone_surrogates=tally.surrogates,
        turns=tally.turns if file.path else sum(len(talk.messages) for talk in file.built_in),
        left_out=dict(tally.left_out),
        unanswered=tally.unanswered,
        garbled=str(tally.garbled),
    )


def _refuse_many_bad(file: CorpusFile, tally: Tally) -> None:
    """Stop where most likely not the records are wrong, but what we take them for."""
    unused = tally.bad + sum(tally.left_out.values())
    if tally.left_out and unused == tally.records:
        reasons = [*tally.reasons, *tally.left_reasons][:3]
        raise DataError(
            f"None of the {tally.records:,} records of {file.name} can be used "
            f"({'; '.join(reasons)})."
        )
    many = tally.bad > 10 and tally.bad * 100 > tally.records
    if many or 0 < tally.bad == tally.records:
        raise DataError(
            f"{tally.bad:,} of the {tally.records:,} records of {file.name} are bad; mend or "
            f"remove them ({'; '.join(tally.reasons)})."
        )


def _split(source: Source, documents: _Documents, share: float, *, chat: bool) -> SourceSplit:
    count = documents.count
    if count == 0:
        raise NoDataError(f"{source.name} holds no text.")
    if count >= FEW_DOCUMENTS:
        return _split_by_content(source, documents.is_valid(), share)
    if not chat:
        return _split_characters(source, documents.characters, share)
    if count == 1:
        raise DataError(
            f"{source.name} holds a single conversation, and validation needs one of its own; "
            "add another."
        )
    train = min(max(int(count * (1 - share)), 1), count - 1)
    is_valid = bytes(train) + bytes([1]) * (count - train)
    rule = f"the last {count - train} of {count} conversations for validation"
    return SourceSplit(rule, train, count - train, is_valid)


def _split_by_content(source: Source, is_valid: bytes, share: float) -> SourceSplit:
    valid = sum(is_valid)
    if valid == len(is_valid):
        raise DataError(
            f"All {valid} documents of {source.name} are the same, or nearly all, so none is left "
            "to train on; add others."
        )
    rule = f"about {share:.0%} of the documents for validation, chosen by content and seed"
    return SourceSplit(rule, len(is_valid) - valid, valid, is_valid)


def _split_characters(source: Source, characters: list[int], share: float) -> SourceSplit:
    total = sum(characters)
    cut = int(total * (1 - share))
    if not 0 < cut < total:
        raise DataError(
            f"{source.name} holds only {total} character{'s' * (total != 1)}; give more text."
        )
    ends = [sum(characters[: i + 1]) for i in range(len(characters))]
    train = sum(end - size < cut for end, size in zip(ends, characters, strict=True))
    rule = f"the last {share:.0%} of the characters for validation"
    return SourceSplit(rule, train, sum(end > cut for end in ends), cut=cut)
