"""What encodes corpora gives the tokenizer's ids, whatever the text and whoever made it."""

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex
from tokenizers import Tokenizer as Backend

from tests.text.test_imported import TEXTS, gpt2_like, llama3_like, qwen_like, smol_like
from tinychat.errors import DataError
from tinychat.text import CONTROL_TOKENS, Tokenizer, train_bpe, train_char
from tinychat.text.corpus_encoder import corpus_encoder
from tinychat.text.tokenizer_file import BYTE_OF_CHARACTER, render

MORE = (
    "It's the cats' 1234 boats, isn't it?  WE'LL see...\n\n"
    "\tÉtés à l'école; 東京は、晴れ。 Да 🐱🐱\n"
)
ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
# letters, digits and signs of all sorts beside what the splitting expressions speak of
PARTS = [*" \t\n\r\x0b\x85\u00a0\u2028\u3000'’!?.-_<|>/0159²½١", "aſKé", "'s", "'LL", "'ſ", "  "]
PARTS += [
    "cat",
    "the ",
    "東京",
    "。",
    "🐱",
    "\u200d",
    "\u0301",
    "\0",
    "\x7f",
    "İ",
    "ß",
    "\ufeff",
    "\r\n",
]
PARTS += [*CONTROL_TOKENS, "<|endoftext|>", "\x02between two texts\x03", "\x02between", "s\x03"]


def _ours() -> Tokenizer:
    return train_bpe([*TEXTS, MORE] * 3, 450)


def _foreign(make: Callable[[], Backend]) -> Tokenizer:
    return Tokenizer.for_training(make().to_str())


MADE: dict[str, Callable[[], Tokenizer]] = {
    "ours": _ours,
    "characters": lambda: train_char([*TEXTS, MORE]),
    "gpt2": lambda: _foreign(gpt2_like),
    "llama3": lambda: _foreign(llama3_like),
    "qwen, which composes": lambda: _foreign(qwen_like),
    "smol, which splits twice": lambda: _foreign(smol_like),
}


@pytest.fixture(scope="module", params=MADE)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return MADE[request.param]()


@pytest.mark.parametrize("name", ["ours", "characters", "gpt2", "llama3"])
def test_the_usual_tokenizers_are_not_encoded_with_themselves(name: str) -> None:
    tokenizer = MADE[name]()
    assert corpus_encoder(tokenizer) is not tokenizer


@settings(max_examples=200)
@given(texts=st.lists(ANY_TEXT | st.lists(st.sampled_from(PARTS)).map("".join), max_size=5))
def test_any_texts_have_the_same_ids(tokenizer: Tokenizer, texts: list[str]) -> None:
    encoder = corpus_encoder(tokenizer)
    assert encoder.encode_batch(texts) == tokenizer.encode_batch(texts)
    assert encoder.format is tokenizer.format


def test_long_mixtures_have_the_same_ids(tokenizer: Tokenizer) -> None:
    chance = random.Random(3)
    texts = ["".join(chance.choices(PARTS, k=chance.choice([3, 30, 3000]))) for _ in range(300)]
    assert corpus_encoder(tokenizer).encode_batch(texts) == tokenizer.encode_batch(texts)


def test_every_character_has_the_same_ids(tokenizer: Tokenizer) -> None:
    characters = [chr(i) for i in range(0x20000) if not 0xD800 <= i < 0xE000]
    texts = ["".join(f" {c}a" for c in characters[i::64]) for i in range(64)]
    assert corpus_encoder(tokenizer).encode_batch(texts) == tokenizer.encode_batch(texts)


@pytest.mark.parametrize(
    "unit", [" ", "\n", "\t\n", "a", "ab", "!", "'", "1", "\u00a0", "猫", "\0"]
)
def test_long_runs_have_the_same_ids(tokenizer: Tokenizer, unit: str) -> None:
    text = unit * (20_000 // len(unit))
    for end in ("", "x", " x"):
        assert corpus_encoder(tokenizer).encode(text + end) == tokenizer.encode(text + end)


def test_more_white_space_than_the_quick_one_bears_has_the_same_ids() -> None:
    tokenizer = MADE["ours"]()
    text = "a" + " " * 1_100_000 + "b"
    assert corpus_encoder(tokenizer).encode(text) == tokenizer.encode(text)


def test_half_a_surrogate_pair_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="surrogate"):
        corpus_encoder(tokenizer).encode_batch(["good", "a\ud800b"])


@pytest.mark.parametrize(
    "merges",
    [
        [("b", "c"), ("a", "b"), ("ab", "c")],  # "abc" does not become the token abc
        [("a", "b"), ("ab", "c"), ("b", "c"), ("a", "bc")],  # abc has two merges
    ],
)
def test_merges_that_tokens_do_not_tell_are_kept_to(merges: list[tuple[str, str]]) -> None:
    pieces = [*CONTROL_TOKENS, *BYTE_OF_CHARACTER]
    pieces += dict.fromkeys(first + second for first, second in merges)
    vocab = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer.from_json(render("bpe", vocab, [list(merge) for merge in merges]))
    texts = ["abc", "xabcabc", "bcabab", "aabbcc"]
    assert corpus_encoder(tokenizer).encode_batch(texts) == tokenizer.encode_batch(texts)
    assert corpus_encoder(tokenizer) is tokenizer


def test_merges_out_of_order_are_kept_to() -> None:
    """Ids that do not rise with the merges say nothing about which comes first."""
    pieces = [*CONTROL_TOKENS, *BYTE_OF_CHARACTER, "bc", "ab"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer.from_json(render("bpe", vocab, [["a", "b"], ["b", "c"]]))
    assert corpus_encoder(tokenizer).encode("abc") == tokenizer.encode("abc") == [263, vocab["c"]]


def test_another_result_on_the_sample_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinychat.text.corpus_encoder._GPT2_SPLIT", r"\S+|\s+")
    tokenizer = _foreign(gpt2_like)
    assert corpus_encoder(tokenizer) is tokenizer


def test_characters_that_the_libraries_know_differently_are_left_to_the_tokenizer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if one of them had an older Unicode, in which only a to z are letters."""
    older = {r"\p{L}": "[a-zA-Z]"}
    monkeypatch.setattr(
        "tinychat.text.corpus_encoder.Regex", lambda kind: Regex(older.get(kind, kind))
    )
    tokenizer = _ours()
    encoder = corpus_encoder(tokenizer)
    asked: list[str] = []
    theirs = tokenizer.encode_batch

    def asking(texts: Sequence[str]) -> list[list[int]]:
        asked.extend(texts)
        return theirs(texts)

    monkeypatch.setattr(tokenizer, "encode_batch", asking)
    assert encoder.encode("cat 1!") == theirs(["cat 1!"])[0]
    assert encoder.encode("😀 ½ \u3000") == theirs(["😀 ½ \u3000"])[0]
    assert asked == []
    assert encoder.encode("é 東") == theirs(["é 東"])[0]
    assert asked == ["é 東"]
