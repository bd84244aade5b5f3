"""What a run is, written down once, as soon as it is known."""

import uuid
from datetime import UTC, datetime

from tinychat import __version__
from tinychat.errors import RunError
from tinychat.model import count_parameters
from tinychat.runs import Generation, RunReader, RunRecord, RunWriter
from tinychat.training.lineage import source_commit
from tinychat.training.parts import Parts
from tinychat.training.preferences import PreferenceDataset, digest, reference_to_bytes
from tinychat.training.replay import replay_record
from tinychat.words import count


def mend_reference(writer: RunWriter, parts: Parts) -> None:
    """Write a reference that was lost and is computed again. Raises RunError where it is another
    one, of another machine or another way to compute: the run would not be the same."""
    preferences, paths = parts.preferences, writer.paths
    if not isinstance(preferences, PreferenceDataset) or preferences.reference is None:
        return
    if not paths.run_json.exists():
        return
    record, data = RunReader(paths.root).run.tune, reference_to_bytes(preferences.reference)
    assert record is not None
    if digest(data) != record.reference_sha256:
        runtime, rows = parts.facts.runtime, count(parts.facts.micro_batch_size, "row")
        raise RunError(
            f"{paths.reference_json} is lost or damaged, and as this machine computes now "
            f"({runtime.device} {runtime.dtype}, {rows} at once) it has other last bits than it "
            "held; copy it back from a backup or the run's second copy, go on as the run began, or "
            "begin again by `tinychat tune`"
        )
    if not paths.reference_json.exists() or paths.reference_json.read_bytes() != data:
        writer.write_examples(preferences.to_bytes(), data)


def write_birth(writer: RunWriter, parts: Parts, forebears: tuple[Generation, ...]) -> None:
    """The tokenizer, what a tuned run learns from, and last run.json: then it is a run."""
    settings, preferences = parts.settings, parts.preferences
    writer.write_tokenizer(parts.tokenizer.to_json())
    if writer.paths.run_json.exists():
        return  # a start that was killed before its first checkpoint
    if preferences is not None:
        writer.write_examples(preferences.to_bytes(), preferences.reference_to_bytes())
    writer.write_run(
        RunRecord(
            id=str(uuid.uuid4()),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            version=__version__,
            parameters=count_parameters(settings.model, parts.decoder.vocab_size),
            tokenizer_sha256=parts.tokenizer.sha256,
            data_fingerprint=parts.prepared.fingerprint,
            parent=settings.init_from,
            ancestry=forebears,
            replay=replay_record(settings, parts.old_data),
            tune=None if preferences is None else preferences.record(settings.tune.method),
            git_commit=source_commit(),
        )
    )
