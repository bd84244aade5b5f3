"""When memory runs out, a step is done in smaller parts."""

import sys

import pytest

from tinychat.chaos.ground import Ground, finish, train_rows
from tinychat.chaos.memory import memory
from tinychat.runs import RunReader


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_the_micro_batch_halves_and_the_loss_stays(ground: Ground) -> None:
    outcome = memory(ground, print)
    assert outcome.passed, outcome
    assert outcome.figures["micro_batch_after"] < outcome.figures["micro_batch_before"]
    readers = (RunReader(path) for path in ground.folder.glob("limited-*"))
    (run,) = (
        reader.paths.root
        for reader in readers
        if any(row["kind"] == "out_of_memory" for row in reader.rows("events"))
    )
    sizes = [attempt.micro_batch_size for _, attempt in RunReader(run).attempts()]
    _, last = RunReader(run).attempts()[-1]
    assert last.resume_class == "B"
    assert last.reason == f"out of memory: micro_batch_size {sizes[0]} -> {sizes[-1]}"
    whole, limited = (train_rows(ground.folder / name) for name in ("whole", run.name))
    for (step, loss), (there, expected) in zip(limited, whole, strict=True):
        # sums in another order, which Muon's products in bf16 make larger by the second step
        assert (step, loss) == (there, pytest.approx(expected, rel=1e-4))
    finish(ground.spawn("resume", run.name, "--max-steps=3"))
    assert RunReader(run).attempts()[-1][1].micro_batch_size == sizes[-1], "it is kept"
