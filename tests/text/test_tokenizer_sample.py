"""The sample a tokenizer is trained on, and how well a vocabulary fits."""

import random
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from tinychat.config import DataSettings, TokenizerSettings
from tinychat.text import (
    Corpus,
    Tokenizer,
    bytes_per_token,
    quality,
    survey,
    tokenizer_sample,
    train_bpe,
    train_char,
)

STORIES = [f"Once there was a cat called {i}.\nIt had {i} friends." for i in range(300)]


def scan(path: Path) -> Corpus:
    return Corpus.scan(DataSettings(paths=(str(path),)))


def test_training_tells_that_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is not done before it was told twice."""
    path = tmp_path / "stories.txt"
    path.write_text("\n<|endoftext|>\n".join(STORIES), encoding="utf-8")
    corpus, twice = scan(path), threading.Event()
    told: list[str] = []

    def progress(stage: str, done: int, total: int) -> None:
        told.append(stage)
        if told.count("training the tokenizer") == 2:
            twice.set()

    def slow(texts: Iterable[str], vocab_size: int) -> Tokenizer:
        assert twice.wait(120)
        return train_bpe(texts, vocab_size)

    monkeypatch.setattr(tokenizer_sample, "train_bpe", slow)
    monkeypatch.setattr(tokenizer_sample, "_BEAT_SECONDS", 0.01)
    found = survey(corpus, DataSettings(), seed=0)
    made = tokenizer_sample.train_tokenizer(
        corpus, found, TokenizerSettings(vocab_size=300), seed=0, progress=progress
    )
    assert made.vocab_size > 262
    assert told[0] == "tokenizer"


def test_a_sample_of_too_many_words_is_thinned_and_still_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's memory grows with the different words; a text may have nothing else."""
    path = tmp_path / "words.txt"
    documents = [" ".join(f"w{i:05}x{j}" for j in range(20)) for i in range(2_000)]
    path.write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
    corpus = scan(path)
    found = survey(corpus, DataSettings(), seed=0)
    whole = tokenizer_sample._sample(corpus, found, 0, tokenizer_sample.SAMPLE_BYTES, None)
    assert len(whole) == found.train_documents
    monkeypatch.setattr(tokenizer_sample, "_SAMPLE_WORDS", 100_000)
    sample = tokenizer_sample._sample(corpus, found, 0, tokenizer_sample.SAMPLE_BYTES, None)
    words = {word for text in sample for word in text.split()}
    assert 25_000 < sum(len(word) + 8 for word in words) <= 100_000
    places = [int(text[1:6]) for text in sample]
    assert min(places) < 400
    assert max(places) > 1_600
    assert sample == tokenizer_sample._sample(corpus, found, 0, tokenizer_sample.SAMPLE_BYTES, None)


def test_a_sample_comes_from_the_whole_training_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 20 stretches of the text is in it, about equally."""
    path = tmp_path / "a.txt"
    documents = [f"{chr(0x4E00 + i // 100)}{i % 100:02} words" for i in range(2000)]
    path.write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
    corpus = scan(path)
    found = survey(corpus, DataSettings(), seed=0)
    taken: list[str] = []
    monkeypatch.setattr(tokenizer_sample, "train_char", lambda texts: taken.extend(texts))
    settings = TokenizerSettings(kind="char")
    tokenizer_sample.train_tokenizer(
        corpus, found, settings, seed=1, sample_bytes=found.text_bytes // 3
    )
    counts = [sum(t[0] == chr(0x4E00 + i) for t in taken) for i in range(20)]
    assert 0.2 * 2000 < len(taken) < 0.34 * 2000
    assert all(12 < count < 50 for count in counts)


def test_bytes_per_token_tell_whether_a_vocabulary_fits(tmp_path: Path) -> None:
    stories = tmp_path / "stories.txt"
    stories.write_text("\n<|endoftext|>\n".join(STORIES), encoding="utf-8")
    corpus = scan(stories)
    found = survey(corpus, DataSettings(), seed=0)
    chance = random.Random(0)
    noise = "".join(chr(chance.randrange(0x4E00, 0x9000)) for _ in range(2000))
    fits, foreign = train_bpe(STORIES, 400), train_bpe([noise], 400)
    good, poor = (bytes_per_token(corpus, found, tokenizer) for tokenizer in (fits, foreign))
    assert quality(fits, good) is None
    assert poor < 1.5 < good
    assert "larger tokenizer.vocab_size" in (quality(foreign, poor) or "")
    assert quality(fits, 1.49) is not None
    assert quality(fits, 1.5) is None
    characters = train_char(STORIES)
    assert quality(characters, bytes_per_token(corpus, found, characters)) is None
