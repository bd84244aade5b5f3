import random
from pathlib import Path

import pytest

from tinychat.errors import DataError
from tinychat.text import (
    ASSISTANT,
    BOS,
    CHAT_TEMPLATE,
    CONTROL_TOKENS,
    END,
    SYSTEM,
    USER,
    Conversation,
    Message,
    Tokenizer,
    encode_conversation,
    encode_conversations,
    encode_document,
    encode_prompt,
)

TALK = Conversation(
    (
        Message("system", "Be kind."),
        Message("user", "Hi <|end|>"),
        Message("assistant", "Hello!"),
        Message("user", ""),
        Message("assistant", " Yes? 😀"),
    )
)


def test_a_conversation_in_tokens(tokenizer: Tokenizer) -> None:
    e = tokenizer.encode
    ids, _ = encode_conversation(tokenizer, TALK)
    assert ids == [
        *[BOS, SYSTEM, *e("Be kind."), USER, *e("Hi <|end|>"), ASSISTANT, *e("Hello!"), END],
        *[USER, ASSISTANT, *e(" Yes? 😀"), END],
    ]


def test_answers_and_their_end_are_learnt_and_nothing_else(tokenizer: Tokenizer) -> None:
    ids, targets = encode_conversation(tokenizer, TALK)
    learnt = [token for token, target in zip(ids, targets, strict=True) if target]
    assert learnt == [*tokenizer.encode("Hello!"), END, *tokenizer.encode(" Yes? 😀"), END]


def test_control_tokens_are_those_the_format_placed(tokenizer: Tokenizer) -> None:
    chance = random.Random(3)
    roles = ["system", "user", "assistant"]
    parts = [*CONTROL_TOKENS, "hello", " ", "\n", "<|", "|>", "é", "日"]
    talks = [
        Conversation(
            tuple(
                Message(chance.choice(roles), "".join(chance.choices(parts, k=chance.randrange(6))))
                for _ in range(chance.randrange(1, 6))
            )
        )
        for _ in range(2000)
    ]
    for talk, (ids, targets) in zip(talks, encode_conversations(tokenizer, talks), strict=True):
        placed = [BOS]
        for message in talk.messages:
            placed.append({"system": SYSTEM, "user": USER, "assistant": ASSISTANT}[message.role])
            placed += [END] if message.role == "assistant" else []
        assert [token for token in ids if token < 6] == placed
        assert len(targets) == len(ids)
        answers = [m.content for m in talk.messages if m.role == "assistant"]
        learnt = [token for token, target in zip(ids, targets, strict=True) if target]
        assert tokenizer.decode(learnt) == "".join(answers)
        assert sum(token == END for token in learnt) == len(answers)


def test_a_document_in_tokens(tokenizer: Tokenizer) -> None:
    assert encode_document(tokenizer, "<|bos|>a") == [BOS, *tokenizer.encode("<|bos|>a"), END]


def test_a_prompt_asks_for_an_answer(tokenizer: Tokenizer) -> None:
    ids = encode_prompt(tokenizer, [Message("user", "Hi")])
    assert ids == [BOS, USER, *tokenizer.encode("Hi"), ASSISTANT]
    talk = Conversation((Message("user", "Hi"), Message("assistant", "Yo")))
    whole, _ = encode_conversation(tokenizer, talk)
    assert whole[: len(ids)] == ids


def test_other_roles_are_refused() -> None:
    with pytest.raises(DataError, match="tool"):
        Message("tool", "x")


def test_the_template_gives_the_same_ids_in_transformers(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer.to_json(), encoding="utf-8")
    names = {"bos_token": "<|bos|>", "eos_token": "<|end|>", "pad_token": "<|pad|>"}
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path), **names)
    theirs.chat_template = CHAT_TEMPLATE
    chance = random.Random(4)
    parts = [
        "Hello",
        " ",
        "\n",
        "\n\n",
        "  ",
        "it's",
        "42",
        "é",
        "日本",
        "😀",
        "{{ x }}",
        "{%",
        "'",
    ]
    for _ in range(200):
        messages = [Message("system", "Be kind. ")] if chance.random() < 0.5 else []
        for role in ["user", "assistant"] * chance.randrange(1, 4):
            messages.append(Message(role, "".join(chance.choices(parts, k=chance.randrange(9)))))
        plain = [{"role": m.role, "content": m.content} for m in messages]
        ids = theirs.apply_chat_template(plain, tokenize=True, return_dict=False)
        assert ids == encode_conversation(tokenizer, Conversation(tuple(messages)))[0]
        asked = theirs.apply_chat_template(
            plain[:-1], tokenize=True, add_generation_prompt=True, return_dict=False
        )
        assert asked == encode_prompt(tokenizer, messages[:-1])
    assert theirs("Once upon").input_ids == [BOS, *tokenizer.encode("Once upon")]
    assert theirs.decode(tokenizer.encode("Hello 😀 a  b .")) == "Hello 😀 a  b ."
    with pytest.raises(Exception, match="roles are system"):
        theirs.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)
