"""The optimizer: which parameters decay, and its memory saved by parameter name.

AdamW (Loshchilov and Hutter 2019) with decay on the hidden matrices only. A second update rule for
those matrices finds its place in `make_optimizer`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from tinychat.config import OptimSettings
from tinychat.errors import CheckpointError
from tinychat.model import Decoder


def make_optimizer(decoder: Decoder, optim: OptimSettings) -> Optimizer:
    """The optimizer for a decoder that already lies on its device."""
    groups = [
        {"params": [], "weight_decay": optim.weight_decay},
        {"params": [], "weight_decay": 0.0},
    ]
    for name, parameter in decoder.named_parameters():
        decays = parameter.dim() > 1 and name.startswith("blocks.")
        groups[0 if decays else 1]["params"].append(parameter)
    device = next(decoder.parameters()).device.type
    return AdamW(
        groups,
        lr=optim.learning_rate,
        betas=(optim.beta1, optim.beta2),
        eps=optim.eps,
        fused=device in ("cpu", "cuda"),
    )


def optimizer_tensors(optimizer: Optimizer, decoder: Decoder) -> dict[str, Tensor]:
    """The optimizer's memory as "<parameter>/<what>", independent of parameter order."""
    return {
        f"{name}/{what}": value
        for name, parameter in decoder.named_parameters()
        for what, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(optimizer: Optimizer, decoder: Decoder, saved: Mapping[str, Tensor]) -> None:
    """Put saved memory back, tensor by tensor. Raises CheckpointError where it does not fit.

    The stock loader is not used: it goes by order and casts moments to the parameter's dtype.
    """
    parameters = dict(decoder.named_parameters())
    for key, value in saved.items():
        name, _, what = key.rpartition("/")
        parameter = parameters.get(name)
        if parameter is None or (value.dim() and value.shape != parameter.shape):
            raise CheckpointError(f"optimizer.safetensors: {key!r} does not fit this model")
        if value.dtype != torch.float32:
            raise CheckpointError(f"optimizer.safetensors: {key!r} is {value.dtype}, not fp32")
        # AdamW's fused and plain forms differ in where they keep the step count
        fused = optimizer.defaults.get("fused")
        device = parameter.device if value.dim() or fused else torch.device("cpu")
        optimizer.state[parameter][what] = value.to(device)
    if saved and len(optimizer.state) != len(parameters):
        raise CheckpointError("optimizer.safetensors lacks the memory of some parameters")


def gradient_norm(decoder: Decoder) -> Tensor:
    """Euclidean norm of all gradients together, as a scalar tensor."""
    grads = [p.grad for p in decoder.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(grads)
