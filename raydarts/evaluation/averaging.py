"""Averaged SGD for recurrent networks: when it begins, and the weights it is measured with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


def should_average(losses: Sequence[float], latest: float, nonmonotone: int | None) -> bool:
    """Whether averaging begins after the validation loss `latest`, `losses` being those of the epochs before it.

    It does where there are more than `nonmonotone` of them and `latest` is above the least of all but the last
    `nonmonotone` (Merity et al. 2018, arXiv 1708.02182, algorithm 1, as in the authors' code, rnn/train.py).
    """
    return nonmonotone is not None and len(losses) > nonmonotone and latest > min(losses[:-nonmonotone])


def averaged_sgd(network: nn.Module, lr: float, weight_decay: float) -> torch.optim.ASGD:
    """SGD whose iterates are averaged from its second step on; its own decays of the learning rate are off."""
    return torch.optim.ASGD(network.parameters(), lr, lambd=0.0, t0=0, weight_decay=weight_decay)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The learning rate of the next step.

    torch's ASGD steps by `eta`, which it takes from `lr` after each step, so that in the authors' code the rate
    scaled to a window's length acts on the window after it. Ours acts on its own.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
        for parameter in group["params"]:
            eta = optimizer.state[parameter].get("eta")
            if eta is not None:
                eta.fill_(lr)


@contextmanager
def averaged(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Inside, the parameters are the averages, where the optimizer has any; outside they are as before, to the bit."""
    pairs = [
        (parameter, optimizer.state[parameter]["ax"])
        for group in optimizer.param_groups
        for parameter in group["params"]
        if "ax" in optimizer.state[parameter]
    ]
    kept = [parameter.detach().clone() for parameter, _ in pairs]
    with torch.no_grad():
        for parameter, average in pairs:
            parameter.copy_(average)
        try:
            yield
        finally:
            for (parameter, _), value in zip(pairs, kept, strict=True):
                parameter.copy_(value)


def take_up(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load a state as it was saved. torch widens `eta` and `mu` to the parameters' type, which would change bits."""
    optimizer.load_state_dict(saved)
    for state_of in optimizer.state.values():
        for key in ("eta", "mu"):
            if key in state_of:
                state_of[key] = state_of[key].to(torch.float32)
