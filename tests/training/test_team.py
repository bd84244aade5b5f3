"""A team of several processes, in those of its parts that one process can show."""

import gc
import weakref
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.model.test_switches import CONTEXT, Nobody, Windows, random_decoder
from tinychat.config import (
    CheckpointSettings,
    EvalSettings,
    ModelSettings,
    OptimSettings,
    SampleSettings,
    Settings,
)
from tinychat.model import Decoder, Runtime
from tinychat.training import wire
from tinychat.training.batches import Batch
from tinychat.training.evaluate import Evaluation
from tinychat.training.lineage import Facts
from tinychat.training.optimizer import Optimizer
from tinychat.training.progress import Progress
from tinychat.training.team import Alone, RankLostError, Work
from tinychat.training.trainer import Trainer
from tinychat.training.updates import Updates

MODEL = ModelSettings(n_layer=1, n_head=2, n_embd=16, context_length=CONTEXT)


class LostInRollBack(Alone):
    """No step after the third is finite, and with the roll-back the others are gone."""

    def gradients(self, work: Work, batch: Batch, compute: Callable[[Batch], Tensor]) -> Tensor:
        return compute(batch) * (1.0 if work.step < 3 else float("nan"))

    def spread(self, decoder: Decoder, optimizer: Optimizer) -> None:
        raise RankLostError("gone")


class Kept(Nobody):
    """A store in memory."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.saved: dict[int, dict[str, Any]] = {}

    def publish(self, *of: Any) -> tuple[int, tuple[int, ...]]:
        self.saved[of[0].step] = deepcopy(self.decoder.state_dict())
        return 0, ()

    def restore(self) -> Progress:
        step = max(self.saved)
        self.decoder.load_state_dict(self.saved[step])
        return Progress(step=step)

    def begin_stretch(self, *_: object) -> None:
        pass


def test_a_process_lost_in_a_roll_back_leaves_no_weights_under_another_step() -> None:
    settings = Settings(
        max_steps=9, batch_size=4, model=MODEL,
        optim=OptimSettings(max_bad_steps=1), checkpoint=CheckpointSettings(every_steps=2),
        eval=EvalSettings(every_steps=None), sample=SampleSettings(every_steps=None),
    )  # fmt: skip
    made = random_decoder(MODEL)
    store: Any = Kept(made)
    updates = Updates(
        settings,
        max_steps=9,
        decoder=made,
        optimizer=Optimizer(made, settings.optim),
        rows=Windows(),
        facts=Facts(Runtime("cpu", "fp32", threads=1), 4),
        progress=Progress(),
        team=LostInRollBack(),
    )
    trainer = Trainer(
        updates,
        evaluator=lambda beat, at_once: Evaluation(1.0, None, 1, 0),
        sampler=lambda step, prompt, cancelled: (),
        store=store,
        requests=store,
        emit=lambda event: None,
    )
    with pytest.raises(RankLostError):
        trainer.run()
    assert list(store.saved) == [2]
    assert updates.progress.step == 2


@pytest.fixture
def group_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", f"file://{tmp_path}/met", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("group_of_one")
def test_what_a_pass_took_that_ran_out_of_memory_is_let_go_at_once() -> None:
    """Else fewer rows at once would find as little room."""
    taken: list[weakref.ref[Tensor]] = []

    def compute() -> Tensor:
        activations = torch.ones(1000)
        taken.append(weakref.ref(activations))
        raise RuntimeError("CUDA out of memory")

    gc.disable()
    try:
        found = wire.Sums(random_decoder(MODEL), "cpu")(compute, 0)
        assert found.out_of_memory
        assert isinstance(found.error, MemoryError)
        assert taken[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(("local_rank", "taken"), [(0, [0]), (1, [])])
def test_a_gpu_is_taken_where_there_is_one_for_each(
    local_rank: int, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one GPU and two processes, which may compute on the CPU after all."""
    environ = {"TORCHELASTIC_RUN_ID": "here", "RANK": local_rank, "WORLD_SIZE": 2,
               "LOCAL_RANK": local_rank, "LOCAL_WORLD_SIZE": 2,
               "TORCHELASTIC_RESTART_COUNT": 0}  # fmt: skip
    for name, value in environ.items():
        monkeypatch.setenv(name, str(value))
    found: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", found.append)
    wire.take_gpu()
    assert found == taken
