"""torch's optimizers without what serves compiled optimizers alone.

Each optimizer of torch imports torch's compiler, `torch._dynamo`, when it is made. That takes 1.4 CPU seconds in each
process which trains, as much as the rest of torch. raydarts compiles networks and no optimizers, so these classes leave
the wrappers out which import it. The methods below the wrappers are torch's, so the numbers are the same to the last
bit.
"""

from __future__ import annotations

from inspect import unwrap

import torch
from torch.optim import Optimizer


class _Uncompiled(Optimizer):
    add_param_group = unwrap(Optimizer.add_param_group)
    state_dict = unwrap(Optimizer.state_dict)
    load_state_dict = unwrap(Optimizer.load_state_dict)
    zero_grad = unwrap(Optimizer.zero_grad)


class SGD(_Uncompiled, torch.optim.SGD):
    """`torch.optim.SGD`."""

    step = torch.no_grad()(unwrap(torch.optim.SGD.step))


class Adam(_Uncompiled, torch.optim.Adam):
    """`torch.optim.Adam`."""

    step = torch.no_grad()(unwrap(torch.optim.Adam.step))


class ASGD(_Uncompiled, torch.optim.ASGD):
    """`torch.optim.ASGD`."""

    step = torch.no_grad()(unwrap(torch.optim.ASGD.step))
