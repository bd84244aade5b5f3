"""What a run costs here: its own parts, built in a process of their own, timed and weighed.

The process (`python -m tinychat.planning.probe`) does what the trainer does - updates, evaluation,
samples, a save - a few times, and tells seconds and the most memory it ever had. Nothing of it is
kept. A process of its own, because only then the peak is that of a trainer and of nothing else.
"""

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import psutil
import torch

from tinychat.config.load import Resolved, from_json
from tinychat.errors import TrainingError
from tinychat.model import Decoder, KVCache, Runtime, is_out_of_memory, tensor_bytes
from tinychat.planning.rows import FirstRows, RandomRows
from tinychat.runs import publish_checkpoint
from tinychat.text import Prepared
from tinychat.training.autotune import TUNINGS, Tuning, autotune
from tinychat.training.batches import Batch, Rows, make_rows
from tinychat.training.evaluate import evaluate
from tinychat.training.lineage import Facts
from tinychat.training.optimizer import Optimizer
from tinychat.training.parts import assemble
from tinychat.training.progress import Progress
from tinychat.training.replay import prepare_old_data
from tinychat.training.samples import PROMPTS_A_ROUND, LiveSampler, prompt_book
from tinychat.training.start import made_ready, prepare_corpus
from tinychat.training.updates import Updates

BEAT_SECONDS = 0.2
STEPS_SECONDS = 6.0  # spent on updates, about
OTHERS_SECONDS = 2.0  # on each of the others, about
LEAST_STEPS = 4
MOST_STEPS = 40
OUT_OF_MEMORY = 75  # the exit code of a probe that could not get enough,
KILLED = -9  # and of one that the system ended for that
SAVED = ".probe-"  # begins the name of a folder that is gone at once
NO_RUN = ".none"  # names a run that is not there, where corpora are prepared for a run to come
PROBED_TOKENS = 8  # of a sample whose model has no tokenizer yet


@dataclass(frozen=True)
class Measured:
    """Seconds of each kind of work, and bytes. `rows` went through the model at once."""

    rows: int
    step_seconds: float
    step_spread: float  # standard error of the mean step, as a share of it
    evaluate_seconds: float | None  # None: not known without data
    sample_seconds: float
    save_seconds: float
    peak_bytes: int  # of the whole process, or of the device where that has memory of its own
    resting_bytes: int  # before there was a model
    whole: bool  # the micro-batch went through at once; else fewer rows did
    tuning: Tuning | None = None  # the way that was found to be the fastest, and the others


def measure(
    resolved: Resolved,
    vocab_size: int,
    facts: Facts,
    root: Path,
    *,
    with_data: bool,
    beat: Callable[[], None] = lambda: None,
) -> Measured:
    """Build and time it in a process of its own; saves are timed on the disk of `root`.

    `beat` is called several times a second meanwhile. Raises MemoryError where memory ran out.

    Raises TrainingError with what that process said if it failed.
    """
    root.mkdir(parents=True, exist_ok=True)
    asked = {
        "settings": resolved.to_json(),
        "vocab_size": vocab_size,
        "runtime": asdict(facts.runtime),
        "micro_batch_size": facts.micro_batch_size,
        "root": str(root),
        "with_data": with_data,
    }
    answer = _in_a_process(asked, beat)
    if answer.keys() == {"tuning"}:
        # trying ways took more memory than the best of them does, so that one begins anew
        answer = _in_a_process(asked | answer, beat)
    tuning = answer.pop("tuning")
    return Measured(**answer, tuning=None if tuning is None else Tuning.from_json(tuning))


def _in_a_process(asked: dict[str, Any], beat: Callable[[], None]) -> dict[str, Any]:
    with subprocess.Popen(
        [sys.executable, "-m", "tinychat.planning.probe"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()  # and it stays open: the process ends when we do
            while process.poll() is None:
                time.sleep(BEAT_SECONDS)
                beat()
        except BrokenPipeError:
            pass  # it ended already; what it said comes below
        except BaseException:
            process.kill()
            raise
        answer, said = process.communicate()
    if process.returncode in (OUT_OF_MEMORY, KILLED):
        raise MemoryError
    if process.returncode:
        lines = said.strip().splitlines() or [f"the process ended with {process.returncode}"]
        raise TrainingError(f"measuring failed: {lines[-1]}")
    return json.loads(answer)


def probe(
    resolved: Resolved,
    vocab_size: int,
    facts: Facts,
    root: Path,
    tuning: Tuning | None = None,
    *,
    with_data: bool,
) -> Measured | Tuning:
    """Do a little of everything here and now, in the way that is the fastest. If that has to be
    found first, it is all that is done."""
    facts.runtime.apply()
    resting = _used_bytes(facts.runtime.device)
    settings = resolved.settings
    prepared = old_data = None
    if with_data:
        prepared = prepare_corpus(root / NO_RUN, settings, None)
        old_data = prepare_old_data(root / NO_RUN, settings, prepared.tokenizer, None)
    updates = _updates(resolved, vocab_size, facts, prepared, old_data)
    updates.decoder.train()
    tuning = tuning or autotune(updates, root / TUNINGS)
    if tuning:
        if not tuning.known:
            return tuning
        facts = tuning.facts(facts)
        updates.use(facts)
    rows, step_seconds, spread = _time_steps(updates)
    evaluations = [
        time_evaluation(updates.decoder, each, facts) for each in (prepared, old_data) if each
    ]
    return Measured(
        rows=rows,
        step_seconds=step_seconds,
        step_spread=spread,
        evaluate_seconds=sum(evaluations) if evaluations else None,
        sample_seconds=time_samples(updates, prepared),
        save_seconds=time_save(updates, root),
        peak_bytes=_peak_bytes(facts.runtime.device),
        resting_bytes=resting,
        whole=rows == facts.micro_batch_size,
        tuning=tuning,
    )


def _updates(
    resolved: Resolved,
    vocab_size: int,
    facts: Facts,
    prepared: Prepared | None,
    old_data: Prepared | None,
) -> Updates:
    """The trainer's own, on the run's data or, without any, on random tokens."""
    if prepared is not None:
        return assemble(resolved, prepared, None, facts, old_data=old_data).updates()
    settings = resolved.settings
    decoder = Decoder(settings.model, vocab_size)
    decoder.initialise(settings.seed)
    decoder = made_ready(decoder, facts.runtime)
    rows = RandomRows(vocab_size, settings.model.context_length)
    optimizer = Optimizer(decoder, settings.optim)
    progress = Progress(dtype=facts.runtime.dtype)
    steps = settings.max_steps or 1
    return Updates(settings, steps, decoder, optimizer, cast(Rows, rows), facts, progress)


def _time_steps(updates: Updates) -> tuple[int, float, float]:
    """(rows at once, mean seconds of a step, its standard error as a share)."""
    batch = updates.batch()
    one_row = next(batch.split(1))
    seconds_a_row = min(timed(lambda: updates.gradients(one_row)) for _ in range(2))
    updates.optimizer.zero_grad()
    if seconds_a_row * len(batch.ids) * LEAST_STEPS < 3 * STEPS_SECONDS:
        return updates.facts.micro_batch_size, *_time_whole_steps(updates)
    return _time_passes(updates, batch, seconds_a_row)


def _time_whole_steps(updates: Updates) -> tuple[float, float]:
    times: list[float] = []
    began = time.monotonic()
    while len(times) < LEAST_STEPS + 1 or (
        time.monotonic() - began < STEPS_SECONDS and len(times) < MOST_STEPS
    ):
        at = time.monotonic()
        batch = updates.batch()
        updates.apply(batch, updates.gradients(batch), at)
        times.append(time.monotonic() - at)
    return _mean(times[1:])  # the first one warms things up


def _time_passes(updates: Updates, batch: Batch, seconds_a_row: float) -> tuple[int, float, float]:
    """A step of which a few passes are done: those times their number, and once the update."""
    micro = min(updates.facts.micro_batch_size, len(batch.ids))
    # the whole micro-batch at once, for its memory, unless it would take minutes
    rows = micro if seconds_a_row * micro < 5 * STEPS_SECONDS else max(1, micro // 8)
    part = next(batch.split(rows))
    times = [timed(lambda: updates.gradients(part)) for _ in range(3)]
    loss = updates.gradients(part)
    update = timed(lambda: updates.apply(part, loss, time.monotonic()))
    mean, spread = _mean(times[1:])
    return rows, mean * len(batch.ids) / rows + update, spread


def time_evaluation(decoder: Decoder, prepared: Prepared, facts: Facts) -> float:
    """Seconds of the whole validation split, from its first rows."""
    context_length = decoder.settings.context_length
    rows = make_rows(prepared.valid, prepared.form, context_length)
    total = sum(1 for _ in rows.in_order())
    token_bytes = prepared.tokenizer.token_bytes()
    at_once = facts.micro_batch_size
    taken, seconds = at_once, 0.0
    while True:
        some = cast(Rows, FirstRows(rows, taken))
        seconds = timed(
            lambda here=some: evaluate(decoder, here, token_bytes, facts.runtime, at_once)
        )
        if taken >= total or seconds >= OTHERS_SECONDS / 2:
            return seconds * total / min(taken, total)
        taken *= 4


def time_samples(updates: Updates, prepared: Prepared | None) -> float:
    """Seconds of a round of live samples."""
    settings, runtime = updates.settings, updates.facts.runtime
    if prepared is not None:
        book = prompt_book(settings, prepared)
        sampler = LiveSampler(updates.decoder, prepared.tokenizer, runtime, book, settings.seed)
        return timed(lambda: list(sampler(0, None, settings.sample)))
    tokens = min(settings.sample.max_new_tokens, updates.decoder.settings.context_length)
    seconds = timed(lambda: _decode_blindly(updates.decoder, runtime))
    return seconds * tokens / PROBED_TOKENS


@torch.no_grad()
def _decode_blindly(decoder: Decoder, runtime: Runtime) -> None:
    """A few tokens for as many rows as a round has, with the cache that sampling uses."""
    cache = KVCache.allocate(
        decoder.settings, PROMPTS_A_ROUND, runtime.torch_device, runtime.torch_dtype
    )
    ids = torch.zeros((PROMPTS_A_ROUND, 1), dtype=torch.long, device=runtime.torch_device)
    decoder.eval()
    with runtime.autocast():
        for _ in range(min(PROBED_TOKENS, decoder.settings.context_length)):
            decoder(ids, cache)
    decoder.train()


def time_save(updates: Updates, root: Path) -> float:
    """Seconds of a checkpoint on the disk where the run will lie."""

    def save() -> None:
        tensors = updates.optimizer.tensors()
        for each in (*updates.decoder.parameters(), *tensors.values()):
            torch.isfinite(each).all().item()
        files = {
            "model.safetensors": tensor_bytes(dict(updates.decoder.named_parameters())),
            "optimizer.safetensors": tensor_bytes(tensors),
        }
        publish_checkpoint(Path(folder), 0, files)

    for left in root.glob(f"{SAVED}*"):  # by a probe that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=SAVED, dir=root) as folder:
        return timed(save)


def timed(action: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.monotonic()
    action()
    return time.monotonic() - began


def _mean(times: Sequence[float]) -> tuple[float, float]:
    mean = statistics.fmean(times)
    error = statistics.stdev(times) / math.sqrt(len(times)) if len(times) > 1 else 0.0
    return mean, error / mean


def _used_bytes(device: str) -> int:
    if device == "cuda":
        return torch.cuda.memory_reserved()
    if device == "mps":
        return torch.mps.driver_allocated_memory()
    return psutil.Process().memory_info().rss


def _peak_bytes(device: str) -> int:
    """The most memory this process ever had (on MPS: has now, it keeps what it once took)."""
    if device == "cuda":
        return torch.cuda.max_memory_reserved()
    if device == "mps":
        return torch.mps.driver_allocated_memory()
    if sys.platform == "linux":  # getrusage would count what the parent had before it began this
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Read what is to be measured from stdin, write what was measured to stdout."""
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_asker, daemon=True).start()
    facts = Facts(Runtime(**asked["runtime"]), asked["micro_batch_size"])
    try:
        measured = probe(
            from_json(asked["settings"]),
            asked["vocab_size"],
            facts,
            Path(asked["root"]),
            Tuning.from_json(asked["tuning"]) if "tuning" in asked else None,
            with_data=asked["with_data"],
        )
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        sys.exit(OUT_OF_MEMORY)
    told = {"tuning": asdict(measured)} if isinstance(measured, Tuning) else asdict(measured)
    json.dump(told, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # somebody waits, and torch takes half a second to come down


def _end_with_the_asker() -> None:
    """Nobody waits any more once stdin is closed."""
    if not sys.stdin.read():
        os._exit(1)


if __name__ == "__main__":
    main()
