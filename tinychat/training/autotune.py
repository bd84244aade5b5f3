"""Which way of computing is fastest here for this model: a few real gradients in each.

What is found decides the last bits of a run. So it is looked for once, before its first step, is
written down with the run (`attempt.json`), and repeated at every resume. What a person has set is
not tried out. Findings are kept beside the runs, for the next one of this kind on this machine.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tinychat import __version__
from tinychat.config import Settings
from tinychat.model import (
    AttentionKind,
    Runtime,
    cuda_computes_bf16,
    is_out_of_memory,
    may_compute_in_blocks,
    processor,
    release_memory,
    synchronize,
)
from tinychat.runs import Disk, replace_file
from tinychat.threads import CHOSEN, usable_cores
from tinychat.training.compiled import compiler_problem, first_line
from tinychat.training.lineage import ARITHMETIC, Facts
from tinychat.training.updates import Updates
from tinychat.words import count

SHARE = 0.02  # of the time that the run is expected to take goes into trying,
MOST_SECONDS = 12.0  # but no more than that,
LEAST_SECONDS = 1.0  # and nothing at all where it would be less: too little can be gained
COMPILE_PAYS_SECONDS = 1800.0  # of such a run LEAST_GAIN is what compiling takes
LEAST_GAIN = 0.03  # another way than the planned one must be faster by that: less is chance
MOST_FOR_ONE = 0.4  # of all that time, for one knob: threads on a busy machine may take minutes
ROUNDS = 3
PASSES = 60  # in all, about
FIRST_ROWS = 4
TUNINGS = Path(".cache", "autotune")  # in the folder where runs live

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """One way that was tried. `tokens_per_second` is None where it failed, which `problem` says."""

    dtype: str
    threads: int
    micro_batch_size: int
    attention: AttentionKind
    gradient_checkpointing: bool
    compile: bool
    tokens_per_second: float | None = None
    problem: str = ""

    @classmethod
    def of(cls, facts: Facts, tokens_per_second: float | None, problem: str = "") -> "Trial":
        runtime = facts.runtime
        return cls(
            runtime.dtype,
            runtime.threads,
            facts.micro_batch_size,
            runtime.attention,
            runtime.gradient_checkpointing,
            runtime.compile,
            tokens_per_second,
            problem,
        )


@dataclass(frozen=True)
class Tuning:
    """What was chosen, and why."""

    chosen: Trial
    trials: tuple[Trial, ...]
    seconds: float  # that trying took
    known: bool = False  # from a run before

    def facts(self, planned: Facts) -> Facts:
        """What a run computes on that was planned so."""
        runtime = Runtime(
            planned.runtime.device,
            self.chosen.dtype,
            self.chosen.threads,
            self.chosen.gradient_checkpointing,
            self.chosen.attention,
            self.chosen.compile,
        )
        return replace(planned, runtime=runtime, micro_batch_size=self.chosen.micro_batch_size)

    @property
    def told(self) -> str:
        """The choice in a sentence."""
        way, speeds = self.chosen, [t.tokens_per_second for t in self.trials if t.tokens_per_second]
        words = [way.dtype, count(way.threads, "thread")]
        words += [f"{count(way.micro_batch_size, 'row')} at once", f"attention by {way.attention}"]
        words += ["gradient checkpointing"] * way.gradient_checkpointing
        words += ["compiled"] * way.compile
        how = "known from before" if self.known else f"tried in {self.seconds:.1f} s"
        told = f"autotune: {', '.join(words)} is the fastest of {len(self.trials)} ways ({how})"
        if speeds and way.tokens_per_second:
            told += f": {way.tokens_per_second:,.0f} tokens/s, the slowest {min(speeds):,.0f}"
        return told

    def to_json(self) -> dict[str, Any]:
        """For attempt.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "Tuning":
        """Raises KeyError or TypeError where something is missing."""
        trials = tuple(Trial(**each) for each in told["trials"])
        return cls(Trial(**told["chosen"]), trials, told["seconds"], known=True)


def autotune(updates: Updates, cache: Path, tell: Tell = lambda _: None) -> Tuning | None:
    """Find the fastest way, and have `updates` compute in it. Weights and place stay as they are.

    None where nothing was tried: it is switched off, or the run is too short to gain by it. `tell`
    is called before each pass with what is done; what it raises ends the search. `cache` is a
    folder, made when there is something to keep: not what was found on a busy machine.
    """
    if not updates.settings.runtime.autotune:
        return None
    planned, found = updates.facts, None
    try:
        found = _found(updates, cache, tell)
    finally:
        updates.use(found.facts(planned) if found else planned)
    return found


def _found(updates: Updates, cache: Path, tell: Tell) -> Tuning | None:
    try:
        search = _Search(updates, tell)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return None  # the trainer knows what to do about that
    if search.seconds < LEAST_SECONDS:
        return None
    kept = cache / f"{_key(updates, search.compile_pays)}.json"
    if known := _known(kept, updates.facts.runtime.device):
        return known
    busy = _is_busy()
    found = search.run()
    if not found.trials:  # everything is set
        return None
    if not busy:
        _keep(kept, found)
    return found


class _Search:
    """One knob after the other, each at the best that was found of those before it."""

    def __init__(self, updates: Updates, tell: Tell) -> None:
        self._updates, self._tell = updates, tell
        self._batch = updates.batch()
        self._trials: dict[Facts, Trial] = {}
        self.planned = _with(updates.facts, compile=False)  # each way would be compiled else
        rows = min(FIRST_ROWS, self.planned.micro_batch_size)
        tell("looking how long a step takes")
        self._row_seconds = min(self._timed_pass(self.planned, rows) for _ in range(2))
        run = self._row_seconds * updates.settings.batch_size * updates.max_steps
        self.seconds = min(SHARE * run, MOST_SECONDS)
        self.compile_pays = run > COMPILE_PAYS_SECONDS
        fitting = int(self.seconds / PASSES / self._row_seconds)
        self._rows = max(rows, 1 << max(0, fitting.bit_length() - 1))  # in a pass
        self._rows = min(self._rows, self.planned.micro_batch_size)

    def run(self) -> Tuning:
        began = time.monotonic()
        best = self.planned
        for name, ways in _knobs(self._updates.settings):
            others = [way for way in ways(best) if way != best]
            if not others or (time.monotonic() - began > self.seconds):
                continue
            left = self.seconds - (time.monotonic() - began)
            best = self._fastest(name, [best, *others], min(left, MOST_FOR_ONE * self.seconds))
        if self._may_compile(best.runtime):
            best = self._with_compile(best)
        return Tuning(
            self._trials[best] if best in self._trials else Trial.of(best, None),
            tuple(self._trials.values()),
            time.monotonic() - began,
        )

    def _fastest(self, name: str, ways: Sequence[Facts], seconds: float) -> Facts:
        """The first of the ways, unless another one is faster by more than chance."""
        rows = {way: min(self._rows, way.micro_batch_size) for way in ways}
        if name == "micro_batch_size":
            # other sizes show only in whole passes, and those may take longer than there is time
            rows = {way: way.micro_batch_size for way in ways}
            affordable = seconds / 2 / self._row_seconds
            ways = [w for w in ways if 2 * rows[w] <= affordable or w == ways[0]]
            if len(ways) < 2 or sum(2 * rows[way] for way in ways) > 2 * affordable:
                return ways[0]
        best: dict[Facts, float] = {}
        problems: dict[Facts, str] = {}
        ended = time.monotonic() + seconds
        for turn in range(ROUNDS + 1):  # the first one warms up
            for way in ways:
                if way in problems or (turn > 1 and time.monotonic() > ended):
                    continue
                try:
                    took = self._pass(way, rows[way])
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    release_memory(way.runtime.device)
                    problems[way] = "memory ran out"
                    continue
                if turn:
                    best[way] = min(best.get(way, took), took)
        for way in ways:
            speed = self._speed(best[way]) if way in best else None
            self._trials[way] = Trial.of(way, speed, problems.get(way, ""))
        return _taken(ways, best)

    def _may_compile(self, runtime: Runtime) -> bool:
        if (chosen := self._updates.settings.runtime.compile) is not None:
            return chosen
        return self.compile_pays and runtime.device in ("cpu", "cuda")

    def _with_compile(self, best: Facts) -> Facts:
        compiled = _with(best, compile=True)
        self._tell("compiling the training step")
        if problem := compiler_problem(best.runtime.device):
            self._trials[compiled] = Trial.of(compiled, None, f"nothing compiles here: {problem}")
            return best
        rows = best.micro_batch_size  # what is compiled for them serves the run too
        if 6 * rows * self._row_seconds > self.seconds:
            rows = min(self._rows, rows)
        times: dict[Facts, float] = {}
        for way in (best, compiled):
            self._tell("compiling the training step")
            try:
                self._timed_pass(way, rows)
                times[way] = min(self._timed_pass(way, rows) for _ in range(2))
            except Exception as error:  # whatever torch's compiler raises, the run goes on without
                release_memory(way.runtime.device)
                told = "memory ran out" if is_out_of_memory(error) else first_line(error)
                self._trials[way] = Trial.of(way, None, told)
                break
            self._trials[way] = Trial.of(way, self._speed(times[way]))
        if self._updates.settings.runtime.compile:
            return compiled
        return _taken([best, compiled], times)

    def _pass(self, facts: Facts, rows: int) -> float:
        self._tell("trying ways to compute")
        return self._timed_pass(facts, rows)

    def _timed_pass(self, facts: Facts, rows: int) -> float:
        """Seconds for each row of one pass through the model and back."""
        self._updates.use(facts)
        part = next(self._batch.split(rows))
        began = time.monotonic()
        self._updates.gradients(part)
        synchronize(facts.runtime.device)
        seconds = time.monotonic() - began
        self._updates.optimizer.zero_grad()
        return seconds / len(part.ids)

    def _speed(self, row_seconds: float) -> float:
        return self._updates.settings.model.context_length / row_seconds


Knob = tuple[str, Callable[[Facts], list[Facts]]]


def _knobs(settings: Settings) -> Iterator[Knob]:
    """What may be turned, and to what; all that nobody has set."""
    chosen = settings.runtime
    if _threads_are_free(settings):
        yield "threads", _thread_counts
    if chosen.dtype == "auto":
        yield "dtype", lambda best: [_with(best, dtype=d) for d in _dtypes(best.runtime.device)]
    if chosen.attention == "auto":
        yield (
            "attention",
            lambda best: [
                _with(best, attention=kind) for kind in _attentions(best.runtime.device, settings)
            ],
        )
    if settings.micro_batch_size is None:
        yield "micro_batch_size", _fewer_rows
    if chosen.gradient_checkpointing is None:
        yield "gradient_checkpointing", lambda best: [_with(best, gradient_checkpointing=True)]


def _threads_are_free(settings: Settings) -> bool:
    return settings.runtime.threads is None and "OMP_NUM_THREADS" not in os.environ


def _with(facts: Facts, **changed: Any) -> Facts:
    return replace(facts, runtime=replace(facts.runtime, **changed))


def _thread_counts(best: Facts) -> list[Facts]:
    """1, 2, 4 … and all cores: more threads wait longer for each other. On a busy machine one is
    the fastest, but a run may go on for long after that."""
    if best.runtime.device != "cpu" or _is_busy():
        return []
    cores = usable_cores()
    counts = {1 << n for n in range(cores.bit_length())} | {cores}
    return [_with(best, threads=n) for n in sorted(counts) if n <= cores]


def _dtypes(device: str) -> tuple[str, ...]:
    """fp16 is for GPUs: a CPU computes in it several times slower than in either of the others."""
    if device == "cpu":
        return "fp32", "bf16"
    if device == "mps":
        return "fp32", "fp16"
    return ("fp32", "bf16") if cuda_computes_bf16() else ("fp32", "fp16")


def _attentions(device: str, settings: Settings) -> tuple[str, ...]:
    return ("sdpa", "blocks") if may_compute_in_blocks(device, settings.model) else ()


def _fewer_rows(best: Facts) -> list[Facts]:
    """Halves that leave no remainder: what fits into a CPU's cache is often faster than more."""
    rows, found = best.micro_batch_size, []
    while rows % 2 == 0 and len(found) < 3:
        rows //= 2
        found.append(replace(best, micro_batch_size=rows))
    return found


def _taken(ways: Sequence[Facts], seconds: dict[Facts, float]) -> Facts:
    """The fastest, or the first one where it is as fast but for chance."""
    planned = ways[0]
    timed = [way for way in ways if way in seconds]
    if not timed:
        return planned
    fastest = min(timed, key=seconds.__getitem__)
    if planned in seconds and seconds[fastest] > (1 - LEAST_GAIN) * seconds[planned]:
        return planned
    return fastest


def _key(updates: Updates, compile_pays: bool) -> str:
    """Names everything that the choice depends on: model, batch, machine, torch, what is set."""
    settings = updates.settings
    told = {
        "model": asdict(settings.model),
        "vocab_size": updates.decoder.vocab_size,
        "batch_size": settings.batch_size,
        "runtime": asdict(settings.runtime),
        "planned": Trial.of(updates.facts, None).__dict__,
        "pinned_rows": settings.micro_batch_size,
        "compile": compile_pays,
        "cores": usable_cores(),
        "threads_are_free": _threads_are_free(settings),
        "processor": processor(updates.facts.runtime.device),
        "torch": torch.__version__,
        "tinychat": __version__,
        "arithmetic": ARITHMETIC,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _is_busy() -> bool:
    """Whether other programs compute here: another time other ways may be faster."""
    if CHOSEN in os.environ:  # seen at the start; the load average lags by a minute
        return True
    if not hasattr(os, "getloadavg"):  # Windows
        return False
    return os.getloadavg()[0] > usable_cores() / 2


def _known(path: Path, device: str) -> Tuning | None:
    try:
        found = Tuning.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or no longer readable
        return None
    gone = found.chosen.compile and compiler_problem(device)  # the compiler
    return None if gone else found


def _keep(path: Path, found: Tuning) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(Disk(), path, json.dumps(found.to_json(), indent=1).encode(), sync=False)
    except OSError:  # it is found again the next time
        return
