"""The settings tree: the only place where a setting is declared.

TOML files, command line flags, `--help`, `docs/configuration.md` and the screens are all made from
these classes and from the sentence under each field. `None` means off or "decide for me"; there
are no other special values. What one field may hold stands in its type; what several fields must
agree on stands in `check.py`.
"""

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from tinychat.config.sampling import MOST_TEMPERATURE

Positive = Annotated[int, Gt(0)]
NotNegative = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0), Lt(math.inf)]
NotNegativeFloat = Annotated[float, Ge(0), Lt(math.inf)]
Share = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The shape of the decoder. The vocabulary's size comes from the tokenizer."""

    n_layer: Positive = 6
    """Number of blocks, each attention followed by an MLP."""
    n_head: Positive = 6
    """Attention heads in each block."""
    n_kv_head: Positive | None = None
    """Key and value heads; fewer than n_head share them (none: n_head)."""
    n_embd: Positive = 192
    """Width of the residual stream."""
    head_dim: Positive | None = None
    """Width of one head (none: n_embd / n_head)."""
    intermediate_size: Positive | None = None
    """Width of the MLP (none: 8/3 n_embd for swiglu, else 4 n_embd, in steps of 8)."""
    context_length: Positive = 256
    """Longest window of tokens the model sees."""
    norm: Literal["rms", "layer"] = "rms"
    """Normalisation: RMSNorm or LayerNorm."""
    norm_eps: PositiveFloat = 1e-6
    """Small number that keeps the normalisation from dividing by zero."""
    position: Literal["rope", "learned", "sinusoidal"] = "rope"
    """How the model knows where a token stands."""
    rope_theta: PositiveFloat = 10000.0
    """Base of the rotary frequencies (only with position = rope)."""
    mlp: Literal["swiglu", "gelu", "gelu_tanh", "relu2"] = "swiglu"
    """The MLP: gated SiLU, GELU, GPT-2's approximation of GELU, or squared ReLU."""
    qk_norm: bool = True
    """Normalise queries and keys in each head, which keeps attention calm at high rates."""
    tied_head: bool = True
    """Use the token embedding as the output head too."""
    bias: bool = False
    """Add biases to the linear layers (and to LayerNorm)."""
    dropout: Share = 0.0
    """Share of activations dropped in training."""

    @property
    def kv_heads(self) -> int:
        return self.n_kv_head or self.n_head

    @property
    def head_width(self) -> int:
        return self.head_dim or self.n_embd // self.n_head

    @property
    def mlp_width(self) -> int:
        if self.intermediate_size:
            return self.intermediate_size
        if self.mlp != "swiglu":
            return 4 * self.n_embd
        return -(-8 * self.n_embd // 3 // 8) * 8


@dataclass(frozen=True, kw_only=True)
class TokenizerSettings:
    """How text becomes tokens. The tokenizer is trained on the training part of the corpus."""

    kind: Literal["bpe", "char"] = "bpe"
    """Byte-level BPE, or one token a character (unknown ones fall back to bytes)."""
    vocab_size: Annotated[int, Ge(262), Le(1_000_000)] = 4096
    """Size of a BPE vocabulary, the 6 control tokens and 256 bytes included; of one of characters,
    only what a plan without data takes it to be."""
    path: str | None = None
    """A tokenizer.json to take instead of training one, ours or another byte-level BPE."""


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Where the text comes from."""

    paths: tuple[str, ...] = ()
    """Files or folders to learn from; --data is short for it (none: the built-in small talk)."""
    validation_share: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Share of the documents kept for validation."""
    loss: Literal["answers", "all"] = "answers"
    """In conversations: learn the assistant's answers only, or every token."""
    format: Literal["auto", "text", "json", "turns"] = "auto"
    """How to read text files (auto: told from each file's content and name)."""
    take: Literal["chosen"] | None = None
    """Of preference data, learn the answers that were chosen (none: refuse such data)."""
    user_field: str | None = None
    """Name of the field or column with the user's words (none: a known name)."""
    assistant_field: str | None = None
    """Name of the field or column with the answer (none: a known name)."""
    text_field: str | None = None
    """Name of the field or column whose text is learnt as it is (none: a known name)."""
    strict: bool = False
    """Stop at the first bad record instead of leaving out up to 1%."""
    max_documents: Positive | None = None
    """Read no more than this many documents (none: all)."""
    licence: str | None = None
    """Licence of the data, for the model card of each checkpoint (none: not told)."""


@dataclass(frozen=True, kw_only=True)
class OptimSettings:
    """The optimizer and the learning rate over the run."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """AdamW for everything, or Muon for the hidden matrices and AdamW for the rest."""
    learning_rate: PositiveFloat = 2e-3
    """Peak learning rate of AdamW."""
    muon_learning_rate: PositiveFloat = 0.02
    """Peak learning rate of Muon; it follows the same schedule in proportion."""
    muon_momentum: Share = 0.95
    """Muon's memory of the gradient; less where a run has few hundred steps."""
    min_learning_rate: NotNegativeFloat = 1e-4
    """The floor, which the schedule reaches only at the last step."""
    schedule: Literal["warmup-stable-decay", "cosine", "linear"] = "warmup-stable-decay"
    """Shape of the learning rate after the warm-up."""
    warmup_steps: NotNegative = 50
    """Steps of linear warm-up (at most half of the run)."""
    schedule_steps: Positive | None = None
    """Length the schedule is planned over (none: max_steps); beyond it the rate is the floor."""
    decay_share: Annotated[float, Gt(0), Le(1)] = 0.5
    """Share of the run that warmup-stable-decay spends going down to the floor."""
    weight_decay: NotNegativeFloat = 0.1
    """Decay of the weight matrices (never of norms, biases or embeddings)."""
    beta1: Share = 0.9
    """AdamW's memory of the gradient."""
    beta2: Share = 0.99
    """AdamW's memory of the squared gradient."""
    eps: PositiveFloat = 1e-8
    """AdamW's guard against dividing by zero."""
    max_grad_norm: PositiveFloat | None = 1.0
    """Gradients longer than this are shortened to it (none: never)."""
    max_bad_steps: Positive = 3
    """Steps in a row without a finite loss and gradient after which the run is rolled back to its
    newest checkpoint, with half the learning rate."""


@dataclass(frozen=True, kw_only=True)
class EvalSettings:
    """Validation."""

    every_steps: Positive | None = 200
    """Steps between evaluations on the whole validation split (none: only at the end)."""


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """What the model is asked while it trains."""

    every_steps: Positive | None = 50
    """Steps between rounds of samples (none: off)."""
    prompts: tuple[Annotated[str, MinLen(1)], ...] = ()
    """The fixed prompts (none: ten that suit the corpus)."""
    max_new_tokens: Positive = 60
    """Longest sample, in tokens."""
    temperature: Annotated[float, Ge(0), Le(MOST_TEMPERATURE)] = 0.8
    """How freely to choose, 0 to 2; 0 always takes the likeliest token."""
    top_k: Positive | None = 40
    """Choose among this many likeliest tokens (none: among all)."""


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """When the run is saved, and what is kept."""

    every_steps: Positive | None = 200
    """Steps between checkpoints (none: by minutes only)."""
    every_minutes: PositiveFloat | None = 10.0
    """Minutes between checkpoints, whichever comes first (none: by steps only)."""
    keep_last: Annotated[int, Ge(2)] = 2
    """How many of the newest are kept whole; the best one always is."""
    milestones: NotNegative = 12
    """How many older ones are kept as weights only, spread over the run."""
    mirror: str | None = None
    """A folder, best on another disk, for a verified copy of every checkpoint; --mirror is short
    for it (none: off)."""


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What is written while the run goes."""

    every_steps: Positive = 1
    """Steps between rows of metrics."""
    trackers: tuple[Literal["wandb", "tensorboard"], ...] = ()
    """Where rows and samples go too; their files lie in the run's folder (none: nowhere)."""


@dataclass(frozen=True, kw_only=True)
class RuntimeSettings:
    """Where and how it is computed. Settled once, written down, and repeated at every resume."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute (auto: cuda, else mps, else cpu)."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of the computation (auto: bf16 where the hardware has it, else fp32)."""
    threads: Positive | None = None
    """CPU threads (none: $OMP_NUM_THREADS, else as many as there are physical cores for us)."""
    gradient_checkpointing: bool | None = None
    """Compute activations again in the backward pass: less memory, about a third more time (none:
    not unless it is faster)."""
    attention: Literal["auto", "sdpa", "blocks"] = "auto"
    """How training computes attention: torch's own way, or in blocks of matrix products, which is
    faster on CPUs."""
    compile: bool | None = None
    """Put training steps through torch.compile, which takes a C++ compiler (none: in long runs,
    where it is faster)."""
    autotune: bool = True
    """Try out what is not set of all this before the first step of a run that takes minutes."""


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """Old data in a run that starts from other weights, against forgetting."""

    share: Share = 0.0
    """Share of each step's rows that are of the old data."""
    paths: tuple[str, ...] = ()
    """Files or folders of the old data (none: what the weights learnt from)."""
    max_val_loss_rise: PositiveFloat | None = None
    """Nats per token by which val_loss on the old data may rise before the run ends itself, its
    best checkpoint being from before (none: any rise is accepted)."""


@dataclass(frozen=True, kw_only=True)
class TuneSettings:
    """Preference tuning: learning from rewrites, picks and thumbs."""

    feedback: tuple[str, ...] = ()
    """Files to learn from: a feedback.jsonl, or preference data in TRL's forms (none: this run
    learns from its data alone)."""
    method: Literal["auto", "sft", "dpo", "kto", "orpo"] = "auto"
    """How to learn from them (auto: rewrites by sft, picks by dpo, thumbs by kto)."""
    follow: bool = False
    """Learn from each judgement as it comes, one a step, and wait for the next one."""
    beta: PositiveFloat = 0.1
    """How strongly dpo and kto hold the model to its reference; in orpo the weight of the odds."""
    chosen_weight: NotNegativeFloat = 0.0
    """Weight of the chosen answer's own loss, per token, beside dpo's."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that a run is made from."""

    seed: NotNegative = 0
    """Everything that depends on chance is a function of this number and the step."""
    max_steps: Positive | None = None
    """Length of the run in steps (none: take max_epochs)."""
    max_epochs: PositiveFloat | None = None
    """Length of the run in passes over the training data, instead of max_steps."""
    batch_size: Positive = 32
    """Rows of context_length tokens in one step."""
    micro_batch_size: Positive | None = None
    """Rows in one forward pass; smaller takes less memory (none: batch_size)."""
    init_from: str | None = None
    """A run, checkpoint or model folder whose weights and tokenizer to start from (none: fresh)."""
    model: ModelSettings = field(default_factory=ModelSettings)
    tokenizer: TokenizerSettings = field(default_factory=TokenizerSettings)
    data: DataSettings = field(default_factory=DataSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    eval: EvalSettings = field(default_factory=EvalSettings)
    sample: SampleSettings = field(default_factory=SampleSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    log: LogSettings = field(default_factory=LogSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    replay: ReplaySettings = field(default_factory=ReplaySettings)
    tune: TuneSettings = field(default_factory=TuneSettings)

    @property
    def reads_old_data(self) -> bool:
        """Whether it has old data beside its own."""
        replay, tune = self.replay, self.tune
        asked = replay.share > 0 or bool(replay.paths) or replay.max_val_loss_rise is not None
        return asked and not tune.feedback and self.init_from is not None

    @property
    def watches_old_data(self) -> bool:
        """Whether val_loss on what the weights had learnt before is compared with the start's."""
        return self.reads_old_data or bool(self.tune.feedback)

    @property
    def own_rows_a_step(self) -> float:
        """Rows of a step that are of its own data, in the mean."""
        return self.batch_size * (1 - self.replay.share if self.reads_old_data else 1)

    @property
    def examples_a_step(self) -> int:
        """Of preference tuning: how many of a step's units are examples, one at least; the rest
        are rows of the data."""
        return max(1, self.batch_size - round(self.replay.share * self.batch_size))

    @property
    def rows_per_micro_batch(self) -> int:
        return self.micro_batch_size or self.batch_size

    @property
    def grad_accum_steps(self) -> int:
        return -(-self.batch_size // self.rows_per_micro_batch)
