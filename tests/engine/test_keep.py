"""What is kept of an answer that was made to begin with something."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tinychat.engine import Completion, OpenedModel, Prompt, Sampling, TextModel, kept_answer
from tinychat.text import Tokenizer

DOG = "🐶".encode()


def opened(model: TextModel) -> OpenedModel:
    card = cast(Any, SimpleNamespace(kind="chat"))
    return OpenedModel(Path("demo"), Path("demo/step-00000003"), 3, card, model, 1000)


def ids_of(tokenizer: Tokenizer, data: bytes) -> tuple[int, ...]:
    of = {tokenizer.id_bytes(i): i for i in range(tokenizer.vocab_size)}
    return tuple(of[bytes([byte])] for byte in data)


def test_a_character_that_was_begun_and_then_ended_is_whole(model: TextModel) -> None:
    whole = ids_of(model.tokenizer, b"a" + DOG)
    begin, rest = whole[:3], whole[3:]
    prompt = Prompt((0, *begin), "stop", begin=begin)
    done = Completion("🐶", rest, "length", prompt)
    for said in ("", model.tokenizer.decode(begin)):  # by its ids alone, or continued
        kept = kept_answer(opened(model), done, Sampling(), {}, begin=said)
        assert kept.text == "a🐶"
    assert (kept.run, kept.step, kept.mode, kept.answer_ids) == ("demo", 3, "chat", rest)
    assert kept.settings == asdict(Sampling())


def test_a_text_that_was_typed_stands_as_it_was_typed(model: TextModel) -> None:
    begin = tuple(model.tokenizer.encode("The"))
    done = Completion(" cat", (1,), "stop", Prompt((0, *begin), "stop", begin=begin))
    assert kept_answer(opened(model), done, Sampling(), {}, begin="The").text == "The cat"
