"""`tinychat resume`: go on with a run."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from tinychat.cli.flags import (
    SETTINGS,
    GivenFlags,
    SettingsFlags,
    command_line,
    with_absolute_mirror,
)
from tinychat.cli.hub import is_on_hub, lasting, local_paths
from tinychat.cli.until_eof import stop_at_eof
from tinychat.errors import RunError, SettingsError
from tinychat.launch import launch_of
from tinychat.words import number


def resume_command(
    run: Annotated[str, Parameter(negative=())],
    /,
    *,
    checkpoints: Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    mirror: str | None = None,
    start: Annotated[str | None, Parameter(name="--from")] = None,
    rewarm: Annotated[bool, Parameter(negative="")] = False,
    accept_new_data: Annotated[bool, Parameter(negative="")] = False,
    until_eof: Annotated[bool, Parameter(negative="")] = False,
    settings: SettingsFlags = SETTINGS,
    given: GivenFlags,
) -> int:
    """Go on with a run from its newest good checkpoint, bit for bit.

    --max-steps extends a run: warmup-stable-decay goes on from the last checkpoint before its
    decay, the other schedules stay at their floor. Intervals, samples and what is kept may change;
    what would make it another run is refused.

    Parameters
    ----------
    run
        A run's name or folder.
    checkpoints
        Folder where runs live (else $TINYCHAT_CHECKPOINTS, else ./checkpoints).
    device
        Short for --runtime.device.
    dtype
        Short for --runtime.dtype.
    mirror
        Short for --checkpoint.mirror; none ends it.
    start
        Go on from this step instead of the newest; "latest" when extending keeps the decayed
        weights and stays at the floor.
    rewarm
        When extending cosine or linear: plan the whole curve anew over the longer run.
    accept_new_data
        Go on although the data is another than before; the run says so for ever after.
    until_eof
        Stop as soon as standard input ends, for programs that start this one.
    """
    from tinychat.runs import default_checkpoints

    root = checkpoints or default_checkpoints()
    if until_eof:
        stop_at_eof()
    return go_on(
        run,
        root,
        given,
        device=device,
        dtype=dtype,
        mirror=mirror,
        start=start,
        rewarm=rewarm,
        accept_new_data=accept_new_data,
    )


def go_on(
    name: str,
    root: Path,
    given: Any,
    *,
    device: str | None = None,
    dtype: str | None = None,
    mirror: str | None = None,
    start: str | None = None,
    rewarm: bool = False,
    accept_new_data: bool = False,
) -> int:
    """Resume the run `name` with the given changes."""
    from tinychat.config.classes import ACCEPT_NEW_DATA
    from tinychat.config.load import FLAGS, Layer, from_json
    from tinychat.config.names import nest
    from tinychat.config.resume import continue_with
    from tinychat.runs import RunLock, RunReader, check_mirror

    if given.unknown:
        raise SettingsError(*given.problems())
    run, step = _find(name, root)
    before = from_json(RunReader(run).settings)
    flags = dict(given.values)
    if device:
        flags["runtime.device"] = device
    if dtype:
        flags["runtime.dtype"] = dtype
    if mirror:
        flags["checkpoint.mirror"] = mirror
    flags = with_absolute_mirror(flags)
    for name_ in ("data.paths", "replay.paths"):
        if found := _words(flags.get(name_)):
            flags[name_] = tuple(map(lasting, found))
    words = _words(flags.get("data.paths"))
    if _has_begun(run, start or step):
        start = step = None
    from_step, extension = _extension(run, before, flags, start, rewarm, step)
    allowed = (ACCEPT_NEW_DATA,) if accept_new_data else ()

    def changed_by(flags: dict[str, Any]) -> tuple[Any, tuple[str, ...]]:
        layer = Layer(FLAGS, nest(flags | extension), text=True)
        return continue_with(before, layer, allowed)

    resolved, changed = changed_by(flags)
    if any(map(is_on_hub, words)):  # only now: whatever can be refused without fetching has been
        paths, licence = local_paths(words, root)
        flags["data.paths"] = tuple(map(lasting, paths))
        flags.setdefault("data.licence", licence)
        resolved, changed = changed_by(flags)
    named = "checkpoint.mirror" in flags
    if folder := resolved.settings.checkpoint.mirror:
        check_mirror(run, Path(folder), anew=named)
    with RunLock(run) as lock:
        from tinychat.cli.train import train_to_the_end
        from tinychat.training import Plan

        plan = Plan(run, resolved, command_line(), changed, from_step, accept_new_data, named)
        return train_to_the_end(plan, lock)


def _words(value: Any) -> tuple[str, ...]:
    """What a flag names that may be given once or several times."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _find(name: str, root: Path) -> tuple[Path, int | None]:
    from tinychat.runs import find_run

    half_born = root / name  # killed while its data was being prepared
    if (half_born / "settings.json").is_file() and not (half_born / "run.json").exists():
        return half_born.absolute(), None
    run, step = find_run(name, root)
    return run.resolve(), step  # "." has no name


def _from(run: Path, start: str) -> int:
    """The step that --from names. Raises SettingsError unless the run can go on from there."""
    from tinychat.runs import list_checkpoints, resumable_checkpoints

    steps = resumable_checkpoints(run)
    if start.isascii() and start.isdigit() and int(start) in steps:
        return int(start)
    there = ", ".join(map(number, steps)) or "none"
    told = f'name a step that {run.name} can go on from ({there}), or "latest"'
    if not (start.isascii() and start.isdigit()):
        raise SettingsError(f"--from {start} is no step; {told}")
    if int(start) in list_checkpoints(run):
        raise SettingsError(f"--from {start}: that checkpoint holds weights only; {told}")
    raise SettingsError(f"--from {start}: there is no such checkpoint; {told}")


def _has_begun(run: Path, start: str | int | None) -> bool:
    """Whether torchrun, which lost a process, gives this command again after the run went back to
    that step: what has been done from there on counts now."""
    from tinychat.runs import RunReader

    launch, attempts = launch_of(), RunReader(run).attempts()
    if launch is None or not launch.restarts or not attempts or not str(start).isdigit():
        return False
    last = attempts[-1][1]
    return last.from_step >= int(str(start)) and list(last.argv) == command_line()


def _extension(
    run: Path, before: Any, flags: dict[str, Any], start: str | None, rewarm: bool, step: int | None
) -> tuple[int | None, dict[str, str]]:
    """From which checkpoint to go on, and what that means for the schedule."""
    from tinychat.config.schedule import decay_start
    from tinychat.runs import list_checkpoints, newest_until, resumable_checkpoints

    steps = list_checkpoints(run)
    if start is not None and start != "latest":
        step = _from(run, start)
    old = before.settings.max_steps
    try:
        longer = old is not None and bool(steps) and int(flags["max_steps"]) > old
    except (KeyError, ValueError):  # not given, or refused by the loader in a moment
        longer = False
    if not longer:
        return step, {}
    optim = before.settings.optim
    plateau = decay_start(old or 1, optim)
    if plateau is not None and start != "latest" and steps[-1] > plateau and step is None:
        before_decay = newest_until(resumable_checkpoints(run), plateau)
        if before_decay is None:
            raise RunError(
                f"{run.name} has no checkpoint any more of before its decay, which began at step "
                f"{plateau:,}; `--from latest` goes on at the floor"
            )
        return before_decay, {"optim.schedule_steps": "none"}
    if plateau is not None and start != "latest":
        return step, {}
    planned = "none" if rewarm else str(optim.schedule_steps or old)
    return step, {"optim.schedule_steps": planned}
