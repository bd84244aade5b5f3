"""From what a person types to a run folder or one of its checkpoints."""

from difflib import get_close_matches
from pathlib import Path

from tinychat.errors import NoCheckpointError, RunNotFoundError
from tinychat.runs.layout import RunPaths, checkpoint_step, list_checkpoints, run_names
from tinychat.runs.reader import RunReader


def find_run(name_or_path: str | Path, checkpoints: Path) -> tuple[Path, int | None]:
    """Find what a person means by RUN: (run folder, step), where step None is the whole run.

    RUN is a run's name, its folder, or one checkpoint folder. `@latest`, `@best` or `@300` after
    a run picks one of its checkpoints. Raises RunNotFoundError, or NoCheckpointError if a
    checkpoint is asked for and the run has published none.
    """
    text = str(name_or_path)
    if (run := _run_folder(text, checkpoints)) is not None:
        return run, None
    path = Path(text)
    step = checkpoint_step(path.absolute().name)
    if step is not None and path.is_dir():
        return path.absolute().parent, step
    name, at, which = text.rpartition("@")
    if at and (run := _run_folder(name, checkpoints)) is not None:
        return run, _pick(run, which)
    raise RunNotFoundError(_not_found(name if at else text, checkpoints))


def find_model(name_or_path: str | Path, checkpoints: Path) -> tuple[Path, int | None]:
    """Like `find_run`, but a model folder from elsewhere is found too: (that folder, None)."""
    try:
        return find_run(name_or_path, checkpoints)
    except RunNotFoundError:
        folder = Path(name_or_path)
        if not is_foreign(folder):
            raise
        return folder.absolute(), None


def is_foreign(folder: Path) -> bool:
    """Whether a folder holds a model that is no checkpoint of a run: one from elsewhere.

    A checkpoint that was copied out of its run under another name counts as such; a damaged one in
    its place does not.
    """
    ours = checkpoint_step(folder.absolute().name) is not None
    return (folder / "config.json").is_file() and not ours


def _run_folder(text: str, checkpoints: Path) -> Path | None:
    places = [Path(text)] if Path(text).name != text else [checkpoints / text, Path(text)]
    for place in places:
        if text and RunPaths(place).run_json.is_file():
            return place
    return None


def _pick(run: Path, which: str) -> int:
    steps = list_checkpoints(run)
    if not steps:
        raise NoCheckpointError(f"The run {run.name} has published no checkpoint yet.")
    if which == "latest":
        return RunReader(run).latest or steps[-1]
    if which == "best":
        best = RunReader(run).best
        if best is None:
            raise RunNotFoundError(
                f"The run {run.name} has not been evaluated yet, so no checkpoint is its best; "
                f"try {run.name}@latest."
            )
        return best.step
    if which.isascii() and which.isdigit() and int(which) in steps:
        return int(which)
    raise RunNotFoundError(
        f"The run {run.name} has no checkpoint {which!r}; it has "
        f"{', '.join(str(step) for step in steps[-8:])}, and the words best and latest."
    )


def _not_found(name: str, checkpoints: Path) -> str:
    if name and Path(name).is_dir():
        return (
            f"{name} is a folder, but neither a run (it has no run.json) nor a model folder (it "
            "has no config.json)."
        )
    names = run_names(checkpoints)
    near = get_close_matches(name, names, n=1)
    if near:
        hint = f"did you mean {near[0]}?"
    elif names:
        hint = f"there are: {', '.join(names[:8])}{' …' if len(names) > 8 else ''}."
    else:
        hint = "that folder holds no runs yet; `tinychat train` starts one."
    return f"No run or checkpoint named {name!r} in {checkpoints}: {hint}"
