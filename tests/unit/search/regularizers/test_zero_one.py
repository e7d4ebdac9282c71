"""FairDARTS' zero-one loss against numbers worked by hand, in the search's own alpha gradient."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.registry import Choose, members
from raydarts.search.moments import Step
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings

pytestmark = pytest.mark.usefixtures("one_thread")


def penalty(alphas: dict[str, Tensor], **settings: Any) -> Any:
    return Choose("regularizer").parse({"name": "zero_one", **settings}).build().penalty(alphas, {})


def test_matches_hand_computation() -> None:
    # sigmoid(ln 3) = 3/4, sigmoid(-ln 3) = 1/4, sigmoid(0) = 1/2; four candidates in two cell types of unlike size
    alphas = {
        "normal": torch.tensor([[math.log(3), -math.log(3)], [0.0, 0.0]], dtype=torch.float64),
        "reduce": torch.tensor([[0.0, math.log(3)]], dtype=torch.float64),
    }
    assert float(penalty(alphas)) == pytest.approx(-10 * 3 * 0.25**2 / 6)
    assert float(penalty(alphas, norm="l1")) == pytest.approx(-10 * 3 * 0.25 / 6)
    assert float(penalty(alphas, strength=2.0)) == pytest.approx(-2 * 3 * 0.25**2 / 6)
    assert penalty(alphas, strength=0) is None


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_descent_drives_candidates_away_from_a_half(norm: str) -> None:
    alpha = torch.tensor([[0.1, -0.1]], dtype=torch.float64, requires_grad=True)
    penalty({"normal": alpha}, norm=norm).backward()
    assert alpha.grad is not None
    assert float(alpha.grad[0, 0]) < 0 < float(alpha.grad[0, 1])


def gradient(estimator: str, regularizers: list[Any]) -> tuple[Tensor, Tensor]:
    plain = {
        "batch_size": 16,
        "alpha_init": 1.0,
        "precision": "float64",
        "space": {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1},
        "relaxation": "sigmoid",
        "estimator": estimator,
        "regularizers": regularizers,
    }
    job = Search(SearchSettings.model_validate(plain), load_splits(DataSettings(limit=32)))
    job.supernet.train()
    job.architect.gradient(Step(job.objective, *next(job.loop.batches())))
    alphas = torch.cat([alpha.flatten() for alpha in job.alphas.values()])
    return alphas.detach(), torch.cat([alpha.grad.flatten() for alpha in job.alphas.values()])  # type: ignore[union-attr]


@pytest.mark.parametrize("estimator", list(members("estimator")))
def test_alpha_gradient_matches_the_formula(estimator: str) -> None:
    alpha, without = gradient(estimator, [])
    _, found = gradient(estimator, ["zero_one"])
    sigma = alpha.sigmoid()
    expected = -10 * 2 * (sigma - 0.5) * sigma * (1 - sigma) / len(sigma)
    torch.testing.assert_close(found - without, expected, rtol=1e-8, atol=1e-11)
