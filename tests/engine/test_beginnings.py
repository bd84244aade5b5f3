"""What an answer is made to begin with is never cut, however long the prompt is."""

from collections.abc import Callable, Sequence

import pytest

from tests.engine.test_text_model import model_with_context
from tinychat.engine import TextModel
from tinychat.errors import SettingsError
from tinychat.model import Decoder
from tinychat.text import Message

CONTEXT = 48
LONG = "The cat sat on the mat. " * 20
TALKS: list[str | Sequence[Message]] = [
    LONG,
    [Message("user", LONG)],
    [Message("system", "Be kind."), Message("user", LONG)],
    [Message("system", "Be kind. Be kind."), Message("user", "Who?"), Message("user", LONG)],
]


@pytest.mark.parametrize("talk", TALKS, ids=["text", "turn", "system", "turns"])
@pytest.mark.parametrize("max_new_tokens", [1, 16, 24, 500])
def test_it_stands_whole_at_the_end(
    model: TextModel,
    make_decoder: Callable[..., Decoder],
    talk: str | Sequence[Message],
    max_new_tokens: int,
) -> None:
    small = model_with_context(model, make_decoder, CONTEXT)
    word = small.tokenizer.encode("cat")[0]
    lengths = range(1, CONTEXT)
    fitted = []
    for length in lengths:
        begin = [word] * length
        try:
            fitted.append(small.fit(talk, max_new_tokens, begin=begin))
        except SettingsError:
            break
        assert fitted[-1].begin == tuple(begin)
        assert fitted[-1].ids[-length:] == tuple(begin)
        assert len(fitted[-1].ids) < CONTEXT
        if not isinstance(talk, str):
            assert fitted[-1].ids[-length - 1] == small.tokenizer.format.opening["assistant"][-1]
    assert len(fitted) > CONTEXT // 2, "a beginning of half the context always has room"
