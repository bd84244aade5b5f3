"""`tinychat runs --prune`: what retention would free, shown before it is freed."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinychat.cli.output import Waiting, print_json, screen, tell
from tinychat.errors import RunBusyError, RunError, SettingsError, TinychatError
from tinychat.runs import (
    Cleanup,
    KeepRule,
    RunReader,
    clean_up,
    find_run,
    list_runs,
    lock_is_held,
    plan_cleanup,
)
from tinychat.text import UnusedCache, remove_cache, unused_caches
from tinychat.words import count, inert, size, table

WHY = {
    "checkpoint": "neither the best, nor recent, nor pinned, nor a milestone",
    "optimizer": "a milestone: becomes weights only",
    "leftover": "left by an interrupted save",
    "damaged": "set aside as damaged",
}
WHY_CACHE = {
    "corpus": "a prepared corpus that no run refers to",
    "leftover": "left by an interrupted removal",
}


@dataclass
class Removals:
    """Everything that may go, and what is passed over."""

    runs: list[tuple[Cleanup, KeepRule]] = field(default_factory=list)
    caches: list[UnusedCache] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return sum(r.size_bytes for r, _ in self.runs) + sum(c.size_bytes for c in self.caches)


def prune_runs(root: Path, names: Sequence[str], *, yes: bool, damaged: bool, as_json: bool) -> int:
    """Show what would be freed, and free it if that is wanted: of some runs, or of all and of the
    cache beside them."""
    with Waiting() as waiting:
        plan = _look(root, names, damaged, waiting)
    if not as_json:
        _print(plan)
    wanted = plan.size_bytes > 0 and (yes or (not as_json and _asked(plan)))
    freed = 0
    if wanted:
        with Waiting() as waiting:
            freed = _free(plan, root, waiting)
    if as_json:
        print_json(_document(plan, freed))
    else:
        for remark in plan.remarks:
            tell(remark)
        if wanted:
            print(f"freed {size(freed)}")
        elif plan.size_bytes:
            print("nothing was freed; --yes frees it")
    return 0


def _look(root: Path, names: Sequence[str], damaged: bool, waiting: Waiting) -> Removals:
    plan = Removals()
    runs = [_run(name, root) for name in names] or [r.paths.root for r in list_runs(root)]
    for done, run in enumerate(dict.fromkeys(run.resolve() for run in runs)):
        waiting("looking at runs", done, len(runs))
        if lock_is_held(run):
            plan.remarks.append(_busy(run))
            continue
        try:
            rule = keep_rule(run)
            found = plan_cleanup(run, rule, damaged=damaged)
        except TinychatError as error:
            plan.remarks.append(f"{run.name} is passed over: {error}")
            continue
        plan.remarks += [f"{run.name}: {problem}" for problem in found.problems]
        if found.items:
            plan.runs.append((found, rule))
    if not names:
        plan.caches, why_not = _look_at_cache(root)
        plan.remarks += [why_not] if why_not else []
    return plan


def _run(name: str, root: Path) -> Path:
    run, step = find_run(name, root)
    if step is not None:
        raise SettingsError(f"{name} is one checkpoint; --prune needs the run, {run.name}")
    return run


def _busy(run: Path) -> str:
    return f"{run.name} is being trained, so it is passed over"


def keep_rule(run: Path) -> KeepRule:
    """What the settings of a run say about what stays. Raises TinychatError if they are damaged."""
    from tinychat.config.load import from_json
    from tinychat.config.schedule import decay_start

    settings = from_json(RunReader(run).settings).settings
    steps, keep = settings.max_steps, settings.checkpoint
    start = decay_start(steps, settings.optim) if steps else None
    planned = {each for each in (start, 0 if settings.tune.follow else None) if each is not None}
    return KeepRule(keep.keep_last, keep.milestones, frozenset(planned))


def _look_at_cache(root: Path) -> tuple[list[UnusedCache], str]:
    """What no run refers to; or none, and why that cannot be told now."""
    known: set[str] = set()
    try:
        for reader in list_runs(root):
            record = reader.run
            told = [record.data_fingerprint, record.replay and record.replay.fingerprint]
            for _, attempt in reader.attempts():
                told += [attempt.data_fingerprint, attempt.replay_fingerprint]
            known |= {each for each in told if each}
    except TinychatError as error:
        return [], f"the cache is passed over: {error}"
    born = {reader.paths.root for reader in list_runs(root)}
    folders = [path for path in root.glob("*") if path.is_dir() and path not in born]
    if any(map(lock_is_held, folders)):
        return [], "the cache is passed over: a run that begins may need any of it"
    return unused_caches(root / ".cache", known), ""


def _asked(plan: Removals) -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return input(f"free {size(plan.size_bytes)}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _free(plan: Removals, root: Path, waiting: Waiting) -> int:
    """Free it; returns how many bytes went. What has changed meanwhile is passed over, and what
    the disk refuses keeps nothing else from going."""
    freed = 0
    for done, (cleanup, rule) in enumerate(plan.runs):
        waiting("freeing", done, len(plan.runs))
        try:
            n_bytes, problems = clean_up(cleanup, rule)
        except RunBusyError:
            plan.remarks.append(_busy(cleanup.run))
        except RunError as error:
            plan.remarks.append(str(error))
        except OSError as error:
            plan.remarks.append(f"{cleanup.run.name} could not be freed: {error}")
        else:
            freed += n_bytes
            plan.remarks += [f"{cleanup.run.name}: {problem}" for problem in problems]
    return freed + _free_caches(plan, root)


def _free_caches(plan: Removals, root: Path) -> int:
    if not plan.caches:
        return 0
    freed = 0
    still, why_not = _look_at_cache(root)  # a run may have begun while somebody was asked
    plan.remarks += [why_not] if why_not and why_not not in plan.remarks else []
    for cache in plan.caches:
        if cache not in still:
            continue
        try:
            remove_cache(cache)
        except OSError as error:
            plan.remarks.append(f"the cache {cache.path.name} could not be freed: {error}")
        else:
            freed += cache.size_bytes
    return freed


def _print(plan: Removals) -> None:
    rows = [
        (inert(cleanup.run.name), inert(item.name), WHY[item.kind], size(item.size_bytes))
        for cleanup, _ in plan.runs
        for item in cleanup.items
    ]
    rows += [
        ("(cache)", inert(cache.path.name), WHY_CACHE[cache.kind], size(cache.size_bytes))
        for cache in plan.caches
    ]
    console = screen()
    if not rows:
        console.print("nothing to free")
        return
    header, *lines = table([("run", "what", "why it may go", "size"), *rows], right=(3,))
    console.print(header, style="bold")
    for line in lines:
        console.print(line)
    console.print(f"\n{count(len(rows), 'thing')}, {size(plan.size_bytes)} in all")


def _document(plan: Removals, freed: int) -> dict[str, Any]:
    return {
        "format": 1,
        "runs": [
            {
                "name": cleanup.run.name,
                "path": str(cleanup.run),
                "items": [vars(item) for item in cleanup.items],
                "size_bytes": cleanup.size_bytes,
            }
            for cleanup, _ in plan.runs
        ],
        "caches": [vars(cache) | {"path": str(cache.path)} for cache in plan.caches],
        "remarks": plan.remarks,
        "size_bytes": plan.size_bytes,
        "freed_bytes": freed,
    }
