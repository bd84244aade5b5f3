"""Rank 0 of several processes: it hands each batch out and tells the others what to do.

Whoever is not rank 0 runs `assistant.assist`.
"""

import json
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict

import torch
import torch.distributed as dist
from torch import Tensor

from tinychat.config.load import Resolved
from tinychat.errors import SettingsError, TrainingError
from tinychat.model import Decoder, Runtime
from tinychat.training import wire
from tinychat.training.batches import Batch
from tinychat.training.optimizer import Optimizer
from tinychat.training.team import RankLostError, Work
from tinychat.training.wire import Order

LOOK_SECONDS = 1.0
RELEASE_SECONDS = 30.0  # the others may still be importing


class Ranks:
    """The team as rank 0 has it. Made once all have met."""

    def __init__(self) -> None:
        wire.join()
        self.size = dist.get_world_size()
        self._sums: wire.Sums | None = None
        self._signals = 0
        self._looked_at = time.monotonic()
        self._lost = False
        self._told_of_difference = False

    def begin(
        self, resolved: Resolved, decoder: Decoder, optimizer: Optimizer, runtime: Runtime
    ) -> Sequence[str]:
        rows = resolved.settings.batch_size
        if rows < self.size:
            raise SettingsError(
                f"torchrun started {self.size} processes, but a step has only {rows} rows "
                f"(batch_size); start {rows} at most"
            )
        wire.order(Order.BEGIN)
        told = {
            "host": platform.node(),
            "vocab_size": decoder.vocab_size,
            "runtime": asdict(runtime),
            **resolved.to_json(),
        }
        wire.send_text(json.dumps(told))
        hosts = self._replies()
        self.spread(decoder, optimizer)
        self._sums = wire.Sums(decoder, runtime.device)
        threads = f"{runtime.threads} {'thread' if runtime.threads == 1 else 'threads'} here"
        where = ", ".join(f"rank {rank} {host}" for rank, host in enumerate(hosts, 1))
        return [f"{self.size} processes share each step ({threads}; {where})"]

    def gradients(self, work: Work, batch: Batch, compute: Callable[[Batch], Tensor]) -> Tensor:
        assert self._sums is not None
        with self._noticing():
            wire.send_work(work, batch)
            mine = wire.share(batch, 0, self.size)
            found = self._sums(lambda: compute(mine), 0)
            self._signals = max(self._signals, found.signals)
            errors = wire.told() if found.failed else []
        if found.error is not None:
            raise found.error
        if errors:
            raise _failure(errors)
        if found.out_of_memory:
            raise MemoryError("out of memory in another process")
        return found.loss

    def step(self, rate: float, factor: float) -> None:
        with self._noticing():
            wire.order(Order.STEP, rate, factor)

    def spread(self, decoder: Decoder, optimizer: Optimizer) -> None:
        memory = optimizer.tensors()
        with self._noticing():
            wire.order(Order.SPREAD)
            wire.send_text(json.dumps({name: list(each.shape) for name, each in memory.items()}))
            wire.copy_state(decoder, optimizer, memory)

    def agree(self, decoder: Decoder, optimizer: Optimizer) -> str:
        if self._lost:
            return ""
        with self._noticing():
            wire.order(Order.COMPARE)
            mine = wire.digest(decoder, optimizer)
            found = [torch.zeros_like(mine) for _ in range(self.size)]
            with wire.reaching_others():
                dist.all_gather(found, mine)
        other = [str(rank) for rank, each in enumerate(found) if int(each) != int(mine)]
        if not other:
            return ""
        self.spread(decoder, optimizer)
        if self._told_of_difference:
            return ""
        self._told_of_difference = True
        return (
            f"rank {', '.join(other)} came to other last bits than rank 0, as another kind of "
            "processor does; at each checkpoint all take over those of rank 0"
        )

    def signals(self) -> int:
        """Asked anew once a second at most; a step brings the answer along."""
        if time.monotonic() - self._looked_at >= LOOK_SECONDS and self._sums and not self._lost:
            counts = torch.zeros(1, dtype=torch.int64)
            with self._noticing():
                wire.order(Order.LOOK)
                with wire.reaching_others():
                    dist.all_reduce(counts, dist.ReduceOp.MAX)
            self._signals = max(self._signals, int(counts))
            self._looked_at = time.monotonic()
        return self._signals

    def _replies(self) -> list[str]:
        """The others' hosts. Raises TrainingError for one that cannot take part."""
        replies = [json.loads(each) for each in wire.told()]
        errors = [each["error"] for each in replies]
        if any(errors):
            raise _failure(errors)
        return [each["host"] for each in replies]

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        """Once somebody is gone, nobody is spoken to any more."""
        try:
            yield
        except RankLostError:
            self._lost = True
            raise


def _failure(errors: Sequence[str]) -> TrainingError:
    rank, error = next((rank, each) for rank, each in enumerate(errors, 1) if each)
    return TrainingError(f"rank {rank} failed: {error}")


def release(exit_code: int) -> None:
    """Let the others end with this exit code, whether or not they were ever called.

    If one of them is gone it is no use, and does no harm: torchrun ends the rest.
    """

    def end() -> None:
        with suppress(RankLostError, RuntimeError, ValueError):
            if not dist.is_initialized():
                wire.join()
            wire.order(Order.END, exit_code)

    ending = threading.Thread(target=end, daemon=True)
    ending.start()
    ending.join(RELEASE_SECONDS)
