"""The texts a tokenizer is trained on, and those that tell how well it fits.

Both are of the training side only.
"""

import random
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import islice

from tinychat.config import TokenizerSettings
from tinychat.text.corpus import Corpus, Meter, Progress
from tinychat.text.items import Item, content_bytes, texts_of, utf8_bytes
from tinychat.text.split import Survey, sided_items
from tinychat.text.tokenizer import Tokenizer, train_bpe, train_char

SAMPLE_BYTES = 64 * 1024 * 1024  # of text a tokenizer is trained on, at most

_SAMPLE_WORDS = 6_000_000  # bytes of the different words in it, which cost about 80 times that
_WORD_BYTES = 8  # that a word weighs beside its letters
_WORD = re.compile(r"\w+|[^\w\s]+")
_MEASURED_ITEMS = 500
_BEAT_SECONDS = 1.0


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
    return _with_beats(lambda: train_bpe(texts, settings.vocab_size), progress)


def _with_beats(train: Callable[[], Tokenizer], progress: Progress | None) -> Tokenizer:
    """Train, and tell every second that it goes on: the library does not say how far it is."""
    with ThreadPoolExecutor(1, "tokenizer") as pool:
        trained = pool.submit(train)
        while not wait([trained], timeout=_BEAT_SECONDS).done:
            if progress:
                progress("training the tokenizer", 0, 0)
        return trained.result()


def measured_items(corpus: Corpus, found: Survey) -> list[Item]:
    """The first 500 items of the training side, on which a vocabulary is measured."""
    training = (item for side, item in sided_items(corpus, found) if side == "train")
    return list(islice(training, _MEASURED_ITEMS))


def bytes_per_token(corpus: Corpus, found: Survey, tokenizer: Tokenizer) -> float:
    """How many bytes of text a token stands for, measured where the training side begins."""
    items = measured_items(corpus, found)
    ids = tokenizer.encode_batch([text for item in items for text in texts_of(item)])
    return sum(map(content_bytes, items)) / max(sum(map(len, ids)), 1)


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
        taken += texts_of(item)
        weight += _take_words(texts_of(item), words)
        while weight > _SAMPLE_WORDS and len(taken) > 1:
            share = min(share, 1) / 2
            taken = [text for text in taken if chance.random() < 0.5]
            size = sum(map(utf8_bytes, taken))
            words.clear()
            weight = _take_words(taken, words)
    meter.finish()
    return taken


def _take_words(texts: Iterable[str], words: set[str]) -> int:
    """Add the words of these texts; how much heavier that makes the trainer, in bytes of words."""
    weight = 0
    for text in texts:
        fresh = set(_WORD.findall(text)) - words
        weight += sum(map(utf8_bytes, fresh)) + _WORD_BYTES * len(fresh)
        words |= fresh
    return weight
