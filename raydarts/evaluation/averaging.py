"""Averaged SGD for recurrent networks: when it starts, and the weights that are measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from raydarts.optimizers import ASGD
from raydarts.states import State


def should_average(losses: Sequence[float], latest: float, nonmonotone: int | None) -> bool:
    """Returns whether averaging starts after the validation loss `latest`. `losses` are those of earlier epochs.

    It starts if there are more than `nonmonotone` earlier losses and `latest` is above the smallest of all but the last
    `nonmonotone` (Merity et al. 2018, arXiv 1708.02182, algorithm 1, as in the authors' code, rnn/train.py).
    """
    return nonmonotone is not None and len(losses) > nonmonotone and latest > min(losses[:-nonmonotone])


def averaged_sgd(network: nn.Module, lr: float, weight_decay: float) -> torch.optim.ASGD:
    """Returns SGD that averages its iterates from its second step on.

    Its own decays of the learning rate are off.
    """
    return ASGD(network.parameters(), lr, lambd=0.0, t0=0, weight_decay=weight_decay)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of the next step.

    torch's ASGD steps by `eta`, which it computes from `lr` after each step. So in the authors' code the rate that is
    scaled to a window's length acts on the next window. Ours acts on the same window.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
        for parameter in group["params"]:
            eta = optimizer.state[parameter].get("eta")
            if eta is not None:
                eta.fill_(lr)


@contextmanager
def averaged(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Inside the context the parameters are the averages, if the optimizer has any.

    On exit they are the same bits as before.
    """
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


def take_up(optimizer: torch.optim.Optimizer, saved: State) -> None:
    """Loads a state exactly as it was saved.

    torch widens `eta` and `mu` to the parameters' type, which would change bits.
    """
    optimizer.load_state_dict(saved)
    for state_of in optimizer.state.values():
        for key in ("eta", "mu"):
            if key in state_of:
                state_of[key] = state_of[key].to(torch.float32)
