"""Who computes a run's updates: this process alone, or several that torchrun has started.

Rank 0 is the whole trainer. It alone reads the data, decides, writes, evaluates and samples; the
others (`assistant`) hold the same weights and obey it. To the trainer a team is one object with
few methods, and of a team of one, each of them does next to nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from tinychat.config.load import Resolved
from tinychat.errors import TrainingError
from tinychat.model import Decoder, Runtime
from tinychat.training.batches import Batch
from tinychat.training.optimizer import Optimizer


class RankLostError(TrainingError):
    """Another process of the team has ended. The weights of this one are whole."""


@dataclass(frozen=True)
class Work:
    """What every rank must know to compute its share of one batch's gradients."""

    step: int
    rows_at_once: int
    targets: float  # of the whole batch, so that the shares' gradients sum up to the batch's; more
    # than there are where the batch is only a part of what is learnt from
    loss_scale: float


class Team(Protocol):
    """All processes of a run, seen from rank 0. Whatever reaches the others raises RankLostError
    once one of them is gone."""

    size: int

    def begin(
        self, resolved: Resolved, decoder: Decoder, optimizer: Optimizer, runtime: Runtime
    ) -> Sequence[str]:
        """Bring the others to the same state; returns what there is to tell of them."""
        ...

    def gradients(self, work: Work, batch: Batch, compute: Callable[[Batch], Tensor]) -> Tensor:
        """The whole batch's loss, its gradients in the decoder. `compute` does that for rows, and
        may run out of memory, here or elsewhere: that is raised here."""
        ...

    def step(self, rate: float, factor: float) -> None:
        """The others scale their gradients by `factor` and take the step; 0: they forget them."""
        ...

    def spread(self, decoder: Decoder, optimizer: Optimizer) -> None:
        """The others take over these weights and this memory."""
        ...

    def agree(self, decoder: Decoder, optimizer: Optimizer) -> str:
        """See to it that all hold the same bits; returns what there is to tell of it."""
        ...

    def signals(self) -> int:
        """How often one of the others was asked to end."""
        ...


class Alone:
    """A team of this process."""

    size = 1

    def begin(
        self, resolved: Resolved, decoder: Decoder, optimizer: Optimizer, runtime: Runtime
    ) -> Sequence[str]:
        return ()

    def gradients(self, work: Work, batch: Batch, compute: Callable[[Batch], Tensor]) -> Tensor:
        return compute(batch)

    def step(self, rate: float, factor: float) -> None:
        pass

    def spread(self, decoder: Decoder, optimizer: Optimizer) -> None:
        pass

    def agree(self, decoder: Decoder, optimizer: Optimizer) -> str:
        return ""

    def signals(self) -> int:
        return 0
