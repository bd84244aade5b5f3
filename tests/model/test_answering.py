"""The form of the decoder that answers says what the plain one says, whatever its switches."""

from collections.abc import Callable

import pytest
import torch

from tests.model.test_switches import (
    CPU,
    VOCAB,
    cache_for,
    every_kind,
    random_decoder,
    random_ids,
    shapes,
)
from tinychat.config import ModelSettings
from tinychat.model import AnsweringDecoder, KVCache, Runtime, answering_form, products

BF16 = Runtime("cpu", "bf16", 1)


@every_kind
def test_it_says_what_the_plain_decoder_says(norm: str, position: str, mlp: str) -> None:
    ids = random_ids(3)
    lengths = torch.tensor([3, 9, 1])  # of rows in one cache
    for settings in shapes(norm, position, mlp):
        plain = random_decoder(settings)
        with torch.inference_mode():
            fast = AnsweringDecoder(plain, torch.float32)
            whole = plain(ids)
            near(fast(ids), whole)
            for sizes in ([1] * 16, [5, 1, 7, 3], [16]):  # all rows from the same place
                cache = cache_for(settings, 3)
                pieces = [fast(chunk, cache) for chunk in ids.split(sizes, 1)]
                near(torch.cat(pieces, 1), whole)
            cache = cache_for(settings, 3)
            for row, length in enumerate(lengths.tolist()):
                fast.read(ids[row : row + 1, :length], cache.part(row, row + 1))
            done = 0
            for size in (1, 4, 1, 1):  # all rows together, each from where it stands
                at = lengths[:, None] + done + torch.arange(size)
                logits = fast(ids.gather(1, at), cache)
                near(logits, whole.gather(1, at[..., None].expand(-1, -1, VOCAB)))
                done += size
        assert cache.lengths.tolist() == (lengths + done).tolist()


def near(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.float() - expected).abs().max() / expected.abs().max())


@every_kind
def test_lower_precisions_are_near_it(norm: str, position: str, mlp: str) -> None:
    ids = random_ids(2)
    for settings in shapes(norm, position, mlp):
        plain = random_decoder(settings)
        with torch.inference_mode():
            whole = plain(ids)
            half = AnsweringDecoder(plain, torch.bfloat16, one_row_int8=products.has_int8())
            assert distance(half(ids), whole) < 0.05
            cache = KVCache.allocate(settings, 1, CPU, half.cache_dtype)
            steps = [half(ids[:1, i : i + 1], cache) for i in range(ids.shape[1])]
            assert distance(torch.cat(steps, 1), whole[:1]) < 0.15


@pytest.mark.skipif(not products.has_int8(), reason="this CPU has no products of int8")
@pytest.mark.parametrize("bias", [True, False])
def test_the_imitation_rounds_as_int8_does(bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(96, 64, generator=generator)
    more = torch.randn(96, generator=generator) if bias else None
    real, imitation = products.int8(weight, more), products.imitated_int8(weight, more)
    x = torch.randn(40, 64, generator=generator) * torch.logspace(-3, 2, 40)[:, None]
    x[7], x[8] = x[7].abs(), -x[8].abs()
    expected = torch.cat([real(row[None]) for row in x])
    off = (imitation(x) - expected).abs().amax(1) / expected.abs().amax(1)
    # a number amid two whole ones may be rounded the other way
    assert off.median() < 1e-5
    assert off.max() < 5e-3


def test_where_it_does_not_fit_the_plain_decoder_answers() -> None:
    plain = random_decoder(next(shapes("rms", "rope", "swiglu")))
    assert answering_form(plain, Runtime("cpu", "fp16", 1)) is plain
    assert answering_form(plain, Runtime("cuda", "bf16", 1)) is plain
    odd = ModelSettings(n_layer=1, n_head=2, n_embd=10, head_dim=5, position="learned")
    assert isinstance(answering_form(random_decoder(odd), BF16), AnsweringDecoder)


@pytest.mark.parametrize("problem", ["gone", "wrong"])
def test_a_packed_product_that_is_not_right_is_not_used(
    monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    def gone(*_: object) -> products.Product:
        raise AttributeError("no such operator")

    def wrong(weight: torch.Tensor, bias: torch.Tensor | None) -> products.Product:
        return products.bfloat16(2 * weight, bias)

    makers: dict[str, Callable[..., products.Product]] = {"gone": gone, "wrong": wrong}
    monkeypatch.setattr(products, "packed_bfloat16", makers[problem])
    assert products.best_bfloat16() is products.bfloat16
    monkeypatch.setattr(products, "int8", makers[problem])
    assert not products.has_int8()
