import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.config import DataSettings, TokenizerSettings
from tinychat.errors import DataError
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

BPE = TokenizerSettings(kind="bpe", vocab_size=300)
CHAR = TokenizerSettings(kind="char")
Write = Callable[..., Path]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    path = tmp_path / "stories.txt"
    texts = (f"Once there was a cat called {i}. It had {i} friends." for i in range(40))
    path.write_text("\n<|endoftext|>\n".join(texts), encoding="utf-8")
    return path


@pytest.fixture
def talks(write_jsonl: Write) -> Path:
    return write_jsonl(
        "talks.jsonl",
        [
            {
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": f"What is {i}? <|end|>"},
                    {"role": "assistant", "content": f"A number, {i}."},
                ]
            }
            for i in range(40)
        ],
    )


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
    assert not prepared.train.has_mask
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


class FailingDisk(Disk):
    """Fails at its nth operation, as a full disk does."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(28, "No space left on device")

    def append(self, fd: int, data: bytes) -> int:
        self._count()
        return super().append(fd, data)

    def write_file(self, path: Path, data: bytes) -> None:
        self._count()
        super().write_file(path, data)

    def fsync(self, path: Path) -> None:
        self._count()
        super().fsync(path)

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        super().rename(source, target)


def test_a_failing_disk_leaves_nothing_half_done(cache: Path, talks: Path) -> None:
    failures = 0
    while True:
        try:
            prepared = make(cache, talks, disk=FailingDisk(failures + 1))
        except DataError as error:
            sentence = str(error)
        else:
            break
        failures += 1
        assert "No space left" in sentence
        assert list(cache.iterdir()) == []
    assert failures > 10
    assert not prepared.reused


def test_another_process_that_was_faster_is_no_error(cache: Path, talks: Path) -> None:
    class Beaten(Disk):
        def rename(self, source: Path, target: Path) -> None:
            make(cache, talks)
            super().rename(source, target)

    assert make(cache, talks, disk=Beaten()).train.n_documents > 0
    assert len(list(cache.iterdir())) == 1


def test_bad_records_are_in_the_summary(cache: Path, talks: Path) -> None:
    with open(talks, "ab") as file:
        file.write(b"nonsense\n")
    summary = make(cache, talks).summary
    assert summary.bad_records == 1
    assert summary.files[0].bad_reasons[0].startswith(f"{talks}:41: not JSON")
    assert make(cache, talks).summary == summary


def test_progress_is_told_from_0_to_all(cache: Path, stories: Path) -> None:
    told: list[tuple[str, int, int]] = []
    data = DataSettings(paths=(str(stories),))
    prepare(data, BPE, seed=0, cache=cache, progress=lambda *row: told.append(row))
    assert [stage for stage, _, _ in told] == ["reading", "counting", "tokenizer", "encoding"]
    assert all(done == total > 0 for _, done, total in told)


# --- bounded memory ---------------------------------------------------------------------------

_PREPARE = """
import json, resource, sys
from pathlib import Path
from tinychat.config import DataSettings, TokenizerSettings
from tinychat.text import prepare
prepared = prepare(
    DataSettings(paths=(sys.argv[1],)), TokenizerSettings(kind=sys.argv[3], vocab_size=400),
    seed=0, cache=Path(sys.argv[2]),
)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
summary = prepared.summary
print(json.dumps([peak * (1 if sys.platform == "darwin" else 1024),
                  summary.train.text_bytes + summary.valid.text_bytes, summary.n_bytes]))
"""


def _peak_bytes(path: Path, cache: Path, kind: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _PREPARE, str(path), str(cache), kind],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    peak, encoded, given = json.loads(done.stdout)
    assert encoded == given  # one text, so every byte is in one of the sides
    return peak


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "ending"), [("bpe", "\n"), ("char", " ")])
def test_memory_does_not_grow_with_the_text(
    cache: Path, tmp_path: Path, kind: str, ending: str
) -> None:
    """30 MB as one document, of many lines or of one. Held whole, it would take some 200 MB."""
    sentence = "The cat of number {} sat on the mat, and the mat was red." + ending
    small, large = tmp_path / "small.txt", tmp_path / "large.txt"
    for path, megabytes in ((small, 3), (large, 30)):
        with open(path, "w", encoding="utf-8") as file:
            for i in range(megabytes * 1_000_000 // 62):
                file.write(sentence.format(i % 10_000))
    grown = _peak_bytes(large, cache, kind) - _peak_bytes(small, cache, kind)
    assert grown < 60_000_000
