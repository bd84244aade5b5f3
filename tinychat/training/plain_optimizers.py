"""torch's optimizers without torch's compiler.

torch imports it, which takes a second, and calls it at each step, only to tell it to keep away from
optimizers; and what we compile has no optimizer in it. So these functions are taken out of what
torch has wrapped around them; where it wraps nothing any more, they are torch's as they are.
"""

from inspect import unwrap

import torch
from torch.optim import AdamW, Optimizer


class PlainOptimizer(Optimizer):
    """What other update rules are made from."""

    add_param_group = unwrap(Optimizer.add_param_group)
    zero_grad = unwrap(Optimizer.zero_grad)


class PlainAdamW(PlainOptimizer, AdamW):
    """AdamW (Loshchilov and Hutter 2019)."""

    step = torch.no_grad()(unwrap(AdamW.step))
