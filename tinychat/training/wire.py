"""What goes between the processes of a team: orders, batches, gradients, weights.

Two groups of processes: one by gloo for words and for weights, in which an order may be waited for
as long as rank 0 evaluates, saves or is paused; and one for the sums of gradients, by nccl between
GPUs, in which who does not come within half an hour is lost. A process that ends is noticed at once
in both.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, _set_pg_timeout
from torch.distributed.rendezvous import rendezvous

from tinychat.launch import launch_of
from tinychat.model import Decoder, is_out_of_memory
from tinychat.training.batches import Batch
from tinychat.training.optimizer import Optimizer
from tinychat.training.team import RankLostError, Work

AN_ORDER_MAY_TAKE = timedelta(days=365)
SETTING_UP_MAY_TAKE = timedelta(minutes=2)
MEET_SECONDS = 0.05  # between two looks
A_SUM_MAY_TAKE = timedelta(minutes=30)
GONE = "another process of this run has ended or cannot be reached"


class Order(IntEnum):
    """What rank 0 tells the others to do next."""

    BEGIN = 1
    GRADIENTS = 2
    STEP = 3
    SPREAD = 4
    COMPARE = 5
    LOOK = 6
    END = 7


_NUMBERS = 7  # of an order


def join() -> None:
    """Meet the other processes, as the environment that torchrun has made says."""
    take_gpu()
    with reaching_others():
        store, rank, size = next(rendezvous("env://", timeout=AN_ORDER_MAY_TAKE))
        here = _meet(store, rank, size)
        dist.init_process_group(
            "gloo",
            timeout=SETTING_UP_MAY_TAKE,
            world_size=size,
            rank=rank,
            store=PrefixStore(here, store),
        )
        _set_pg_timeout(AN_ORDER_MAY_TAKE)  # only what cannot be set up is given up early


def take_gpu() -> None:
    """Have this process use the GPU of its place on this machine, if there is one."""
    launch = launch_of()
    if launch is not None and launch.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(launch.local_rank)


def _meet(store: Any, rank: int, size: int) -> str:
    """Find the others of this start; returns its name, which rank 0 has made.

    torchrun keeps its store when it starts lost processes again, and in it the addresses of those
    that are gone. So each process comes with a new name of its own, and whoever is answered by
    that name is alive.
    """
    mine = uuid.uuid4().hex
    if rank:
        store.set(f"tinychat/here/{rank}", mine)
        store.wait([f"tinychat/welcome/{mine}"], AN_ORDER_MAY_TAKE)
        start = store.get(f"tinychat/welcome/{mine}").decode()
        store.set(f"tinychat/ready/{start}/{rank}", "")
        return start
    missing, welcomed = set(range(1, size)), set[bytes]()
    while missing:
        for other in [each for each in missing if store.check([f"tinychat/here/{each}"])]:
            name = store.get(f"tinychat/here/{other}")
            if name not in welcomed:
                store.set(f"tinychat/welcome/{name.decode()}", mine)
                welcomed.add(name)
        missing -= {each for each in missing if store.check([f"tinychat/ready/{mine}/{each}"])}
        time.sleep(MEET_SECONDS)
    return mine


@contextmanager
def reaching_others() -> Iterator[None]:
    """Raises RankLostError for what torch says when another process has ended."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise RankLostError(f"{GONE} ({str(error).strip().splitlines()[-1][:200]})") from None


def order(kind: Order, *numbers: float) -> None:
    """Rank 0's side of `next_order`."""
    filled = [float(kind), *numbers] + [0.0] * (_NUMBERS - len(numbers))
    with reaching_others():
        dist.broadcast(torch.tensor(filled, dtype=torch.float64), 0)


def next_order() -> tuple[Order, list[float]]:
    """Wait for the next order; returns its numbers too."""
    told = torch.zeros(_NUMBERS + 1, dtype=torch.float64)
    with reaching_others():
        dist.broadcast(told, 0)
    kind, *numbers = told.tolist()
    return Order(int(kind)), numbers


def send_work(work: Work, batch: Batch) -> None:
    """To all others: a whole batch, of which each computes its share."""
    rows, length = batch.ids.shape
    order(
        Order.GRADIENTS, work.step, work.rows_at_once, work.targets, work.loss_scale, rows, length
    )
    packed = torch.stack([batch.ids, batch.next_ids, batch.is_target.long()]).to(torch.int32)
    with reaching_others():
        dist.broadcast(packed, 0)


def received_work(numbers: list[float]) -> tuple[Work, Batch]:
    """What `send_work` has sent."""
    step, rows_at_once, targets, scale, rows, length, *_ = numbers
    packed = torch.empty((3, int(rows), int(length)), dtype=torch.int32)
    with reaching_others():
        dist.broadcast(packed, 0)
    ids, next_ids, is_target = packed.long()
    return Work(int(step), int(rows_at_once), int(targets), scale), Batch(
        ids, next_ids, is_target.bool()
    )


def share(batch: Batch, rank: int, size: int) -> Batch:
    """Every size-th row, so that no two shares differ by more than one row."""
    here = slice(rank, None, size)
    fields = (batch.ids, batch.next_ids, batch.is_target)
    return Batch(*(each[here].contiguous() for each in fields))


def tell(text: str) -> None:
    """To rank 0, which waits for it by `told`."""
    with reaching_others():
        dist.gather_object(text, None, 0)


def told() -> list[str]:
    """What each other rank has to tell, in their order."""
    found: list[Any] = [""] * dist.get_world_size()
    with reaching_others():
        dist.gather_object("", found, 0)
    return found[1:]


def send_text(text: str) -> None:
    """From rank 0 to all others."""
    with reaching_others():
        dist.broadcast_object_list([text], 0)


def received_text() -> str:
    """What `send_text` has sent."""
    found: list[Any] = [None]
    with reaching_others():
        dist.broadcast_object_list(found, 0)
    return found[0]


def copy_state(decoder: Decoder, optimizer: Optimizer, memory: dict[str, Tensor]) -> None:
    """Weights and memory of rank 0 into those of all: its own are sent, the others' written over.

    `memory` has the names and shapes of rank 0's; there, the optimizer takes it over.
    """
    mine = dist.get_rank() == 0
    tensors = [*decoder.state_dict().values(), *(memory[name] for name in sorted(memory))]
    for tensor in tensors:
        passed = tensor.detach().cpu().contiguous()
        with reaching_others():
            dist.broadcast(passed, 0)
        if not mine:
            tensor.copy_(passed)
    if not mine:
        optimizer.restore(memory)


def digest(decoder: Decoder, optimizer: Optimizer) -> Tensor:
    """One number of all weights and memory; another bit gives another number."""
    total = 0
    tensors = {**decoder.state_dict(), **optimizer.tensors()}
    for place, name in enumerate(sorted(tensors), 1):
        bits = tensors[name].detach().float().cpu().contiguous().view(torch.int32)
        total += place * int(bits.sum(dtype=torch.int64))
    return torch.tensor(total % (1 << 62), dtype=torch.int64)


@dataclass(frozen=True)
class Summed:
    """What came of one batch's gradients in all processes together."""

    loss: Tensor
    out_of_memory: bool
    failed: bool
    signals: int  # 1: somebody was asked to end; 2: more than once
    error: BaseException | None  # this process's own


class Sums:
    """Adds up gradients over all processes, by way of one buffer of the model's size."""

    def __init__(self, decoder: Decoder, device: str) -> None:
        self._parameters = list(decoder.parameters())
        cuda = device == "cuda"
        size = sum(p.numel() for p in self._parameters)
        self._buffer = torch.zeros(size + 5, device="cuda" if cuda else "cpu")
        with reaching_others():
            self._group = dist.new_group(backend="nccl" if cuda else "gloo", timeout=A_SUM_MAY_TAKE)

    def __call__(self, compute: Callable[[], Tensor], signals: int) -> Summed:
        """Compute this process's part, and have the sum in the decoder's gradients.

        A process that fails says so in the same exchange, so that none waits for it in vain.
        """
        self._buffer.zero_()
        gradients, told = self._buffer[:-5], self._buffer[-5:]
        error = None
        try:
            told[0] = compute()
            self._put_in(gradients)
        except Exception as failure:
            of_memory = is_out_of_memory(failure)
            told[1 if of_memory else 2] = 1.0
            # what the failed pass has taken hangs on its traceback
            error = MemoryError(str(failure)) if of_memory else failure
        told[3], told[4] = float(signals > 0), float(signals > 1)
        with reaching_others():
            dist.all_reduce(self._buffer, group=self._group)
        out_of_memory, failed, once, twice = (bool(each) for each in told[1:].tolist())
        if not out_of_memory and not failed:
            self._take_out(gradients)
        return Summed(told[0].clone(), out_of_memory, failed, once + twice, error)

    def _put_in(self, gradients: Tensor) -> None:
        at = 0
        for parameter in self._parameters:
            if parameter.grad is not None:
                gradients[at : at + parameter.numel()].copy_(parameter.grad.reshape(-1))
            at += parameter.numel()

    def _take_out(self, gradients: Tensor) -> None:
        at = 0
        for parameter in self._parameters:
            summed = gradients[at : at + parameter.numel()].view(parameter.shape)
            if parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)
            parameter.grad.copy_(summed)
            at += parameter.numel()
