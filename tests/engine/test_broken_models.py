"""Models that are not sound: nobody waits for ever, and numbers go before what is none."""

import math
from collections.abc import Callable

import pytest
import torch

from tinychat.engine import Engine, Request, Sampling, TextModel, decode
from tinychat.errors import EngineError
from tinychat.model import Decoder, Runtime
from tinychat.text import Tokenizer


def test_a_token_that_stands_for_no_text_ends_its_answer_and_not_the_engine(
    make_decoder: Callable[..., Decoder], tokenizer: Tokenizer, runtime: Runtime
) -> None:
    sound = TextModel(make_decoder(tokenizer.vocab_size), tokenizer, runtime)
    broken = TextModel(make_decoder(tokenizer.vocab_size + 8), tokenizer, runtime)
    broken.never_sampled[:] = range(tokenizer.vocab_size)  # only rows beyond the vocabulary
    rules = Sampling(max_new_tokens=4)
    with Engine() as engine:
        with pytest.raises(EngineError, match="could not be made"):
            "".join(engine.ask(broken, broken.fit("The cat", 4), rules))
        answer = engine.ask(sound, sound.fit("The cat", 4), rules)
        "".join(answer)
        assert answer.completion is not None
        assert engine.running == 0


def test_the_likeliest_number_goes_before_what_is_none(
    make_decoder: Callable[..., Decoder], tokenizer: Tokenizer, runtime: Runtime
) -> None:
    decoder = make_decoder(tokenizer.vocab_size)
    with torch.no_grad():
        decoder.head.weight[9].fill_(math.nan)
    request = Request(
        prompt_ids=[20, 21, 22], sampling=Sampling(temperature=0, max_new_tokens=5), stop_ids=()
    )
    tokens = [token for _, token in decode(decoder, [request], runtime=runtime)]
    assert 9 not in tokens
