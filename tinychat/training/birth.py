"""What a run is, written down once, as soon as it is known."""

import uuid
from datetime import UTC, datetime

from tinychat import __version__
from tinychat.model import count_parameters
from tinychat.runs import RunRecord, RunWriter
from tinychat.training.lineage import source_commit
from tinychat.training.parts import Parts
from tinychat.training.preferences import reference_to_bytes
from tinychat.training.replay import replay_record


def write_birth(writer: RunWriter, parts: Parts) -> None:
    """The tokenizer, what a tuned run learns from, and last run.json: then it is a run."""
    settings, lessons = parts.settings, parts.lessons
    writer.write_tokenizer(parts.tokenizer.to_json())
    if writer.paths.run_json.exists():
        return  # a start that was killed before its first checkpoint
    if lessons is not None and lessons.reference is not None:
        writer.write_lessons(lessons.to_bytes(), reference_to_bytes(lessons.reference))
    writer.write_run(
        RunRecord(
            id=str(uuid.uuid4()),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            version=__version__,
            parameters=count_parameters(settings.model, parts.decoder.vocab_size),
            tokenizer_sha256=parts.tokenizer.sha256,
            data_fingerprint=parts.prepared.fingerprint,
            parent=settings.init_from,
            replay=replay_record(settings, parts.old_data),
            tune=None if lessons is None else lessons.record(settings.tune.method),
            git_commit=source_commit(),
        )
    )
