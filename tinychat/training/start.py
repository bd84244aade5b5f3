"""Where a run starts from: what lies in its folder, its corpus, its runtime, its weights.

Everything here is about finding and checking; `job` puts the parts together.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from tinychat.config import RuntimeSettings, Settings
from tinychat.config.classes import ACCEPT_NEW_DATA, CIRCUMSTANCES, rule_of
from tinychat.errors import CheckpointError, NoCheckpointError, SettingsError
from tinychat.model import (
    Decoder,
    Runtime,
    available_devices,
    choose_runtime,
    foreign_parent,
    foreign_tokenizer,
    load_model,
    open_model,
    read_tensors,
)
from tinychat.runs import (
    CheckpointFiles,
    Disk,
    RunPaths,
    RunReader,
    is_foreign,
    list_checkpoints,
    newest_good,
    quarantine,
    read_checkpoint,
)
from tinychat.runs.layout import RESUME_FILES, STATE
from tinychat.text import Prepared, Tokenizer, prepare
from tinychat.text import Progress as ReadingProgress
from tinychat.training.compiled import as_can_be_compiled
from tinychat.training.lineage import Facts
from tinychat.training.optimizer import Optimizer
from tinychat.training.progress import FIRST_LOSS_SCALE, Progress


def find_start(
    run: Path, from_step: int | None, disk: Disk
) -> tuple[CheckpointFiles | None, list[CheckpointError]]:
    """The checkpoint to go on from (None: fresh), and what was wrong with newer ones."""
    try:
        if from_step is not None:
            return read_checkpoint(RunPaths(run).checkpoint(from_step)), []
        good, problems = newest_good(run)
    except NoCheckpointError:
        return None, []
    except CheckpointError as error:
        raise CheckpointError(f"{error}{_other_copy(run)}") from None
    if problems:
        _set_damaged_aside(run, good.step, disk)
    return good, problems


def _other_copy(run: Path) -> str:
    """Where else the run may lie, as the end of an error."""
    status = RunReader(run).status
    if status is None or status.mirror is None or status.mirror.step is None:
        return ""
    copy = Path(status.mirror.folder)
    return (
        f"\nA second copy up to step {status.mirror.step} lies in {copy}: "
        f"`tinychat resume {run.name} --checkpoints {copy.parent}` goes on there."
    )


def _set_damaged_aside(run: Path, good_step: int, disk: Disk) -> None:
    """Out of the way with newer checkpoints that were passed over, so that none is met again.

    One that reads by now (the disk failed only for a moment) goes too: what is newer than the one
    gone on from would be thinned else, and it was said that nothing is deleted. Milestones stay.
    """
    for step in list_checkpoints(run):
        if step > good_step and not _is_whole_milestone(RunPaths(run).checkpoint(step)):
            quarantine(run, step, disk=disk)


def _is_whole_milestone(path: Path) -> bool:
    """Whether a checkpoint is good, and was never one that could be gone on from."""
    try:
        return not any((path / n).exists() for n in RESUME_FILES) and bool(read_checkpoint(path))
    except (CheckpointError, OSError):
        return False


def newest_before_bad_steps(run: Path) -> tuple[CheckpointFiles, list[CheckpointError]]:
    """Where a roll-back goes: a checkpoint that does not lead to the same bad steps at once."""

    def last_step_was_good(found: CheckpointFiles) -> bool:
        try:
            return json.loads(found.files[STATE])["bad_steps_in_a_row"] == 0
        except (KeyError, TypeError, ValueError):
            return False

    try:
        return newest_good(run, wanted=last_step_was_good)
    except CheckpointError:  # a stop among bad steps has saved the only one
        return newest_good(run)


def settle_facts(
    run: Path, settings: Settings, changed: Sequence[str], world_size: int = 1
) -> Facts:
    """What the run was computed on before, unless the settings that `changed` say otherwise."""
    chosen = settings.runtime
    rows, factor = settings.rows_per_micro_batch, 1.0
    attempts = RunReader(run).attempts()
    if attempts:
        _, last = attempts[-1]
        known = last.device in available_devices()
        device = last.device if chosen.device == "auto" and known else chosen.device
        same = device == last.device  # what is good on one device may be bad on another
        chosen = RuntimeSettings(
            device=device,  # type: ignore[arg-type]
            dtype=last.dtype if chosen.dtype == "auto" and same else chosen.dtype,  # type: ignore[arg-type]
            threads=chosen.threads or (last.threads if last.world_size == world_size else None),
            gradient_checkpointing=last.gradient_checkpointing
            if chosen.gradient_checkpointing is None
            else chosen.gradient_checkpointing,
            attention=last.attention if chosen.attention == "auto" and same else chosen.attention,  # type: ignore[arg-type]
            compile=last.compile if chosen.compile is None and same else chosen.compile,
        )
        factor = last.rate_factor
        if last.micro_batch_size and not any(c.startswith("micro_batch_size ") for c in changed):
            rows = last.micro_batch_size  # smaller than planned where memory ran out
    runtime = choose_runtime(chosen, training=settings.model)
    runtime = as_can_be_compiled(runtime, asked=bool(settings.runtime.compile))
    return Facts(runtime, rows, factor, world_size)


def prepare_corpus(
    run: Path,
    settings: Settings,
    progress: ReadingProgress | None,
    disk: Disk | None = None,
    *,
    accept_new_data: bool = False,
) -> Prepared:
    """The corpus as token files. A run that exists must find the data that it went on with last,
    unless other data is accepted; it keeps its tokenizer in any case.

    Raises SettingsError for other data.
    """
    cache = run.parent / ".cache"

    def prepared_with(tokenizer: Tokenizer | None) -> Prepared:
        return prepare(
            settings.data,
            tokenizer or settings.tokenizer,
            seed=settings.seed,
            cache=cache,
            progress=progress,
            disk=disk,
        )

    paths, reader = RunPaths(run), RunReader(run)
    if not paths.run_json.exists():
        parent = settings.init_from
        return prepared_with(parent_tokenizer(Path(parent)) if parent else None)
    record, known = reader.run, reader.data_fingerprint
    own = Tokenizer.from_json(paths.tokenizer_json.read_text(encoding="utf-8"))
    # what a setting named may be gone by now; and other data would make another tokenizer
    other_data = accept_new_data or known != record.data_fingerprint
    given = own if settings.init_from or settings.tokenizer.path or other_data else None
    found = prepared_with(given)
    if found.fingerprint != known and not accept_new_data:
        raise SettingsError(
            f"the data of {run.name} has changed since the run last went on (fingerprint "
            f"{found.fingerprint[:12]}, it was {str(known)[:12]}), or this tinychat reads it in "
            f"another way than {record.version} did; bring the old data back, go on with the new "
            f"by `tinychat resume {run.name} {ACCEPT_NEW_DATA}`, or start a new run with "
            "--init-from"
        )
    return found if found.tokenizer.sha256 == record.tokenizer_sha256 else prepared_with(own)


def refuse_new_data(
    reader: RunReader, prepared: Prepared, old_data: Prepared | None, steps: int
) -> None:
    """Raise SettingsError for data that came after a run's last step: nothing is learnt of it, so
    the run must not say for ever after that it was."""
    other_old_data = old_data and old_data.fingerprint != reader.replay_fingerprint
    if prepared.fingerprint != reader.data_fingerprint or other_old_data:
        raise SettingsError(
            f"{reader.name} has done all its {steps:,} steps, so it would learn nothing of the new "
            "data; name a higher --max-steps"
        )


def build_model(
    settings: Settings, prepared: Prepared, start: CheckpointFiles | None, runtime: Runtime
) -> tuple[Decoder, Tokenizer]:
    tokenizer = prepared.tokenizer
    if start:
        loaded = open_model(start, runtime.torch_device)
        if loaded.tokenizer.sha256 != tokenizer.sha256:
            raise CheckpointError(
                f"{start.path}: its tokenizer (sha256 {loaded.tokenizer.sha256[:12]}) is not that "
                f"of the run ({tokenizer.sha256[:12]}); "
                f"{rule_of('tokenizer_sha256', CIRCUMSTANCES).instead}"
            )
        decoder = loaded.decoder
    else:
        decoder = Decoder(settings.model, tokenizer.vocab_size)
        decoder.initialise(settings.seed)
        if settings.init_from:
            decoder.load_state_dict(parent_weights(settings))
    return made_ready(decoder, runtime), tokenizer


def first_weights(run: Path, settings: Settings, vocab_size: int, runtime: Runtime) -> Decoder:
    """The weights that the run began with: of its first checkpoint, else of its parent.

    Raises CheckpointError where both are gone.
    """
    try:
        first = read_checkpoint(RunPaths(run).checkpoint(0))
        return made_ready(open_model(first, runtime.torch_device).decoder, runtime)
    except CheckpointError:
        decoder = Decoder(settings.model, vocab_size)
        decoder.load_state_dict(parent_weights(settings))
        return made_ready(decoder, runtime)


def made_ready(decoder: Decoder, runtime: Runtime) -> Decoder:
    """On its device, and computed as the runtime says."""
    decoder = decoder.to(runtime.torch_device)
    runtime.configure(decoder)
    return decoder


def parent_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer that a child of this model folder learns with."""
    return foreign_tokenizer(folder) if is_foreign(folder) else load_model(folder).tokenizer


def parent_weights(settings: Settings) -> dict[str, Tensor]:
    """The weights that a child begins with. Positions beyond a shorter context are left out."""
    assert settings.init_from is not None
    folder = Path(settings.init_from)
    if is_foreign(folder):
        weights, _ = foreign_parent(folder, settings.seed)
    else:
        weights = dict(load_model(folder).decoder.state_dict())
    if "positions.weight" in weights:
        weights["positions.weight"] = weights["positions.weight"][: settings.model.context_length]
    return weights


def restore(optimizer: Optimizer, start: CheckpointFiles | None, dtype: str) -> Progress:
    """Where the run stands, with the optimizer's memory put back."""
    first_scale = FIRST_LOSS_SCALE if dtype == "fp16" else 1.0
    if start is None:
        return Progress(dtype=dtype, loss_scale=first_scale)
    optimizer.restore(read_tensors(start, "optimizer.safetensors"))
    try:
        progress = Progress.from_json(json.loads(start.files["state.json"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{start.path}: state.json cannot be used ({error!r})") from None
    if progress.dtype != dtype:
        progress.dtype, progress.loss_scale = dtype, first_scale
    return progress
