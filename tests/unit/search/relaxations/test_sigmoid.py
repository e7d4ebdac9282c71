"""FairDARTS' relaxation, and what is measured of it."""

from __future__ import annotations

import math

import pytest
import torch

from raydarts.registry import Choose
from raydarts.search.moments import EpochReport


def test_candidates_are_independent() -> None:
    relaxation = Choose("relaxation").parse("sigmoid").build()
    alpha = torch.tensor([[0.0, math.log(3), -math.log(3)]], dtype=torch.float64)
    found = relaxation(alpha)
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.75, 0.25]], dtype=torch.float64))
    assert not relaxation.SIMPLEX
    alpha[0, 0] = 5.0
    assert torch.equal(relaxation(alpha)[0, 1:], found[0, 1:])  # under a softmax they would have fallen
    assert torch.equal(relaxation.expected(alpha), relaxation(alpha))


@pytest.mark.parametrize(
    ("rows", "simplex", "expected"),
    [
        ([[0.5, 0.5, 0.5]], False, math.log(2)),
        ([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], False, 0.0),  # decided, though several stand on one edge
        ([[0.75, 0.25]], False, 0.25 * math.log(4) + 0.75 * math.log(4 / 3)),
        ([[1.2, -0.1]], False, 0.0),
        ([[1.0, 1.0, 0.0]], True, math.log(2)),
        ([[0.2, 0.2, 0.2, 0.2]], True, math.log(4)),
    ],
)
def test_entropy_is_of_candidates_under_a_sigmoid_and_of_edges_else(
    rows: list[list[float]], simplex: bool, expected: float
) -> None:
    probe = Choose("probe").parse("entropy").build()
    report = EpochReport(1, 1, None, {"cell": torch.tensor(rows)}, {}, simplex=simplex)  # type: ignore[arg-type]
    assert probe.measure(report)["entropy_cell"] == pytest.approx(expected, abs=1e-6)
