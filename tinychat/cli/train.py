"""`tinychat train`: start a run."""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from tinychat.cli.flags import (
    READING_FLAGS,
    SETTINGS,
    GivenFlags,
    Reading,
    SettingsFlags,
    command_line,
    with_absolute_mirror,
)
from tinychat.cli.hub import is_on_hub, lasting, local_paths, local_tokenizer
from tinychat.cli.output import named
from tinychat.errors import DataError, RunExistsError, SettingsError
from tinychat.launch import launch_of
from tinychat.words import count

TRAINED = "trained"  # as --tokenizer: make one from the text, whatever a preset names


def train_command(
    *,
    preset: str | None = None,
    config: Path | None = None,
    data: list[str] | None = None,
    name: str | None = None,
    checkpoints: Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    mirror: str | None = None,
    tokenizer: str | None = None,
    resume: str | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    reading: Reading = READING_FLAGS,
    settings: SettingsFlags = SETTINGS,
    given: GivenFlags,
) -> int:
    """Start a run. With nothing given: the demo preset on its built-in small talk.

    Settings come from the preset, then --config, then flags; each later one wins, and the defaults
    below hold where none of them speaks. Ctrl+C saves and stops; `tinychat resume RUN` goes on as
    if nothing had happened.

        tinychat train --data my.txt --name mine --max-steps 2000
        tinychat train --optim.learning-rate 1e-3 --dry-run

    Parameters
    ----------
    preset
        Settings that come with tinychat (without --config: demo).
    config
        A TOML file of settings.
    data
        Files or folders to learn from, or hf:OWNER/NAME[:SPLIT] to fetch them (short for
        --data.paths).
    name
        Name of the run (else made from the preset and the time).
    checkpoints
        Folder where runs live (else $TINYCHAT_CHECKPOINTS, else ./checkpoints).
    device
        Short for --runtime.device.
    dtype
        Short for --runtime.dtype.
    mirror
        Short for --checkpoint.mirror.
    tokenizer
        A tokenizer.json to take, or hf:OWNER/NAME to fetch one (short for --tokenizer.path);
        "trained" makes one from the text.
    resume
        Go on with this run instead; the same as `tinychat resume RUN`.
    dry_run
        Show every setting with its source and the size of the model, and start nothing.
    """
    from tinychat.runs import default_checkpoints

    root = checkpoints or default_checkpoints()
    if resume is not None:
        from tinychat.cli.resume import go_on

        alone = {
            "--preset": preset, "--config": config, "--data": data, "--name": name,
            "--tokenizer": tokenizer, "--dry-run": dry_run or None,
        }  # fmt: skip
        if given_too := [flag for flag, value in alone.items() if value is not None]:
            raise SettingsError(
                f"--resume goes on with a run as it is; leave out {', '.join(given_too)}"
            )
        return go_on(resume, root, given, device=device, dtype=dtype, mirror=mirror)
    short = {
        "runtime.device": device,
        "runtime.dtype": dtype,
        "checkpoint.mirror": mirror,
        "tokenizer.path": tokenizer,
    }
    if name is not None:
        check_name(name)
    resolved, label = layered_settings(preset, config, data, short, root, given)
    require_vocabulary(resolved)
    if dry_run:
        from tinychat.cli.dry_run import show_dry_run

        return show_dry_run(resolved, root)
    if name is None and launch_of() is not None:
        raise SettingsError(
            "under torchrun give the run a --name, so that a restart finds it again"
        )
    name = name or f"{label}-{datetime.now():%Y%m%d-%H%M%S}"
    check_name(name)
    return start_run(root / name, resolved, command_line())


def require_vocabulary(resolved: Any) -> None:
    """Refuse a vocabulary that a preset has on the hub: only what a person names is fetched."""
    wanted = resolved.settings.tokenizer
    if is_on_hub(wanted.path):
        raise SettingsError(
            f"tokenizer.path = {wanted.path} ({resolved.sources['tokenizer.path']}): nothing is "
            f"downloaded unasked; give --tokenizer {wanted.path} to fetch it, --tokenizer FILE for "
            f"a tokenizer.json that you have, or --tokenizer {TRAINED} for one of "
            f"{wanted.vocab_size:,} tokens made from your text"
        )


def check_name(name: str) -> None:
    """Refuse names that would not work everywhere as a folder and as RUN."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise SettingsError(
            f"a run cannot be called {name!r}; use letters, digits, dots, dashes and underscores"
        )


def layered_settings(
    preset: str | None,
    config: Path | None,
    data: list[str] | None,
    short: Mapping[str, str | tuple[str, ...] | None],
    root: Path,
    given: GivenFlags,
    inherited: Sequence[Any] = (),
) -> tuple[Any, str]:
    """All layers as one, and what a run of it is called. `short` are flags by another name, and
    `inherited` layers between the preset and a file."""
    from tinychat.config.load import FLAGS, Layer, read_preset, read_toml, resolve
    from tinychat.config.names import nest

    layers = []
    label = preset or (config.stem if config else "demo")
    if preset or not config:
        layers.append(read_preset(preset or "demo"))
    layers += inherited
    if config:
        layers.append(read_toml(config))
    flags: dict[str, Any] = dict(given.values)
    if data is not None:
        flags["data.paths"] = tuple(data)
    flags |= {name: value for name, value in short.items() if value is not None}
    _refuse_empty(flags)
    flags = with_absolute_mirror(flags)
    if flags.get("tokenizer.path") == TRAINED:
        flags["tokenizer.path"] = "none"
    init_from = flags.get("init_from") or next(
        (layer.values["init_from"] for layer in reversed(layers) if "init_from" in layer.values),
        None,
    )
    if init_from:
        from tinychat.cli.parent import parent_layer

        layer, folder = parent_layer(str(init_from), root, flags)
        layers.append(layer)
        flags["init_from"] = str(folder)
    flags_layer = Layer(FLAGS, nest(flags), text=True)
    try:
        resolved = resolve(*layers, flags_layer)
    except SettingsError as error:
        raise SettingsError(*given.problems(), *error.problems) from None
    if given.unknown:
        raise SettingsError(*given.problems())
    on_hub = flags.get("tokenizer.path")
    if is_on_hub(on_hub):  # only now: whatever can be refused without fetching has been
        flags["tokenizer.path"] = local_tokenizer(str(on_hub), root)
        flags_layer = Layer(FLAGS, nest(flags), text=True)
        resolved = resolve(*layers, flags_layer)
    elif resolved.settings.data.paths:
        require_vocabulary(resolved)
    settings, sources = resolved.settings, resolved.sources
    found = []  # a run must find its files again from any folder
    if settings.data.paths:
        here, licence = local_paths(settings.data.paths, root)
        paths = list(map(lasting, here))
        found.append(Layer(sources["data.paths"], {"data": {"paths": paths}}))
        if licence and settings.data.licence is None:
            found.append(Layer("the hub", {"data": {"licence": licence}}))
        label = label if preset or config else Path(settings.data.paths[0]).stem.split(":")[-1]
    if settings.reads_old_data:
        from tinychat.cli.parent import old_data_layer

        found.append(old_data_layer(settings, sources, root))
    if settings.checkpoint.mirror:
        mirror = {"mirror": str(Path(settings.checkpoint.mirror).absolute())}
        found.append(Layer(sources["checkpoint.mirror"], {"checkpoint": mirror}))
    if settings.tokenizer.path and not is_on_hub(settings.tokenizer.path):
        from tinychat.cli.parent import tokenizer_layer

        found.append(tokenizer_layer(settings.tokenizer, sources["tokenizer.path"], flags))
    resolved = resolve(*layers, flags_layer, *found)
    return resolved, re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-.") or "run"


def _refuse_empty(flags: Mapping[str, Any]) -> None:
    """Nothing stands behind a flag where a shell's variable was not set."""
    names = [name for name, value in flags.items() if value in ("", ()) or "" in tuple(value)]
    if names:
        raise SettingsError(*(f"command line: {name} has no value" for name in names))


def start_run(run: Path, resolved: Any, argv: list[str], *, farewell: bool = True) -> int:
    """Make the folder, take the lock, and only then import what is heavy."""
    from tinychat.runs import RunLock, RunPaths, RunWriter, check_mirror

    if launch_of() is not None and _began_like_this(run, resolved):
        from tinychat.cli.flags import GivenSettings
        from tinychat.cli.resume import go_on

        return go_on(run.name, run.parent, GivenSettings())
    if mirror := resolved.settings.checkpoint.mirror:
        check_mirror(run, Path(mirror), anew=True)
    check_writable(run.parent)
    missing = [folder for folder in (run, *run.parents) if not folder.exists()]
    if not RunPaths(run).run_json.exists():
        RunWriter(run).create_run()
    with RunLock(run) as lock:
        if RunPaths(run).run_json.exists():  # it may have been born while we waited
            _refuse_unless_same(run, resolved)
        RunWriter(run).write_settings(resolved.to_json())
        from tinychat.training import Plan

        plan = Plan(run, resolved, argv, new_mirror=True)
        try:
            return train_to_the_end(plan, lock, farewell=farewell)
        except (DataError, SettingsError):
            if run in missing and not RunPaths(run).run_json.exists():
                _remove_unborn(missing)
            raise


def check_writable(root: Path) -> None:
    """Refuse a folder where no run can lie, before anything is read. Makes nothing.

    Raises SettingsError.
    """
    there = next((folder for folder in (root, *root.absolute().parents) if folder.exists()), root)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "cannot be written" if there.is_dir() else "is no folder"
        raise SettingsError(
            f"runs cannot lie in {root}: {there} {why}; name another folder by --checkpoints"
        )


def _remove_unborn(folders: list[Path]) -> None:
    """What was made for a run that was refused before it was one; innermost first."""
    shutil.rmtree(folders[0], ignore_errors=True)
    for folder in folders[1:]:
        with suppress(OSError):  # other things lie there
            folder.rmdir()


def train_to_the_end(plan: Any, lock: Any, *, farewell: bool = True) -> int:
    """Train with progress on the terminal, then say how to go on."""
    from tinychat.cli.console import ConsoleProgress
    from tinychat.training import train

    with ConsoleProgress(plan.run) as console:
        team = _team(console)
        outcome = train(plan, lock, console, console.preparing, team=team)
    console.ended(outcome, how_to_go_on=farewell or outcome.state == "stopped")
    return 0


def _team(console: Any) -> Any:
    """The processes that torchrun has started, once all have met; None: this one is alone."""
    launch = launch_of()
    if launch is None or launch.world_size == 1:
        return None
    from tinychat.training.ranks import Ranks

    console.preparing(f"meeting {count(launch.world_size - 1, 'other process')}", 0, 0)
    return Ranks()


def _began_like_this(run: Path, resolved: Any) -> bool:
    """Whether the run was begun by these settings: torchrun gives the same command when it starts
    lost processes again. Intervals may have changed meanwhile, and epochs have become steps.
    """
    from tinychat.config.classes import rule_of
    from tinychat.config.load import from_json
    from tinychat.config.resume import flat
    from tinychat.runs import RunPaths, RunReader, list_checkpoints

    if not RunPaths(run).run_json.exists() or not list_checkpoints(run):
        return False
    there = from_json(RunReader(run).settings)
    old, new = flat(there), flat(resolved)
    free = {"max_steps", "max_epochs"} if resolved.settings.max_epochs is not None else set()
    differ = [name for name in new if old[name] != new[name] and name not in free]
    return all(rule_of(name).while_training for name in differ)


def _refuse_unless_same(run: Path, resolved: Any) -> None:
    """A run that exists may only be started again if nothing has happened and nothing differs."""
    from tinychat.runs import RunPaths, list_checkpoints

    try:
        text = RunPaths(run).settings_json.read_text(encoding="utf-8")
        there = json.loads(text)["settings"]
    except (OSError, ValueError, KeyError):
        there = None
    wanted = json.loads(json.dumps(resolved.to_json()["settings"]))
    if there != wanted or list_checkpoints(run) not in ([], [0]):
        raise RunExistsError(
            f"there is a run {run.name} in {run.parent} already; go on with "
            f"`tinychat resume {named(run)}`, or give this one another --name"
        )
