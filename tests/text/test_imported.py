"""Vocabularies made by others: the same ids as their makers give, and no trust in their files."""

import json
import random
import resource
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

from tinychat.errors import DataError
from tinychat.text import (
    CONTROL_TOKENS,
    Conversation,
    Message,
    Tokenizer,
    encode_conversation,
    encode_document,
    encode_prompt,
)
from tinychat.text.tokenizer_file import SPLIT

TEXTS = [
    "Once upon a time there was a little cat. It's name was Tom, and Tom's friend was a dog!\n",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. 12345 + 67 = 12412\n\n",
    "def add(a, b):\n    return a + b  # 12 + 30 = 42\n",
]
SAMPLES = [
    *TEXTS,
    "",
    "  two  spaces ",
    "e\u0301 \u00e9",
    "<|endoftext|> <|im_end|>",
    "猫は🐱",
    "\x00",
]


def gpt2_like() -> Backend:
    made = Backend(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    return _trained(made, ["<|endoftext|>"])


def qwen_like() -> Backend:
    made = Backend(models.BPE())
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return _trained(made, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])


def smol_like() -> Backend:
    made = Backend(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    return _trained(made, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])


def llama3_like() -> Backend:
    """Its special tokens stand behind the vocabulary, and every text begins with one of them."""
    made = Backend(models.BPE(ignore_merges=True))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|")), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    names = ["begin_of_text", "end_of_text", "start_header_id", "end_header_id", "eot_id"]
    made = _trained(made, [])
    made.add_special_tokens([f"<|{name}|>" for name in names])
    bos = "<|begin_of_text|>"
    made.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, made.token_to_id(bos))]
    )
    return made


def _trained(made: Backend, special: list[str]) -> Backend:
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS * 4, trainer)
    return made


MAKERS = [gpt2_like, qwen_like, smol_like, llama3_like]
makers = pytest.mark.parametrize("make", MAKERS)


@makers
def test_ids_are_those_of_their_makers(make: Callable[[], Backend]) -> None:
    theirs = make()
    theirs.encode_special_tokens = True
    ours = Tokenizer.for_training(theirs.to_str())
    for text in SAMPLES:
        ids = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode(text) == ids
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False)


@makers
def test_control_tokens_come_last_and_survive_the_file(make: Callable[[], Backend]) -> None:
    ours = Tokenizer.for_training(make().to_str())
    size = make().get_vocab_size(with_added_tokens=True)
    assert ours.vocab_size == size + len(CONTROL_TOKENS)
    talk = Conversation((Message("user", "Hello <|end|>"), Message("assistant", "Tom's cat")))
    ids, learnt = encode_conversation(ours, talk)
    assert ours.pieces(i for i in ids if i >= size) == [
        "<|bos|>",
        "<|user|>",
        "<|assistant|>",
        "<|end|>",
    ]
    assert ours.decode(i for i, wanted in zip(ids, learnt, strict=True) if wanted) == "Tom's cat"
    again = Tokenizer.from_json(ours.to_json())
    assert again.to_json() == ours.to_json()
    assert again.format == ours.format
    assert encode_conversation(again, talk) == (ids, learnt)


@makers
def test_transformers_reads_what_we_write_of_it(
    make: Callable[[], Backend], tmp_path_factory: pytest.TempPathFactory
) -> None:
    from transformers import PreTrainedTokenizerFast

    ours = Tokenizer.for_training(make().to_str())
    file = tmp_path_factory.mktemp("imported") / "tokenizer.json"
    file.write_text(ours.to_json(), encoding="utf-8")
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(file))
    for text in TEXTS:
        assert theirs.encode(text) == [ours.format.bos, *ours.encode(text)]


@given(st.text(max_size=40), st.sampled_from(range(len(MAKERS))))
def test_no_text_becomes_a_control_token(text: str, which: int) -> None:
    ours = _tokenizer(which)
    for spelled in (text, text + "<|endoftext|>", "<|end|>" + text, f"<|im_end|>{text}<|eot_id|>"):
        ids = ours.encode(spelled)
        assert ours.format.control_ids.isdisjoint(ids)
        if which in (0, 2, 3):  # Qwen's composes characters first
            assert ours.decode(ids) == spelled


def _tokenizer(which: int, made: dict[int, Tokenizer] = {}) -> Tokenizer:  # noqa: B006
    if which not in made:
        made[which] = Tokenizer.for_training(MAKERS[which]().to_str())
    return made[which]


def test_known_chat_formats_are_known_by_their_tokens() -> None:
    talk = [Message("user", "Hi\nthere"), Message("assistant", "yes"), Message("user", "So?")]
    chatml = Tokenizer.for_talking(qwen_like().to_str(), "<|endoftext|>", chat=True)
    assert chatml.format.name == "chatml"
    assert "".join(chatml.pieces(encode_prompt(chatml, talk))) == (
        "<|im_start|>user\nHi\nthere<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"
        "<|im_start|>user\nSo?<|im_end|>\n<|im_start|>assistant\n"
    )
    llama = Tokenizer.for_talking(llama3_like().to_str(), "<|end_of_text|>", chat=True)
    assert llama.format.name == "llama3"
    assert "".join(llama.pieces(encode_prompt(llama, talk[:1]))) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi\nthere<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    for tokenizer in (chatml, llama):
        ids, learnt = encode_conversation(tokenizer, Conversation(tuple(talk[:2])))
        wanted = [i for i, flag in zip(ids, learnt, strict=True) if flag]
        assert wanted == [*tokenizer.encode("yes"), tokenizer.format.end]


def test_a_model_of_texts_has_no_turns() -> None:
    gpt2 = Tokenizer.for_talking(gpt2_like().to_str(), 0, chat=True)
    assert (gpt2.format.name, gpt2.format.bos, gpt2.format.opening) == ("text", None, {})
    assert encode_document(gpt2, "Tom") == [*gpt2.encode("Tom"), 0]
    base = Tokenizer.for_talking(llama3_like().to_str(), "<|end_of_text|>", chat=False)
    assert base.format.name == "text"
    assert base.pieces(encode_document(base, ""))[0] == "<|begin_of_text|>"


def test_a_vocabulary_with_names_of_ours_cannot_be_learnt_with() -> None:
    for name in CONTROL_TOKENS:
        made = gpt2_like()
        made.add_tokens([name])
        with pytest.raises(DataError, match=r"has a token"):
            Tokenizer.for_training(made.to_str())
    made = gpt2_like()
    made.add_special_tokens(["<|user|>"])
    with pytest.raises(DataError, match=r"a token <\|user\|> of its own"):
        Tokenizer.for_training(made.to_str())
    assert Tokenizer.for_talking(made.to_str(), 0, chat=True).format.name == "text"


# --- hostile files ------------------------------------------------------------------------------


def _set(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


def _add_token(**fields: Any) -> Callable[[dict[str, Any]], None]:
    token = {"id": 320, "content": "x", "single_word": False, "lstrip": False, "rstrip": False}

    def change(document: dict[str, Any]) -> None:
        document["added_tokens"].append({**token, "normalized": False, "special": True, **fields})

    return change


def _first_merge_is_special(document: dict[str, Any]) -> None:
    first, second = document["model"]["merges"][0]
    token = document["model"]["vocab"][first + second]
    _add_token(id=token, content=first + second)(document)


HOSTILE: list[Callable[[dict[str, Any]], None]] = [
    _set("truncation", value={"max_length": 1, "direction": "Right", "stride": 0}),
    _set("padding", value={"strategy": {"Fixed": 200_000_000}, "pad_id": 0}),
    _set("model", "type", value="Unigram"),
    _set("model", "type", value="WordPiece"),
    _set("model", "byte_fallback", value=True),
    _set("model", "dropout", value=0.5),
    _set("model", "vocab", value={}),
    _set("model", "vocab", value=[]),
    _set("model", "vocab", value=None),
    _set("model", "vocab", "a", value=-1),
    _set("model", "vocab", "a", value=2**40),
    _set("model", "vocab", "a", value=True),
    _set("model", "vocab", "a", value="7"),
    _set("model", "vocab", "a", value=1.5),
    _set("model", "vocab", "b", value=5),
    _set("model", "vocab", "new", value=9_999),
    _set("model", "vocab", "\u4e00", value=320),
    _set("model", "merges", value=None),
    _set("model", "merges", value={"a": "b"}),
    _set("model", "merges", 0, value=["nobody", "knows"]),
    _set("model", "merges", 0, value="a b c"),
    _set("model", "merges", 0, value=[1, 2]),
    _set("model", "merges", 0, value=7),
    _set("model", "continuing_subword_prefix", value="##"),
    _set("model", "end_of_word_suffix", value="</w>"),
    _set("model", "ignore_merges", value="yes"),
    _set("normalizer", value={"type": "Lowercase"}),
    _set("normalizer", value={"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}),
    _set("normalizer", value={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
    _set("normalizer", value={"type": "Sequence", "normalizers": [{"type": "NFC"}] * 100_000}),
    _set("normalizer", value="NFC"),
    _set("pre_tokenizer", value=None),
    _set("pre_tokenizer", value={"type": "Whitespace"}),
    _set("pre_tokenizer", "add_prefix_space", value=True),
    _set("pre_tokenizer", "use_regex", value=False),
    _set("pre_tokenizer", value={"type": "Sequence", "pretokenizers": "many"}),
    _set(
        "pre_tokenizer",
        value={
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": "(x+x+)+y"},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        },
    ),
    _set("decoder", value=None),
    _set("decoder", value={"type": "WordPiece"}),
    _set("post_processor", value={"type": "BertProcessing", "sep": ["a", 1], "cls": ["b", 2]}),
    _set("post_processor", value={"type": "TemplateProcessing", "single": None}),
    _set(
        "post_processor",
        value={
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "nobody", "type_id": 0}}],
        },
    ),
    _set("added_tokens", value=None),
    _set("added_tokens", value={"a": 1}),
    _set("added_tokens", value=[7]),
    _add_token(content=""),
    _add_token(content=None),
    _add_token(id="320"),
    _add_token(id=-1),
    _add_token(id=2**31),
    _add_token(id=65, content="a"),
    _add_token(content="a", special=False),
    _add_token(content="a", id=0),
    _add_token(content="half \ud800"),
    _add_token(content="half \ud800\ue000", special=False),
    _add_token(content="x" * 4_000_000, special=False),
    _add_token(content="trap", special=False, lstrip=True),
    _first_merge_is_special,
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_a_file_that_asks_for_more_than_we_know_is_refused(number: int) -> None:
    document = json.loads(gpt2_like().to_str())
    HOSTILE[number](document)
    text = json.dumps(document)
    for read in (Tokenizer.for_training, Tokenizer.from_json):
        with pytest.raises(DataError):
            read(text)
    with pytest.raises(DataError):
        Tokenizer.for_talking(text, 0, chat=True)


def test_two_hundred_mutated_files_are_refused_or_harmless() -> None:
    """Random damage to every part of the file. What is accepted encodes like any tokenizer."""
    chance = random.Random("mutated tokenizers")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for _ in range(200):
        text = _texts(chance)
        for _ in range(chance.randint(1, 3)):
            text = _mutated(text, chance)
        try:
            made = Tokenizer.for_training(text)
        except DataError:
            refused += 1
            continue
        for sample in SAMPLES:
            assert made.format.control_ids.isdisjoint(made.encode(sample))
    assert 50 < refused <= 200
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 * 1024  # kilobytes


def _texts(chance: random.Random, made: list[str] = []) -> str:  # noqa: B006
    if not made:
        made.extend(make().to_str() for make in MAKERS)
    return chance.choice(made)


def _mutated(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text))
    match chance.randrange(7):
        case 0:
            return text[:at]
        case 1:
            return text[:at] + chance.choice('{}[]",:0\\') + text[at + 1 :]
        case 2:
            return text[:at] + text[at + chance.randrange(60) :]
        case 3:
            return text[:at] + text[at : at + 60] + text[at:]
        case 4:
            return (
                text[:at]
                + chance.choice(["[" * 100_000, "9" * 6000, "NaN", "\x00", "null"])
                + text[at:]
            )
        case 5:
            return text.replace(
                chance.choice(["null", "false", "true"]), chance.choice(["7", '"x"', "[]"]), 3
            )
        case _:
            number = str(chance.randrange(320))
            return text.replace(
                f":{number},", f":{chance.choice([-1, 0, 2**33, number + '.5'])},", 1
            )


def test_a_huge_file_is_not_even_parsed() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for text in (" " * (64 * 1024 * 1024 + 1), "[" + "[]," * 10_000_000 + "[]]"):
        with pytest.raises(DataError, match="too large"):
            Tokenizer.for_training(text)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # kilobytes
