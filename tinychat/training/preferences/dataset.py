"""What a preference-tuned run learns from: read once from feedback, then its own (examples.jsonl).

Examples of some prompts are held out, all of a prompt on one side, to see whether what people want
is learnt or only what they said.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from tinychat.config import Settings
from tinychat.conversations import (
    Counts,
    Example,
    Judgements,
    LeaveOut,
    LeftOut,
    Objective,
    examples_from_bytes,
    examples_of,
    examples_to_bytes,
    for_chat,
    left_out_words,
    read_feedback,
    unused_of,
    why_nothing,
)
from tinychat.errors import RunError, SettingsError
from tinychat.keys import draw_key
from tinychat.runs import RunPaths, RunReader, TuneRecord
from tinychat.text import Prepared
from tinychat.training.preferences.followed import Followed
from tinychat.training.preferences.forward import LossSettings, PreferenceExample
from tinychat.training.preferences.reference import (
    LogProbs,
    reference_from_bytes,
    reference_to_bytes,
)
from tinychat.training.preferences.sequences import (
    EncodedExample,
    encode_example,
    with_mismatched,
)
from tinychat.words import count, first_places, inert

LEAST_PROMPTS = 5  # of which one can be spared
_COPY_IT_BACK = (
    "it holds what the run learns from: copy it back from a backup or the run's second copy, or "
    "begin again by `tinychat tune`"
)


@dataclass(frozen=True, kw_only=True)
class PreferenceDataset:
    """Examples in their order, training ones first. `reference` belongs to them, one for one."""

    examples: tuple[Example, ...]
    encoded: tuple[EncodedExample, ...]
    n_held_out: int  # how many of them, at the end
    counts: Counts  # of judgements
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)  # by reason
    remarks: tuple[str, ...] = ()  # on how examples are read, which a person may not expect
    reference: tuple[LogProbs, ...] | None = None
    read_at: str = ""  # when the feedback was read, ISO 8601, UTC

    @property
    def n_training(self) -> int:
        """How many there are to train on."""
        return len(self.encoded) - self.n_held_out

    @property
    def training(self) -> list[PreferenceExample]:
        return self._referenced[: self.n_training]

    @property
    def held_out(self) -> list[PreferenceExample]:
        """Those that are never trained on."""
        return self._referenced[self.n_training :]

    @property
    def _referenced(self) -> list[PreferenceExample]:
        reference = self.reference or [LogProbs()] * len(self.encoded)
        return [PreferenceExample(*each) for each in zip(self.encoded, reference, strict=True)]

    def with_reference(self, reference: Sequence[LogProbs]) -> "PreferenceDataset":
        return replace(self, reference=tuple(reference))

    def loss_settings(self, settings: Settings) -> LossSettings:
        return LossSettings.of(settings.tune, self.training)

    @property
    def told(self) -> str:
        """What is learnt from, in a sentence."""
        made = [f"{n:,} by {name}" for name, n in self.by_objective().items() if n]
        told = f"{self.counts}: {count(len(self.examples), 'example')}, {', '.join(made)}"
        if self.n_held_out:
            told += f"; {self.n_held_out:,} of them held out, which are never trained on"
        if self.left_out:
            told += f"; left out: {left_out_words(self.left_out)}"
        return told

    def by_objective(self) -> dict[str, int]:
        """How many examples each objective has."""
        found = [each.objective for each in self.examples]
        return {name: found.count(name) for name in get_args(Objective)}

    def to_bytes(self) -> bytes:
        """examples.jsonl: the same examples always give the same bytes."""
        return examples_to_bytes(self.examples)

    def reference_to_bytes(self) -> bytes | None:
        """reference.json."""
        return None if self.reference is None else reference_to_bytes(self.reference)

    def record(self, method: str) -> TuneRecord:
        """For run.json."""
        assert self.reference is not None
        made = self.by_objective()
        return TuneRecord(
            method=method,
            picks=self.counts.picks,
            thumbs=self.counts.thumbs,
            rewrites=self.counts.rewrites,
            sft=made["sft"],
            dpo=made["dpo"],
            kto=made["kto"],
            orpo=made["orpo"],
            held_out=self.n_held_out,
            left_out={reason: each.count for reason, each in self.left_out.items()},
            read_at=self.read_at,
            examples_sha256=digest(self.to_bytes()),
            reference_sha256=digest(reference_to_bytes(self.reference)),
        )


def dataset_of(
    run: Path, settings: Settings, prepared: Prepared
) -> PreferenceDataset | Followed | None:
    """What the run learns from beside its data; None for a run that is not tuned.

    A run that exists has its own copy, and feedback is not read again. Raises SettingsError where
    there is nothing to learn, RunError where the copy is not what it was.
    """
    if RunPaths(run).run_json.exists():
        return _own(run, settings, prepared)
    if not settings.tune.feedback:
        return None
    if settings.tune.follow:
        return Followed.begin(settings, prepared)
    return dataset_from_feedback(settings, prepared)


def dataset_from_feedback(settings: Settings, prepared: Prepared) -> PreferenceDataset:
    """Raises SettingsError where there is nothing to learn, and what `read_feedback` raises."""
    read_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    judgements = read_feedback([Path(path) for path in settings.tune.feedback])
    if prepared.form == "chat":
        judgements = for_chat(judgements)
    method, length = settings.tune.method, settings.model.context_length
    leave_out = LeaveOut()
    leave_out.add(judgements.left_out)
    leave_out.add(unused_of(judgements, method))
    found: list[tuple[Example, EncodedExample]] = []
    for example in examples_of(judgements, method):
        encoded = encode_example(example, prepared.tokenizer, length)
        if isinstance(encoded, str):
            leave_out(encoded, example.source)
        else:
            found.append((example, encoded))
    left_out = leave_out.told()
    if not found:
        raise SettingsError(why_nothing(settings.tune.feedback, method, left_out))
    apart = held_out_prompts([each for each, _ in found], settings)
    train = [each for each in found if _key(each[0]) not in apart]
    held_out = [each for each in found if _key(each[0]) in apart]
    return PreferenceDataset(
        examples=tuple(example for example, _ in (*train, *held_out)),
        encoded=tuple(
            each
            for side in (train, held_out)
            for each in with_mismatched([ids for _, ids in side], length)
        ),
        n_held_out=len(held_out),
        counts=judgements.counts,
        left_out=left_out,
        remarks=tuple(_remarks(judgements, found, prepared.form == "chat", length)),
        read_at=read_at,
    )


def _remarks(
    judgements: Judgements,
    found: Sequence[tuple[Example, EncodedExample]],
    chats: bool,
    context_length: int,
) -> Iterator[str]:
    """What a person may not expect of how their words are read."""
    plain = [each.source for each in judgements.judged if each.is_plain]
    if plain and chats:
        yield (
            f"{_of(plain)} of plain texts: the model chats, so each prompt is read as a question, "
            "each completion as an answer"
        )
    texts = [example.source for example, _ in found if isinstance(example.prompt, str)]
    if texts and chats:
        yield (
            f"{_of(texts)} of texts that go on, learnt as such though the model chats; what has a "
            "prompt of its own, or lists of messages, is learnt as a talk"
        )
    long = [example.source for example, encoded in found if encoded.shortened]
    if long:
        yield (
            f"{_of(long)} longer than the context of {context_length:,} tokens: of a prompt the "
            "end is learnt, of an answer the beginning"
        )


def _of(sources: Sequence[str]) -> str:
    """How many judgements these are, and where the first ones stand."""
    different = list(dict.fromkeys(sources))
    where = inert(first_places(different, len(different)))
    return f"{count(len(different), 'judgement')} ({where})"


def held_out_prompts(examples: Sequence[Example], settings: Settings) -> set[str]:
    """The prompts that are not trained on: about `data.validation_share` of them, and one at least
    of five. Which ones hangs on the prompts themselves and the seed, not on their order."""
    keys = sorted({_key(each) for each in examples})
    keys.sort(key=lambda key: draw_key(settings.seed, f"held-out prompt {key}"))
    wanted = round(settings.data.validation_share * len(keys))
    if len(keys) < LEAST_PROMPTS:
        return set()
    return set(keys[: min(max(1, wanted), len(keys) - 1)])


def _own(run: Path, settings: Settings, prepared: Prepared) -> PreferenceDataset | Followed | None:
    """The run's own copy."""
    record = RunReader(run).run.tune
    if (record is None) != (not settings.tune.feedback):
        told = "learns from no feedback" if record is None else "learns from feedback"
        raise SettingsError(
            f"{run.name} {told}, and that cannot change; `tinychat tune` starts a new run"
        )
    if record is None:
        return None
    if record.follows:
        return Followed.of(run, settings, prepared)
    path = RunPaths(run).examples_jsonl
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}; {_COPY_IT_BACK}") from None
    if digest(data) != record.examples_sha256:
        raise RunError(f"{path} is not what the run began with; {_COPY_IT_BACK}")
    examples = examples_from_bytes(data, str(path))
    encoded: list[EncodedExample] = []
    for example in examples:
        ids = encode_example(example, prepared.tokenizer, settings.model.context_length)
        if isinstance(ids, str):
            raise RunError(f"{path} cannot be used with the run's tokenizer: {ids}.")
        encoded.append(ids)
    training, length = len(encoded) - record.held_out, settings.model.context_length
    return PreferenceDataset(
        examples=tuple(examples),
        encoded=(
            *with_mismatched(encoded[:training], length),
            *with_mismatched(encoded[training:], length),
        ),
        n_held_out=record.held_out,
        counts=Counts(record.picks, record.thumbs, record.rewrites),
        left_out={reason: LeftOut(n) for reason, n in record.left_out.items()},
        reference=_own_reference(run, record, len(examples)),
    )


def _own_reference(run: Path, record: TuneRecord, examples: int) -> tuple[LogProbs, ...] | None:
    """None where it is lost: it can be computed again."""
    try:
        data = RunPaths(run).reference_json.read_bytes()
        found = reference_from_bytes(data)
    except (OSError, RunError):
        return None
    is_whole = digest(data) == record.reference_sha256 and len(found) == examples
    return tuple(found) if is_whole else None


def _key(example: Example) -> str:
    return json.dumps(example.prompt, sort_keys=True)


def digest(data: bytes) -> str:
    """As it stands in run.json."""
    return hashlib.sha256(data).hexdigest()
