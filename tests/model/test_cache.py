"""The key/value cache: rows that share memory, rows that are copied, ragged positions."""

import torch

from tinychat.config import ModelSettings
from tinychat.model import KVCache

SETTINGS = ModelSettings(n_layer=3, n_head=4, n_kv_head=2, head_dim=6, n_embd=16, context_length=8)


def cache_of(rows: int) -> KVCache:
    return KVCache.allocate(SETTINGS, rows, torch.device("cpu"), torch.float32)


def tokens(rows: int, length: int) -> torch.Tensor:
    count = rows * length * SETTINGS.kv_heads * SETTINGS.head_width
    return torch.arange(1.0, count + 1).view(rows, length, SETTINGS.kv_heads, SETTINGS.head_width)


def test_it_is_empty_and_of_the_models_shape() -> None:
    cache = cache_of(5)
    assert len(cache.keys) == len(cache.values) == SETTINGS.n_layer
    assert {tuple(t.shape) for t in (*cache.keys, *cache.values)} == {(5, 8, 2, 6)}
    assert cache.lengths.tolist() == [0] * 5


def test_stored_tokens_lie_at_their_rows_own_positions() -> None:
    cache = cache_of(2)
    k, v = tokens(2, 2), -tokens(2, 2)
    keys, values = cache.store(1, torch.tensor([[0, 1], [4, 5]]), k, v, used=6)
    assert keys.shape == values.shape == (2, 6, 2, 6)
    assert torch.equal(keys[0, :2], k[0])
    assert torch.equal(keys[1, 4:6], k[1])
    assert torch.equal(values[1, 4:6], v[1])
    assert not keys[0, 2:].any()
    assert not keys[1, :4].any()
    assert not cache.keys[0].any(), "other layers are untouched"


def test_a_row_shares_memory() -> None:
    cache = cache_of(3)
    row = cache.part(1, 1 + 1)
    row.store(0, torch.tensor([[0, 1]]), tokens(1, 2), tokens(1, 2), used=2)
    row.lengths += 2
    assert cache.lengths.tolist() == [0, 2, 0]
    assert torch.equal(cache.keys[0][1, :2], tokens(1, 2)[0])
    assert not cache.keys[0][0].any()


def test_a_row_is_copied_over_another() -> None:
    cache = cache_of(3)
    cache.store(2, torch.tensor([[0], [0], [0]]), tokens(3, 1), tokens(3, 1), used=1)
    cache.lengths += torch.tensor([1, 2, 3])
    cache.copy_row(2, 0, 1)
    assert cache.lengths.tolist() == [1, 2, 3]
    assert torch.equal(cache.keys[2][0, 0], tokens(3, 1)[2, 0])
    cache.keys[2][2].zero_()
    assert cache.keys[2][0].any(), "it is a copy"


def test_rows_change_places() -> None:
    cache = cache_of(3)
    cache.store(1, torch.tensor([[0], [0], [0]]), tokens(3, 1), tokens(3, 1), used=1)
    cache.lengths += torch.tensor([1, 1, 0])
    cache.swap_rows(0, 2, 1)
    assert cache.lengths.tolist() == [0, 1, 1]
    assert torch.equal(cache.keys[1][:, 0], tokens(3, 1)[[2, 1, 0], 0])
    assert torch.equal(cache.values[1][:, 0], tokens(3, 1)[[2, 1, 0], 0])


def test_a_larger_cache_holds_the_same() -> None:
    cache = cache_of(2)
    cache.store(0, torch.tensor([[0], [0]]), tokens(2, 1), tokens(2, 1), used=1)
    cache.lengths += 1
    larger = cache.with_rows(5)
    assert larger.lengths.tolist() == [1, 1, 0, 0, 0]
    assert torch.equal(larger.keys[0][:2], cache.keys[0])
    assert not larger.keys[0][2:].any()


def test_half_precision_storage_is_given_back_in_the_callers_precision() -> None:
    cache = KVCache.allocate(SETTINGS, 1, torch.device("cpu"), torch.bfloat16)
    keys, values = cache.store(0, torch.tensor([[0]]), tokens(1, 1), tokens(1, 1), used=1)
    assert cache.keys[0].dtype == torch.bfloat16
    assert keys.dtype == values.dtype == torch.float32
    assert torch.equal(keys, tokens(1, 1)), "small whole numbers survive bfloat16"
