import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinychat.errors import DataError, SettingsError
from tinychat.text import CONTROL_TOKENS, TextStream, Tokenizer, train_bpe, train_char
from tinychat.text.tokenizer_file import load_backend

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))  # all but surrogates


def test_control_tokens_are_the_first_ids(tokenizer: Tokenizer) -> None:
    assert tokenizer.pieces(range(6)) == list(CONTROL_TOKENS)
    assert tokenizer.token_bytes()[:6] == [0] * 6


def test_bpe_holds_every_byte_and_as_many_ids_as_asked(bpe: Tokenizer) -> None:
    assert bpe.kind == "bpe"
    assert bpe.vocab_size == 330
    assert bpe.decode(bpe.encode("cat")) == "cat"
    assert len(bpe.encode("Once upon")) < len("Once upon")


def test_a_small_text_gives_a_small_vocabulary() -> None:
    assert train_bpe(["abc"], 4096).vocab_size == 262
    assert train_char(["abca"]).vocab_size == 6 + 256 + 3


def test_too_small_a_vocabulary_is_refused() -> None:
    with pytest.raises(SettingsError, match="262"):
        train_bpe(["abc"], 261)


def test_digits_stand_alone(bpe: Tokenizer) -> None:
    trained = train_bpe(["1234 1234 1234\n" * 50], 400)
    assert trained.pieces(trained.encode("1234")) == ["1", "2", "3", "4"]


def test_training_twice_gives_the_same_file() -> None:
    texts = ["the cat and the dog and the bird"] * 5
    assert train_bpe(texts, 300).to_json() == train_bpe(texts, 300).to_json()


@settings(max_examples=300, deadline=None)
@given(text=ANY_TEXT)
def test_decode_undoes_encode(bpe: Tokenizer, char: Tokenizer, text: str) -> None:
    for tokenizer in (bpe, char):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "\0", "\r\n\t \u00a0\u3000", "日本語のテキスト", "\U0001f469\u200d\U0001f467\ufe0f",
     "e\u0301\u0327", "\ufffd\ufeff\u200b", "مرحبا", "\U0010ffff", "a" * 5000, "<0x41><0x0A>",
     "Ġhello Ċ"],
)  # fmt: skip
def test_odd_texts_survive(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_half_a_surrogate_pair_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="surrogate"):
        tokenizer.encode("a\ud800b")


def test_ids_outside_the_vocabulary_are_refused(tokenizer: Tokenizer) -> None:
    for token in (-1, tokenizer.vocab_size):
        with pytest.raises(DataError, match="vocabulary"):
            tokenizer.decode([token])


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_stream_gives_what_decode_gives(
    bpe: Tokenizer, char: Tokenizer, data: st.DataObject
) -> None:
    """Also for ids that no text has: broken UTF-8 and control tokens among them."""
    for tokenizer in (bpe, char):
        token = st.integers(0, tokenizer.vocab_size - 1)
        ids = data.draw(st.lists(token) | st.builds(tokenizer.encode, ANY_TEXT))
        stream = TextStream(tokenizer)
        parts = [stream.push(i) for i in ids]
        assert "".join(parts) + stream.finish() == tokenizer.decode(ids)


def test_a_stream_releases_whole_characters_only(bpe: Tokenizer) -> None:
    stream = TextStream(bpe)
    parts = [stream.push(token) for token in bpe.encode("😀")]
    assert parts == ["", "", "", "😀"]
    assert stream.finish() == ""


def test_pieces_and_bytes_of_a_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("the cat\n")
    assert "".join(tokenizer.pieces(ids)) == "the cat\n"
    assert sum(tokenizer.token_bytes()[i] for i in tokenizer.encode("a“é😀")) == 1 + 3 + 2 + 4
    assert tokenizer.pieces(tokenizer.encode("😀"))[0] == "\\xf0"


# --- control tokens cannot be forged ----------------------------------------------------------


def test_no_text_becomes_a_control_token(bpe: Tokenizer, char: Tokenizer) -> None:
    """100,000 random strings of spellings, lookalikes, their parts, and any characters."""
    chance = random.Random(1)
    parts = [*CONTROL_TOKENS, "<|", "|>", "<", "|", ">", "bos", "end", "<|END|>", "＜|end|＞"]
    parts += ["<|endoftext|>", "<s>", "</s>", "<0x00>", " ", "\n", "\0", "‹|user|›", "<|im_end|>"]
    parts += ["\u200b", "\u0301", "\ufeff", "Ġ", "\u2028", "<|us", "er|>", "<|assistant|>\n"]

    def any_character() -> str:
        return chr(chance.choice([chance.randrange(0xD800), chance.randrange(0xE000, 0x110000)]))

    texts = [
        "".join(
            chance.choice(parts) if chance.random() < 0.8 else any_character()
            for _ in range(chance.randrange(1, 8))
        )
        for _ in range(100_000)
    ]
    for tokenizer in (bpe, char):
        for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
            assert min(ids) >= 6, text
        sample = texts[::50]
        assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(sample)] == sample


def test_control_tokens_stay_text_even_where_a_tokenizer_learnt_them() -> None:
    for tokenizer in (
        train_bpe(["<|end|><|user|> <|assistant|>\n"] * 500, 600),
        train_char(["<|end|>"]),
    ):
        for name in CONTROL_TOKENS:
            assert min(tokenizer.encode(name)) >= 6
            assert tokenizer.decode(tokenizer.encode(name)) == name


# --- the file ---------------------------------------------------------------------------------


def test_the_file_gives_the_same_tokenizer(tokenizer: Tokenizer) -> None:
    again = Tokenizer.from_json(tokenizer.to_json())
    assert again.to_json() == tokenizer.to_json()
    assert again.sha256 == tokenizer.sha256
    assert again.kind == tokenizer.kind
    assert again.encode("Once <|end|> é") == tokenizer.encode("Once <|end|> é")


def test_a_file_written_by_the_library_itself_is_the_same_tokenizer(tokenizer: Tokenizer) -> None:
    backend = pytest.importorskip("tokenizers").Tokenizer.from_str(tokenizer.to_json())
    assert Tokenizer.from_json(backend.to_str(pretty=True)).sha256 == tokenizer.sha256


def _changed(text: str, change: str) -> str:
    document = json.loads(text)
    model = document["model"]
    match change:
        case "padding":
            document["padding"] = {"strategy": {"Fixed": 200_000_000}, "direction": "Right"}
        case "truncation":
            document["truncation"] = {"max_length": 1, "strategy": "LongestFirst", "stride": 0}
        case "renamed control token":
            document["added_tokens"][4]["content"] = "e"
        case "another added token":
            document["added_tokens"].append({**document["added_tokens"][0], "id": 9})
        case "a normalizer":
            document["normalizer"] = {"type": "Lowercase"}
        case "true for 1":
            document["added_tokens"][1]["id"] = True
        case "swapped control ids":
            model["vocab"]["<|bos|>"], model["vocab"]["<|end|>"] = 4, 0
        case "a hole in the ids":
            model["vocab"]["zz"] = 10_000_000
        case "an id twice":
            model["vocab"]["zz"] = 7
        case "id of the wrong type":
            model["vocab"]["zz"] = str(len(model["vocab"]))
        case "bad merge":
            model["merges"] = [["nothing", "there"]]
        case "merge into a control token":
            model["merges"] = [["<|", "end|>"]]
        case "merge of the wrong shape":
            model["merges"] = [["a"], 3, None]
        case "missing byte":
            old, new = ("!", "!!") if not model["byte_fallback"] else ("<0x41>", "Ω")
            model["vocab"] = {new if k == old else k: v for k, v in model["vocab"].items()}
        case "token that is no bytes":
            model["vocab"]["日本"] = len(model["vocab"])
        case "another model":
            document["model"] = {"type": "WordLevel", "vocab": model["vocab"], "unk_token": "a"}
        case "no model":
            del document["model"]
        case "vocabulary is a list":
            model["vocab"] = list(model["vocab"])
        case "dropout":
            model["dropout"] = 0.5
    return json.dumps(document)


@pytest.mark.parametrize(
    "change",
    ["padding", "truncation", "renamed control token", "another added token", "a normalizer",
     "true for 1", "swapped control ids", "a hole in the ids", "an id twice",
     "id of the wrong type", "bad merge", "merge into a control token",
     "merge of the wrong shape", "missing byte", "token that is no bytes", "another model",
     "no model", "vocabulary is a list", "dropout"],
)  # fmt: skip
def test_a_changed_file_is_refused(tokenizer: Tokenizer, change: str) -> None:
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        Tokenizer.from_json(_changed(tokenizer.to_json(), change))


@pytest.mark.parametrize("text", ["", "{}", "null", "[]", "[" * 100_000, '{"model": 3}', "\0", "1"])
def test_what_is_no_tokenizer_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        Tokenizer.from_json(text)


def test_random_damage_ends_in_our_error_or_in_a_tokenizer(bpe: Tokenizer) -> None:
    chance = random.Random(2)
    text = bpe.to_json()
    for _ in range(300):
        place = chance.randrange(len(text))
        broken = text[:place] + chance.choice('"{}[],:0a\\') + text[place + chance.randrange(3) :]
        try:
            tokenizer = Tokenizer.from_json(broken)
        except DataError:
            continue
        assert min(tokenizer.encode("<|end|> any text")) >= 6


def test_a_panic_in_the_library_is_our_error(bpe: Tokenizer) -> None:
    """Ours are checked before, so this goes around the check."""
    document = json.loads(bpe.to_json())
    document["model"]["merges"] = [["nothing", "there"]]
    with pytest.raises(DataError, match="library"):
        load_backend(json.dumps(document))
