"""Muon beside torch's own, which goes matrix by matrix."""

import pytest
import torch
from torch import nn

from tinychat.training.muon import Muon


@pytest.mark.parametrize("momentum", [0.0, 0.75, 0.95])
def test_it_steps_as_torch_s_own(momentum: float) -> None:
    generator = torch.Generator().manual_seed(3)
    shapes = [(24, 24), (48, 24), (24, 48), (24, 24)]
    ours = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    theirs = [nn.Parameter(each.detach().clone()) for each in ours]
    muon = Muon(ours, lr=0.02, momentum=momentum, weight_decay=0.1)
    other = torch.optim.Muon(theirs, lr=0.02, momentum=momentum, weight_decay=0.1)
    before = [each.detach().clone() for each in theirs]
    for _ in range(5):
        for mine, its in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            its.grad = mine.grad.clone()
        muon.step()
        other.step()
    for mine, its, was in zip(ours, theirs, before, strict=True):
        went = (its - was).norm()
        assert (mine - its).norm() < 0.02 * went, "both multiply in bf16, in other orders"
