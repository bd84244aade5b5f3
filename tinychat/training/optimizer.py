"""The update rules: which parameters go to which, and their memory saved by parameter name.

AdamW (Loshchilov and Hutter 2019) with decay on the hidden matrices only; or Muon for the
hidden matrices with AdamW for the rest.
"""

from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer as TorchOptimizer

from tinychat.config import OptimSettings
from tinychat.errors import CheckpointError
from tinychat.model import Decoder
from tinychat.training.muon import Muon
from tinychat.training.plain_optimizers import PlainAdamW


class Optimizer:
    """One or two of torch's optimizers that step together.

    The schedule gives AdamW's rate; Muon's follows in proportion. Made for a decoder that already
    lies on its device.
    """

    def __init__(self, decoder: Decoder, optim: OptimSettings) -> None:
        self.decoder = decoder
        self._peak = optim.learning_rate
        matrices, others = split_parameters(decoder)
        adamw = {
            "lr": optim.learning_rate,
            "betas": (optim.beta1, optim.beta2),
            "eps": optim.eps,
            "fused": next(decoder.parameters()).device.type in ("cpu", "cuda"),
        }
        decay = optim.weight_decay
        if optim.optimizer == "adamw":
            groups = [
                {"params": matrices, "weight_decay": decay},
                {"params": others, "weight_decay": 0.0},
            ]
            self._parts: list[TorchOptimizer] = [PlainAdamW(groups, **adamw)]
        else:
            self._parts = [
                Muon(matrices, optim.muon_learning_rate, optim.muon_momentum, decay),
                PlainAdamW(others, weight_decay=0.0, **adamw),
            ]
        for group in self._groups():
            group["peak"] = group["lr"]

    def step(self, learning_rate: float) -> None:
        """One update at this rate."""
        for group in self._groups():
            group["lr"] = group["peak"] * (learning_rate / self._peak)
        for part in self._parts:
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """The memory as "<parameter>/<what>", independent of the order of parameters."""
        return {
            f"{name}/{what}": value
            for name, parameter in self.decoder.named_parameters()
            for what, value in self._memory_of(parameter).items()
        }

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Put saved memory in the place of what there is, tensor by tensor: none, and nothing is
        remembered. Raises CheckpointError where it does not fit.

        The stock loader is not used: it goes by order and casts moments to the parameter's dtype.
        """
        parameters = dict(self.decoder.named_parameters())
        for part in self._parts:
            part.state.clear()
        for key, value in saved.items():
            name, _, what = key.rpartition("/")
            parameter = parameters.get(name)
            if parameter is None or (value.dim() and value.shape != parameter.shape):
                raise CheckpointError(f"optimizer.safetensors: {key!r} does not fit this model")
            if value.dtype != torch.float32:
                raise CheckpointError(f"optimizer.safetensors: {key!r} is {value.dtype}, not fp32")
            part = self._part_of(parameter)
            # AdamW counts its steps on the device only in its fused form
            on_device = value.dim() or part.defaults.get("fused")
            place = parameter.device if on_device else torch.device("cpu")
            part.state[parameter][what] = value.to(place)
        without = [name for name, p in parameters.items() if not self._memory_of(p)]
        if saved and without:
            raise CheckpointError(f"optimizer.safetensors lacks the memory of {without[0]!r}")

    def _groups(self) -> list[dict[str, Any]]:
        return list(chain.from_iterable(part.param_groups for part in self._parts))

    def _part_of(self, parameter: nn.Parameter) -> TorchOptimizer:
        return next(
            part
            for part in self._parts
            if any(p is parameter for group in part.param_groups for p in group["params"])
        )

    def _memory_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        return self._part_of(parameter).state.get(parameter, {})


def split_parameters(decoder: Decoder) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The hidden matrices, and everything else (embeddings, head, norms, biases)."""
    matrices, others = [], []
    for name, parameter in decoder.named_parameters():
        hidden = parameter.dim() > 1 and name.startswith("blocks.")
        (matrices if hidden else others).append(parameter)
    return matrices, others


def gradient_norm(decoder: Decoder) -> Tensor:
    """Euclidean norm of all gradients together, as a scalar tensor."""
    grads = [p.grad for p in decoder.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(grads)
