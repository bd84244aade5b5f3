"""A process that is not rank 0: it computes its share of each step and does what it is told.

It reads no data, decides nothing, writes nothing and prints nothing: whatever goes wrong here is
told to rank 0. If rank 0 is gone, it ends.
"""

import json
import platform
from dataclasses import replace
from functools import partial

import torch
import torch.distributed as dist

from tinychat.config.load import from_json
from tinychat.errors import SettingsError
from tinychat.launch import launch_of
from tinychat.model import Decoder, Runtime, available_devices, release_memory
from tinychat.threads import usable_cores
from tinychat.training import wire
from tinychat.training.compiled import CompiledLoss
from tinychat.training.evaluate import summed_loss
from tinychat.training.optimizer import Optimizer
from tinychat.training.requests import StopSignals
from tinychat.training.start import made_ready
from tinychat.training.team import RankLostError
from tinychat.training.updates import add_gradients, take_step
from tinychat.training.wire import Order
from tinychat.words import count

NOT_REACHED = 1  # exit code when rank 0 is gone


def assist() -> int:
    """Obey rank 0 to the end. Returns the exit code that it wishes."""
    try:
        wire.join()
        with StopSignals() as signals:
            assistant = _Assistant(signals)
            while True:
                kind, numbers = wire.next_order()
                if kind is Order.END:
                    return int(numbers[0])
                assistant.obey(kind, numbers)
    except RankLostError:
        return NOT_REACHED


class _Assistant:
    """Weights and optimizer as rank 0 has them."""

    def __init__(self, signals: StopSignals) -> None:
        self._signals = signals
        self._rank, self._size = dist.get_rank(), dist.get_world_size()
        self._sums: wire.Sums | None = None

    def obey(self, kind: Order, numbers: list[float]) -> None:
        match kind:
            case Order.BEGIN:
                self._begin()
            case Order.GRADIENTS:
                self._gradients(numbers)
            case Order.STEP:
                rate, factor, *_ = numbers
                take_step(self._decoder, self._optimizer, rate, factor)
            case Order.SPREAD:
                self._take_over()
            case Order.COMPARE:
                mine = wire.digest(self._decoder, self._optimizer)
                with wire.reaching_others():
                    dist.all_gather([torch.zeros_like(mine) for _ in range(self._size)], mine)
            case Order.LOOK:
                with wire.reaching_others():
                    dist.all_reduce(torch.tensor([self._signals.count]), dist.ReduceOp.MAX)

    def _begin(self) -> None:
        told, error = json.loads(wire.received_text()), ""
        try:
            self._build(told)
        except Exception as failure:
            error = _words(failure)
        wire.tell(json.dumps({"host": self._where() if not error else "", "error": error}))

    def _build(self, told: dict) -> None:
        self._settings = from_json(told).settings
        planned = Runtime(**told["runtime"])
        _require(planned.device)
        named = self._settings.runtime.threads or told["host"] == platform.node()
        self._runtime = planned if named else replace(planned, threads=usable_cores())
        self._runtime.apply()
        self._decoder = made_ready(Decoder(self._settings.model, told["vocab_size"]), self._runtime)
        self._decoder.train()
        compiled = self._runtime.compile
        self._nats = (
            CompiledLoss(self._decoder) if compiled else partial(summed_loss, self._decoder)
        )
        self._optimizer = Optimizer(self._decoder, self._settings.optim)

    def _where(self) -> str:
        return f"on {platform.node()} with {self._runtime.threads}"

    def _take_over(self) -> None:
        shapes = json.loads(wire.received_text())
        memory = {name: torch.zeros(shape) for name, shape in shapes.items()}
        wire.copy_state(self._decoder, self._optimizer, memory)
        if self._sums is None:  # only now: all of them can take part
            self._sums = wire.Sums(self._decoder, self._runtime.device)

    def _gradients(self, numbers: list[float]) -> None:
        assert self._sums is not None
        work, batch = wire.received_work(numbers)
        mine = wire.share(batch, self._rank, self._size)
        found = self._sums(
            lambda: add_gradients(
                self._nats, self._runtime, self._settings, work, mine, self._rank
            ),
            self._signals.count,
        )
        if found.failed or found.out_of_memory:
            self._optimizer.zero_grad()
            release_memory(self._runtime.device)
        if found.failed:
            wire.tell(_words(found.error) if found.error else "")


def _require(device: str) -> None:
    """Raises SettingsError where this process cannot have a device of that kind."""
    if device not in available_devices():
        raise SettingsError(f"{platform.node()} has no {device}, which rank 0 has")
    launch, gpus = launch_of(), torch.cuda.device_count()
    if device == "cuda" and launch and launch.local_rank >= gpus:
        raise SettingsError(
            f"{platform.node()} has {count(gpus, 'GPU')} for {launch.local_world_size} processes; "
            "start one for each GPU at most, or all with --device cpu"
        )


def _words(failure: BaseException) -> str:
    told = str(failure).strip() or type(failure).__name__
    return f"{told.splitlines()[0]} (on {platform.node()})"
