"""Another's config.json as settings of ours, or a sentence why that would not be exact.

A file from elsewhere may hold anything, so each field is checked for type and range, the model that
it describes must fit in memory, and whatever would make transformers compute something that our
decoder does not (scaled rotary positions, windows, parallel branches ...) is refused. Defaults are
those of transformers' configuration classes; fields that those ignore are ignored.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from tinychat.config import ModelSettings
from tinychat.errors import CheckpointError
from tinychat.model.decoder import count_parameters
from tinychat.model.layouts import LAYOUTS
from tinychat.model.tensor_file import show

MAX_LAYERS = 512
MAX_WIDTH = 65_536
MAX_VOCAB = 2_000_000
MAX_CONTEXT = 2**20
MAX_BYTES = 16 * 10**9
"""Largest model that is read, as fp32 in memory."""

Mlp = Literal["swiglu", "gelu", "gelu_tanh", "relu2"]

_GATED: dict[str, Mlp] = {"silu": "swiglu", "swish": "swiglu"}
_UNGATED: dict[str, Mlp] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "relu2": "relu2",
}

_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": None,
        "head_dim": None, "hidden_act": "silu", "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
    },
    "qwen3": {
        "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
        "head_dim": 128, "hidden_act": "silu", "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
    },
    "arcee": {
        "vocab_size": 32000, "hidden_size": 2560, "intermediate_size": 18432,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": None,
        "head_dim": None, "hidden_act": "relu2", "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
    },
    "gpt2": {
        "vocab_size": 50257, "n_embd": 768, "n_inner": None, "n_layer": 12, "n_head": 12,
        "activation_function": "gelu_new", "n_positions": 1024, "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": True,
    },
    "gpt_neox": {
        "vocab_size": 50432, "hidden_size": 6144, "intermediate_size": 24576,
        "num_hidden_layers": 44, "num_attention_heads": 64, "hidden_act": "gelu",
        "max_position_embeddings": 2048, "layer_norm_eps": 1e-5, "tie_word_embeddings": False,
    },
}  # fmt: skip

# Fields that must have this value, in every family and in single ones: (value, default if absent).
_PLAIN: dict[str, tuple[Any, Any]] = {
    "is_encoder_decoder": (False, False),
    "add_cross_attention": (False, False),
    "is_causal": (True, True),
    "use_bidirectional_attention": (False, False),
    "quantization_config": (None, None),
    "auto_map": (None, None),
    "attention_chunk_size": (None, None),
}
_PLAIN_OF: dict[str, dict[str, tuple[Any, Any]]] = {
    "llama": {"sliding_window": (None, None)},
    "qwen3": {"use_sliding_window": (False, False), "attention_bias": (False, False)},
    "arcee": {"sliding_window": (None, None)},
    "gpt2": {
        "sliding_window": (None, None),
        "scale_attn_weights": (True, True),
        "scale_attn_by_inverse_layer_idx": (False, False),
    },
    "gpt_neox": {
        "sliding_window": (None, None),
        "use_parallel_residual": (False, True),
        "attention_bias": (True, True),
    },
}

# Names that transformers takes for others in GPT-2's files.
_ALIASES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}

_ROPE_FIELDS = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}


def settings_from_config(config: Mapping[str, Any]) -> tuple[ModelSettings, int]:
    """The settings that compute what this config.json describes, and the rows of its vocabulary.

    Raises CheckpointError for every model that they would not compute exactly.
    """
    family = config.get("model_type")
    if not isinstance(family, str) or family not in LAYOUTS:
        raise CheckpointError(
            f"config.json: model_type is {show(family)}; tinychat reads {', '.join(LAYOUTS)}"
        )
    fields = _Fields(family, config)
    fields.check_plain()
    settings = {"gpt2": _gpt2, "gpt_neox": _gpt_neox}.get(family, _llama)(fields)
    vocab_size = fields.whole("vocab_size", MAX_VOCAB)
    _check_heads(settings, family)
    check_bounds(settings, vocab_size)
    return settings, vocab_size


def _llama(fields: "_Fields") -> ModelSettings:
    width = fields.whole("hidden_size", MAX_WIDTH)
    heads = fields.whole("num_attention_heads", MAX_WIDTH)
    gated = fields.family != "arcee"
    bias = False
    if fields.family != "qwen3":
        bias = fields.flag("attention_bias", default=False)
        if fields.flag("mlp_bias", default=False) != bias:
            raise CheckpointError(
                "config.json: attention_bias and mlp_bias differ; tinychat has biases in both or "
                "in none"
            )
    return ModelSettings(
        n_layer=fields.whole("num_hidden_layers", MAX_LAYERS),
        n_head=heads,
        n_kv_head=fields.whole("num_key_value_heads", heads, none=heads),
        n_embd=width,
        head_dim=fields.whole("head_dim", MAX_WIDTH, none=width // heads or 1),
        intermediate_size=fields.whole("intermediate_size", MAX_WIDTH),
        context_length=fields.whole("max_position_embeddings", MAX_CONTEXT),
        norm="rms",
        norm_eps=fields.epsilon("rms_norm_eps"),
        position="rope",
        rope_theta=fields.rope_theta("rope_theta", "partial_rotary_factor", 1.0),
        mlp=fields.activation("hidden_act", _GATED if gated else _UNGATED),
        qk_norm=fields.family == "qwen3",
        tied_head=fields.flag("tie_word_embeddings"),
        bias=bias,
    )


def _gpt2(fields: "_Fields") -> ModelSettings:
    width = fields.whole("n_embd", MAX_WIDTH)
    return ModelSettings(
        n_layer=fields.whole("n_layer", MAX_LAYERS),
        n_head=fields.whole("n_head", MAX_WIDTH),
        n_embd=width,
        intermediate_size=fields.whole("n_inner", MAX_WIDTH, none=4 * width),
        context_length=fields.whole("n_positions", MAX_CONTEXT),
        norm="layer",
        norm_eps=fields.epsilon("layer_norm_epsilon"),
        position="learned",
        mlp=fields.activation("activation_function", _UNGATED),
        qk_norm=False,
        tied_head=fields.flag("tie_word_embeddings"),
        bias=True,
    )


def _gpt_neox(fields: "_Fields") -> ModelSettings:
    return ModelSettings(
        n_layer=fields.whole("num_hidden_layers", MAX_LAYERS),
        n_head=fields.whole("num_attention_heads", MAX_WIDTH),
        n_embd=fields.whole("hidden_size", MAX_WIDTH),
        intermediate_size=fields.whole("intermediate_size", MAX_WIDTH),
        context_length=fields.whole("max_position_embeddings", MAX_CONTEXT),
        norm="layer",
        norm_eps=fields.epsilon("layer_norm_eps"),
        position="rope",
        rope_theta=fields.rope_theta("rotary_emb_base", "rotary_pct", 0.25),
        mlp=fields.activation("hidden_act", _UNGATED),
        qk_norm=False,
        tied_head=fields.flag("tie_word_embeddings"),
        bias=True,
    )


class _Fields:
    """A config.json of one family, read field by field."""

    def __init__(self, family: str, config: Mapping[str, Any]) -> None:
        self.family = family
        self._config = config
        self._defaults = _DEFAULTS[family]

    def whole(self, name: str, most: int, none: int | None = None) -> int:
        """A number from 1 to `most`; `none` is what null stands for, where it may stand."""
        value = self._get(name)
        if value is None and none is not None:
            value = none
        if type(value) is not int or not 1 <= value <= most:
            raise self._wrong(name, value, f"a whole number from 1 to {most}")
        return value

    def flag(self, name: str, default: bool | None = None) -> bool:
        value = self._get(name, default)
        if type(value) is not bool:
            raise self._wrong(name, value, "true or false")
        return value

    def epsilon(self, name: str) -> float:
        value = self._get(name)
        if not _is_number(value) or not 0 < value < 1:
            raise self._wrong(name, value, "a number between 0 and 1")
        return float(value)

    def activation(self, name: str, known: Mapping[str, Mlp]) -> Mlp:
        value = self._get(name)
        if not isinstance(value, str) or value not in known:
            raise self._wrong(name, value, " or ".join(known))
        return known[value]

    def rope_theta(self, theta_name: str, share_name: str, default_share: float) -> float:
        """The base of plain rotary positions that turn the whole head.

        It may stand in rope_parameters, in rope_scaling (its older name) or by itself. Readers
        disagree on which of these comes first, so all that are there must be equal.
        """
        thetas = [self._config[theta_name]] if theta_name in self._config else []
        shares = [self._config[share_name]] if share_name in self._config else []
        for name in ("rope_scaling", "rope_parameters"):
            rope = self._config.get(name)
            if rope is None:
                continue
            if not isinstance(rope, Mapping) or not set(rope) <= _ROPE_FIELDS:
                raise self._wrong(name, rope, "rotary positions without scaling")
            if any(rope.get(kind, "default") != "default" for kind in ("rope_type", "type")):
                raise self._wrong(name, rope, "rotary positions without scaling")
            thetas += [rope["rope_theta"]] if "rope_theta" in rope else []
            shares += [rope["partial_rotary_factor"]] if "partial_rotary_factor" in rope else []
        for share in shares or [default_share]:
            if not _is_number(share) or share != 1:
                raise self._wrong(share_name, share, "rotary positions that turn the whole head")
        for theta in thetas:
            if not _is_number(theta) or not 0 < theta < 1e12 or theta != thetas[0]:
                raise self._wrong(theta_name, theta, "one number between 0 and 1e12, said once")
        return float(thetas[0]) if thetas else 10000.0

    def check_plain(self) -> None:
        """Refuse whatever else would change what the model computes."""
        for name, (value, default) in (_PLAIN | _PLAIN_OF[self.family]).items():
            found = self._config.get(name, default)
            if found is not value:
                raise self._wrong(name, found, str(value).lower().replace("none", "null"))
        for alias, name in _ALIASES.items() if self.family == "gpt2" else ():
            if alias in self._config and self._config[alias] != self._get(name):
                raise self._wrong(alias, self._config[alias], f"the same as {name}")
        classes = self._config.get("architectures")
        if classes is not None and classes != [LAYOUTS[self.family].architecture]:
            raise self._wrong("architectures", classes, LAYOUTS[self.family].architecture)
        kinds = self._config.get("layer_types")
        if kinds is not None and (
            not isinstance(kinds, list) or any(kind != "full_attention" for kind in kinds)
        ):
            raise self._wrong("layer_types", kinds, "full_attention in every layer")

    def _get(self, name: str, default: Any = None) -> Any:
        return self._config.get(name, self._defaults.get(name, default))

    def _wrong(self, name: str, value: Any, wanted: str) -> CheckpointError:
        return CheckpointError(
            f"config.json: {name} is {show(value)}, but tinychat reads only {wanted}"
        )


def _is_number(value: Any) -> bool:
    if type(value) is int:
        return abs(value) < 10**15  # a longer one may be no float
    return type(value) is float and math.isfinite(value)


def _check_heads(settings: ModelSettings, family: str) -> None:
    heads, groups, width = settings.n_head, settings.kv_heads, settings.head_width
    if family != "qwen3" and settings.n_embd % heads:
        raise CheckpointError(
            f"config.json: the width {settings.n_embd} is not a multiple of the {heads} heads"
        )
    if heads % groups:
        raise CheckpointError(
            f"config.json: {heads} heads cannot share {groups} key and value heads evenly"
        )
    if settings.position == "rope" and width % 2:
        raise CheckpointError(
            f"config.json: rotary positions need heads of an even width, not {width}"
        )


def check_bounds(settings: ModelSettings, vocab_size: int) -> None:
    """Raises CheckpointError for a shape that nobody trains here and that would exhaust memory."""
    heads = settings.n_head * settings.head_width
    widths = (settings.n_embd, settings.mlp_width, heads, settings.kv_heads * settings.head_width)
    if (
        settings.n_layer > MAX_LAYERS
        or max(widths) > MAX_WIDTH
        or settings.context_length > MAX_CONTEXT
        or not 0 < vocab_size <= MAX_VOCAB
    ):
        raise CheckpointError(
            f"the model would have {settings.n_layer} layers, widths up to {max(widths)}, "
            f"{settings.context_length} positions and {vocab_size} tokens; tinychat reads up to "
            f"{MAX_LAYERS}, {MAX_WIDTH}, {MAX_CONTEXT} and {MAX_VOCAB}"
        )
    size = 4 * count_parameters(settings, vocab_size)["total"]
    if size > MAX_BYTES:
        raise CheckpointError(
            f"the model would take {size / 1e9:,.1f} GB in fp32; tinychat reads up to "
            f"{MAX_BYTES / 1e9:g} GB"
        )
