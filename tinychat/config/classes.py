"""What may change when a run goes on: each setting and each circumstance, in one of three classes.

A   decides no bit of the weights: the run goes on bit for bit
B   the same data and schedule, but bits may differ: allowed, told, and kept in the lineage line
C   would make it another run: refused, unless there is a flag for it and it is given

A name that stands in no rule is an error, so that nothing new is swallowed by a pattern.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

ResumeClass = Literal["A", "B", "C"]
ACCEPT_NEW_DATA = "--accept-new-data"

_ANOTHER_RUN = (
    "start a new run for that (`tinychat train --init-from` takes the weights of this one along)"
)


@dataclass(frozen=True)
class Rule:
    """Names of one class for one reason."""

    resume_class: ResumeClass
    names: tuple[str, ...]
    why: str  # a clause without a full stop
    instead: str = ""  # of class C: what to do about a refusal
    flag: str | None = None  # of class C: what allows it all the same
    while_training: bool = False  # of class A: may change without a resume


SETTINGS: tuple[Rule, ...] = (
    Rule(
        "A",
        (
            "eval.every_steps",
            "sample.every_steps",
            "sample.prompts",
            "sample.max_new_tokens",
            "sample.temperature",
            "sample.top_k",
            "checkpoint.every_steps",
            "checkpoint.every_minutes",
            "checkpoint.keep_last",
            "checkpoint.milestones",
            "log.every_steps",
        ),
        "looking at a run, saving it and writing about it touch no weight",
        while_training=True,
    ),
    Rule("A", ("checkpoint.mirror",), "a second copy of what is saved touches no weight"),
    Rule("A", ("data.licence",), "it is a word about the data, not the data"),
    Rule("A", ("log.trackers",), "whoever follows a run touches no weight"),
    Rule("A", ("runtime.autotune",), "what was chosen is repeated at every resume"),
    Rule(
        "A",
        ("data.paths", "replay.paths", "tune.feedback"),
        "what the files hold counts, not where they lie",
    ),
    Rule(
        "B",
        (
            "runtime.device",
            "runtime.dtype",
            "runtime.threads",
            "runtime.gradient_checkpointing",
            "runtime.attention",
            "runtime.compile",
            "micro_batch_size",
        ),
        "the same sums are rounded in another order or precision",
    ),
    Rule(
        "B",
        ("max_steps", "max_epochs", "optim.schedule_steps"),
        "a longer run has other learning rates from there on",
    ),
    Rule("B", ("optim.max_bad_steps",), "it decides when steps that fail are given up"),
    Rule("B", ("replay.max_val_loss_rise",), "it decides where the run ends"),
    Rule(
        "C",
        ("seed", "batch_size"),
        "batches, dropout and samples of every step follow from it",
        _ANOTHER_RUN,
    ),
    Rule("C", ("init_from",), "a run begins only once", _ANOTHER_RUN),
    Rule(
        "C",
        (
            "model.n_layer",
            "model.n_head",
            "model.n_kv_head",
            "model.n_embd",
            "model.head_dim",
            "model.intermediate_size",
            "model.context_length",
            "model.norm",
            "model.norm_eps",
            "model.position",
            "model.rope_theta",
            "model.mlp",
            "model.qk_norm",
            "model.tied_head",
            "model.bias",
        ),
        "weights fit the shape they were made for",
        "train a new run of that shape",
    ),
    Rule(
        "C",
        ("tokenizer.kind", "tokenizer.vocab_size", "tokenizer.path"),
        "a model knows one vocabulary",
        "train a new run with that tokenizer",
    ),
    Rule(
        "C",
        (
            "data.format",
            "data.take",
            "data.user_field",
            "data.assistant_field",
            "data.text_field",
            "data.strict",
            "data.max_documents",
        ),
        "other tokens would be learnt",
        f"`{ACCEPT_NEW_DATA}` goes on all the same, or {_ANOTHER_RUN}",
        ACCEPT_NEW_DATA,
    ),
    Rule(
        "C",
        ("data.validation_share", "data.loss"),
        "losses before and after could not be compared",
        _ANOTHER_RUN,
    ),
    Rule(
        "C",
        (
            "model.dropout",
            "optim.optimizer",
            "optim.learning_rate",
            "optim.muon_learning_rate",
            "optim.muon_momentum",
            "optim.min_learning_rate",
            "optim.schedule",
            "optim.warmup_steps",
            "optim.decay_share",
            "optim.weight_decay",
            "optim.beta1",
            "optim.beta2",
            "optim.eps",
            "optim.max_grad_norm",
            "replay.share",
            "tune.method",
            "tune.follow",
            "tune.beta",
            "tune.chosen_weight",
        ),
        "it is how the run learns, from its first step to its last",
        _ANOTHER_RUN,
    ),
)

# Names are keys of attempt.json; the tokenizer's is one of run.json.
CIRCUMSTANCES: tuple[Rule, ...] = (
    Rule(
        "A",
        ("version", "git_commit", "host"),
        "they are told at each resume; code that computes a step in another way says so by "
        "`arithmetic`",
    ),
    Rule(
        "B",
        (
            "device",
            "dtype",
            "threads",
            "micro_batch_size",
            "gradient_checkpointing",
            "world_size",
            "attention",
            "compile",
            "torch",
            "processor",
            "cpu_flags",
        ),
        "the same sums are rounded in another order or precision",
    ),
    Rule("B", ("rate_factor",), "a roll-back goes on with half the learning rate"),
    Rule(
        "B",
        ("arithmetic",),
        "this tinychat computes a step in another way; the number is raised with each such change",
    ),
    Rule(
        "C",
        ("data_fingerprint", "replay_fingerprint"),
        "other text would be learnt, of which validation may have seen a part",
        f"`{ACCEPT_NEW_DATA}` goes on all the same, or {_ANOTHER_RUN}",
        ACCEPT_NEW_DATA,
    ),
    Rule(
        "C",
        ("tokenizer_sha256",),
        "a model knows one vocabulary",
        "copy tokenizer.json from one of the run's checkpoints over the run's own",
    ),
)


def rule_of(name: str, rules: Sequence[Rule] = SETTINGS) -> Rule:
    """The rule that a setting or circumstance stands in. Raises KeyError if it is in none."""
    for rule in rules:
        if name in rule.names:
            return rule
    raise KeyError(f"{name} has no resume class; give it one in tinychat/config/classes.py")


def names_of(resume_class: ResumeClass, rules: Sequence[Rule]) -> tuple[str, ...]:
    """All names of a class, in the order of the rules."""
    return tuple(n for rule in rules if rule.resume_class == resume_class for n in rule.names)


def may_change_and_decides_bits(name: str) -> bool:
    """Whether attempts of one run can differ in a setting that decides their bits."""
    rule = rule_of(name)
    return rule.resume_class == "B" or rule.flag is not None
