"""The optimizers: they do not load torch's compiler, and their numbers are torch's to the last bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from raydarts import optimizers

KINDS: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9, "weight_decay": 3e-4},
    "Adam": {"betas": (0.5, 0.999), "weight_decay": 1e-3},
    "ASGD": {"lambd": 0.0, "t0": 0, "weight_decay": 1e-6},
}
PROGRAM = """
import sys, torch
from raydarts.optimizers import ASGD, SGD, Adam
for kind in (ASGD, SGD, Adam):
    weight = torch.ones(2, requires_grad=True)
    optimizer = kind([weight], 0.1)
    optimizer.add_param_group({"params": [torch.ones(1, requires_grad=True)]})
    weight.sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
import raydarts.execution.build
print([name for name in ("torch._dynamo", "scipy", "triton") if name in sys.modules])
"""


def test_what_a_trial_imports_holds_no_compiler_and_no_solver(tmp_path: Path) -> None:
    """torch._dynamo takes as long to import as the rest of torch."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def weights_after(optimizer: type[torch.optim.Optimizer], given: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    """The weights after 5 steps, of which the last 2 are taken by an optimizer that took up the state of the first."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(7, 3, generator=draw))
    made: Any = optimizer
    first = made([weight], lr=0.05, **given)
    second = made([weight], lr=0.05, **given)
    for number in range(5):
        if number == 3:
            second.load_state_dict(first.state_dict())
        taken = first if number < 3 else second
        taken.zero_grad()
        (weight.tanh() * torch.randn(7, 3, generator=draw)).sum().backward()
        taken.step()
    return weight.detach(), second.state_dict()


@pytest.mark.parametrize("name", KINDS)
def test_their_numbers_are_those_of_torch(name: str) -> None:
    ours, our_state = weights_after(getattr(optimizers, name), KINDS[name])
    theirs, their_state = weights_after(getattr(torch.optim, name), KINDS[name])
    assert torch.equal(ours, theirs)
    torch.testing.assert_close(our_state, their_state, rtol=0, atol=0)
