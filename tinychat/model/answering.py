"""The decoder in the form that answers fastest on a CPU; it only reads, and cannot be trained.

It says what `Decoder` says, up to rounding, and differs in how:

- query, key and value are one product, gate and up another; gains and biases of the norms before
  them are folded into their weights, so that a norm is a division;
- weights lie as their product wants them (`products`): bf16 packed once, for single steps int8;
- the two numbers that a rotary position turns together are neighbours, so that turning them is one
  multiplication of complex numbers from a table. Queries and keys are permuted alike, which leaves
  their products as they were;
- a layer's keys and values are written into the cache by one copy, and read where they lie;
- attention is computed in fp32, which is several times faster than bf16 where the CPU has no tiles
  of bf16, and over prompts by blocks of bf16.

Shapes in comments: B rows, T tokens, C n_embd, H n_head, G n_kv_head, D head_dim, V vocab_size.
"""

import math
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinychat.config import ModelSettings
from tinychat.model.attention import share_heads
from tinychat.model.cache import KVCache
from tinychat.model.decoder import Attention, Block, Decoder, rope_rotation, sinusoidal
from tinychat.model.device import Runtime
from tinychat.model.products import Maker, Product, best_bfloat16, float32, imitated_int8, int8

BLOCK = 128  # queries at once over a prompt


@dataclass(frozen=True)
class Layer:
    """A block's four products, and what its normalised queries and keys are multiplied by."""

    qkv: Product
    output: Product
    up: Product  # with the gate before it, if there is one
    down: Product
    qk_gain: Tensor | None  # (H + G, D)
    qk_bias: Tensor | None


@dataclass(frozen=True)
class Weights:
    """All products, made for inputs of one dtype."""

    dtype: torch.dtype
    layers: list[Layer]
    head: Product


class AnsweringDecoder(nn.Module):
    """Built from a decoder on the CPU, which may be thrown away afterwards, but must not change:
    some weights may be shared with it.

    `one_row_int8` adds weights of eight bits for steps of a single token. `maker` makes the other
    products, if not the best for the dtype.
    """

    def __init__(
        self,
        decoder: Decoder,
        dtype: torch.dtype,
        *,
        one_row_int8: bool = False,
        maker: Maker | None = None,
    ) -> None:
        super().__init__()
        settings = decoder.settings
        self.settings = settings
        self.vocab_size = decoder.vocab_size
        self.cache_dtype = attention_dtype(dtype)
        self.one_row_int8 = one_row_int8
        self.checks_guesses = not one_row_int8  # several tokens would not be computed in int8
        self.embedding = nn.Embedding.from_pretrained(decoder.embedding.weight.detach())
        # norms add eps to the mean of squares, so that much to the length that they divide by
        self._least = torch.tensor(math.sqrt(settings.n_embd * settings.norm_eps))
        self._least_qk = torch.tensor(math.sqrt(settings.head_width * settings.norm_eps))
        self._width = settings.head_width
        self._places = _places(decoder)
        self._turns = _turns(settings)
        if maker is None:
            maker = float32 if dtype == torch.float32 else best_bfloat16()
        self._many = _weights(decoder, dtype, maker)
        self._one = _weights(decoder, torch.float32, int8) if one_row_int8 else self._many
        self.eval()

    def forward(self, ids: Tensor, cache: KVCache | None = None, last_only: bool = False) -> Tensor:
        """Logits (B, T or 1, V), as `Decoder.forward` gives them."""
        x = self.hidden(ids, cache)
        x = x[:, -1:] if last_only else x
        return self._for(ids).head(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def read(self, ids: Tensor, cache: KVCache) -> None:
        """Let the cache grow by ids (B, T); nobody wants to know what follows them."""
        self._run(ids, cache, only_cache=True)

    def hidden(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """The final states (B, T, C), normalised for `head` but without the norm's gain."""
        x = self._run(ids, cache)
        return self._normalise(x).to(self._for(ids).dtype).view(*ids.shape, -1)

    @property
    def head(self) -> Product:
        """What turns the final states of many tokens into logits."""
        return self._many.head

    def _for(self, ids: Tensor) -> Weights:
        return self._one if ids.numel() == 1 else self._many

    def _run(self, ids: Tensor, cache: KVCache | None, only_cache: bool = False) -> Tensor:
        """The stream (B * T, C) after the last block."""
        weights = self._for(ids)
        dtype, last = weights.dtype, weights.layers[-1]
        if cache is None:
            shape = replace(self.settings, context_length=ids.shape[1])
            cache = KVCache.allocate(shape, len(ids), ids.device, self.cache_dtype)
        place = Place.of(ids, cache)
        x = self.embedding(ids)
        if self._places is not None:
            x = x + place.rows_of(self._places)
        x = x.flatten(0, 1)
        turns = None if self._turns is None else place.rows_of(self._turns)[..., None, :]
        for layer, slot in zip(weights.layers, place.slots, strict=True):
            qkv = layer.qkv(self._normalise(x).to(dtype)).view(*ids.shape, -1, self._width)
            qkv = self._positioned(qkv, layer, turns)
            slot.write(qkv[:, :, self.settings.n_head :])
            if only_cache and layer is last:
                break
            x = x + layer.output(self._attend(qkv, slot, place).to(dtype))
            x = x + layer.down(self._activate(layer.up(self._normalise(x).to(dtype))))
        cache.lengths += ids.shape[1]
        return x

    def _normalise(self, x: Tensor) -> Tensor:
        """x without its scale, in fp32; gain, bias and the root of C are in the next weights."""
        if self.settings.norm == "layer":
            return F.layer_norm(x, x.shape[-1:], None, None, self.settings.norm_eps)
        return x / _length(x, self._least)

    def _positioned(self, qkv: Tensor, layer: Layer, turns: Tensor | None) -> Tensor:
        """Queries, keys and values (B, T, H + 2G, D) as attention takes them."""
        qkv = qkv.float()
        qk = qkv[:, :, : self.settings.n_head + self.settings.kv_heads]
        if layer.qk_gain is not None:
            if self.settings.norm == "layer":
                qk.copy_(F.layer_norm(qk, qk.shape[-1:], None, None, self.settings.norm_eps))
            else:
                qk.div_(_length(qk, self._least_qk))
            qk.mul_(layer.qk_gain)
            if layer.qk_bias is not None:
                qk.add_(layer.qk_bias)
        if turns is not None:
            torch.view_as_complex(qk.view(*qk.shape[:3], -1, 2)).mul_(turns)
        return qkv.to(self.cache_dtype)

    def _attend(self, qkv: Tensor, slot: "Slot", place: "Place") -> Tensor:
        """What each token takes from those it sees (B * T, H * D)."""
        heads, groups = self.settings.n_head, self.settings.kv_heads
        q, k, v = qkv[:, :, :heads].transpose(1, 2), slot.keys, slot.values
        rows, _, length, width = q.shape
        if groups != heads and length == 1:  # a group's queries are as many tokens to its keys
            q = q.reshape(rows, groups, heads // groups, width)
        elif groups != heads:
            k, v = share_heads(k, heads), share_heads(v, heads)
        if length > BLOCK // 2 and place.positions is None and self._many.dtype != torch.float32:
            y = attend_in_blocks(q, k, v, self._many.dtype)
        else:
            y = F.scaled_dot_product_attention(q, k, v, place.mask)
        return y.reshape(rows, heads, length, width).transpose(1, 2).reshape(rows * length, -1)

    def _activate(self, up: Tensor) -> Tensor:
        match self.settings.mlp:
            case "swiglu":
                gate, up = up.chunk(2, -1)
                return F.silu(gate).mul_(up)
            case "gelu":
                return F.gelu(up)
            case "gelu_tanh":
                return F.gelu(up, approximate="tanh")
            case "relu2":
                return F.relu(up).square()


def attend_in_blocks(q: Tensor, k: Tensor, v: Tensor, dtype: torch.dtype) -> Tensor:
    """Causal attention of the newest tokens q (B, H, T, D) over all, k and v (B, H, S, D), by
    products in `dtype`: blocks of queries, each with the keys it sees, so that nothing is computed
    that the mask would hide. About three times as fast as torch's own over a prompt."""
    shape, length, before = q.shape, q.shape[2], v.shape[2] - q.shape[2]
    q, k, v = (each.to(dtype).flatten(0, 1) for each in (q, k, v))
    out = torch.empty_like(q)
    for start in range(0, length, BLOCK):
        end, seen = min(start + BLOCK, length), before + min(start + BLOCK, length)
        hidden = q.new_full((end - start, seen), -math.inf).triu_(before + start + 1)
        keys = k[:, :seen].transpose(1, 2)
        scores = torch.baddbmm(hidden, q[:, start:end], keys, alpha=shape[-1] ** -0.5)
        torch.bmm(scores.softmax(-1), v[:, :seen], out=out[:, start:end])
    return out.view(shape)


@dataclass(frozen=True)
class Slot:
    """Where one pass writes its keys and values in a layer, and what it reads there."""

    store: Tensor  # (2, B, G, S, D), or only the new tokens' part of it
    index: tuple[Tensor, Tensor] | None  # rows and positions of the new ones, where rows differ
    keys: Tensor  # (B, G, used, D), with those that are to be written
    values: Tensor

    def write(self, new: Tensor) -> None:
        """Keys and values (B, T, 2G, D)."""
        rows, length, both, width = new.shape
        new = new.view(rows, length, 2, both // 2, width)
        if self.index is None:
            self.store.copy_(new.permute(2, 0, 3, 1, 4))
        else:
            self.store[:, self.index[0], :, self.index[1]] = new


@dataclass(frozen=True)
class Place:
    """Where the tokens of one pass stand."""

    start: int  # of all rows, or the last one's
    used: int  # tokens that the longest row holds afterwards
    positions: Tensor | None  # (B, T), where rows differ
    mask: Tensor | None  # which keys each query sees: 0, or -inf; None if all that are there
    slots: list[Slot]  # of each layer

    @classmethod
    def of(cls, ids: Tensor, cache: KVCache) -> "Place":
        """That of ids (B, T), which go on from what a cache holds."""
        rows, length = ids.shape
        starts = sorted(set(cache.lengths.tolist()))
        used = starts[-1] + length
        seen = cache.held[..., :used, :].flatten(0, 1).unbind(0)
        if len(starts) == 1:
            index = positions = None
            stores = cache.held[..., starts[0] : used, :].unbind(0)
        else:
            positions = cache.lengths[:, None] + torch.arange(length)
            index = torch.arange(rows)[:, None], positions
            stores = cache.held.unbind(0)
        slots = [
            Slot(store, index, *seen[2 * layer : 2 * layer + 2])
            for layer, store in enumerate(stores)
        ]
        mask = None
        if length > 1 or positions is not None:
            last = torch.arange(starts[0], used)[None] if positions is None else positions
            hidden = torch.arange(used) > last[:, None, :, None]
            mask = torch.zeros(hidden.shape).masked_fill_(hidden, -math.inf)
        return cls(starts[-1], used, positions, mask, slots)

    def rows_of(self, table: Tensor) -> Tensor:
        """Of a table for each position, what belongs to the tokens (B or 1, T, ...)"""
        if self.positions is not None:
            return table[self.positions]
        return table[None, self.start : self.used]


def answering_form(
    decoder: Decoder, runtime: Runtime, *, one_row_int8: bool = False
) -> "Decoder | AnsweringDecoder":
    """The form of a decoder that answers fastest on a runtime: itself, but for a CPU."""
    odd = decoder.settings.position == "rope" and decoder.settings.head_width % 2
    if runtime.device != "cpu" or runtime.dtype == "fp16" or odd:
        return decoder
    with torch.inference_mode():
        return AnsweringDecoder(decoder, runtime.torch_dtype, one_row_int8=one_row_int8)


def int8_imitation(decoder: Decoder) -> AnsweringDecoder:
    """Says of many tokens in one pass what steps of eight bits say of one after the other."""
    with torch.inference_mode():
        return AnsweringDecoder(decoder, torch.float32, maker=imitated_int8)


def attention_dtype(dtype: torch.dtype) -> torch.dtype:
    """What keys and values are kept in."""
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)  # private: it may vanish
    return dtype if dtype == torch.bfloat16 and tiles() else torch.float32


def _length(x: Tensor, least: Tensor) -> Tensor:
    """The root of sum(x^2) + least^2 over the last dimension, kept as one of size 1."""
    return torch.hypot(torch.linalg.vector_norm(x, 2, -1, True), least)


def _places(decoder: Decoder) -> Tensor | None:
    """What is added to the embedding at each position (S, C), if anything is."""
    settings = decoder.settings
    match settings.position:
        case "learned":
            return decoder.positions.weight.detach()
        case "sinusoidal":
            return sinusoidal(torch.arange(settings.context_length), settings.n_embd)
        case "rope":
            return None


def _turns(settings: ModelSettings) -> Tensor | None:
    """A complex number of length 1 for each position and pair (S, D/2)."""
    rotation = rope_rotation(torch.arange(settings.context_length)[None], settings)
    if rotation is None:
        return None
    cosine, sine = (each[0, :, 0, : settings.head_width // 2].contiguous() for each in rotation)
    return torch.complex(cosine, sine)


def _weights(decoder: Decoder, dtype: torch.dtype, maker: Maker) -> Weights:
    settings = decoder.settings
    layers = [_layer(block, settings, maker) for block in decoder.blocks]  # pyright: ignore[reportArgumentType]
    return Weights(dtype, layers, maker(*_after(decoder.norm, settings, decoder.head)))


def _layer(block: Block, settings: ModelSettings, maker: Maker) -> Layer:
    attention, mlp = block.attention, block.mlp
    qkv = [_paired(attention.query, settings), _paired(attention.key, settings), attention.value]
    up = [mlp.gate, mlp.up] if settings.mlp == "swiglu" else [mlp.up]
    return Layer(
        maker(*_after(block.attention_norm, settings, *qkv)),
        maker(*_plain(attention.output)),
        maker(*_after(block.mlp_norm, settings, *up)),
        maker(*_plain(mlp.down)),
        *_qk_norm(attention, settings),
    )


def _plain(linear: nn.Linear) -> tuple[Tensor, Tensor | None]:
    bias = linear.bias
    return linear.weight.detach().float(), None if bias is None else bias.detach().float()


def _after(
    norm: nn.Module, settings: ModelSettings, *linears: nn.Linear
) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of some products in one, with what a norm before them multiplies and adds."""
    parts = [_plain(linear) for linear in linears]
    weight = torch.cat([weight for weight, _ in parts])
    biases = [bias for _, bias in parts if bias is not None]
    bias = torch.cat(biases) if biases else None
    gain, shift = _gain_and_bias(norm)
    if shift is not None:
        more = weight @ shift
        bias = more if bias is None else bias + more
    root = math.sqrt(settings.n_embd) if settings.norm == "rms" else 1.0
    return weight * (gain * root), bias


def _paired(linear: nn.Linear, settings: ModelSettings) -> nn.Linear:
    """Queries or keys with those two numbers side by side that a position turns together."""
    if settings.position != "rope":
        return linear
    made = nn.Linear(linear.in_features, linear.out_features, linear.bias is not None)
    width = settings.head_width
    order = _pairs(width)
    made.weight.copy_(linear.weight.unflatten(0, (-1, width))[:, order].flatten(0, 1))
    if linear.bias is not None:
        made.bias.copy_(linear.bias.unflatten(0, (-1, width))[:, order].flatten())
    return made


def _qk_norm(attention: Attention, settings: ModelSettings) -> tuple[Tensor | None, Tensor | None]:
    """Gain and bias (H + G, D) of the norms of queries and keys."""
    if not settings.qk_norm:
        return None, None
    width = settings.head_width
    order = _pairs(width) if settings.position == "rope" else torch.arange(width)
    gains, biases = [], []
    for norm, heads in (
        (attention.query_norm, settings.n_head),
        (attention.key_norm, settings.kv_heads),
    ):
        gain, bias = _gain_and_bias(norm)
        gains.append(gain[order].expand(heads, -1))
        if bias is not None:
            biases.append(bias[order].expand(heads, -1))
    root = math.sqrt(width) if settings.norm == "rms" else 1.0
    return torch.cat(gains) * root, torch.cat(biases) if biases else None


def _gain_and_bias(norm: nn.Module) -> tuple[Tensor, Tensor | None]:
    gain, bias = cast(Tensor, norm.weight), cast(Tensor | None, getattr(norm, "bias", None))
    return gain.detach().float(), None if bias is None else bias.detach().float()


def _pairs(width: int) -> Tensor:
    """0, D/2, 1, D/2 + 1, ..."""
    return torch.arange(width).unflatten(0, (2, -1)).T.flatten()
