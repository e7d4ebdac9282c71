"""Averaged SGD: when it begins, what it averages, and how the learning rate of a window acts under it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from raydarts.evaluation.averaging import averaged, averaged_sgd, set_rate, should_average, take_up


@pytest.mark.parametrize(
    ("losses", "latest", "expected"),
    [
        ([5, 4, 3, 2, 1], 9.0, False),  # five before it are not more than five
        ([5, 4, 3, 2, 1, 0.5], 5.1, True),  # above the first, which alone is older than the last five
        ([5, 4, 3, 2, 1, 0.5], 4.9, False),  # the last five do not count
        ([1, 4, 4, 4, 4, 4], 1.0, False),  # not above
        ([3, 1, 4, 4, 4, 4, 4], 2.0, True),
    ],
)
def test_averaging_begins_where_the_loss_is_above_the_best_of_all_but_the_last(
    losses: list[float], latest: float, expected: bool
) -> None:
    assert should_average(losses, latest, 5) is expected
    assert should_average(losses, latest, None) is False


class Line(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([2.0, -1.0], dtype=dtype))


def step(line: Line, optimizer: torch.optim.Optimizer, lr: float) -> None:
    optimizer.zero_grad()
    (0.5 * line.slope.pow(2).sum()).backward()  # gradient: the slope itself
    set_rate(optimizer, lr)
    optimizer.step()


def test_each_step_has_its_own_rate_and_the_average_is_of_the_iterates_from_the_second_on() -> None:
    line = Line(torch.float64)
    optimizer = averaged_sgd(line, 0.1, weight_decay=0.5)
    rates, at, iterates = [0.1, 0.3, 0.05, 0.2], line.slope.detach().clone(), []
    for lr in rates:
        step(line, optimizer, lr)
        at = at - lr * (at + 0.5 * at)
        iterates.append(at)
        assert torch.allclose(line.slope, at, rtol=1e-6)  # torch keeps the rate in float32
    before = line.slope.detach().clone()
    with averaged(optimizer):
        assert torch.allclose(line.slope, torch.stack(iterates[1:]).mean(0), rtol=1e-6)
    assert torch.equal(line.slope, before)


def test_without_averages_parameters_are_unchanged() -> None:
    line = Line(torch.float32)
    optimizer = torch.optim.SGD(line.parameters(), 0.1)
    step(line, optimizer, 0.2)
    assert torch.allclose(line.slope, torch.tensor([1.6, -0.8]))
    with averaged(optimizer):
        assert torch.allclose(line.slope, torch.tensor([1.6, -0.8]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saved_state_resumes_bit_identical(dtype: torch.dtype) -> None:
    line, other = Line(dtype), Line(dtype)
    optimizer = averaged_sgd(line, 0.1, 0.0)
    for number in range(3):
        step(line, optimizer, 0.1 * math.sqrt(number + 1))
    saved = optimizer.state_dict()
    other.load_state_dict(line.state_dict())
    resumed = averaged_sgd(other, 0.1, 0.0)
    take_up(resumed, saved)
    for name, value in saved["state"][0].items():
        found = resumed.state_dict()["state"][0][name]
        assert (found.dtype, torch.equal(found, value)) == (value.dtype, True)
    for lr in (0.07, 0.3):
        step(line, optimizer, lr)
        step(other, resumed, lr)
    assert torch.equal(line.slope, other.slope)
    with averaged(optimizer), averaged(resumed):
        assert torch.equal(line.slope, other.slope)
