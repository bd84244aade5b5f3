"""A divided corpus through a tokenizer: the texts to train one on, and the tokens of each side.

Which items there are and their sides is the charge of `split`; the files are that of `token_files`.
"""

import random
import re
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from tinychat.config import TokenizerSettings
from tinychat.errors import DataError
from tinychat.runs import Disk
from tinychat.text.chat import encode_conversations
from tinychat.text.corpus import Corpus, Meter, Progress, Side
from tinychat.text.items import Item, Piece
from tinychat.text.split import Survey, first_documents, sided_items
from tinychat.text.token_files import TokenFile, TokenWriter
from tinychat.text.tokenizer import Tokenizer, train_bpe, train_char

SAMPLE_BYTES = 64 * 1024 * 1024  # of text a tokenizer is trained on, at most
_SAMPLE_WORDS = 6_000_000  # bytes of the different words in it, which cost about 80 times that
_WORD_BYTES = 8  # that a word weighs beside its letters
_WORD = re.compile(r"\w+|[^\w\s]+")

_BATCH_BYTES = 1024 * 1024
_BATCH_ITEMS = 2048
_IN_FLIGHT = 2  # batches: one that is encoded while another one is read or written
_SAVE_BYTES = 64 * 1024 * 1024  # of text between two savings of the state,
_SAVE_SECONDS = 5.0  # or so long, whichever comes first
_MEASURED_ITEMS = 500

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


def train_tokenizer(
    corpus: Corpus,
    found: Survey,
    settings: TokenizerSettings,
    *,
    seed: int,
    sample_bytes: int = SAMPLE_BYTES,
    progress: Progress | None = None,
) -> Tokenizer:
    """Train on the training side only: all of it, or a seeded sample where it is larger."""
    texts = _sample(corpus, found, seed, sample_bytes, progress)
    if settings.kind == "char":
        return train_char(texts)
    return train_bpe(texts, settings.vocab_size)


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
    went_on = f" (going on from {_share(done, found)})" if done.items else ""
    meter = Meter(progress, f"encoding{went_on}", found.text_bytes)
    items = sided_items(corpus, found)
    for _, item in islice(items, done.items):
        meter.add(content_bytes(item))
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
) -> TokenFile:
    """All of a corpus, undivided, as the token file `all.bin` in `folder`.

    Raises DataError if it holds no text.
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
    items = (item for file in corpus.files for item in file.items(advance=meter.add))
    sided: Iterator[tuple[Side, Item]] = (
        ("valid", item) for item in first_documents(items, max_documents)
    )
    try:
        with closing(_encode(sided, tokenizer, {"valid": writer}, loss)) as batches:
            for _ in batches:
                pass
        if not writer.n_documents:
            raise DataError(f"{corpus.sources[0].name} holds no text.")
        if corpus.form == "text":
            writer.write([tokenizer.format.end])
        writer.finish()
    finally:
        writer.close()
    meter.finish()
    return TokenFile(folder / "all.bin", tokenizer.format)


def bytes_per_token(corpus: Corpus, found: Survey, tokenizer: Tokenizer) -> float:
    """How many bytes of text a token stands for, measured where the training side begins."""
    training = (item for side, item in sided_items(corpus, found) if side == "train")
    texts = [text for item in islice(training, _MEASURED_ITEMS) for text in _texts(item)]
    tokens = sum(map(len, tokenizer.encode_batch(texts)))
    return sum(map(_utf8_bytes, texts)) / max(tokens, 1)


def content_bytes(item: Item) -> int:
    """UTF-8 bytes of an item's text, roles not counted."""
    return sum(map(_utf8_bytes, _texts(item)))


def _texts(item: Item) -> Sequence[str]:
    if isinstance(item, Piece):
        return (item.text,)
    return [message.content for message in item.messages]


def _utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _share(done: Encoded, found: Survey) -> str:
    return f"{done.text_bytes / max(found.text_bytes, 1):.0%}"


def _sample(
    corpus: Corpus, found: Survey, seed: int, limit: int, progress: Progress | None
) -> list[str]:
    """Texts of the training side, at most `limit` bytes, drawn from all of it, first to last.

    The trainer keeps every different word, and much for each of its bytes. Where there are too
    many, as in text that does not part words by blanks, half of what was taken is dropped, and from
    there on half as much is taken.
    """
    chance = random.Random(f"tokenizer sample {seed}")
    share = limit / max(found.text_bytes, 1)
    taken: list[str] = []
    words: set[str] = set()
    size = weight = 0
    meter = Meter(progress, "tokenizer", found.text_bytes)
    for side, item in sided_items(corpus, found):
        item_size = content_bytes(item)
        meter.add(item_size)
        if side != "train" or (share < 1 and chance.random() >= share) or size + item_size > limit:
            continue
        size += item_size
        taken += _texts(item)
        weight += _take_words(_texts(item), words)
        while weight > _SAMPLE_WORDS and len(taken) > 1:
            share = min(share, 1) / 2
            taken = [text for text in taken if chance.random() < 0.5]
            size = sum(map(_utf8_bytes, taken))
            words.clear()
            weight = _take_words(taken, words)
    meter.finish()
    return taken


def _take_words(texts: Iterable[str], words: set[str]) -> int:
    """Add the words of these texts; how much heavier that makes the trainer, in bytes of words."""
    weight = 0
    for text in texts:
        fresh = set(_WORD.findall(text)) - words
        weight += sum(map(_utf8_bytes, fresh)) + _WORD_BYTES * len(fresh)
        words |= fresh
    return weight


# --- batches on all cores ---------------------------------------------------------------------

_Batch = list[tuple[Side, Item]]


def _encode(
    items: Iterator[tuple[Side, Item]],
    tokenizer: Tokenizer,
    writers: dict[Side, TokenWriter],
    loss: Loss,
) -> Generator[Encoded, None, None]:
    """Write items; after each batch, what it held.

    The library encodes on all cores and lets other threads run meanwhile, so a thread waits for it
    while this one reads and writes.
    """
    with ThreadPoolExecutor(1, "encoding") as pool:
        waiting: deque[tuple[_Batch, Future[list[Any]]]] = deque()
        try:
            for batch in _batches(items):
                waiting.append((batch, pool.submit(_encode_batch, tokenizer, batch)))
                if len(waiting) == _IN_FLIGHT:
                    first, future = waiting.popleft()
                    yield _write(tokenizer, writers, loss, first, future.result())
            for first, future in waiting:
                yield _write(tokenizer, writers, loss, first, future.result())
        finally:
            pool.shutdown(cancel_futures=True)


def _batches(items: Iterator[tuple[Side, Item]]) -> Iterator[_Batch]:
    """Items in groups large enough for all cores and small enough for memory."""
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


def _encode_batch(tokenizer: Tokenizer, batch: _Batch) -> list[Any]:
    """Ids of pieces; ids and targets of conversations. No corpus has both."""
    pieces = [item for _, item in batch if isinstance(item, Piece)]
    talks = [item for _, item in batch if not isinstance(item, Piece)]
    if talks:
        return encode_conversations(tokenizer, talks)
    return tokenizer.encode_batch([piece.text for piece in pieces])


def _write(
    tokenizer: Tokenizer,
    writers: dict[Side, TokenWriter],
    loss: Loss,
    batch: _Batch,
    encoded: list[Any],
) -> Encoded:
    form = tokenizer.format
    text: dict[Side, int] = {"train": 0, "valid": 0}
    target: dict[Side, int] = {"train": 0, "valid": 0}
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
                learnt = sum(_utf8_bytes(m.content) for m in item.messages if m.role == "assistant")
            writer.begin_document()
            writer.write(ids, targets)
        text[side] += size
        target[side] += learnt
    return Encoded(
        len(batch),
        SideBytes(text["train"], target["train"]),
        SideBytes(text["valid"], target["valid"]),
    )
