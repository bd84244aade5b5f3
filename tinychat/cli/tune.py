"""`tinychat tune`: a better checkpoint from what people think of a model's answers."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from tinychat.cli.flags import (
    READING_FLAGS,
    SETTINGS,
    GivenFlags,
    Reading,
    SettingsFlags,
    command_line,
)
from tinychat.cli.output import Waiting, print_json, print_rows, print_wrapped, screen
from tinychat.cli.until_eof import stop_at_eof
from tinychat.errors import NoDataError, SettingsError
from tinychat.words import count, inert

if TYPE_CHECKING:  # the last one imports torch
    from tinychat.config import Settings
    from tinychat.conversations import Judgements
    from tinychat.planning.tuning import TuneOutlook

PRESET = "tune"
LEAST_STEPS = 26  # warm-up and all; by 40 ten judgements are known by heart, and less is learnt
FOLLOWING = "follow"  # the preset for learning from judgements as they come


def tune_command(
    run: Annotated[str, Parameter(negative=())],
    /,
    *,
    feedback: list[str] | None = None,
    method: Literal["auto", "sft", "dpo", "kto", "orpo"] | None = None,
    name: str | None = None,
    config: Path | None = None,
    data: list[str] | None = None,
    checkpoints: Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    mirror: str | None = None,
    follow: Annotated[bool, Parameter(negative="")] = False,
    until_eof: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    reading: Reading = READING_FLAGS,
    settings: SettingsFlags = SETTINGS,
    given: GivenFlags,
) -> int:
    """Learn from picks, thumbs and rewrites: a new run that begins with RUN's weights.

    RUN stays as it is. Nearly a third of each step is of the data that RUN learnt from, and
    val_loss on it is looked at from the start: if it rises too far the run ends itself. Whatever
    `tinychat train` promises holds for such a run too. The more was said, the longer it learns,
    unless --max-steps says how long.

        tinychat tune demo --dry-run
        tinychat tune demo --feedback pairs.jsonl --method dpo
        tinychat tune demo --follow

    Parameters
    ----------
    run
        A run's name or folder, or one of its checkpoints, as demo@300.
    feedback
        Files of judgements, or preference data in TRL's forms (else what was said in the chat with
        the models of this folder).
    method
        Short for --tune.method.
    name
        Name of the new run (else RUN's with -tuned behind it, or -live with --follow).
    config
        A TOML file of settings.
    data
        Files or folders of what it is not to forget (else what RUN has learnt from).
    checkpoints
        Folder where runs live (else $TINYCHAT_CHECKPOINTS, else ./checkpoints).
    device
        Short for --runtime.device.
    dtype
        Short for --runtime.dtype.
    mirror
        Short for --checkpoint.mirror.
    follow
        Learn from nothing that was said before, but from each judgement as it comes, one step each;
        wait for the next one until stopped. Each step is evaluated and saved, and `tinychat control
        RUN undo` takes the last one back. `tinychat teach RUN --live` does it as a talk.
    until_eof
        Stop as soon as standard input ends, for programs that start this one.
    dry_run
        Tell what it would learn from, and measure how long it would take; starts nothing.
    as_json
        With --dry-run: print one JSON document instead.
    """
    from tinychat.cli.train import check_name, check_writable, start_run
    from tinychat.runs import default_checkpoints, descendant_name, folder_label

    root = checkpoints or default_checkpoints()
    if as_json and not dry_run:
        raise SettingsError("--json goes with --dry-run; a run tells of itself in its folder")
    if name is not None:
        check_name(name)
    check_writable(root)
    short: dict[str, Any] = {
        "runtime.device": device,
        "runtime.dtype": dtype,
        "checkpoint.mirror": mirror,
        "tune.method": method,
    }
    if follow and dry_run:
        raise SettingsError("--dry-run tells of a training with an end; --follow has none")
    preset = FOLLOWING if follow else PRESET
    resolved = _layered(run, preset, feedback, config, data, short, root, given)
    if until_eof:
        stop_at_eof()
    ending = "live" if follow else "tuned"
    parent = folder_label(Path(resolved.settings.init_from))
    folder = root / (name or descendant_name(parent, root, ending))
    if dry_run:
        return _show(folder, resolved, as_json)
    return start_run(folder, resolved, command_line())


def _layered(
    run: str,
    preset: str,
    feedback: list[str] | None,
    config: Path | None,
    data: list[str] | None,
    short: dict[str, Any],
    root: Path,
    given: Any,
) -> Any:
    """The settings: of the preset, of the parent's data, of a file, then flags; the shape is the
    parent's. What cannot be read is refused here, before anything heavy is imported."""
    from tinychat.cli.parent import checkpoint_folder, inherited_layer
    from tinychat.cli.train import layered_settings
    from tinychat.conversations import examples_of, read_feedback

    folder = checkpoint_folder(run, root).absolute()
    told = feedback or _words(given.values.get("tune.feedback")) or [str(root)]
    files = [_file(Path(path), may_come=preset == FOLLOWING).absolute() for path in told]
    inherited = inherited_layer(folder, _asked(config, data, given))
    short |= {"init_from": str(folder), "tune.feedback": tuple(map(str, files))}
    judgements = read_feedback([file for file in files if file.exists()])
    resolved, _ = layered_settings(preset, config, data, short, root, given, [inherited])
    if preset == FOLLOWING:
        return resolved
    examples = examples_of(judgements, resolved.settings.tune.method)
    if not examples:
        raise _nothing_to_learn(resolved.settings, judgements)
    return _long_enough(resolved, len(examples))


def _nothing_to_learn(settings: "Settings", judgements: "Judgements") -> SettingsError:
    from tinychat.conversations import unused_of, why_nothing

    method = settings.tune.method
    left_out = {**judgements.left_out, **unused_of(judgements, method)}
    return SettingsError(why_nothing(settings.tune.feedback, method, left_out))


def _long_enough(resolved: Any, examples: int) -> Any:
    """The preset's passes over so many examples in steps, but no fewer than LEAST_STEPS; a length
    that a person asks for stays."""
    settings, sources = resolved.settings, resolved.sources
    if sources["max_epochs"] != f"preset {PRESET}" or settings.max_epochs is None:
        return resolved
    wanted = math.ceil(settings.max_epochs * examples / settings.examples_a_step)
    steps = max(LEAST_STEPS, wanted)
    told = f"{settings.max_epochs:g} passes over {count(examples, 'example')}, at least"
    source = f"{told} {LEAST_STEPS} steps ({sources['max_epochs']})"
    longer = replace(settings, max_steps=steps, max_epochs=None)
    return replace(resolved, settings=longer, sources=sources | {"max_steps": source})


def _file(path: Path, *, may_come: bool) -> Path:
    """The file of feedback that a path means. Raises NoDataError if it is not there, unless the
    first judgement `may_come` later."""
    from tinychat.conversations import FEEDBACK, feedback_file

    try:
        return feedback_file(path)
    except NoDataError:
        if not may_come:
            raise
        return path if path.suffix and not path.is_dir() else path / FEEDBACK


def _words(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _asked(config: Path | None, data: list[str] | None, given: Any) -> dict[str, Any]:
    """What a person wants otherwise than the parent, in a file or by flags."""
    from tinychat.config.load import read_toml
    from tinychat.config.names import flatten

    named = flatten(read_toml(config).values) if config else {}
    return named | dict(given.values) | ({} if data is None else {"data.paths": data})


def _show(run: Path, resolved: Any, as_json: bool) -> int:
    from tinychat.planning.tuning import look_ahead

    with Waiting() as waiting:
        outlook = look_ahead(run, resolved, waiting)
    if as_json:
        print_json(outlook.to_json())
    else:
        _print(outlook)
    return 0


def _print(outlook: "TuneOutlook") -> None:
    from tinychat.watch.tuning import plan_rows

    console = screen()
    print_rows(console, plan_rows(outlook.to_json()))
    for remark in outlook.remarks:
        print_wrapped(console, f"! {inert(remark)}", style="yellow")
    told = f"nothing was started; the same without --dry-run makes {inert(outlook.run)}"
    console.print()
    print_wrapped(console, told)
