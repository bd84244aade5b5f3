"""A divided corpus through a tokenizer: the texts to train one on, and the tokens of each side.

Which items there are and their sides is the charge of `split`; the files are that of `token_files`.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tinychat.config import TokenizerSettings
from tinychat.text.chat import BOS, END, Conversation, encode_conversations
from tinychat.text.corpus import Corpus, Meter, Progress, Side
from tinychat.text.reading import Item, Piece
from tinychat.text.split import Survey, sided_items
from tinychat.text.token_files import TokenWriter
from tinychat.text.tokenizer import Tokenizer, train_bpe, train_char

SAMPLE_BYTES = 64 * 1024 * 1024  # of text a tokenizer is trained on, at most

_BATCH_BYTES = 1024 * 1024
_BATCH_ITEMS = 2048

Loss = Literal["answers", "all"]


@dataclass
class SideBytes:
    """UTF-8 bytes of one side: of all its text, and of what is to be learnt."""

    text: int = 0
    target: int = 0


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
    progress: Progress | None = None,
) -> dict[Side, SideBytes]:
    """Write every item to its side's writer. Text: bos, text, end; conversations with a mask."""
    sizes: dict[Side, SideBytes] = {"train": SideBytes(), "valid": SideBytes()}
    meter = Meter(progress, "encoding", found.text_bytes)
    for batch in _batches(corpus, found):
        before = sum(size.text for size in sizes.values())
        pieces: list[tuple[Side, Piece]] = []
        talks: list[tuple[Side, Conversation]] = []
        for side, item in batch:
            if isinstance(item, Piece):
                pieces.append((side, item))
            else:
                talks.append((side, item))
        _write_pieces(tokenizer, writers, pieces, sizes)
        _write_conversations(tokenizer, writers, talks, sizes, loss)
        meter.add(sum(size.text for size in sizes.values()) - before)
    if corpus.form == "text":
        for writer in writers.values():
            writer.write([END])
    meter.finish()
    return sizes


def content_bytes(item: Item) -> int:
    """UTF-8 bytes of an item's text, roles not counted."""
    if isinstance(item, Piece):
        return len(item.text.encode())
    return sum(len(message.content.encode()) for message in item.messages)


def _sample(
    corpus: Corpus, found: Survey, seed: int, limit: int, progress: Progress | None
) -> Iterator[str]:
    chance = random.Random(f"tokenizer sample {seed}")
    share = limit / max(found.text_bytes, 1)
    taken = 0
    meter = Meter(progress, "tokenizer", found.text_bytes)
    for side, item in sided_items(corpus, found):
        size = content_bytes(item)
        meter.add(size)
        if side != "train" or (share < 1 and chance.random() >= share) or taken + size > limit:
            continue
        taken += size
        if isinstance(item, Piece):
            yield item.text
        else:
            yield from (message.content for message in item.messages)
    meter.finish()


def _batches(corpus: Corpus, found: Survey) -> Iterator[list[tuple[Side, Item]]]:
    """Items in groups large enough for all cores and small enough for memory."""
    batch: list[tuple[Side, Item]] = []
    size = 0
    for side, item in sided_items(corpus, found):
        batch.append((side, item))
        size += content_bytes(item)
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_ITEMS:
            yield batch
            batch, size = [], 0
    yield batch


def _write_pieces(
    tokenizer: Tokenizer,
    writers: dict[Side, TokenWriter],
    pieces: list[tuple[Side, Piece]],
    sizes: dict[Side, SideBytes],
) -> None:
    encoded = tokenizer.encode_batch([piece.text for _, piece in pieces])
    for (side, piece), ids in zip(pieces, encoded, strict=True):
        writer = writers[side]
        if piece.first:
            if writer.n_documents:
                writer.write([END])
            writer.begin_document()
            writer.write([BOS])
        writer.write(ids)
        size = content_bytes(piece)
        sizes[side].text += size
        sizes[side].target += size


def _write_conversations(
    tokenizer: Tokenizer,
    writers: dict[Side, TokenWriter],
    talks: list[tuple[Side, Conversation]],
    sizes: dict[Side, SideBytes],
    loss: Loss,
) -> None:
    encoded = encode_conversations(tokenizer, [talk for _, talk in talks])
    for (side, talk), (ids, targets) in zip(talks, encoded, strict=True):
        if loss == "all":
            targets = [token != BOS for token in ids]
        writers[side].begin_document()
        writers[side].write(ids, targets)
        for message in talk.messages:
            size = len(message.content.encode())
            sizes[side].text += size
            sizes[side].target += size if loss == "all" or message.role == "assistant" else 0
