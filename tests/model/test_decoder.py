"""The decoder: equal logits with and without a cache, no look ahead, in every shape."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from tinychat.config import ModelSettings
from tinychat.model import Decoder, KVCache, Runtime, count_parameters

VOCAB = 40
SHAPES = list(
    product(("rms", "layer"), ("rope", "learned", "sinusoidal"), ("swiglu", "gelu", "relu2"))
)
SWITCHES = list(product((True, False), (True, False), (True, False), (None, 2), (None, 6)))


def settings_of(norm: str, position: str, mlp: str) -> list[ModelSettings]:
    """Every combination of the other switches."""
    return [
        ModelSettings(
            n_layer=2,
            n_head=4,
            n_embd=16,
            context_length=12,
            norm=norm,  # pyright: ignore[reportArgumentType]
            position=position,  # pyright: ignore[reportArgumentType]
            mlp=mlp,  # pyright: ignore[reportArgumentType]
            qk_norm=qk_norm,
            tied_head=tied,
            bias=bias,
            n_kv_head=n_kv_head,
            head_dim=head_dim,
        )
        for qk_norm, tied, bias, n_kv_head, head_dim in SWITCHES
    ]


def random_decoder(settings: ModelSettings, seed: int = 1) -> Decoder:
    """A decoder in which every parameter matters (a fresh one has blocks that do nothing)."""
    decoder = Decoder(settings, VOCAB)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in decoder.parameters():
            around = 1.0 if parameter.dim() == 1 else 0.0
            parameter.copy_(around + 0.3 * torch.randn(parameter.shape, generator=generator))
    return decoder.eval()


def random_ids(rows: int, length: int, seed: int = 2) -> torch.Tensor:
    return torch.randint(VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("norm", "position", "mlp"), SHAPES)
def test_cached_logits_equal_uncached_ones(norm: str, position: str, mlp: str) -> None:
    lengths = (3, 7, 1)  # a ragged batch: each row is filled alone, then all go on together
    ids = random_ids(len(lengths), 12)
    for settings in settings_of(norm, position, mlp):
        decoder = random_decoder(settings)
        with torch.inference_mode():
            whole = decoder(ids)
            cache = KVCache.allocate(settings, len(lengths), torch.device("cpu"), torch.float32)
            for row, length in enumerate(lengths):
                first = decoder(ids[row : row + 1, :length], cache.part(row, row + 1))
                torch.testing.assert_close(first[0], whole[row, :length], rtol=1e-4, atol=1e-5)
            for step in range(5):
                at = torch.tensor(lengths)[:, None] + step
                logits = decoder(ids.gather(1, at), cache)
                expected = whole.gather(1, at[..., None].expand(-1, -1, VOCAB))
                torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
        assert cache.lengths.tolist() == [8, 12, 6]


@pytest.mark.parametrize(("norm", "position", "mlp"), SHAPES)
def test_a_later_token_changes_no_earlier_logit(norm: str, position: str, mlp: str) -> None:
    ids = random_ids(2, 12)
    changed = ids.clone()
    changed[:, 7] = (ids[:, 7] + 1) % VOCAB
    for settings in settings_of(norm, position, mlp):
        decoder = random_decoder(settings)
        with torch.inference_mode():
            before, after = decoder(ids), decoder(changed)
        assert torch.equal(before[:, :7], after[:, :7]), settings
        assert not torch.allclose(before[:, 7:], after[:, 7:], atol=1e-4), settings


@pytest.mark.parametrize(("norm", "position", "mlp"), SHAPES)
def test_parameters_are_counted_without_building(norm: str, position: str, mlp: str) -> None:
    for settings in settings_of(norm, position, mlp):
        built = sum(p.numel() for p in Decoder(settings, VOCAB).parameters())
        counts = count_parameters(settings, VOCAB)
        tables = 1 if settings.tied_head else 2
        assert counts["total"] == built
        assert counts["embedding"] == tables * VOCAB * settings.n_embd
        assert counts["rest"] == built - counts["embedding"]


@pytest.mark.parametrize(("norm", "position", "mlp"), SHAPES)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradient_checkpointing_gives_equal_gradients(
    norm: str, position: str, mlp: str, dropout: float
) -> None:
    settings = replace(settings_of(norm, position, mlp)[0], dropout=dropout)
    ids = random_ids(2, 12)
    gradients = []
    for checkpointing in (False, True):
        decoder = random_decoder(settings).train()
        decoder.gradient_checkpointing = checkpointing
        torch.manual_seed(3)  # the same dropout masks
        decoder(ids).square().mean().backward()
        gradients.append([p.grad for p in decoder.parameters()])
    for plain, again in zip(*gradients, strict=True):
        assert plain is not None
        assert plain.abs().sum() > 0
        torch.testing.assert_close(again, plain, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("norm", "position", "mlp"), SHAPES)
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_is_finite_and_near(norm: str, position: str, mlp: str, dtype: str) -> None:
    runtime = Runtime("cpu", dtype, threads=1)
    ids = random_ids(2, 12)
    for settings in settings_of(norm, position, mlp)[:4]:
        decoder = random_decoder(settings)
        cache = KVCache.allocate(settings, 2, torch.device("cpu"), runtime.torch_dtype)
        with torch.inference_mode():
            exact = decoder(ids)
            with runtime.autocast():
                plain = decoder(ids)
                decoder.hidden(ids[:, :-1], cache)
                cached = decoder(ids[:, -1:], cache)
        assert plain.isfinite().all()
        assert cached.isfinite().all()
        # far from the many units between likely and unlikely tokens, yet wide for 8-bit fractions
        assert (plain.float() - exact).abs().max() < 0.15 * exact.abs().max()
        assert (cached[:, -1].float() - exact[:, -1]).abs().max() < 0.15 * exact.abs().max()


def test_initial_weights_are_a_function_of_the_seed_and_leave_global_chance_alone() -> None:
    settings = settings_of("rms", "rope", "swiglu")[0]
    state = torch.get_rng_state()
    first, same, other = (Decoder(settings, VOCAB) for _ in range(3))
    torch.set_rng_state(state)
    for decoder, seed in ((first, 0), (same, 0), (other, 1)):
        decoder.initialise(seed)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.embedding.weight, same.embedding.weight)
    assert not torch.equal(first.embedding.weight, other.embedding.weight)
