"""Every combination of the decoder's switches keeps what training and decoding rest on."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, get_args, get_type_hints

import pytest
import torch

from tinychat.config import EvalSettings, ModelSettings, OptimSettings, SampleSettings, Settings
from tinychat.keys import draw_key
from tinychat.model import Decoder, KVCache, Runtime, attention
from tinychat.text import ChatFormat, tinychat_format
from tinychat.training.batches import Batch, Row
from tinychat.training.evaluate import Evaluation, summed_loss
from tinychat.training.events import Stepped
from tinychat.training.lineage import Facts
from tinychat.training.optimizer import Optimizer
from tinychat.training.progress import Progress
from tinychat.training.trainer import Trainer
from tinychat.training.updates import Updates

VOCAB, CONTEXT = 50, 16
VALUES = {
    name: get_args(get_type_hints(ModelSettings)[name]) for name in ("norm", "position", "mlp")
}
KINDS = list(product(*VALUES.values()))
CPU = torch.device("cpu")
every_kind = pytest.mark.parametrize(("norm", "position", "mlp"), KINDS)


def shapes(
    norm: str, position: str, mlp: str, dropout: float = 0.0, ties: Sequence[bool] = (True, False)
) -> Iterator[ModelSettings]:
    """Every combination of the other switches. The head sees one token at a time, tied or not, so
    one of the two is enough where only what tokens do to each other is asked."""
    for qk_norm, tied, bias, n_kv_head in product((True, False), ties, (True, False), (4, 2)):
        yield ModelSettings(
            n_layer=2, n_head=4, n_embd=32, context_length=CONTEXT, dropout=dropout,
            norm=norm, position=position, mlp=mlp,  # pyright: ignore[reportArgumentType]
            qk_norm=qk_norm, tied_head=tied, bias=bias, n_kv_head=n_kv_head,
        )  # fmt: skip


def random_decoder(settings: ModelSettings) -> Decoder:
    """Every parameter matters: norms, biases, and the matrices that a fresh decoder has at zero."""
    made = Decoder(settings, VOCAB)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            around = 1.0 if parameter.dim() == 1 else 0.0
            parameter.copy_(around + 0.2 * torch.randn(parameter.shape, generator=generator))
    return made.eval()


def random_ids(rows: int, length: int = CONTEXT, seed: int = 2) -> torch.Tensor:
    return torch.randint(VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


def cache_for(settings: ModelSettings, rows: int, dtype: torch.dtype = torch.float32) -> KVCache:
    """A cache in which something else has been before."""
    cache = KVCache.allocate(settings, rows, CPU, dtype)
    for tensor in (*cache.keys, *cache.values):
        tensor.fill_(7.0)
    return cache


def in_chunks(made: Decoder, ids: torch.Tensor, sizes: Iterable[int]) -> torch.Tensor:
    """Logits of all of ids, given to a cache a chunk at a time."""
    cache = cache_for(made.settings, len(ids))
    return torch.cat([made(chunk, cache) for chunk in ids.split(list(sizes), 1)], 1)


@every_kind
def test_cached_equals_uncached(norm: str, position: str, mlp: str) -> None:
    ids = random_ids(3)
    lengths = torch.tensor([3, 9, 1])  # of rows in one cache
    for settings in shapes(norm, position, mlp, ties=(True,)):
        made = random_decoder(settings)
        with torch.inference_mode():
            whole = made(ids)
            for sizes in ([1] * CONTEXT, [5, 1, 7, 3], [CONTEXT]):
                close(in_chunks(made, ids, sizes), whole)
            cache = cache_for(settings, 3)
            for row, length in enumerate(lengths.tolist()):
                first = made(ids[row : row + 1, :length], cache.part(row, row + 1))
                close(first[0], whole[row, :length])
            done = 0
            for size in (1, 4, 1, 1):  # all rows together, each from where it stands
                at = lengths[:, None] + done + torch.arange(size)
                logits = made(ids.gather(1, at), cache)
                close(logits, whole.gather(1, at[..., None].expand(-1, -1, VOCAB)))
                done += size
        assert cache.lengths.tolist() == (lengths + done).tolist()


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@every_kind
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradient_checkpointing_changes_no_bit(
    norm: str, position: str, mlp: str, dropout: float
) -> None:
    batch = some_batch(3)
    for settings in shapes(norm, position, mlp, dropout, ties=(True,)):
        found = []
        for checkpointing in (False, True):
            made = random_decoder(settings).train()
            made.gradient_checkpointing = checkpointing
            torch.manual_seed(draw_key(0, "dropout", 5, 1, 0))
            loss = summed_loss(made, batch) / batch.target_tokens
            loss.backward()
            found.append((loss.detach(), {n: p.grad for n, p in made.named_parameters()}))
        (loss, plain), (loss_again, again) = found
        assert torch.equal(loss, loss_again), settings
        for name, gradient in plain.items():
            assert gradient is not None
            assert gradient.abs().sum() > 0 or is_dead(name, settings), (name, settings)
            assert torch.equal(gradient, again[name]), (name, settings)


def is_dead(name: str, settings: ModelSettings) -> bool:
    """What is added to all keys alike moves all scores of a query alike, and softmax takes that
    away again: its gradient is rounding, which AdamW blows up into steps of full length."""
    last = "key_norm.bias" if settings.qk_norm else "attention.key.bias"
    return settings.position != "rope" and name.endswith(last)


def some_batch(rows: int) -> Batch:
    ids = random_ids(rows, CONTEXT + 1)
    wanted = random_ids(rows, CONTEXT, seed=4) < 35
    return Batch(ids[:, :-1], ids[:, 1:], wanted)


CHANGED = 9


def two_texts() -> tuple[torch.Tensor, torch.Tensor]:
    """Equal before place CHANGED, different from there on."""
    ids = random_ids(2)
    other = ids.clone()
    other[:, CHANGED:] = (ids[:, CHANGED:] + 1 + random_ids(2, CONTEXT - CHANGED) % 40) % VOCAB
    return ids, other


@every_kind
@pytest.mark.parametrize(("dtype", "short_context"), [("fp32", 1024), ("bf16", 1024), ("bf16", 0)])
def test_no_token_sees_a_later_one(
    norm: str,
    position: str,
    mlp: str,
    dtype: str,
    short_context: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bit for bit. short_context 0: attention in half precision, as on other devices."""
    monkeypatch.setattr(attention, "SHORT_CPU_CONTEXT", short_context)
    texts = two_texts()
    runtime = Runtime("cpu", dtype, threads=1)
    for settings in shapes(norm, position, mlp, ties=(False,)):
        made = random_decoder(settings)
        for way in (uncached, cached(settings, runtime), trained(False), trained(True)):
            with runtime.autocast():
                before, after = (way(made, ids) for ids in texts)
            made.eval()
            assert torch.equal(before[:, :CHANGED], after[:, :CHANGED]), (settings, dtype)
            assert not torch.equal(before[:, CHANGED:], after[:, CHANGED:]), (settings, dtype)


Way = Callable[[Decoder, torch.Tensor], torch.Tensor]


@torch.inference_mode()
def uncached(made: Decoder, ids: torch.Tensor) -> torch.Tensor:
    return made(ids)


def cached(settings: ModelSettings, runtime: Runtime) -> Way:
    """A chunk that ends before the change, one over it, one after it."""

    @torch.inference_mode()
    def way(made: Decoder, ids: torch.Tensor) -> torch.Tensor:
        cache = cache_for(settings, len(ids), runtime.torch_dtype)
        return torch.cat([made(chunk, cache) for chunk in ids.split([4, 10, 2], 1)], 1)

    return way


def trained(checkpointing: bool) -> Way:
    def way(made: Decoder, ids: torch.Tensor) -> torch.Tensor:
        made.train()
        made.gradient_checkpointing = checkpointing
        return made(ids).detach()

    return way


@dataclass
class Memory:
    """A token file that lies in memory; about two thirds of its tokens are targets."""

    ids: list[int]
    format: ChatFormat = field(default_factory=tinychat_format)

    def read(self, start: int, stop: int) -> list[int]:
        return self.ids[start:stop]

    def targets(self, start: int, stop: int) -> bytes:
        return bytes(i % 3 > 0 for i in self.ids[start:stop])


class Windows:
    """Rows of another length each, so that micro-batches differ in padding and in targets."""

    def __init__(self) -> None:
        self.file: Any = Memory(random_ids(1, 4000)[0].tolist())
        self.context_length = CONTEXT
        self.count = 128

    def row(self, seed: int, epoch: int, index: int) -> Row:
        start = index * 20
        return ((start, start + 6 + index % 12),)

    def in_order(self) -> Iterator[Row]:
        return (self.row(0, 0, i) for i in range(self.count))


class Nobody:
    """A store that keeps nothing and a mailbox that stays empty."""

    def publish(self, *_: object) -> tuple[int, tuple[int, ...]]:
        return 0, ()

    def waited_seconds(self) -> float:
        return 0.0

    def poll(self) -> tuple[list[Any], list[Any]]:
        return [], []

    def stop_signals(self) -> int:
        return 0


def train(model: ModelSettings, micro_batch_size: int) -> tuple[list[float], Decoder]:
    """A few real AdamW steps; the losses and what has become of the decoder."""
    settings = Settings(
        max_steps=6, batch_size=32, micro_batch_size=micro_batch_size, model=model,
        optim=OptimSettings(learning_rate=2e-3, warmup_steps=2),
        eval=EvalSettings(every_steps=None), sample=SampleSettings(every_steps=None),
    )  # fmt: skip
    made = random_decoder(model)
    losses: list[float] = []
    nobody: Any = Nobody()
    updates = Updates(
        settings,
        max_steps=6,
        decoder=made,
        optimizer=Optimizer(made, settings.optim),
        rows=Windows(),
        facts=Facts(Runtime("cpu", "fp32", threads=1), micro_batch_size),
        progress=Progress(),
    )
    Trainer(
        updates,
        evaluator=lambda beat, at_once: Evaluation(1.0, None, 1, 0),
        sampler=lambda step, prompt, cancelled: (),
        store=nobody,
        requests=nobody,
        emit=lambda event: losses.append(event.train_loss) if isinstance(event, Stepped) else None,
    ).run()
    return losses, made


def families() -> dict[str, ModelSettings]:
    """A shape for each checkpoint layout, and the ones that no layout holds at their widest."""
    base = ModelSettings(n_layer=2, n_head=4, n_embd=32, context_length=CONTEXT)
    plain = replace(base, norm="layer", position="learned", mlp="gelu", qk_norm=False, bias=True)
    return {
        "qwen3": replace(base, n_kv_head=2),
        "llama": replace(base, qk_norm=False, bias=True, tied_head=False),
        "gpt2": plain,
        "gpt2 sinusoidal": replace(plain, position="sinusoidal", mlp="relu2", bias=False),
        "gpt2 of OpenAI": replace(plain, mlp="gelu_tanh"),
        "gpt_neox": replace(plain, position="rope", tied_head=False),
        "arcee": replace(base, mlp="relu2", qk_norm=False, n_kv_head=1),
        "none": replace(plain, mlp="swiglu", qk_norm=True, n_kv_head=2, tied_head=False),
    }


@pytest.mark.parametrize("family", families())
def test_cutting_a_batch_changes_nothing(family: str) -> None:
    """1 x 32, 4 x 8 and 3 x 11: loss to 1e-5, weights to 1e-4."""
    settings = families()[family]
    losses, whole = train(settings, 32)
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    for micro_batch_size in (8, 11):
        cut_losses, cut = train(settings, micro_batch_size)
        assert cut_losses == pytest.approx(losses, abs=1e-5)
        for (name, a), b in zip(whole.named_parameters(), cut.parameters(), strict=True):
            assert is_dead(name, settings) or (a - b).abs().max() < 1e-4, name
        ids = random_ids(4)
        torch.testing.assert_close(cut.eval()(ids), whole.eval()(ids), rtol=1e-4, atol=1e-4)
