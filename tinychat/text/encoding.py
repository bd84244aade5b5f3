"""A divided corpus through a tokenizer: the tokens of each side.

Which items there are and their sides is the charge of `split`; the files are that of `token_files`.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from tinychat.errors import NoDataError
from tinychat.runs import Disk
from tinychat.text.chat import Encoder, encode_conversations
from tinychat.text.corpus import Corpus, Meter, Progress, Side
from tinychat.text.corpus_encoder import corpus_encoder
from tinychat.text.items import Item, Piece, content_bytes, utf8_bytes
from tinychat.text.reading import Tally
from tinychat.text.split import (
    FileReport,
    Survey,
    begins_document,
    first_documents,
    report_on,
    sided_items,
)
from tinychat.text.token_files import TokenFile, TokenWriter
from tinychat.text.tokenizer import Tokenizer

_BATCH_BYTES = 256 * 1024
_BATCH_ITEMS = 1024
_MOST_THREADS = 8  # what one thread reads and writes keeps no more of them busy
_SAVE_BYTES = 64 * 1024 * 1024  # of text between two savings of the state,
_SAVE_SECONDS = 5.0  # or so long, whichever comes first

Loss = Literal["answers", "all"]


@dataclass(frozen=True)
class SideBytes:
    """UTF-8 bytes of one side: of all its text, and of what is to be learnt."""

    text: int = 0
    target: int = 0

    def __add__(self, other: "SideBytes") -> "SideBytes":
        return SideBytes(self.text + other.text, self.target + other.target)


@dataclass(frozen=True)
class Encoded:
    """How far the encoding of a corpus has come."""

    items: int = 0
    train: SideBytes = SideBytes()
    valid: SideBytes = SideBytes()

    @property
    def text_bytes(self) -> int:
        return self.train.text + self.valid.text

    def __add__(self, other: "Encoded") -> "Encoded":
        return Encoded(self.items + other.items, self.train + other.train, self.valid + other.valid)


def encode_corpus(
    corpus: Corpus,
    found: Survey,
    tokenizer: Tokenizer,
    writers: dict[Side, TokenWriter],
    *,
    loss: Loss,
    done: Encoded = Encoded(),
    save: Callable[[Encoded], None] | None = None,
    progress: Progress | None = None,
) -> Encoded:
    """Write every item to its side's writer. Text: bos, text, end; conversations with a mask.

    What is `done` is passed over. `save` is called now and then with how far it has come.
    """
    meter = Meter(progress, "encoding", found.text_bytes)
    meter.add(done.text_bytes)
    items = islice(sided_items(corpus, found), done.items, None)
    saved, saved_at = done, time.monotonic()
    with closing(_encode(items, tokenizer, writers, loss)) as batches:
        for batch in batches:
            done += batch
            due = done.text_bytes - saved.text_bytes >= _SAVE_BYTES
            if save and (due or time.monotonic() - saved_at >= _SAVE_SECONDS):
                save(done)
                saved, saved_at = done, time.monotonic()
            meter.add(batch.text_bytes)
    if corpus.form == "text":
        for writer in writers.values():
            writer.write([tokenizer.format.end])
    meter.finish()
    return done


def encode_whole(
    corpus: Corpus,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    loss: Loss,
    max_documents: int | None = None,
    progress: Progress | None = None,
) -> tuple[TokenFile, list[FileReport]]:
    """All of a corpus, undivided, as the token file `all.bin` in `folder`; and what its files held.

    Raises NoDataError if it holds no text, DataError for too many bad records.
    """
    writer = TokenWriter(
        folder,
        "all",
        vocab_size=tokenizer.vocab_size,
        chat_format=tokenizer.format,
        masked=corpus.form == "chat",
        disk=Disk(),
    )
    meter = Meter(progress, "encoding", corpus.n_bytes)
    reports: list[FileReport] = []
    sided: Iterator[tuple[Side, Item]] = (
        ("valid", item) for item in _reported(corpus, max_documents, reports, meter)
    )
    try:
        with closing(_encode(sided, tokenizer, {"valid": writer}, loss)) as batches:
            for _ in batches:
                pass
        if not writer.n_documents:
            raise NoDataError(f"{corpus.sources[0].name} holds no text.")
        if corpus.form == "text":
            writer.write([tokenizer.format.end])
        writer.finish()
    finally:
        writer.close()
    meter.finish()
    return TokenFile(folder / "all.bin", tokenizer.format), reports


def _reported(
    corpus: Corpus, most: int | None, reports: list[FileReport], meter: Meter
) -> Iterator[Item]:
    """The items of all files, with a report after each file."""
    for file in corpus.files:
        tally, documents = Tally(), 0
        for item in first_documents(file.items(tally, meter.add), most):
            documents += begins_document(item)
            yield item
        reports.append(report_on(file, tally, documents))
        most = None if most is None else most - documents


# --- batches on all cores ---------------------------------------------------------------------

_Batch = list[tuple[Side, Item]]


def _encode(
    items: Iterator[tuple[Side, Item]],
    tokenizer: Tokenizer,
    writers: dict[Side, TokenWriter],
    loss: Loss,
) -> Generator[Encoded, None, None]:
    """Write items; after each batch, what it held.

    Encoders let other threads run meanwhile, so each core has a batch while this thread reads and
    writes.
    """
    encoder = corpus_encoder(tokenizer)
    threads = _threads()
    with ThreadPoolExecutor(threads, "encoding") as pool:
        waiting: deque[tuple[_Batch, Future[list[Any]]]] = deque()
        try:
            for batch in _batches(items):
                waiting.append((batch, pool.submit(_encode_batch, encoder, batch)))
                if len(waiting) > threads:
                    first, future = waiting.popleft()
                    yield _write(tokenizer, writers, loss, first, future.result())
            for first, future in waiting:
                yield _write(tokenizer, writers, loss, first, future.result())
        finally:
            pool.shutdown(cancel_futures=True)


def _threads() -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(allowed or 1, _MOST_THREADS)


def _batches(items: Iterator[tuple[Side, Item]]) -> Iterator[_Batch]:
    """Items in groups that are worth a call and small enough for memory."""
    batch: _Batch = []
    size = 0
    for side, item in items:
        batch.append((side, item))
        size += content_bytes(item)
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_ITEMS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _encode_batch(encoder: Encoder, batch: _Batch) -> list[Any]:
    """Ids of pieces; ids and targets of conversations. No corpus has both."""
    pieces = [item for _, item in batch if isinstance(item, Piece)]
    talks = [item for _, item in batch if not isinstance(item, Piece)]
    if talks:
        return encode_conversations(encoder, talks)
    return encoder.encode_batch([piece.text for piece in pieces])


def _write(
    tokenizer: Tokenizer,
    writers: dict[Side, TokenWriter],
    loss: Loss,
    batch: _Batch,
    encoded: list[Any],
) -> Encoded:
    form = tokenizer.format
    sizes: dict[Side, SideBytes] = {"train": SideBytes(), "valid": SideBytes()}
    for (side, item), made in zip(batch, encoded, strict=True):
        writer = writers[side]
        size = learnt = content_bytes(item)
        if isinstance(item, Piece):
            if item.first:
                if writer.n_documents:
                    writer.write([form.end])
                writer.begin_document()
                writer.write(form.begin)
            writer.write(made)
        else:
            ids, targets = made
            if loss == "all":
                targets = [token != form.bos for token in ids]
            else:
                learnt = sum(utf8_bytes(m.content) for m in item.messages if m.role == "assistant")
            writer.begin_document()
            writer.write(ids, targets)
        sizes[side] += SideBytes(size, learnt)
    return Encoded(len(batch), sizes["train"], sizes["valid"])
