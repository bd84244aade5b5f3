"""Which document is for training and which for validation.

The survey reads a corpus once, counts it, and decides; `sided_items` then gives every conversation
or piece of text with its side, the same in every pass. A document's side depends on its content and
the seed, so that equal documents are on one side whatever their order. A source with fewer than
10 documents is cut by position instead, its last part for validation.
"""

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from tinychat.errors import DataError
from tinychat.text.corpus import (
    Corpus,
    CorpusFile,
    Meter,
    Progress,
    Side,
    Source,
    conversation_bytes,
)
from tinychat.text.reading import Item, Piece, Tally

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


@dataclass(frozen=True)
class SourceSplit:
    """How one source is divided: by the files' names, document by document, or at a character."""

    rule: str  # for people
    train_documents: int
    valid_documents: int
    is_valid: bytes | None = None  # a 1 for each document that is for validation
    cut: int | None = None  # so many characters are for training


@dataclass(frozen=True)
class Survey:
    """What the corpus holds and how it is divided, a split for each source."""

    files: tuple[FileReport, ...]
    splits: tuple[SourceSplit, ...]
    text_bytes: int

    @property
    def train_documents(self) -> int:
        return sum(split.train_documents for split in self.splits)

    @property
    def valid_documents(self) -> int:
        return sum(split.valid_documents for split in self.splits)

    @property
    def rule(self) -> str:
        """How it is divided, in words."""
        return "; ".join(dict.fromkeys(split.rule for split in self.splits))


def survey(corpus: Corpus, *, seed: int, share: float, progress: Progress | None = None) -> Survey:
    """Count and divide. `share` of the documents, at least one, is for validation.

    Raises DataError when too many records are bad or a side is left with nothing.
    """
    meter = Meter(progress, "counting", corpus.n_bytes)
    reports: list[FileReport] = []
    splits: list[SourceSplit] = []
    text_bytes = 0
    for source in corpus.sources:
        documents = _Documents(seed)
        named = {"train": 0, "valid": 0}
        for file in source.files:
            report, n_bytes = _survey_file(file, documents)
            reports.append(report)
            text_bytes += n_bytes
            meter.add(file.n_bytes)
            if file.side is not None:
                named[file.side] += report.documents
        if any(file.side is not None for file in source.files):
            split = SourceSplit(
                "training and validation as they are named", named["train"], named["valid"]
            )
        else:
            split = _split(source, documents, share, chat=corpus.form == "chat")
        splits.append(split)
    meter.finish()
    found = Survey(tuple(reports), tuple(splits), text_bytes)
    if not found.train_documents or not found.valid_documents:
        raise DataError(
            f"The corpus has {found.train_documents} documents for training and "
            f"{found.valid_documents} for validation, and each needs one; give more text."
        )
    return found


def sided_items(corpus: Corpus, found: Survey) -> Iterator[tuple[Side, Item]]:
    """Everything with its side, in the order of the corpus. A document that is cut goes to both."""
    for source, split in zip(corpus.sources, found.splits, strict=True):
        if split.cut is not None:
            yield from _cut_at(source, split.cut)
            continue
        index = -1
        for file in source.files:
            for item in file.items():
                if not isinstance(item, Piece) or item.first:
                    index += 1
                if file.side is not None:
                    yield file.side, item
                else:
                    assert split.is_valid is not None  # a divided source has one for each document
                    yield ("valid" if split.is_valid[index] else "train"), item


def _cut_at(source: Source, cut: int) -> Iterator[tuple[Side, Item]]:
    position = 0
    for file in source.files:
        for item in file.items():
            assert isinstance(item, Piece)  # conversations are never cut
            here = max(cut - position, 0)
            if head := item.text[:here]:
                yield "train", Piece(head, item.first)
            if tail := item.text[here:]:  # the first piece beyond the cut begins a document
                yield "valid", Piece(tail, item.first or position <= cut)
            position += len(item.text)


class _Documents:
    """The hash and the characters of each document of one source."""

    def __init__(self, seed: int) -> None:
        self._key = str(seed).encode()
        self._current = None
        self.hashes = array("Q")
        self.characters = array("Q")

    def add(self, item: Item, data: bytes) -> None:
        if not isinstance(item, Piece) or item.first:
            self.end_document()
            self._current = hashlib.blake2b(key=self._key, digest_size=_HASH_BYTES)
            self.characters.append(0)
        assert self._current is not None  # the first piece of a file begins a document
        self._current.update(data)
        self.characters[-1] += len(item.text) if isinstance(item, Piece) else 0

    def end_document(self) -> None:
        if self._current is not None:
            self.hashes.append(int.from_bytes(self._current.digest(), "little"))
            self._current = None


def _survey_file(file: CorpusFile, documents: _Documents) -> tuple[FileReport, int]:
    tally = Tally()
    before = len(documents.characters)
    n_bytes = 0
    for item in file.items(tally):
        if isinstance(item, Piece):
            data = item.text.encode()
            n_bytes += len(data)
        else:
            data = conversation_bytes(item)
            n_bytes += sum(len(message.content.encode()) for message in item.messages)
        documents.add(item, data)
    documents.end_document()
    _refuse_many_bad(file, tally)
    return (
        FileReport(
            name=file.name,
            holds=str(file.shape) if file.path else "conversations",
            side=file.side,
            n_bytes=file.n_bytes,
            documents=len(documents.characters) - before,
            bad_records=tally.bad,
            bad_reasons=tuple(tally.reasons),
            lone_surrogates=tally.surrogates,
        ),
        n_bytes,
    )


def _refuse_many_bad(file: CorpusFile, tally: Tally) -> None:
    if tally.bad == 0:
        return
    if tally.bad == tally.records or (tally.bad > 10 and tally.bad * 100 > tally.records):
        raise DataError(
            f"{tally.bad:,} of the {tally.records:,} records of {file.name} are bad; mend or "
            f"remove them ({'; '.join(tally.reasons)})."
        )


def _split(source: Source, documents: _Documents, share: float, *, chat: bool) -> SourceSplit:
    count = len(documents.hashes)
    if count == 0:
        raise DataError(f"{source.name} holds no text.")
    if count >= FEW_DOCUMENTS:
        return _split_by_content(source, documents.hashes, share)
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


def _split_by_content(source: Source, hashes: "array[int]", share: float) -> SourceSplit:
    limit = int(share * 256**_HASH_BYTES)
    lowest = min(hashes)
    # Where chance left none for validation, the lowest one goes, with all that equal it.
    is_valid = bytes(value < limit or value == lowest for value in hashes)
    valid = sum(is_valid)
    if valid == len(hashes):
        raise DataError(
            f"All {valid} documents of {source.name} would be for validation, as they do when "
            "they are all the same; add others."
        )
    rule = f"about {share:.0%} of the documents for validation, chosen by content and seed"
    return SourceSplit(rule, len(hashes) - valid, valid, is_valid)


def _split_characters(source: Source, characters: "array[int]", share: float) -> SourceSplit:
    total = sum(characters)
    cut = int(total * (1 - share))
    if not 0 < cut < total:
        raise DataError(f"{source.name} holds only {total} characters; give more text.")
    ends = [sum(characters[: i + 1]) for i in range(len(characters))]
    train = sum(end - size < cut for end, size in zip(ends, characters, strict=True))
    rule = f"the last {share:.0%} of the characters for validation"
    return SourceSplit(rule, train, sum(end > cut for end in ends), cut=cut)
