"""A corpus through a tokenizer: whole or divided, in batches, with the sample one is trained on."""

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
    encode_conversation,
    encode_document,
    encode_whole,
    encoding,
    survey,
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


def test_a_whole_text_in_one_file(stories: Path, tmp_path: Path, char: Tokenizer) -> None:
    told: list[tuple[str, int, int]] = []
    file, _ = encode_whole(
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
    file, _ = encode_whole(scan(talks), bpe, tmp_path, loss=loss, max_documents=7)
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
    monkeypatch.setattr(encoding, "corpus_encoder", lambda tokenizer: tokenizer)
    with pytest.raises(DataError, match="it broke"):
        encode_whole(scan(stories), Breaking.from_json(char.to_json()), tmp_path, loss="answers")


def test_files_are_those_of_the_tokenizer_itself(
    stories: Path, talks: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    """Byte for byte, text and conversations, however it is encoded."""
    stories.write_text(
        stories.read_text() + "\n\n  Ünïcode 東京 🐱\t12345\n" * 50, encoding="utf-8"
    )
    for number, corpus in enumerate((stories, talks)):
        quick, plain = tmp_path / f"quick{number}", tmp_path / f"plain{number}"
        quick.mkdir()
        plain.mkdir()
        encode_whole(scan(corpus), tokenizer, quick, loss="answers")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(encoding, "corpus_encoder", lambda tokenizer: tokenizer)
            encode_whole(scan(corpus), tokenizer, plain, loss="answers")
        files = [{path.name: path.read_bytes() for path in f.iterdir()} for f in (quick, plain)]
        assert files[0] == files[1]
        assert files[0]["all.bin"]


@pytest.mark.parametrize("items", [1, 7, 10_000])
def test_batches_change_nothing(
    items: int, stories: Path, tmp_path: Path, bpe: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = encode_whole(scan(stories), bpe, tmp_path, loss="answers")
    expected = whole.read(0, whole.n_tokens)
    monkeypatch.setattr(encoding, "_BATCH_ITEMS", items)
    (tmp_path / "other").mkdir()
    file, _ = encode_whole(scan(stories), bpe, tmp_path / "other", loss="answers")
    assert file.read(0, file.n_tokens) == expected


def test_what_is_done_is_passed_over(
    stories: Path, tmp_path: Path, bpe: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From each saved state on, the rest gives the same files."""
    monkeypatch.setattr(encoding, "_BATCH_ITEMS", 40)
    monkeypatch.setattr(encoding, "_SAVE_BYTES", 1)
    monkeypatch.setattr("tinychat.text.corpus._BLOCK_BYTES", 1)
    corpus = scan(stories)
    found = survey(corpus, DataSettings(validation_share=0.2), seed=0)

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
    told: list[tuple[str, int, int]] = []
    for done, states in saved[::-1]:  # each cuts off what a later one has
        again = writers(tmp_path / "a", states)
        told.clear()
        whole = encode_corpus(
            corpus, found, bpe, again, loss="answers", done=done,
            progress=lambda *row: told.append(row),
        )  # fmt: skip
        assert whole == end
        assert told[0] == ("encoding", done.text_bytes, found.text_bytes)
        assert [writer.finish() for writer in again.values()] == checks
        for name, check in (pair for found in checks for pair in found.items()):
            check_file(tmp_path / "a" / name, check)
