"""A corpus through a tokenizer: whole or divided, in batches, with the sample one is trained on."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tinychat.config import DataSettings
from tinychat.errors import DataError
from tinychat.runs import Disk
from tinychat.text import (
    Conversation,
    Corpus,
    Message,
    Tokenizer,
    bytes_per_token,
    encode_conversation,
    encode_document,
    encode_whole,
    encoding,
    quality,
    survey,
    train_bpe,
    train_char,
)
from tinychat.text.encoding import encode_corpus
from tinychat.text.token_files import TokenWriter, check_file

STORIES = [f"Once there was a cat called {i}.\nIt had {i} friends." for i in range(300)]
Write = Callable[..., Path]


def scan(path: Path) -> Corpus:
    return Corpus.scan(DataSettings(paths=(str(path),)))


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    path = tmp_path / "stories.txt"
    path.write_text("\n<|endoftext|>\n".join(STORIES), encoding="utf-8")
    return path


@pytest.fixture
def talks(write_jsonl: Write) -> Path:
    records = [{"prompt": f"What is {i}?", "completion": "A number."} for i in range(30)]
    return write_jsonl("talks.jsonl", records)


def test_a_sample_of_too_many_words_is_thinned_and_still_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's memory grows with the different words; a text may have nothing else."""
    path = tmp_path / "words.txt"
    documents = [" ".join(f"w{i:05}x{j}" for j in range(20)) for i in range(2_000)]
    path.write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
    corpus = Corpus.scan(DataSettings(paths=(str(path),)))
    found = survey(corpus, seed=0, share=0.1)
    whole = encoding._sample(corpus, found, 0, encoding.SAMPLE_BYTES, None)
    assert len(whole) == found.train_documents
    monkeypatch.setattr(encoding, "_SAMPLE_WORDS", 100_000)
    sample = encoding._sample(corpus, found, 0, encoding.SAMPLE_BYTES, None)
    words = {word for text in sample for word in text.split()}
    assert 25_000 < sum(len(word) + 8 for word in words) <= 100_000
    places = [int(text[1:6]) for text in sample]
    assert min(places) < 400
    assert max(places) > 1_600
    assert sample == encoding._sample(corpus, found, 0, encoding.SAMPLE_BYTES, None)


def test_a_whole_text_in_one_file(stories: Path, tmp_path: Path, char: Tokenizer) -> None:
    told: list[tuple[str, int, int]] = []
    file = encode_whole(
        scan(stories), char, tmp_path, loss="answers", progress=lambda *row: told.append(row)
    )
    found = [file.read(*file.bounds(i)).tolist() for i in range(file.n_documents)]
    assert found == [encode_document(char, text) for text in STORIES]
    size = stories.stat().st_size
    assert told[-1] == ("encoding", size, size)


@pytest.mark.parametrize("loss", ["answers", "all"])
def test_whole_conversations_in_one_file(
    loss: encoding.Loss, talks: Path, tmp_path: Path, bpe: Tokenizer
) -> None:
    file = encode_whole(scan(talks), bpe, tmp_path, loss=loss, max_documents=7)
    assert file.n_documents == 7
    talk = Conversation((Message("user", "What is 6?"), Message("assistant", "A number.")))
    ids, targets = encode_conversation(bpe, talk)
    assert file.read(*file.bounds(6)).tolist() == ids
    expected = targets if loss == "answers" else [token != 0 for token in ids]
    assert list(file.targets(*file.bounds(6))) == expected


def test_nothing_to_encode_is_refused(tmp_path: Path, char: Tokenizer) -> None:
    path = tmp_path / "a.txt"
    path.write_text(" \n")
    with pytest.raises(DataError, match="holds no text"):
        encode_whole(scan(path), char, tmp_path, loss="answers")


class Breaking(Tokenizer):
    """Encodes a few batches, then fails."""

    left = 3

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        self.left -= 1
        if self.left < 0:
            raise DataError("it broke")
        return super().encode_batch(texts)


def test_an_error_in_the_other_thread_arrives(
    stories: Path, tmp_path: Path, char: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_BATCH_ITEMS", 20)
    with pytest.raises(DataError, match="it broke"):
        encode_whole(scan(stories), Breaking.from_json(char.to_json()), tmp_path, loss="answers")


@pytest.mark.parametrize("items", [1, 7, 10_000])
def test_batches_change_nothing(
    items: int, stories: Path, tmp_path: Path, bpe: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encode_whole(scan(stories), bpe, tmp_path, loss="answers")
    expected = whole.read(0, whole.n_tokens)
    monkeypatch.setattr(encoding, "_BATCH_ITEMS", items)
    (tmp_path / "other").mkdir()
    file = encode_whole(scan(stories), bpe, tmp_path / "other", loss="answers")
    assert file.read(0, file.n_tokens) == expected


def test_what_is_done_is_passed_over(
    stories: Path, tmp_path: Path, bpe: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From each saved state on, the rest gives the same files."""
    monkeypatch.setattr(encoding, "_BATCH_ITEMS", 40)
    monkeypatch.setattr(encoding, "_SAVE_BYTES", 1)
    corpus = scan(stories)
    found = survey(corpus, seed=0, share=0.2)

    def writers(folder: Path, states: dict) -> dict:
        folder.mkdir(exist_ok=True)
        return {
            side: TokenWriter(
                folder, side, vocab_size=bpe.vocab_size, chat_format=bpe.format, masked=False,
                disk=Disk(), state=states.get(side),
            )
            for side in ("train", "valid")
        }  # fmt: skip

    saved = []
    made = writers(tmp_path / "a", {})

    def save(done: encoding.Encoded) -> None:
        saved.append((done, {side: writer.save() for side, writer in made.items()}))

    end = encode_corpus(corpus, found, bpe, made, loss="answers", save=save)
    checks = [writer.finish() for writer in made.values()]
    assert len(saved) > 5
    for done, states in saved[::-1]:  # each cuts off what a later one has
        again = writers(tmp_path / "a", states)
        assert encode_corpus(corpus, found, bpe, again, loss="answers", done=done) == end
        assert [writer.finish() for writer in again.values()] == checks
        for name, check in (pair for found in checks for pair in found.items()):
            check_file(tmp_path / "a" / name, check)


def test_a_sample_comes_from_the_whole_training_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 20 stretches of the text is in it, about equally."""
    path = tmp_path / "a.txt"
    documents = [f"{chr(0x4E00 + i // 100)}{i % 100:02} words" for i in range(2000)]
    path.write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
    corpus = scan(path)
    found = survey(corpus, seed=0, share=0.1)
    taken: list[str] = []
    monkeypatch.setattr(encoding, "train_char", lambda texts: taken.extend(texts))
    settings = encoding.TokenizerSettings(kind="char")
    encoding.train_tokenizer(corpus, found, settings, seed=1, sample_bytes=found.text_bytes // 3)
    counts = [sum(t[0] == chr(0x4E00 + i) for t in taken) for i in range(20)]
    assert 0.2 * 2000 < len(taken) < 0.34 * 2000
    assert all(12 < count < 50 for count in counts)


def test_bytes_per_token_tell_whether_a_vocabulary_fits(stories: Path) -> None:
    corpus = scan(stories)
    found = survey(corpus, seed=0, share=0.1)
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
