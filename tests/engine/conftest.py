"""A tiny tokenizer, tiny decoders whose every weight matters, and the plainest runtime."""

from collections.abc import Callable, Iterator

import pytest
import torch

from tinychat.config import ModelSettings
from tinychat.engine import TextModel
from tinychat.model import Decoder, Runtime
from tinychat.text import Tokenizer, train_bpe

TEXTS = [
    "The cat sat on the mat. The dog sat on the log. What is your name? My name is Tom.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. Grüße aus Köln!",
    "猫は眠る。犬は走る。 🐱🐶 😀",
]


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Tiny tensors are slower on many threads, most of all beside other programs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_bpe(TEXTS * 4, 320)


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    return Runtime("cpu", "fp32", threads=1)


@pytest.fixture(scope="session")
def make_decoder() -> Callable[..., Decoder]:
    def make(vocab_size: int, *, context_length: int = 64, dropout: float = 0.0) -> Decoder:
        settings = ModelSettings(
            n_layer=2, n_head=4, n_embd=32, context_length=context_length, dropout=dropout
        )
        decoder = Decoder(settings, vocab_size)
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for parameter in decoder.parameters():
                around = 1.0 if parameter.dim() == 1 else 0.0
                parameter.copy_(around + 0.4 * torch.randn(parameter.shape, generator=generator))
        return decoder.eval()

    return make


@pytest.fixture
def model(
    make_decoder: Callable[..., Decoder], tokenizer: Tokenizer, runtime: Runtime
) -> TextModel:
    return TextModel(make_decoder(tokenizer.vocab_size), tokenizer, runtime)
