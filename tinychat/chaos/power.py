"""Power cuts: every state that a disk may be in after one, at each moment of a run's writing.

Real code writes a small run: its birth, a save, a save of the same step again, the deleting and
thinning of an older checkpoint, records and logs. The journal of that is replayed into a model of a
disk (`medium`), each state that a power cut may leave is built for real, and the next start must
find on it all that had been acknowledged, and load no wrong byte.

A proof that nothing can fail proves nothing. So each flush is taken out of the journal in turn, and
some state must then be bad. A flush without effect is named by rule: it had nothing to bring to
the medium, or another one of the same name follows before anything is acknowledged (run.json, too,
says that what comes before it is there). Last, on a drive that flushes no content at all, a start
that trusts sizes must load wrong bytes, and the real one, which checks each sha256, must load none.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from tinychat.chaos.disks import Journal, JournalDisk
from tinychat.chaos.medium import Medium, Tree, build
from tinychat.chaos.outcome import Tell, Trial
from tinychat.errors import CheckpointError, NoCheckpointError, TinychatError
from tinychat.runs import (
    AttemptRecord,
    CheckpointFiles,
    Disk,
    RunPaths,
    RunReader,
    RunRecord,
    RunWriter,
    Status,
    newest_good,
    process_identity,
    prune,
    publish_checkpoint,
    read_checkpoint,
    sweep,
)
from tinychat.runs.checkpoints import read_manifest
from tinychat.runs.layout import RESUME_FILES

Start = Callable[[Path], CheckpointFiles]
State = tuple[Tree, str]  # what lies on the disk, and what had been acknowledged by then


@dataclass(frozen=True)
class Mark:
    """What a run has acknowledged: none of it may be lost afterwards."""

    born: bool = False
    checkpoints: Mapping[int, int] = field(default_factory=dict)  # step -> which publication
    rows: int = 0  # in each log
    settings: int = 0  # the version that stands in settings.json


class Bad(NamedTuple):
    """What is wrong with a state."""

    wrong_bytes: bool  # else something acknowledged is gone
    told: str


class Unflushed(Disk):
    """The start after a power cut is not the one that is tested for lasting."""

    def fsync(self, path: Path) -> None: ...

    def fsync_folder(self, path: Path) -> None: ...


class Story:
    """A run that real code writes, with what it has acknowledged marked in its journal."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.root, self.run = root, root / "run"
        self.disk = JournalDisk()
        self.writer = RunWriter(self.run, self.disk)
        self.mark = Mark()
        self.published: list[dict[str, bytes]] = []
        self.told_from = 0  # before it nothing is cut

    @property
    def journal(self) -> Journal:
        return self.disk.log

    def promise(self, **changes: object) -> None:
        self.mark = replace(self.mark, **changes)  # type: ignore[arg-type]
        self.journal.append(("promise", self.mark))

    def birth(self) -> None:
        self.writer.create_run()
        self.writer.write_settings({"version": 1})
        self.writer.write_tokenizer("{}")
        self.writer.write_run(RunRecord(id="1", created_at="2026-01-01", version="1"))
        self.promise(born=True, settings=1)
        self.begin_attempt(0)
        self.save(1)

    def begin_attempt(self, step: int) -> None:
        record = AttemptRecord(from_step=step, reason="new", started_at="2026-01-01", host="here")
        self.writer.begin_attempt(record)

    def save(self, step: int) -> None:
        """Rows, their flush, the checkpoint: in the trainer's order."""
        self.write_rows()
        number = len(self.published)
        names = ("model.safetensors", "optimizer.safetensors", "state.json")
        self.published.append({name: f"{name} {step} {number} ".encode() * 3 for name in names})
        publish_checkpoint(self.run, step, self.published[number], disk=self.disk)
        self.promise(checkpoints={**self.mark.checkpoints, step: number})

    def write_rows(self, *, attempt: bool = False) -> None:
        at = self.mark.rows + 1
        self.writer.train_row(
            step=at, train_loss=1.0, learning_rate=1e-3, grad_norm=1.0, tokens_seen=at,
            tokens_per_second=1.0, step_seconds=1.0,
        )  # fmt: skip
        self.writer.sample_row(step=at, prompt="a", text="b", settings={}, seed=1)
        self.writer.event_row("note", step=at, message="c")
        if attempt:  # memory ran out, or a roll-back: those rows are in other files then
            self.begin_attempt(at)
        self.writer.sync(at)
        self.promise(rows=at)

    def thin_out(self, keep: set[int], weights_only: set[int]) -> None:
        kept = {s: n for s, n in self.mark.checkpoints.items() if s in keep | weights_only}
        self.promise(checkpoints=dict(kept))
        for step in weights_only & kept.keys():
            whole = self.published[kept[step]]
            kept[step] = len(self.published)
            self.published.append({n: data for n, data in whole.items() if n not in RESUME_FILES})
        prune(self.run, keep, weights_only, disk=self.disk)
        self.promise(checkpoints=kept)

    def new_records(self) -> None:
        self.writer.write_settings({"version": 2})
        self.promise(settings=2)
        told = {"state": "training", "step": 7, "max_steps": 9, "time": 0.0, "next_beat_by": 0.0}
        self.writer.status(Status(**{**process_identity(), **told}))  # type: ignore[arg-type]
        self.write_rows()


def _tell_birth(story: Story) -> None:
    story.birth()


def _tell_new_step(story: Story) -> None:
    _begin(story).save(3)


def _tell_same_step(story: Story) -> None:
    _begin(story).save(2)


def _tell_deleting(story: Story) -> None:
    _begin(story).thin_out({2}, set())


def _tell_thinning(story: Story) -> None:
    _begin(story).thin_out({2}, {1})


def _tell_records(story: Story) -> None:
    _begin(story).new_records()


def _tell_attempt(story: Story) -> None:
    _begin(story).write_rows(attempt=True)
    story.write_rows()


def _begin(story: Story) -> Story:
    story.birth()
    story.save(2)
    story.told_from = len(story.journal)
    return story


STORIES: Mapping[str, Callable[[Story], None]] = {
    "the birth of a run": _tell_birth,
    "a new step": _tell_new_step,
    "the same step again": _tell_same_step,
    "deleting an older one": _tell_deleting,
    "thinning an older one": _tell_thinning,
    "records, status and logs": _tell_records,
    "another attempt": _tell_attempt,
}


def next_start(run: Path) -> CheckpointFiles:
    """What a trainer does first."""
    sweep(run, disk=Unflushed())
    return newest_good(run)[0]


def trusting_start(run: Path) -> CheckpointFiles:
    """The same for a trainer that compares sizes only: a mutant."""
    sweep(run, disk=Unflushed())
    for path in sorted(run.glob("step-*"), reverse=True):
        try:
            step, listed = read_manifest(path)
            files = {name: (path / name).read_bytes() for name in listed}
        except (CheckpointError, OSError):
            continue
        if all(len(files[name]) == size for name, (size, _) in listed.items()):
            return CheckpointFiles(path, step, files)
    raise CheckpointError("no checkpoint")


def power(folder: Path, tell: Tell) -> Trial:
    """Cut the power at every moment of every story, then prove that each flush is needed."""
    began = time.monotonic()
    states, mutants, caught, harmless = 0, 0, 0, 0
    failures: list[str] = []
    for title, narrate in STORIES.items():
        story = Story(folder / title.replace(" ", "-"))
        narrate(story)
        story.writer.close()
        tell(f"{title}: {len(story.journal) - story.told_from} operations")
        known: set[State] = set()
        for bad in bad_states(story, story.journal, known=known):
            states += 1
            if bad:
                failures.append(f"{title}: {bad.told}")
        for index, why in flushes(story):
            without = story.journal[:index] + story.journal[index + 1 :]
            name = " ".join(map(str, _short(story, index)))
            others = bad_states(story, without, known=set(known))
            found = next((bad for bad in others if bad), None)
            mutants += 1
            caught += found is not None
            harmless += found is None
            if found and why:
                failures.append(f"{title}: {name} is needed although {why}: {found.told}")
            if not found and not why:
                failures.append(f"{title}: nothing is bad without {name}")
            tell(f"{title}, without {name}: {found.told if found else f'harmless, {why}'}")
        shutil.rmtree(story.root)
    mutants += 1
    told = _sha256_is_needed(folder)
    caught += not told
    failures += told
    figures = {
        "disk_states": states, "mutants": mutants, "mutants_caught": caught, "harmless": harmless
    }  # fmt: skip
    return Trial("power", states, figures, time.monotonic() - began, tuple(failures))


def flushes(story: Story) -> Iterator[tuple[int, str]]:
    """Where the journal flushes, and why that changes nothing (empty: it is needed)."""
    medium = Medium(story.root)
    for index, (operation, *args) in enumerate(story.journal):
        if operation == "promise":
            continue
        if operation.startswith("fsync") and index >= story.told_from:
            path = args[0]
            why = ""
            if medium.nothing_to_flush(operation, path):
                why = "there was nothing to bring to the medium"
            elif _flushed_again(story.journal[index + 1 :], operation, path):
                why = "it is flushed again before anything is acknowledged"
            yield index, why
        medium.apply(operation, *args)


def _flushed_again(rest: Journal, operation: str, path: Path) -> bool:
    for next_operation, *args in rest:
        if next_operation == "promise" or args[-1] == RunPaths(path).run_json:
            return False
        if (next_operation, args[0]) == (operation, path):
            return True
    return False


def bad_states(
    story: Story, journal: Journal, start: Start = next_start, *, known: set[State]
) -> Iterator[Bad | None]:
    """For each state that a power cut may leave and that is not `known` yet: what is wrong with it.

    Adds it to those that are known.
    """
    disk = story.root.with_name("disk")
    medium, floor = Medium(story.root), Mark()
    for index, (operation, *args) in enumerate(journal):
        if operation == "promise":
            floor = args[0]
        else:
            medium.apply(operation, *args)
        if index + 1 < story.told_from:
            continue
        upcoming = (args[0] for operation, *args in journal[index + 1 :] if operation == "promise")
        ceiling = next(upcoming, floor)
        for tree in medium.top.possible():
            key = (tree, f"{floor} {ceiling}")
            if key in known:
                continue
            known.add(key)
            build(tree, disk)
            bad = _look(disk / "run", floor, ceiling, story.published, start)
            yield bad and bad._replace(told=f"cut after {operation} ({index + 1}), {bad.told}")
    shutil.rmtree(disk, ignore_errors=True)  # where every state was known it was not built


def _look(
    run: Path, floor: Mark, ceiling: Mark, published: list[dict[str, bytes]], start: Start
) -> Bad | None:
    """Start on that disk: is all there that was acknowledged, and right?"""
    try:
        if not RunPaths(run).run_json.exists():
            if floor.born:
                return Bad(False, "the run is gone")
            RunWriter(run, Unflushed()).create_run()  # takes over what a dead start left
            return None
        try:
            bad = _checkpoints(run, start(run), floor, ceiling, published)
        except NoCheckpointError:
            bad = Bad(False, "all checkpoints are gone") if floor.checkpoints else None
        return bad or _records(run, floor, ceiling)
    except (TinychatError, OSError) as error:
        return Bad(False, str(error))


def _checkpoints(
    run: Path,
    found: CheckpointFiles,
    floor: Mark,
    ceiling: Mark,
    published: list[dict[str, bytes]],
) -> Bad | None:
    promised = floor.checkpoints.keys() & ceiling.checkpoints.keys()
    if found.step < max(promised, default=0):
        return Bad(False, f"found step {found.step}, but {max(promised)} was acknowledged")
    for step in {found.step} | promised:
        files = found.files if step == found.step else _read(run, step)
        numbers = {mark.checkpoints[step] for mark in (floor, ceiling) if step in mark.checkpoints}
        if files not in [published[number] for number in numbers]:
            return Bad(True, f"wrong bytes of step {step}")
    if left := sweep(run, disk=Unflushed()):
        return Bad(False, f"the start left {left}")
    return None


def _read(run: Path, step: int) -> dict[str, bytes]:
    return read_checkpoint(RunPaths(run).checkpoint(step)).files


def _records(run: Path, floor: Mark, ceiling: Mark) -> Bad | None:
    reader = RunReader(run)
    assert reader.run.id == "1"
    assert reader.status is None or reader.status.step == 7
    version = reader.settings["version"]
    if version not in (floor.settings, ceiling.settings):
        return Bad(False, f"settings.json is of version {version}")
    if reader.paths.tokenizer_json.read_bytes() != b"{}":
        return Bad(True, "wrong bytes of tokenizer.json")
    for log in ("metrics", "samples", "events"):
        steps = [row["step"] for row in reader.rows(log)]
        if not floor.rows <= len(steps) <= ceiling.rows or steps != list(range(1, len(steps) + 1)):
            return Bad(False, f"{log} holds steps {steps}, but {floor.rows} were acknowledged")
    return None


def _sha256_is_needed(folder: Path) -> list[str]:
    """On a drive that flushes names but no content of a checkpoint: what sha256 is there for."""
    story = Story(folder / "lying-drive")
    _tell_new_step(story)
    story.writer.close()
    lying = [
        entry
        for index, entry in enumerate(story.journal)
        if index < story.told_from or entry[0] != "fsync" or entry[1].suffix == ".jsonl"
    ]
    wrong = {
        start: sum(
            1 for bad in bad_states(story, lying, start, known=set()) if bad and bad.wrong_bytes
        )
        for start in (next_start, trusting_start)
    }
    shutil.rmtree(story.root)
    told = []
    if wrong[next_start]:
        told.append(f"{wrong[next_start]} states of a lying drive loaded wrong bytes")
    if not wrong[trusting_start]:
        told.append("without the sha256 check no state of a lying drive loads wrong bytes")
    return told


def _short(story: Story, index: int) -> tuple[str, str]:
    """The operation and its path without what is only chance."""
    operation, path, *_ = story.journal[index]
    told = path.relative_to(story.root).as_posix()
    parts = [p.rsplit("-", 1)[0] if p.startswith(".tmp-") else p for p in told.split("/")]
    return operation, "/".join(parts)
