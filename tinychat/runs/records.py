"""What stands in a run's files: records (one JSON object a file) and rows (one a line).

Reading is tolerant of keys it does not know and strict about the ones it does. JSON has no word
for a number that is not finite: such a value is written as null and its key named in `nonfinite`.
Times called `time`, `at`, `expires` are Unix seconds and serve as labels only; durations are
measured elsewhere, on a clock that nobody sets.
"""

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal, NotRequired, Self, TypedDict

from tinychat.errors import FormatError, RunError

FORMAT = 1  # of every file here; a reader refuses a higher one

State = Literal[
    "starting",
    "compiling",
    "training",
    "evaluating",
    "sampling",
    "saving",
    "paused",
    "finished",
    "stopped",
    "failed",
]
STATES: tuple[str, ...] = typing.get_args(State)

WAITS_FOR_JUDGEMENT = "waits for the next judgement"
"""The message of a run that learns from judgements as they come, and is paused because none has."""


class _Record:
    """Reading and writing shared by the records."""

    def to_json(self) -> bytes:
        """The record as the bytes of its file."""
        row = finite(asdict(self))  # type: ignore[call-overload]
        return _encode(row, indent=2) + b"\n"

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Self:
        """Read a record; `where` names its file in an error.

        Raises FormatError for a file of a newer tinychat, RunError for one that is damaged.
        """
        try:
            values = parse(data)
        except ValueError as error:
            raise RunError(f"{where} is damaged ({error}).") from None
        check_format(values, where)
        try:
            return build(cls, values)
        except ValueError as error:
            raise RunError(f"{where} is damaged: {error}.") from None


@dataclass(frozen=True, kw_only=True)
class ReplayRecord:
    """The old data of a run that mixes it in."""

    fingerprint: str  # when the run was born
    seed: int  # that divided it into training and validation
    data: dict[str, Any] = field(default_factory=dict)  # how it is read, where not as usual


@dataclass(frozen=True, kw_only=True)
class TuneRecord:
    """What a run of preference tuning learns from; examples.jsonl is its own copy of it."""

    method: str
    picks: int = 0  # judgements, by kind
    thumbs: int = 0
    rewrites: int = 0
    sft: int = 0  # examples that they make, by objective
    dpo: int = 0
    kto: int = 0
    orpo: int = 0
    held_out: int = 0  # of the examples
    left_out: dict[str, int] = field(default_factory=dict)  # judgements or examples, by reason
    follows: bool = False  # it learns from judgements as they come; then the rest is not told
    read_at: str = ""  # when they were, ISO 8601, UTC
    examples_sha256: str
    reference_sha256: str  # of reference.json


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One run in the family tree of a model: what was learnt up to the checkpoint that the next
    one grew from. Losses are in nats per token."""

    run: str
    kind: str  # a constant of `ancestry`
    step: int | None = None  # of the checkpoint
    steps: int | None = None  # that the run was planned for
    data: tuple[str, ...] = ()  # names
    val_loss: float | None = None  # on its own validation split, as evaluated last
    old_data: tuple[str, ...] = ()  # names of what the weights had learnt before
    old_data_share: float = 0.0  # of the rows of each step
    old_val_loss_before: float | None = None  # on that, at its start
    old_val_loss_after: float | None = None  # and as evaluated last
    method: str | None = None  # these four of preference tuning
    picks: int = 0
    thumbs: int = 0
    rewrites: int = 0


@dataclass(frozen=True, kw_only=True)
class RunRecord(_Record):
    """run.json: what a run is. Written once, last of all when a run is born."""

    id: str  # a UUID
    created_at: str  # ISO 8601, UTC
    version: str  # of tinychat
    git_commit: str | None = None
    parameters: dict[str, int] = field(default_factory=dict)  # counts: total, embedding, ...
    tokenizer_sha256: str | None = None
    data_fingerprint: str | None = None
    parent: str | None = None  # the checkpoint it grew from, as "<run>@<step>"
    tune: TuneRecord | None = None  # of a run of preference tuning
    replay: ReplayRecord | None = None  # of a run that mixes old data in
    ancestry: tuple[Generation, ...] = ()  # what it grew from, eldest first
    format: int = FORMAT

    @property
    def follows(self) -> bool:
        """Whether it learns from judgements as they come."""
        return self.tune is not None and self.tune.follows


@dataclass(frozen=True, kw_only=True)
class AttemptRecord(_Record):
    """attempt.json: one unbroken stretch of steps, and everything that decides its last bits."""

    from_step: int  # its first update leads to from_step + 1
    reason: str  # "new", "resume", "roll-back", and why
    started_at: str  # ISO 8601, UTC
    host: str
    argv: tuple[str, ...] = ()
    version: str = ""  # of tinychat
    git_commit: str | None = None  # of the source tree, None where it is installed without one
    data_fingerprint: str | None = None  # of the prepared data; later resumes are held to it
    replay_fingerprint: str | None = None  # of the old data that is mixed in, likewise
    settings: dict[str, Any] = field(default_factory=dict)  # that decide bits and may change
    torch: str = ""
    device: str = ""
    dtype: str = ""
    threads: int | None = None
    gradient_checkpointing: bool = False
    compile: bool = False
    attention: str = ""
    micro_batch_size: int | None = None
    rate_factor: float = 1.0  # share of the planned learning rate, after roll-backs
    world_size: int = 1  # processes that shared each step
    processor: str = ""  # name of the CPU or GPU; empty: not known
    cpu_flags: tuple[str, ...] = ()
    arithmetic: int = 1  # raised when a tinychat computes a step in another way
    autotune: dict[str, Any] | None = None  # what was measured before the choice
    resume_class: str | None = None  # A bit-exact, B same data, C allowed by a flag; None: new
    changed: tuple[str, ...] = ()  # settings that differ from the attempt before
    # new files for those that could not be made durable: the number of that "attempt", and of each
    # of its logs how many bytes still count; what came after them stands here again
    takes_over: dict[str, int] = field(default_factory=dict)
    format: int = FORMAT


@dataclass(frozen=True, kw_only=True)
class BestCheckpoint:
    """The evaluated checkpoint that the run found best: by val_loss, or by preference_loss."""

    step: int
    val_loss: float  # nats per token


@dataclass(frozen=True, kw_only=True)
class LastCommand:
    """The last command that was taken from the mailbox, and what came of it."""

    id: str
    command: str
    result: str


@dataclass(frozen=True, kw_only=True)
class MirrorStatus:
    """How the second copy of a run is."""

    folder: str  # the copy itself, a run folder
    step: int | None = None  # newest checkpoint that is whole there
    problem: str = ""  # why newer ones are not, in words; empty: nothing is wrong


@dataclass(frozen=True, kw_only=True)
class Status(_Record):
    """status.json: how a run is now. Replaced at each change of state and about once a second."""

    state: State
    step: int  # updates done
    max_steps: int | None
    pid: int
    process_start_time: float | None  # with boot_id it tells this process from any other
    boot_id: str | None
    host: str
    time: float  # of this beat
    next_beat_by: float  # when the next beat is due at the latest
    tokens_seen: int = 0
    eta_seconds: float | None = None
    best: BestCheckpoint | None = None
    latest: int | None = None  # step of the newest published checkpoint
    last_command: LastCommand | None = None
    mirror: MirrorStatus | None = None
    message: str = ""  # one sentence for a person
    lineage: str = ""  # how far back the weights are bit-exact, in one line
    seq: int = 0  # counted by the writer, so that a reader on any clock sees a beat
    format: int = FORMAT


class TrainRow(TypedDict):
    """metrics.jsonl, kind "train": the update that led to `step`."""

    step: int
    time: NotRequired[float]
    train_loss: float | None  # nats per token
    learning_rate: float
    grad_norm: float | None  # before clipping
    tokens_seen: int
    tokens_per_second: float
    step_seconds: float
    memory_bytes: NotRequired[int | None]
    reward_margin: NotRequired[float | None]  # these two of the step's examples, in preference
    preference_accuracy: NotRequired[float | None]  # tuning


class EvalRow(TypedDict):
    """metrics.jsonl, kind "eval": the weights after `step` updates on the validation split."""

    step: int
    time: NotRequired[float]
    val_loss: float | None  # nats per token
    bits_per_byte: NotRequired[float | None]
    eval_seconds: NotRequired[float]
    replay_val_loss: NotRequired[float | None]  # on the old data, of a run that mixes it in
    preference_loss: NotRequired[float | None]  # these three on preferences that were held out
    preference_accuracy: NotRequired[float | None]
    reward_margin: NotRequired[float | None]


class SampleRow(TypedDict):
    """samples.jsonl: what the weights after `step` updates say."""

    step: int
    time: NotRequired[float]
    prompt: str
    text: str
    settings: dict[str, Any]  # of sampling
    seed: int


class EventRow(TypedDict):
    """events.jsonl: something happened; some kinds carry more keys."""

    kind: str
    step: int | None
    time: NotRequired[float]
    message: str  # one sentence for a person


def encode_row(row: Mapping[str, Any]) -> bytes:
    """One row as one line of JSON, without the newline."""
    return _encode(finite(dict(row)), indent=None)


def finite(row: dict[str, Any]) -> dict[str, Any]:
    """The same with null for every number that is not finite, and their keys in `nonfinite`."""
    names: list[str] = []

    def clean(value: Any, name: str) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            names.append(name)
            return None
        if isinstance(value, dict):
            return {key: clean(each, f"{name}.{key}") for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [clean(each, f"{name}.{index}") for index, each in enumerate(value)]
        return value

    cleaned = {key: clean(value, str(key)) for key, value in row.items()}
    return cleaned | {"nonfinite": names} if names else cleaned


def parse(data: bytes) -> dict[str, Any]:
    """One JSON object. Raises ValueError for anything else, and for a key that stands twice."""
    try:
        value = json.loads(data, object_pairs_hook=_pairs, parse_constant=lambda word: None)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value


def check_format(values: Mapping[str, Any], where: str) -> None:
    """Raises FormatError if `values` were written by a newer tinychat, RunError if by none."""
    number = values.get("format")
    if type(number) is not int or number < 1:
        raise RunError(f"{where} is damaged: it has no format number.")
    if number > FORMAT:
        raise FormatError(
            f"{where} has format {number} and was made by a newer tinychat; "
            f"this one reads up to format {FORMAT}: please update tinychat."
        )


def _encode(value: dict[str, Any], *, indent: int | None) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair: only an escape can carry it
        return json.dumps(value, allow_nan=False, indent=indent).encode("ascii")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key stands twice")
    return values


def build(cls: type, values: Mapping[str, Any]) -> Any:
    """A dataclass from JSON values: known keys only, each of its declared type.

    Raises ValueError for a value of another type, or a key that is missing.
    """
    hints = typing.get_type_hints(cls)
    known = {each.name for each in fields(cls)}
    chosen = {}
    for name in known & values.keys():
        chosen[name] = _fit(values[name], hints[name], name)
    try:
        return cls(**chosen)
    except TypeError:
        missing = sorted(known - chosen.keys())
        raise ValueError(f"it lacks one of {', '.join(missing)}") from None


def _fit(value: Any, hint: Any, name: str) -> Any:
    """`value` as the type `hint` says. Raises ValueError if it is something else."""
    if hint is Any:
        return value
    if type(value) is int and not -(2**63) <= value < 2**63:  # beyond floats it breaks arithmetic
        raise ValueError(f"{name} is an integer beyond 64 bits")
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        if value is None and type(None) in inner:
            return None
        return _fit(value, next(each for each in inner if each is not type(None)), name)
    if origin is Literal and value in inner:
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_fit(each, inner[0], name) for each in value)
    if origin is dict and isinstance(value, dict):
        return {key: _fit(each, inner[1], name) for key, each in value.items()}
    if is_dataclass(hint) and isinstance(value, dict):
        return build(typing.cast(type, hint), value)
    if hint is float and type(value) in (int, float):
        return float(value)
    if origin is None and type(value) is hint:
        return value
    raise ValueError(f"{name} is {value!r}")
