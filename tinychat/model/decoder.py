"""The one decoder. Every architecture that tinychat knows is this class with other switches.

Shapes in comments: B rows, T tokens, C n_embd, H n_head, G n_kv_head, D head_dim, V vocab_size.

The default is RMSNorm, rotary positions (Su et al. 2021), SwiGLU (Shazeer 2020) and normalised
queries and keys, which is the Qwen3 layout that other software loads. Matrices that write into the
residual stream start at zero, so that every block begins as the identity.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, noop_context_fn

from tinychat.config import ModelSettings
from tinychat.keys import draw_key
from tinychat.model.attention import AttentionKind, attend
from tinychat.model.backward import has_own_backward, rms_norm, rotate_by
from tinychat.model.cache import KVCache

Rotation = tuple[Tensor, Tensor]  # cosines and sines (B or 1, T, 1, D)


class Decoder(nn.Module):
    """Token ids in, logits out.

    Built under `torch.device("meta")` it costs no memory and still counts its parameters.
    """

    cache_dtype: torch.dtype | None = None  # of its keys and values; None for the runtime's
    checks_guesses = False  # whether several tokens at once say what one at a time says, and pay

    def __init__(self, settings: ModelSettings, vocab_size: int) -> None:
        super().__init__()
        self.settings = settings
        self.vocab_size = vocab_size
        self.gradient_checkpointing = False
        self.embedding = table(vocab_size, settings.n_embd)
        if settings.position == "learned":
            self.positions = table(settings.context_length, settings.n_embd)
        self.dropout = nn.Dropout(settings.dropout)
        self.blocks = nn.ModuleList(Block(settings, i) for i in range(settings.n_layer))
        self.norm = make_norm(settings, settings.n_embd)
        self.head = nn.Linear(settings.n_embd, vocab_size, bias=False)
        if settings.tied_head:
            self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor, cache: KVCache | None = None, last_only: bool = False) -> Tensor:
        """Logits (B, T, V) of the token after each of ids (B, T), or (B, 1, V) after the last.

        With a cache, ids continue what its rows hold, and the cache grows by T.
        """
        states = self.hidden(ids, cache)
        return self.head(states[:, -1:] if last_only else states)

    def hidden(
        self, ids: Tensor, cache: KVCache | None = None, rotation: Rotation | None = None
    ) -> Tensor:
        """The final normalised states (B, T, C), which `head` turns into logits.

        `rotation` is that of the positions, if it is at hand.
        """
        _, length = ids.shape
        start = cache.lengths[:, None] if cache else 0
        positions = start + torch.arange(length, device=ids.device)[None]  # (B or 1, T)
        x = self.embedding(ids)
        match self.settings.position:
            case "learned":
                x = x + self.positions(positions)
            case "sinusoidal":
                x = x + sinusoidal(positions, self.settings.n_embd).to(x.dtype)
            case "rope":
                pass
        x = self.dropout(x)
        rotation = rotation or rope_rotation(positions, self.settings)
        view = CacheView(cache, positions) if cache else None
        for block in self.blocks:
            if self.gradient_checkpointing and self.training:
                context = keep_mps_draws if x.device.type == "mps" else noop_context_fn
                x = checkpoint(block, x, rotation, view, use_reentrant=False, context_fn=context)
            else:
                x = block(x, rotation, view)
        if cache:
            cache.lengths += length
        return self.norm(x)

    def read(self, ids: Tensor, cache: KVCache) -> None:
        """Let the cache grow by ids (B, T); nobody wants to know what follows them."""
        self.hidden(ids, cache)

    def compute_attention(self, kind: AttentionKind) -> None:
        """Have it computed in this way from here on."""
        for module in self.modules():
            if isinstance(module, Attention):
                module.kind = kind

    def initialise(self, seed: int) -> None:
        """Fill every parameter from (seed, its name): the same on any device, in any order."""
        std_embedding = 0.02
        for name, parameter in self.named_parameters():
            generator = torch.Generator().manual_seed(draw_key(seed, f"init {name}"))
            fresh = torch.empty(parameter.shape)
            if name.endswith("bias") or name.endswith(
                ("attention.output.weight", "mlp.down.weight")
            ):
                fresh.zero_()
            elif parameter.dim() == 1:
                fresh.fill_(1.0)
            elif name.startswith(("embedding", "positions", "head")):
                fresh.normal_(0.0, std_embedding, generator=generator)
            else:
                fresh.normal_(0.0, parameter.shape[1] ** -0.5, generator=generator)
            with torch.no_grad():
                parameter.copy_(fresh)


class Block(nn.Module):
    """Attention, then an MLP, each on the normalised stream and added back to it."""

    def __init__(self, settings: ModelSettings, layer: int) -> None:
        super().__init__()
        self.attention_norm = make_norm(settings, settings.n_embd)
        self.attention = Attention(settings, layer)
        self.mlp_norm = make_norm(settings, settings.n_embd)
        self.mlp = MLP(settings)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x: Tensor, rotation: Rotation | None, view: "CacheView | None") -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), rotation, view))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class Attention(nn.Module):
    """Causal self-attention with shared key/value heads, rotary positions and QK-norm."""

    def __init__(self, settings: ModelSettings, layer: int) -> None:
        super().__init__()
        self.settings = settings
        self.layer = layer
        self.kind: AttentionKind = "sdpa"
        width, bias = settings.head_width, settings.bias
        self.query = nn.Linear(settings.n_embd, settings.n_head * width, bias=bias)
        self.key = nn.Linear(settings.n_embd, settings.kv_heads * width, bias=bias)
        self.value = nn.Linear(settings.n_embd, settings.kv_heads * width, bias=bias)
        self.output = nn.Linear(settings.n_head * width, settings.n_embd, bias=bias)
        if settings.qk_norm:
            self.query_norm = make_norm(settings, width)
            self.key_norm = make_norm(settings, width)

    def forward(self, x: Tensor, rotation: Rotation | None, view: "CacheView | None") -> Tensor:
        rows, length, _ = x.shape
        width = self.settings.head_width
        q = self.query(x).view(rows, length, -1, width)  # (B, T, H, D)
        k = self.key(x).view(rows, length, -1, width)  # (B, T, G, D)
        v = self.value(x).view(rows, length, -1, width)
        if self.settings.qk_norm:
            q, k = self.query_norm(q), self.key_norm(k)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        mask = None
        if view is not None:
            k, v = view.store(self.layer, k, v)
            mask = view.mask
        y = attend(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            mask,
            self.settings.dropout if self.training else 0.0,
            self.kind,
        )
        return self.output(y.transpose(1, 2).reshape(rows, length, -1))


class MLP(nn.Module):
    """The position-wise network: gated SiLU, GELU (exact, or by tanh as OpenAI's GPT-2 has it), or
    squared ReLU (So et al. 2021).
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.kind = settings.mlp
        if self.kind == "swiglu":
            self.gate = nn.Linear(settings.n_embd, settings.mlp_width, bias=settings.bias)
        self.up = nn.Linear(settings.n_embd, settings.mlp_width, bias=settings.bias)
        self.down = nn.Linear(settings.mlp_width, settings.n_embd, bias=settings.bias)

    def forward(self, x: Tensor) -> Tensor:
        up = self.up(x)
        match self.kind:
            case "swiglu":
                up = F.silu(self.gate(x)) * up
            case "gelu":
                up = F.gelu(up)
            case "gelu_tanh":
                up = F.gelu(up, approximate="tanh")
            case "relu2":
                up = F.relu(up).square()
        return self.down(up)


class RMSNorm(nn.RMSNorm):
    """Zhang and Sennrich 2019, computed in fp32 also where the stream is half precision."""

    def forward(self, x: Tensor) -> Tensor:
        if has_own_backward(x):
            return rms_norm(x, self.weight, self.eps or 0.0)
        return super().forward(x.float()).to(x.dtype)


class CacheView:
    """A cache as one forward pass sees it: where to write, and which keys each query may see."""

    def __init__(self, cache: KVCache, positions: Tensor) -> None:
        self.cache = cache
        self.positions = positions  # (B, T)
        self.used = int(positions.max()) + 1
        keys = torch.arange(self.used, device=positions.device)
        self.mask = keys[None, None, None, :] <= positions[:, None, :, None]  # (B, 1, T, used)

    def store(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return self.cache.store(layer, self.positions, k, v, self.used)


def keep_mps_draws() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts for a checkpointed block and for its recomputation, so that dropout masks agree.

    torch's checkpoint restores the generators of the CPU and of CUDA, but passes over that of MPS
    (pytorch issue 127676).
    """
    return nullcontext(), mps_generator_at(torch.mps.get_rng_state())


@contextmanager
def mps_generator_at(state: Tensor) -> Iterator[None]:
    """Set the MPS generator to a former state for a while."""
    now = torch.mps.get_rng_state()
    torch.mps.set_rng_state(state)
    try:
        yield
    finally:
        torch.mps.set_rng_state(now)


def make_norm(settings: ModelSettings, width: int) -> nn.Module:
    """The normalisation that the settings name."""
    if settings.norm == "layer":
        return nn.LayerNorm(width, settings.norm_eps, bias=settings.bias)
    return RMSNorm(width, settings.norm_eps)


def rope_rotation(positions: Tensor, settings: ModelSettings) -> Rotation | None:
    """Cosines and sines (B, T, 1, D) for rotary positions; None where they are not used."""
    if settings.position != "rope":
        return None
    width = settings.head_width
    powers = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32) / width
    angles = positions[..., None].float() * settings.rope_theta**-powers  # (B, T, D/2)
    angles = torch.cat([angles, angles], -1)[:, :, None]
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn each pair (x_i, x_{i + D/2}) of x (B, T, heads, D) by its position's angle."""
    if has_own_backward(x):
        return rotate_by(x, *rotation)
    cosine, sine = rotation
    first, second = x.float().chunk(2, -1)
    turned = x * cosine + torch.cat([-second, first], -1) * sine
    return turned.to(x.dtype)


def table(rows: int, width: int) -> nn.Embedding:
    """A learnt row for each id or place."""
    weight = torch.empty(rows, width)
    if weight.is_meta:  # drawing numbers there would import torch's compiler, two seconds' work
        return nn.Embedding.from_pretrained(weight, freeze=False)
    return nn.Embedding(rows, width)


def sinusoidal(positions: Tensor, width: int) -> Tensor:
    """The fixed table of Vaswani et al. 2017, sines in the even and cosines in the odd columns."""
    powers = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32)
    angles = positions[..., None].float() * torch.exp(powers * (-math.log(10000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)[..., :width]


def count_parameters(settings: ModelSettings, vocab_size: int) -> dict[str, int]:
    """Parameters of the model as it would be built: total, and those of embedding and head."""
    with torch.device("meta"):
        model = Decoder(settings, vocab_size)
    total = sum(p.numel() for p in model.parameters())  # a tied head is counted once
    tables = {id(p): p.numel() for p in (model.embedding.weight, model.head.weight)}
    embedding = sum(tables.values())
    return {"total": total, "embedding": embedding, "rest": total - embedding}
