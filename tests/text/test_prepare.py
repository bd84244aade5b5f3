from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.config import DataSettings, TokenizerSettings
from tinychat.runs import Disk
from tinychat.text import (
    Conversation,
    Message,
    Prepared,
    TokenFile,
    Tokenizer,
    encode_conversation,
    encode_document,
    prepare,
    train_bpe,
)
from tinychat.text.prepare import CacheSize, cache_size

BPE = TokenizerSettings(kind="bpe", vocab_size=300)
CHAR = TokenizerSettings(kind="char")
Write = Callable[..., Path]


def make(
    cache: Path, *paths: Path, tokenizer: TokenizerSettings | Tokenizer = BPE, seed: int = 0,
    loss: str = "answers", share: float = 0.1, disk: Disk | None = None,
) -> Prepared:  # fmt: skip
    data = DataSettings(
        paths=tuple(map(str, paths)),
        validation_share=share,
        loss=loss,  # type: ignore[arg-type]
    )
    return prepare(data, tokenizer, seed=seed, cache=cache, disk=disk)


def documents(file: TokenFile) -> list[list[int]]:
    return [file.read(*file.bounds(i)).tolist() for i in range(file.n_documents)]


# --- what is in the token files ---------------------------------------------------------------


@pytest.mark.parametrize("settings", [BPE, CHAR], ids=["bpe", "char"])
def test_text_becomes_documents(cache: Path, stories: Path, settings: TokenizerSettings) -> None:
    prepared = make(cache, stories, tokenizer=settings)
    texts = stories.read_text(encoding="utf-8").split("\n<|endoftext|>\n")
    encoded = [encode_document(prepared.tokenizer, text) for text in texts]
    train, valid = documents(prepared.train), documents(prepared.valid)
    assert prepared.form == "text"
    assert not (prepared.folder / "train.mask").exists()
    assert sorted(train + valid) == sorted(encoded)
    assert [d for d in encoded if d in train] == train  # in the order of the file
    summary = prepared.summary
    assert (summary.train.documents, summary.valid.documents) == (len(train), len(valid))
    assert summary.train.tokens == prepared.train.n_tokens
    assert summary.train.targets == sum(prepared.train.targets(0, prepared.train.n_tokens))
    sizes = sum(len(text.encode()) for text in texts)
    assert summary.train.text_bytes + summary.valid.text_bytes == sizes
    assert summary.train.target_bytes == summary.train.text_bytes


def test_one_text_is_cut_in_two_documents(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    text = "To be, or not to be: that is the question.\n" * 9000
    path.write_text(text, encoding="utf-8")
    prepared = make(cache, path, tokenizer=CHAR)
    cut = int(len(text) * 0.9)
    assert documents(prepared.train) == [encode_document(prepared.tokenizer, text[:cut])]
    assert documents(prepared.valid) == [encode_document(prepared.tokenizer, text[cut:])]


def test_conversations_carry_a_mask_of_their_answers(cache: Path, talks: Path) -> None:
    prepared = make(cache, talks)
    assert prepared.form == "chat"
    expected = {}
    for i in range(40):
        roles = ("system", "user", "assistant")
        contents = ("Be brief.", f"What is {i}? <|end|>", f"A number, {i}.")
        talk = Conversation(tuple(map(Message, roles, contents)))
        ids, targets = encode_conversation(prepared.tokenizer, talk)
        expected[tuple(ids)] = bytes(targets)
    found = {}
    for file in (prepared.train, prepared.valid):
        for i in range(file.n_documents):
            bounds = file.bounds(i)
            found[tuple(file.read(*bounds))] = file.targets(*bounds)
    assert found == expected
    answers = sum(len(f"A number, {i}.") for i in range(40))
    summary = prepared.summary
    assert summary.train.target_bytes + summary.valid.target_bytes == answers


def test_loss_on_all_leaves_out_bos_only(cache: Path, talks: Path) -> None:
    train = make(cache, talks, loss="all").train
    ids = train.read(0, train.n_tokens)
    assert train.targets(0, train.n_tokens) == bytes(token != 0 for token in ids)


def test_no_validation_document_trains_the_tokenizer(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.txt").write_text("abc" * 100)
    (tmp_path / "set" / "valid.txt").write_text("xyz" * 100)
    tokenizer = make(cache, tmp_path / "set", tokenizer=CHAR).tokenizer
    assert tokenizer.vocab_size == 6 + 256 + len("abc")
    path = tmp_path / "one.txt"
    path.write_text("a" * 90 + "z" * 10)
    assert make(cache, path, tokenizer=CHAR).tokenizer.vocab_size == 6 + 256 + 1


def test_a_tokenizer_may_be_given(cache: Path, talks: Path) -> None:
    given = train_bpe(["something else"], 270)
    prepared = make(cache, talks, tokenizer=given)
    assert prepared.tokenizer.sha256 == given.sha256
    assert make(cache, talks, tokenizer=given).reused


@pytest.mark.slow
def test_the_built_in_corpus_comes_with_its_own_sides(cache: Path) -> None:
    from tinychat.text.smalltalk import training_conversations, validation_conversations

    prepared = make(cache, tokenizer=CHAR)
    assert prepared.form == "chat"
    assert prepared.train.n_documents == sum(1 for _ in training_conversations())
    assert prepared.valid.n_documents == sum(1 for _ in validation_conversations())
    assert make(cache, tokenizer=CHAR).reused


# --- the cache --------------------------------------------------------------------------------


def test_the_same_again_is_found_in_the_cache(cache: Path, talks: Path, tmp_path: Path) -> None:
    first = make(cache, talks)
    moved = tmp_path / "elsewhere" / "other name.jsonl"
    moved.parent.mkdir()
    moved.write_bytes(talks.read_bytes())
    again = make(cache, moved)
    assert (first.reused, again.reused) == (False, True)
    assert again.folder == first.folder
    assert again.tokenizer.sha256 == first.tokenizer.sha256
    assert again.summary.files[0].name == str(moved)
    assert again.summary.train == first.summary.train
    assert sorted(path.name for path in cache.iterdir()) == [first.folder.name]
    assert sorted(path.name for path in first.folder.iterdir()) == [
        "corpus.json",
        "tokenizer.json",
        *(f"{side}.{kind}" for side in ("train", "valid") for kind in ("bin", "idx", "mask")),
    ]


def test_two_caches_hold_the_same_bytes(tmp_path: Path, talks: Path) -> None:
    folders = [make(tmp_path / name, talks).folder for name in ("one", "two")]
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes()


def test_everything_that_decides_a_token_changes_the_key(
    cache: Path, talks: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_bytes(talks.read_bytes().replace(b"number, 7", b"number, 8"))
    keys = [
        make(cache, talks).folder,
        make(cache, other).folder,
        make(cache, talks, seed=1).folder,
        make(cache, talks, loss="all").folder,
        make(cache, talks, share=0.2).folder,
        make(cache, talks, tokenizer=CHAR).folder,
        make(cache, talks, tokenizer=TokenizerSettings(kind="bpe", vocab_size=280)).folder,
        make(cache, talks, other).folder,
    ]
    assert len(set(keys)) == len(keys)


def test_what_decides_no_token_does_not_change_the_key(cache: Path, stories: Path) -> None:
    first = make(cache, stories, tokenizer=TokenizerSettings(kind="char", vocab_size=300))
    again = make(
        cache, stories, tokenizer=TokenizerSettings(kind="char", vocab_size=400), loss="all"
    )
    assert again.folder == first.folder


def test_a_damaged_cache_is_made_again(cache: Path, talks: Path) -> None:
    first = make(cache, talks)
    good = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    for name, data in good.items():
        for damage in (data[:-1], bytes([data[0] ^ 1]) + data[1:], None):
            path = first.folder / name
            path.write_bytes(damage) if damage is not None else path.unlink()
            again = make(cache, talks)
            assert not again.reused, name
            assert {path.name: path.read_bytes() for path in again.folder.iterdir()} == good


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_bad_records_are_in_the_summary(cache: Path, talks: Path) -> None:
    with open(talks, "ab") as file:
        file.write(b"nonsense\n")
    summary = make(cache, talks).summary
    assert summary.files[0].bad_records == 1
    assert summary.files[0].bad_reasons[0].startswith(f"{talks}:41: not JSON")
    assert make(cache, talks).summary == summary


def test_progress_is_told_from_0_to_all(cache: Path, stories: Path) -> None:
    told: list[tuple[str, int, int]] = []
    data = DataSettings(paths=(str(stories),))
    prepare(data, BPE, seed=0, cache=cache, progress=lambda *row: told.append(row))
    assert [stage for stage, _, _ in told] == ["reading", "counting", "tokenizer", "encoding"]
    assert all(done == total > 0 for _, done, total in told)


def test_no_more_than_so_many_documents_are_read(cache: Path, stories: Path) -> None:
    def limited(count: int | None) -> Prepared:
        data = DataSettings(paths=(str(stories),), max_documents=count)
        return prepare(data, CHAR, seed=0, cache=cache)

    found = limited(12)
    assert found.train.n_documents + found.valid.n_documents == 12
    assert "no more than 12 documents" in found.summary.split_rule
    assert limited(12).reused
    assert not limited(13).reused
    every = limited(1000)
    assert every.train.n_documents + every.valid.n_documents == 40


def test_a_cache_says_how_large_it_is(cache: Path, stories: Path, talks: Path) -> None:
    assert cache_size(cache).n_bytes == 0
    folders = [make(cache, path).folder for path in (stories, talks)]
    sizes = sum(path.stat().st_size for folder in folders for path in folder.iterdir())
    assert cache_size(cache) == CacheSize(cache, 2, 0, sizes)
