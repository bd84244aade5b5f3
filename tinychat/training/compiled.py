"""The loss through torch.compile, which fuses what stands between the matrix products.

Compiling takes a C++ compiler and some ten seconds, from torch's cache on disk a few.
"""

import hashlib
import inspect
from dataclasses import replace
from types import ModuleType

import torch
import torch.compiler.config
import torch.nn.functional as F
from torch import Tensor

from tinychat.errors import SettingsError
from tinychat.model import Decoder, Runtime, attention, rope_rotation
from tinychat.training.batches import Batch
from tinychat.training.evaluate import what_counts


class CompiledLoss:
    """As `evaluate.summed_loss`, in two graphs: states of whole rows, and the loss where all tokens
    are targets. Elsewhere their number differs from batch to batch: compiled for any number, the
    last bits would depend on the number that came first, so that loss is not compiled."""

    def __init__(self, decoder: Decoder) -> None:
        # torch keeps what it compiled on disk, by a key that knows nothing of our own operation
        torch.compiler.config.cache_key_tag = _digest_of(attention)
        self._hidden = torch.compile(decoder.hidden, dynamic=False)
        self._nats = torch.compile(_nats, dynamic=False)
        self._decoder = decoder

    def __call__(self, batch: Batch) -> Tensor:
        # Made within the graph, sines would be computed for every head of every layer.
        positions = torch.arange(batch.ids.shape[1], device=batch.ids.device)[None]
        rotation = rope_rotation(positions, self._decoder.settings)
        hidden, targets = what_counts(self._hidden(batch.ids, rotation=rotation), batch)
        nats = self._nats if batch.is_target.all() else _nats
        return nats(hidden, self._decoder.head.weight, targets)


def as_can_be_compiled(runtime: Runtime, *, asked: bool) -> Runtime:
    """The same, but not compiled where nothing compiles. Raises SettingsError if it is `asked`."""
    if not runtime.compile or not (problem := compiler_problem(runtime.device)):
        return runtime
    if asked:
        raise SettingsError(
            f"runtime.compile = true: torch.compile does not work here ({problem}); install a "
            "C++ compiler, or leave it out"
        )
    return replace(runtime, compile=False)


def compiler_problem(device: str) -> str | None:
    """Why torch.compile does not work there; None if it does. Compiles something tiny."""
    try:
        torch.compile(torch.sin)(torch.ones(16, device=device))
    except Exception as error:  # torch has a class for each of its stages
        return first_line(error)
    return None


def first_line(error: Exception) -> str:
    """What it says, of which torch's compiler says pages."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _digest_of(module: ModuleType) -> str:
    return hashlib.sha256(inspect.getsource(module).encode()).hexdigest()


def _nats(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, head).float(), targets, reduction="sum")
