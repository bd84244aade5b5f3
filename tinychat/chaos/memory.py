"""Memory that runs out for real: a step is done with fewer rows at once, and its loss stays."""

import sys
import time
from dataclasses import replace

from tinychat.chaos.ground import Ground, finish, train_rows
from tinychat.chaos.outcome import Tell, Trial
from tinychat.runs import RunReader

# Only what training itself takes is limited: all imports are done, and only the soft limit sinks.
LIMITED = """
import resource, sys
import psutil
import tinychat.training
from tinychat.cli.app import run
room = int(sys.argv.pop(1)) * 2**20
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + room, hard))
sys.exit(run(sys.argv[1:]))
"""
ROOMS_MEGABYTES = (400, 300, 200)  # until one is too small
MOST_DIFFERENCE = 1e-5  # of the loss, relative

# Without dropout, whose draws go by micro-batch: only the order of sums differs.
FLAGS = (
    "--model.dropout=0",
    "--model.n-layer=2", "--model.n-head=4", "--model.n-embd=128", "--model.context-length=256",
    "--batch-size=32", "--max-steps=2", "--eval.every-steps=none", "--sample.every-steps=none",
)  # fmt: skip


def memory(ground: Ground, tell: Tell) -> Trial:
    """Train a run in too little memory, and compare it with one that has enough.

    Needs Linux, for the limit, and computes on the CPU.
    """
    began = time.monotonic()
    if sys.platform != "linux":
        return Trial("memory", 0, {}, 0.0, left_out="needs Linux, to limit a process's memory")
    ground = replace(ground, device="cpu")
    whole = dict(train_rows(ground.train("whole", *FLAGS, tell=tell)))
    for room in ROOMS_MEGABYTES:
        name = f"limited-{room}"
        tell(f"training in {room} MB")
        finish(ground.spawn("train", name, *FLAGS, program=("-c", LIMITED, str(room))))
        reader = RunReader(ground.folder / name)
        events = [row for row in reader.rows("events") if row["kind"] == "out_of_memory"]
        if events:
            break
    else:
        told = f"memory never ran out, not even in {ROOMS_MEGABYTES[-1]} MB"
        return Trial("memory", len(ROOMS_MEGABYTES), {}, time.monotonic() - began, (told,))
    sizes = [record.micro_batch_size for _, record in reader.attempts()]
    step = events[0]["step"] + 1  # that was done in smaller parts
    loss = dict(train_rows(reader.paths.root)).get(step)
    failures = []
    if sizes != [sizes[0] // 2**halved for halved in range(len(sizes))]:
        failures.append(f"micro_batch_size went {' to '.join(map(str, sizes))}")
    expected = whole[step]
    if loss is None or expected is None:
        failures.append(f"step {step} has no loss")
        difference = 0.0
    else:
        difference = abs(loss - expected) / abs(expected)
    if difference > MOST_DIFFERENCE:
        failures.append(f"the loss of step {step} is {loss} instead of {expected}")
    figures = {
        "micro_batch_before": sizes[0],
        "micro_batch_after": sizes[-1],
        "loss_difference": difference,
    }
    return Trial("memory", 1, figures, time.monotonic() - began, tuple(failures))
