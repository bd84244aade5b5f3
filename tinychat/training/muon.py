"""Muon (Jordan et al. 2024): momentum, made orthogonal, for matrices.

torch has one too; it goes matrix by matrix, which at our widths costs three times this one's time.
Here matrices of one shape go through the Newton-Schulz iteration together.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tinychat.model import cpu_computes_bf16
from tinychat.training.plain_optimizers import PlainOptimizer

ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # steepest at zero; see the paper's page


class Muon(PlainOptimizer):
    """Nesterov momentum, orthogonalised, times sqrt(max(1, rows / columns)); decoupled decay."""

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(tuple(parameter.shape), []).append(parameter)
            for matrices in alike.values():
                updates = orthogonalise(
                    torch.stack([self._ahead(p, group["momentum"]) for p in matrices])
                )
                rows, columns = matrices[0].shape
                rate = group["lr"] * max(1, rows / columns) ** 0.5
                for parameter, update in zip(matrices, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update, alpha=-rate)

    def _ahead(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """The gradient, with what is remembered of those before, as Nesterov looks ahead."""
        state, grad = self.state[parameter], parameter.grad
        assert grad is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(grad, 1 - momentum)
        return grad.lerp(state["momentum"], momentum)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Each of matrices (N, rows, columns) with its singular values brought near 1, as fp32.

    A quintic Newton-Schulz iteration on the side that is shorter, in bf16 where the hardware
    multiplies in it: a CPU that does not takes ten times as long for it as for fp32.
    """
    device = matrices.device.type
    native = device == "cuda" or (device == "cpu" and cpu_computes_bf16())
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(torch.bfloat16 if native else torch.float32)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()
