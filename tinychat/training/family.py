"""The family tree of a run: what it grew from, and its own generation at each checkpoint."""

from dataclasses import asdict
from pathlib import Path

from tinychat.runs import (
    FINE_TUNING,
    PREFERENCE_TUNING,
    PRETRAINING,
    Generation,
    RunPaths,
    RunReader,
    ancestry_of,
)
from tinychat.text import data_names
from tinychat.training.parts import Parts


def forebears(run: Path, init_from: str | None) -> tuple[Generation, ...]:
    """What a run grew from, eldest first: as it wrote down at its birth, else as its parent tells.
    Nothing of fresh weights."""
    if RunPaths(run).run_json.exists() and (told := RunReader(run).run.ancestry):
        return told
    return ancestry_of(Path(init_from)) if init_from else ()


def own_generation(parts: Parts, run: str) -> Generation:
    """What the run has learnt up to now."""
    settings, at, preferences = parts.settings, parts.progress, parts.preferences
    kind = PRETRAINING
    if preferences is not None:
        kind = PREFERENCE_TUNING
    elif settings.init_from and parts.prepared.form == "chat":
        kind = FINE_TUNING
    old_paths = settings.data.paths if preferences else settings.replay.paths
    has_old_data = preferences is not None or parts.old_data is not None
    return Generation(
        run=run,
        kind=kind,
        step=at.step,
        steps=parts.max_steps,
        data=data_names(settings.data.paths),
        val_loss=at.val_loss,
        old_data=data_names(old_paths) if has_old_data else (),
        old_data_share=settings.replay.share if has_old_data else 0.0,
        old_val_loss_before=at.old_val_loss_at_start,
        old_val_loss_after=at.old_val_loss,
        method=settings.tune.method if preferences else None,
        **(asdict(preferences.counts) if preferences else {}),
    )
