"""The loss through torch.compile, which fuses what stands between the matrix products.

Compiling takes a C++ compiler and some ten seconds, from torch's cache on disk a few.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from tinychat.model import Decoder
from tinychat.training.batches import Batch


class CompiledLoss:
    """As `evaluate.summed_loss`, in two graphs: states of whole rows, and the loss of as many
    targets as there are, which differ from batch to batch."""

    def __init__(self, decoder: Decoder) -> None:
        self._hidden = torch.compile(decoder.hidden, dynamic=False)
        self._nats = torch.compile(_nats, dynamic=True)
        self._decoder = decoder

    def __call__(self, batch: Batch) -> Tensor:
        hidden, targets = self._hidden(batch.ids), batch.next_ids
        if batch.is_target.all():
            hidden, targets = hidden.flatten(0, 1), targets.flatten()
        else:
            hidden, targets = hidden[batch.is_target], targets[batch.is_target]
        return self._nats(hidden, self._decoder.head.weight, targets)


def compiler_problem() -> str | None:
    """Why torch.compile does not work here; None if it does. Compiles something tiny."""
    try:
        torch.compile(torch.sin)(torch.ones(16))
    except Exception as error:  # torch has a class for each of its stages
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return None


def _nats(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, head).float(), targets, reduction="sum")
