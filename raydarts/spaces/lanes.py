"""Lanes: K networks of one shape in one module, so that one pass runs all of them.

A lane has its own weights, statistics, inputs and arch weights. No value of a lane reaches another one. The layout is
lane-major: an activation is `(batch, K * C, H, W)`, and the channels of lane k are `k * C` to `(k + 1) * C`. So a
convolution of all lanes is one convolution with K groups. Each parameter and buffer keeps the name that it has in the
network of one lane, and the value of lane k is chunk k of K along dimension 0. A module with one lane has no lane
dimension anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


def pack(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Returns the state of one module of K lanes, made of the states of K modules of one lane."""
    first, others = states[0], states[1:]
    if not others:
        return dict(first)
    return {name: torch.cat([_rows(value), *(_rows(state[name]) for state in others)]) for name, value in first.items()}


def _rows(value: Tensor) -> Tensor:
    return value if value.dim() else value[None]


def unpack(state: Mapping[str, Tensor], lanes: int, lane: int) -> dict[str, Tensor]:
    """Returns a copy of the state of lane number `lane`, as a module of one lane has it."""
    if lanes == 1:
        return {name: value.clone() for name, value in state.items()}
    return {name: _part(value, lanes, lane) for name, value in state.items()}


def _part(value: Tensor, lanes: int, lane: int) -> Tensor:
    if value.dtype == torch.long:  # batch norm counts its batches in a tensor without dimensions
        return value[lane].clone()
    return value.chunk(lanes)[lane].clone()


def weighted(weight: Tensor, x: Tensor) -> Tensor:
    """Returns `weight * x`. See `factor`."""
    return factor(weight) * x


def factor(weight: Tensor) -> Tensor:
    """Returns what multiplies a `(batch, channels, H, W)` tensor.

    `weight` is one arch weight without dimensions. With lanes it is `(channels,)`: each lane's arch weight, repeated
    for the channels of the lane.
    """
    return weight if weight.dim() == 0 else weight.view(-1, 1, 1)


class LaneLinear(nn.Module):
    """A linear layer for each lane: `(batch, K * inputs)` to `(K, batch, outputs)`."""

    def __init__(self, inputs: int, outputs: int, lanes: int) -> None:
        super().__init__()
        self.lanes = lanes
        one = nn.Linear(inputs, outputs)  # torch's initial values
        self.weight = nn.Parameter(one.weight.detach().repeat(lanes, 1))
        self.bias = nn.Parameter(one.bias.detach().repeat(lanes))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.unflatten(1, (self.lanes, -1)).transpose(0, 1)
        weight = self.weight.unflatten(0, (self.lanes, -1))
        return torch.baddbmm(self.bias.view(self.lanes, 1, -1), rows, weight.transpose(1, 2))


def linear(inputs: int, outputs: int, lanes: int) -> nn.Module:
    """Returns torch's linear layer, or one for each lane."""
    return nn.Linear(inputs, outputs) if lanes == 1 else LaneLinear(inputs, outputs, lanes)
